"""Noise where it counts: in the region, where the air beside the body tells another.

Scanners divide by the sensitivity of the receive coils (intensity normalisation, by whatever name) and unfold parallel
imaging. Both leave the shape of the noise law alone and change its sigma from place to place, so that the noise of air
is not that of the liver. The signal keeps its R2*, but late echoes run into another floor: with noise a fourth higher
than assumed, R2* of 400/s and more reads 3 to 8 % low, of a liver full of fat at 260/s (3 T) 19 %.

Sigma of the region follows from what its fits leave over, compared between voxels a few apart: a wrong floor, which
neighbours share, drops out; scatter remains. Ghosts scatter as well, and R2* that varies, or fat in a part of the
region, bends the mean decay a little as a higher floor does. Therefore the other sigma is taken only if the mean decay,
which has hardly any scatter, follows its fitted curve twice as closely with it, and no fat fraction is lost by it.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincinv

from quant.acquisition import BoolArray, MultiEcho
from quant.fit import R2StarMap, fit_r2star
from quant.flags import FitFlag
from quant.models import amplitude
from quant.noise import FROM_AIR, NoiseModel
from quant.noise_law import noise_law
from quant.region import RegionMeasurement, measure_region
from quant.region_noise import FAR_LAGS, differences

Array = npt.NDArray[np.float64]

FROM_AIR_AND_REGION = "background and region"
"""``NoiseModel.source`` where air tells the coils and the region sigma."""

_LEAST_PAIRS = 200
_LEAST_CHANGE = 0.05  # of sigma: below, R2* moves by 1 to 2 % at most
_LIKELY = (0.5, 2.0)  # sigma of the region over that of air; what is further apart is no noise
_FOLLOWED = 0.5  # of its misfit may be left to the mean decay
_ROUNDS, _SETTLED = 4, 0.02


def fit_with_noise_of(
    acquisition: MultiEcho, fit: R2StarMap, region: BoolArray, *, threads: int | None = None
) -> R2StarMap:
    """``fit`` itself, or the acquisition fitted anew with the sigma that ``region`` (z, y, x) shows.

    Anew only where ``fit`` is of magnitudes and took its noise from air (and maybe another region), and where the
    pooled decay of the region agrees.
    """
    if fit.noise_source not in (FROM_AIR, FROM_AIR_AND_REGION) or fit.phase_note is not None:
        return fit
    try:
        before = measure_region(acquisition, fit, region)
        noise = _noise_in(acquisition, fit, region, threads)
        if noise is None:
            return fit
        again = _fitted(acquisition, noise, None, threads)
        after = measure_region(acquisition, again, region)
    except ValueError:  # the region cannot be measured, or not with that noise
        return fit
    follows = _misfit(after) < _FOLLOWED * _misfit(before)
    return again if follows and (_tells_fat(after) or not _tells_fat(before)) else fit


def _noise_in(acquisition: MultiEcho, fit: R2StarMap, region: BoolArray, threads: int | None) -> NoiseModel | None:
    """The noise of air with the sigma of ``region``; ``None`` where they do not differ or it cannot be told.

    Fits that assume another sigma leave another rest, hence the rounds.
    """
    current = fit
    for _ in range(_ROUNDS):
        ratio = sigma_ratio(acquisition, current, region)
        if not _LIKELY[0] < ratio * current.sigma / fit.sigma < _LIKELY[1]:  # or no ratio at all
            return None
        noise = NoiseModel(sigma=ratio * current.sigma, coils=fit.coils, source=FROM_AIR_AND_REGION)
        if abs(ratio - 1) < _SETTLED:
            break
        current = _fitted(acquisition, noise, region, threads)
    return noise if abs(noise.sigma / fit.sigma - 1) > _LEAST_CHANGE else None


def sigma_ratio(acquisition: MultiEcho, fit: R2StarMap, region: BoolArray) -> float:
    """Sigma of the magnitudes in ``region`` (z, y, x) over the one that ``fit`` assumes, from the scatter of what the
    fit leaves over; NaN where there are too few voxels."""
    used = region & np.isfinite(fit.r2star_per_s) & ((fit.flags & FitFlag.SATURATED) == 0)
    if acquisition.saturated is not None:
        used &= ~acquisition.saturated
    pdff = fit.pdff_of_fit(used)
    with_own_fat = np.zeros(pdff.size, np.bool_) if fit.pdff is None else np.isfinite(fit.pdff[used])
    degrees = acquisition.echo_times_s.size - np.where(with_own_fat, 3, 2)
    if not degrees.size or degrees.min() < 1:
        return float("nan")
    s0, r2star = (values[used].astype(np.float64) for values in (fit.s0, fit.r2star_per_s))
    times, field_t = acquisition.echo_times_s, acquisition.field_t
    clean = amplitude(times, s0=s0, r2star_per_s=r2star, pdff=np.nan_to_num(pdff), field_t=field_t) / fit.sigma
    law = noise_law(fit.coils)
    rest = (acquisition.signal[used] / fit.sigma - law.mean(clean)) / np.sqrt(law.variance(clean) * degrees[:, None])
    field = np.full((*used.shape, times.size), np.nan, np.float32)
    field[used] = rest
    energy = np.concatenate([np.square(differences(field, axis, FAR_LAGS[0])).sum(axis=1) / 2 for axis in (1, 2)])
    if energy.size < _LEAST_PAIRS:
        return float("nan")
    half = float(np.median(degrees)) / 2
    return float(np.sqrt(np.median(energy) * half / gammaincinv(half, 0.5)))


def _fitted(acquisition: MultiEcho, noise: NoiseModel, where: BoolArray | None, threads: int | None) -> R2StarMap:
    times, field_t = acquisition.echo_times_s, acquisition.field_t
    return fit_r2star(acquisition.signal, times, field_t=field_t, noise=noise, mask=where, threads=threads)


def _tells_fat(measured: RegionMeasurement) -> bool:
    return measured.fat not in ("pooled", "not_told")


def _misfit(measured: RegionMeasurement) -> float:
    """Root mean square by which the pooled decay leaves its curve."""
    decay = measured.pooled_decay
    return float(np.sqrt(np.mean(np.square(decay.signal - decay.model))))
