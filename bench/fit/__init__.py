"""Benchmarks of the R2* fits: ``accuracy``, ``noise`` and ``speed`` of magnitudes, ``complex_*`` of complex echoes."""

from typing import Any


def measure() -> dict[str, Any]:
    """For ``make bench``: the magnitude fits against curve_fit on the same data, in the same run."""
    from bench.fit.speed import against_peers  # modules of this package run as scripts: no import when it loads

    return {"against_peers": against_peers(3, shape=(4, 256, 256), with_ukat=False)}
