"""Waits double up to their cap, and jitter spreads them over the whole range."""

import random

import pytest

from node.deliver.backoff import doubled_s, full_jitter_s


def test_waits_double_up_to_the_cap() -> None:
    assert [doubled_s(n, 5, 60) for n in (1, 2, 3, 4, 5, 6)] == [5, 10, 20, 40, 60, 60]
    assert doubled_s(10_000, 5, 900) == 900
    assert doubled_s(0, 5, 900) == 5


@pytest.mark.parametrize("attempts", [1, 3, 20])
def test_jitter_fills_the_range_evenly(attempts) -> None:
    draw = random.Random(1).uniform
    waits = [full_jitter_s(attempts, 5, 60, draw) for _ in range(4000)]
    ceiling = doubled_s(attempts, 5, 60)
    assert min(waits) >= 0
    assert max(waits) <= ceiling
    assert sum(waits) / len(waits) == pytest.approx(ceiling / 2, rel=0.05)
