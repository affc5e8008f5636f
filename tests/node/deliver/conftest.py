"""Benches of retention, closed at the end of a test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.node.deliver.retention_bench import Bench


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def start(**retention: object) -> Bench:
        benches.append(Bench(tmp_path / "root", **retention))
        return benches[-1]

    yield start
    for bench in benches:
        bench.node.close()
