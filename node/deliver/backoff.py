"""How long to wait after a failure: doubling, capped, and for peers spread at random so that they do not meet."""

from collections.abc import Callable


def doubled_s(attempts: int, base_s: float, max_s: float) -> float:
    """Wait after the ``attempts``-th failure (1 is the first): base, twice the base, ... up to ``max_s``."""
    return min(max_s, base_s * 2.0 ** min(max(attempts - 1, 0), 62))


def full_jitter_s(attempts: int, base_s: float, max_s: float, uniform: Callable[[float, float], float]) -> float:
    """A wait drawn evenly from 0 to the doubled one ("full jitter"); ``uniform(low, high)`` draws."""
    return uniform(0.0, doubled_s(attempts, base_s, max_s))
