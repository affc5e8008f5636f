"""The R2* fit against the textbook one: curve_fit of a mono-exponential, voxel by voxel, same data, same run."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from scipy.optimize import curve_fit

from quant.fit import fit_r2star
from quant.noise import NoiseModel

ROUNDS = 5
CURVE_FIT_VOXELS = 400
OUR_VOXELS = 128 * 128 * 4


def measure() -> dict[str, Any]:
    """Voxels per second of both, and their ratio round by round (median, minimum, maximum)."""
    echo_times_s = 0.0012 + 0.0011 * np.arange(6)
    signal = _decays(echo_times_s)
    noise = NoiseModel(sigma=1.0, coils=1.0, source="given")

    def ours() -> None:
        fit_r2star(signal, echo_times_s, field_t=1.5, model="magnitude_first_moment", noise=noise, threads=1)

    def reference() -> None:
        for decay in signal.reshape(-1, len(echo_times_s))[:CURVE_FIT_VOXELS]:
            curve_fit(lambda t, s, r: s * np.exp(-r * t), echo_times_s, decay, p0=(float(decay[0]), 100.0))

    ours()  # compilation is not what is measured
    rounds = [(OUR_VOXELS / _seconds(ours), CURVE_FIT_VOXELS / _seconds(reference)) for _ in range(ROUNDS)]
    ratios = [a / b for a, b in rounds]
    return {
        "our_voxels_per_s": round(median(a for a, _ in rounds)),
        "curve_fit_voxels_per_s": round(median(b for _, b in rounds)),
        "ratio": {"median": round(median(ratios)), "min": round(min(ratios)), "max": round(max(ratios))},
    }


def _decays(echo_times_s: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    r2star_per_s = rng.uniform(25, 600, (4, 128, 128, 1))
    clean = 50 * np.exp(-r2star_per_s * echo_times_s)
    noise = rng.standard_normal((2, *clean.shape))
    return np.hypot(clean + noise[0], noise[1]).astype(np.float32)


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
