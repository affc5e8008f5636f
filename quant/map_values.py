"""The numbers of the maps: voxels beyond what can be measured get the end of the range, never a hole.

A voxel without a number reads as "nothing there", and in a stored image as the lowest value of all. That would be
wrong exactly where iron is extreme; only voxels without signal have no number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant.fit import R2StarMap
from quant.fit_maps import Map
from quant.flags import FitFlag
from quant.noise import NoiseModel
from quant.voxel_fit import Setup

_NO_NUMBER = FitFlag.NOISE_ONLY | FitFlag.FAILED | FitFlag.OUTSIDE


@dataclass(frozen=True, kw_only=True)
class R2StarValues:
    """R2* in /s (z, y, x) with NaN only where there is no signal to fit.

    A voxel at an end of ``range_per_s``, the range of the fit, lies at that end or beyond it: the signal is gone after
    the first echo, or does not fall at all.
    """

    values: Map
    range_per_s: tuple[float, float]


def r2star_values(fit: R2StarMap, echo_times_s: Sequence[float] | npt.NDArray[np.float64]) -> R2StarValues:
    """R2* of every voxel as ``quant.region`` ranks it for the median, so that map and statistics agree."""
    highest = highest_r2star_per_s(echo_times_s)
    values = fit.r2star_per_s.copy()
    missing = np.isnan(values)
    values[missing & ((fit.flags & FitFlag.AT_LIMIT) != 0)] = highest
    values[missing & ((fit.flags & FitFlag.NO_DECAY) != 0)] = 0.0
    values[(fit.flags & _NO_NUMBER) != 0] = np.nan
    return R2StarValues(values=values, range_per_s=(0.0, highest))


def highest_r2star_per_s(echo_times_s: Sequence[float] | npt.NDArray[np.float64]) -> float:
    """Upper end of the R2* range that a fit with these echo times searches."""
    times = np.asarray(echo_times_s, dtype=np.float64)
    setup = Setup(echo_times_s=times, field_t=1.5, noise=NoiseModel(sigma=1.0, coils=1.0, source="none"))
    return setup.max_rate / setup.spacing_s
