"""Voxels whose R2* the field makes too high: B0 that changes across a voxel dephases its signal.

A field that changes by d hertz across a voxel multiplies the signal by sinc(d t) (Fernandez-Seara and Wehrli, Magn
Reson Med 2000;44:358): a loss of (pi d t)^2 / 6 in its logarithm, which a fit of R2* takes for decay.
"""

import numpy as np

from quant.acquisition import BoolArray, FloatArray, MultiEcho
from quant.fit import R2StarMap
from quant.liver.plane import median, square

MOST_ADDED = 0.05  # of the R2* fitted
_RATES_PER_S = np.geomspace(5.0, 3000.0, 40)
_SMOOTHING = 3  # voxels a side of the in-plane median of the field: noise alone is no gradient


def dephased(acquisition: MultiEcho, fit: R2StarMap) -> BoolArray:
    """Voxels (z, y, x) in which the field adds 5 % or more to R2*; none where the fit knows no field.

    Of one slice alone, the change across its thickness is not known, and only that within the plane counts.
    """
    if fit.b0_hz is None:
        return np.zeros(fit.flags.shape, bool)
    times = acquisition.echo_times_s
    rates = np.where(np.isfinite(fit.r2star_per_s), fit.r2star_per_s, _RATES_PER_S[-1])
    factor = np.interp(rates, _RATES_PER_S, [_added_per_hz2(rate, times) for rate in _RATES_PER_S])
    field = median(np.nan_to_num(fit.b0_hz), square(_SMOOTHING))
    geometry = acquisition.geometry
    through = geometry.slice_thickness_mm / geometry.spacing_mm[0] if np.isfinite(geometry.slice_thickness_mm) else 1.0
    period_hz = 1 / float(np.diff(times).min())
    squared = sum((share * _change(field, axis, period_hz)) ** 2 for axis, share in ((0, through), (1, 1.0), (2, 1.0)))
    return np.asarray((factor * squared >= MOST_ADDED * rates) & np.isfinite(fit.b0_hz))


def _change(field: FloatArray, axis: int, period_hz: float) -> FloatArray:
    """Change (z, y, x) from one voxel to the next along ``axis``, the smaller of both sides in size.

    The field is known up to whole periods; an edge to another organ or to an exchanged voxel has one steep side.
    """
    if field.shape[axis] < 2:
        return np.zeros_like(field)
    step = np.diff(field, axis=axis)
    step = np.abs(step - period_hz * np.round(step / period_hz))
    widths = [(0, 0)] * 3
    widths[axis] = (1, 1)
    padded = np.pad(step, widths, mode="edge")
    n = field.shape[axis]
    return np.minimum(padded.take(range(n), axis), padded.take(range(1, n + 1), axis))


def _added_per_hz2(rate_per_s: float, times_s: FloatArray) -> float:
    """R2* (1/s) that a change of one hertz across the voxel adds to a fit weighted by the signal's power."""
    weight = np.exp(-2 * rate_per_s * (times_s - times_s[0]))
    centred = times_s - np.average(times_s, weights=weight)
    slope = np.sum(weight * centred * times_s**2) / np.sum(weight * centred**2)
    return float(np.pi**2 / 6 * slope)
