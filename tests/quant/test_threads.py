"""Long lists worked off in parts: nothing left out, nothing twice, errors heard."""

import numba as nb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.threads import each_part, thread_limit
from quant.warm import warm_up


@given(size=st.integers(0, 50), chunk=st.integers(1, 60), threads=st.integers(1, 2))
def test_parts_cover_everything_once(size: int, chunk: int, threads: int) -> None:
    times_seen, within = np.zeros(size, int), []

    def run(part: slice) -> None:
        times_seen[part] += 1
        within.append(part.stop - part.start)

    with thread_limit(threads):
        each_part(size, chunk, run)
    assert (times_seen == 1).all()
    assert all(0 < length <= chunk for length in within)


def test_each_part_has_one_thread_and_the_caller_keeps_its_own() -> None:
    warm_up()  # starts numba's threads
    before = nb.get_num_threads()
    inside: list[int] = []
    each_part(4, 1, lambda _: inside.append(nb.get_num_threads()))
    assert inside == [1] * 4 or before == 1
    assert nb.get_num_threads() == before


def test_an_error_in_a_part_is_raised() -> None:
    def run(part: slice) -> None:
        if part.start == 2:
            raise ValueError("part 2")

    with pytest.raises(ValueError, match="part 2"):
        each_part(4, 1, run)
