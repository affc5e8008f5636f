"""How the noise of voxels adds up in a region: neighbours that share it, and the error of the median."""

import math

import numpy as np
import numpy.typing as npt

from quant.acquisition import BoolArray
from quant.models import amplitude
from quant.noise_law import noise_law
from quant.voxel_fit import Setup

Array = npt.NDArray[np.float64]
Residuals = npt.NDArray[np.float32]

_LAGS = (1, 2, 3)  # voxels: zero filling to twice the matrix correlates neighbours by 0.64, 0, -0.21
_LAG_WEIGHTS = (1.0, 1.0, 0.5)  # the half averages the last two partial sums of such a series
FAR_LAGS = (4, 5, 6, 7)
"""Voxels over which images zero-filled to twice their matrix share no noise, and over which it averages out."""
_LEAST_PAIRS = 100
_ENOUGH_VOXELS = 20000


def residuals(signal: Residuals, s0: Array, r2star_per_s: Array, pdff: Array, setup: Setup) -> Residuals:
    """``signal`` (k, e) minus what the fits of its voxels (k,) each say; NaN where a fit is."""
    clean = amplitude(
        setup.echo_times_s, s0=s0, r2star_per_s=r2star_per_s, pdff=np.nan_to_num(pdff), field_t=setup.field_t
    )
    sigma = setup.noise.sigma
    return np.asarray(signal - noise_law(setup.noise.coils).mean(clean / sigma) * sigma, np.float32)


def slices_to_compare(where: BoolArray) -> slice:
    """Neighbouring slices of ``where`` (z, y, x) around its fullest one that hold enough voxels for the comparison."""
    counts = where.sum(axis=(1, 2))
    first = last = int(np.argmax(counts))
    while counts[first : last + 1].sum() < _ENOUGH_VOXELS and (first > 0 or last < len(counts) - 1):
        first, last = max(first - 1, 0), min(last + 1, len(counts) - 1)
    return slice(first, last + 1)


def voxels_per_independent(residual: Residuals, where: BoolArray) -> float:
    """Voxels that carry as much as one independent voxel, from the residuals (k, e) at ``where`` (z, y, x).

    Interpolated and filtered images share noise between neighbours. The correlation at a lag is 1 minus the mean
    squared difference at that lag over that at lags where noise is no longer shared; what varies slowly over the
    image drops out. Axes are taken as separable.
    """
    field = np.full((*where.shape, residual.shape[1]), np.nan, np.float32)
    field[where] = residual
    far = [_mean_squared_difference(field, axis, lag) for axis in (1, 2) for lag in FAR_LAGS]
    if np.all(np.isnan(far)):
        return 1.0
    unrelated = float(np.nanmean(far))
    if not unrelated > 0:
        return 1.0
    factor = 1.0
    for axis in range(3):
        alike = [1 - _mean_squared_difference(field, axis, lag) / unrelated for lag in _LAGS]
        factor *= 1 + 2 * float(np.dot(_LAG_WEIGHTS, np.nan_to_num(alike)))
    return max(factor, 1.0)


def _mean_squared_difference(field: Residuals, axis: int, lag: int) -> float:
    """Between voxels (z, y, x, e) that lie ``lag`` apart along ``axis``; NaN where there are too few pairs."""
    known = differences(field, axis, lag)
    return float(np.mean(np.square(known))) if len(known) >= _LEAST_PAIRS else math.nan


def differences(field: Residuals, axis: int, lag: int) -> Residuals:
    """Between voxels of ``field`` (z, y, x, e) that lie ``lag`` apart along ``axis`` and have values, (pairs, e)."""
    ahead, behind = (np.moveaxis(field, axis, 0)[part] for part in (slice(lag, None), slice(None, -lag)))
    difference = (ahead - behind).reshape(-1, field.shape[3])
    return np.asarray(difference[np.isfinite(difference[:, 0])])


def sd_of_median(noise_sd: float, tissue_sd: float, independent: float) -> float:
    """Standard error that noise gives the median of ``independent`` normal values with ``noise_sd`` each.

    In uniform tissue sqrt(pi / 2) times that of the mean. Where the true values themselves spread by ``tissue_sd`` it
    is larger: noise moves a voxel across the median with probability arccos(rho) / pi, rho the correlation of two
    noisy readings of the same voxels, and the density at the median is that of the wider distribution.
    """
    total = math.hypot(noise_sd, tissue_sd)
    if not math.isfinite(total) or total == 0:
        return total
    crossing = math.acos(min((tissue_sd / total) ** 2, 1.0)) / math.pi
    return total * math.sqrt(math.pi * crossing / independent)
