"""What fat that is not modelled does to R2*: the bias of a water-only fit at given echo times and field strength.

Fat beats against water: with echoes at other phases than in phase a mono-exponential fit takes the beat for decay, or
for the lack of it. Echo times that are all in phase leave a few per cent (the smaller fat peaks), others up to the
whole R2*. The fit is the least-squares fit of S0 exp(-R2* TE) to the noise-free magnitude of water and six-peak fat.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant.models import SignalModel, amplitude, fat_phasor, sd_with_fat
from quant.noise import NoiseModel
from quant.noise_law import GAUSSIAN
from quant.region import RegionMeasurement

Array = npt.NDArray[np.float64]

TYPICAL_PDFF = 0.20  # between the cut-offs of moderate and severe steatosis, 17.4 and 22.1 % (10.1148/radiol.12120896)
LARGEST_PDFF = 0.30
NEGLIGIBLE_BIAS = 0.10
_LEAST_ECHOES = 4
_OPPOSED, _CONTRAST = -0.3, 0.8  # lowest real part of unit fat over the echoes, least range of it
_LARGEST_SD_PDFF, _POOLED_VOXELS = 0.05, 25  # fat that a small neighbourhood cannot tell this well cannot be told
_RATES_PER_S = np.geomspace(1.0, 6000.0, 3000)  # 0.3 % apart
_TRUE_RATES_PER_S = np.geomspace(5.0, 3000.0, 640)  # 1 % apart


@dataclass(frozen=True, kw_only=True)
class FatBias:
    """Fat that the fit left out, and could not have told.

    ``typical`` is the bias of R2*, relative, at ``TYPICAL_PDFF``; ``r2star_per_s`` the range of true values that would
    read as measured with fat from 0 to ``LARGEST_PDFF``.
    """

    typical: float
    r2star_per_s: tuple[float, float]


def fat_bias(
    region: RegionMeasurement, *, model: str, echo_times_s: Sequence[float], field_t: float, noise: NoiseModel
) -> FatBias | None:
    """The bias to warn of, or ``None``: fat is modelled, the echo times would have shown it, or it hardly matters."""
    modelled = model in (SignalModel.FAT_FIRST_MOMENT, SignalModel.COMPLEX_FAT)
    if modelled and not (region.pdff_percent is None and region.pooled_pdff is None):
        return None
    times = np.asarray(echo_times_s, dtype=np.float64)
    snr = float(region.pooled_decay.curve[0]) / noise.sigma
    if region.median <= 0 or (not modelled and can_tell(times, field_t, snr, region.median)):
        return None
    typical = float(water_only_fit(times, field_t, TYPICAL_PDFF, np.array([region.median]))[0]) / region.median - 1
    if abs(typical) <= NEGLIGIBLE_BIAS:
        return None
    return FatBias(typical=typical, r2star_per_s=_possible(times, field_t, region.median))


def can_tell(echo_times_s: Array, field_t: float, snr: float, r2star_per_s: float) -> bool:
    """Whether these echoes would show fat in tissue of ``snr`` (S0 / sigma of one voxel) and ``r2star_per_s``."""
    real = fat_phasor(echo_times_s, field_t).real
    if echo_times_s.size < _LEAST_ECHOES or real.min() > _OPPOSED or np.ptp(real) < _CONTRAST or not snr > 0:
        return False
    pooled = snr * math.sqrt(_POOLED_VOXELS)
    _, sd_pdff = sd_with_fat(
        echo_times_s, GAUSSIAN, snr=pooled, r2star_per_s=r2star_per_s, pdff=TYPICAL_PDFF, field_t=field_t
    )
    return sd_pdff <= _LARGEST_SD_PDFF


def water_only_fit(echo_times_s: Array, field_t: float, pdff: float, r2star_per_s: Array) -> Array:
    """What a fit without fat reads (n,) where the true rates are ``r2star_per_s`` (n,)."""
    shapes = np.exp(-np.multiply.outer(_RATES_PER_S, echo_times_s))
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
    pdffs = np.full(r2star_per_s.shape, pdff)
    signal = amplitude(echo_times_s, s0=1.0, r2star_per_s=r2star_per_s, pdff=pdffs, field_t=field_t)
    best: Array = _RATES_PER_S[np.argmax(signal @ shapes.T, axis=1)]
    return best


def _possible(echo_times_s: Array, field_t: float, measured_per_s: float) -> tuple[float, float]:
    """Lowest and highest true rate that reads as ``measured_per_s``, over the fat range."""
    found = [measured_per_s]
    for pdff in np.linspace(0.05, LARGEST_PDFF, 6):
        read = water_only_fit(echo_times_s, field_t, float(pdff), _TRUE_RATES_PER_S)
        crossing = np.flatnonzero(np.diff(np.sign(read - measured_per_s)) != 0)
        found += [float(rate) for rate in _TRUE_RATES_PER_S[crossing]]
    return min(found), max(found)
