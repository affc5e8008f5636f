"""Which part of an incomplete grid is kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from node.process.selection import keep_full


def _grid(n_slices: int, n_echoes: int, *holes: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    available = np.ones((n_slices, n_echoes), dtype=np.bool_)
    for hole in holes:
        available[hole] = False
    return available


@pytest.mark.parametrize(
    ("available", "slices", "echoes"),
    [
        (_grid(3, 4), (0, 1, 2), (0, 1, 2, 3)),
        (_grid(5, 12, (2, 7)), (0, 1, 2, 3, 4), (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11)),
        (_grid(20, 6, (2, 3)), tuple(z for z in range(20) if z != 2), tuple(range(6))),
        (_grid(5, 12, (2, 0)), (0, 1, 3, 4), tuple(range(12))),
        (_grid(3, 6, (0, 0), (1, 0), (2, 0)), (0, 1, 2), (1, 2, 3, 4, 5)),
        (_grid(4, 6, (3, 2), (3, 3), (3, 4), (3, 5)), (0, 1, 2), tuple(range(6))),
    ],
)
def test_largest_part_with_the_first_echo(
    available: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], slices: tuple[int, ...], echoes: tuple[int, ...]
) -> None:
    assert keep_full(available) == (slices, echoes)


@given(available=arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 8))))
def test_what_is_kept_has_no_hole(available: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    slices, echoes = keep_full(available)
    assert available[np.ix_(slices, echoes)].all()
    if available.all():
        assert len(slices) * len(echoes) == available.size
