"""What `make test` leaves to `make test-long`: further values of a behaviour that it shows at others."""

from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["further"]


def further(values: Iterable[Any]) -> list[Any]:
    """``values`` of a parametrised test, a tuple for several parameters, which only `make test-long` runs."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.further) for value in values
    ]
