"""Region measurements with chosen numbers, as the fit would give them."""

from typing import Any

import numpy as np

from quant.assess import FitFacts
from quant.noise import NoiseModel
from quant.region import PooledDecay, RegionMeasurement
from quant.result import Statistics

ECHO_TIMES_S = tuple(float(t) for t in 1e-3 * (0.99 + 1.41 * np.arange(12)))


def decay_of(r2star_per_s: float, misfit: float = 0.0) -> PooledDecay:
    """A mono-exponential decay on a small noise floor; the fifth echo is off by ``misfit`` of the first signal."""
    times = np.array(ECHO_TIMES_S)
    fine = np.linspace(0, 1.05 * times[-1], 60)

    def signal(t: np.ndarray) -> np.ndarray:
        return np.hypot(400 * np.exp(-r2star_per_s * t), 8.0)

    measured = signal(times)
    measured[4] -= misfit * measured[0]
    return PooledDecay(
        echo_times_s=times, signal=measured, model=signal(times), curve_times_s=fine, curve=signal(fine),
        noise_floor=8.0,
    )  # fmt: skip


def region_of(
    r2star_per_s: float,
    *,
    n_voxels: int = 5000,
    spread: float = 0.05,
    sd_fit_per_s: float = 0.1,
    voxel_sd_per_s: float = 0.0,
    pooled_ratio: float = 0.99,
    fraction_at_limit: float = 0.0,
    fraction_failed: float = 0.01,
    misfit: float = 0.0,
    pdff_percent: Statistics | None = None,
) -> RegionMeasurement:
    """A region of this median R2*; ``spread`` is the relative standard deviation over its voxels."""
    sd = spread * r2star_per_s
    return RegionMeasurement(
        n_voxels=n_voxels,
        n_saturated=0,
        median=r2star_per_s,
        mean=r2star_per_s,
        sd=sd,
        q1=r2star_per_s - 0.6745 * sd,
        q3=r2star_per_s + 0.6745 * sd,
        sd_fit_per_s=sd_fit_per_s,
        voxel_sd_per_s=voxel_sd_per_s,
        pooled_r2star_per_s=pooled_ratio * r2star_per_s,
        pooled_sd_per_s=0.1,
        pooled_decay=decay_of(r2star_per_s, misfit),
        pooled_pdff=None,
        fraction_at_limit=fraction_at_limit,
        fraction_failed=fraction_failed,
        pdff_percent=pdff_percent,
    )


def fit_facts(**changes: Any) -> FitFacts:
    """Facts of a fit of water alone with ``ECHO_TIMES_S``, whose echo times would have shown fat."""
    facts: dict[str, Any] = {
        "model": "magnitude_first_moment",
        "echo_times_s": ECHO_TIMES_S,
        "echoes_used": 12,
        "noise": NoiseModel(sigma=8.0, coils=1.0, source="background"),
        "measurable_limit_per_s": 1800.0,
        **changes,
    }
    return FitFacts(**facts)


BY_FIELD = {"1.5": "garbowski-2014", "2.89": "hernando-2023", "3.0": "hernando-2023"}
