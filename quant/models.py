"""Signal equations of multi-echo gradient echo, their information content and the limit of what they can measure."""

from enum import StrEnum
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from quant.noise_law import NoiseLaw

Array = npt.NDArray[np.float64]

GYROMAGNETIC_HZ_PER_T = 42.577478518e6  # proton, CODATA 2018, gamma / 2 pi
# Six-peak liver fat at body temperature, shifts from water; Hamilton 2011, 10.1002/nbm.1622, in the rounded form of
# the ISMRM fat-water toolbox (10.1002/mrm.24593); amplitudes are renormalised to a sum of 1.
FAT_SHIFT_PPM = np.array([-3.80, -3.40, -2.60, -1.94, -0.39, 0.60])
FAT_AMPLITUDE = np.array([0.087, 0.693, 0.128, 0.004, 0.039, 0.048]) / 0.999

AT_LIMIT_RELATIVE_SD = 0.25
"""Cramer-Rao SD of R2* over R2* from which one voxel counts as not measurable.

Up to 0.125 the first-moment fit is unbiased within 1 %, up to 0.25 its median still is (measured on phantoms); beyond,
single voxels scatter and skew upwards. Published limits use 0.10 with Gaussian noise, where the answer is 20 to 40 %
lower; see ``measurable_limit``.
"""
FatHandling = Literal["fitted", "pooled", "not_needed", "not_told", "not_modelled"]
"""How R2* deals with fat.

"fitted": each voxel's own fraction. "pooled": the fraction of the pooled decays around a voxel, which alone cannot tell
it. "not_needed": the echoes would show fat and show none that matters; water alone. "not_told": not even pooled decays
tell the fraction (too much iron, too few echoes or too low an SNR for it); water alone, and fat may bias R2*.
"not_modelled": water alone because the echo times cannot show fat or the model has none, and fat may bias R2*.
"""
_LIMIT_SEARCH_PER_S = (5.0, 20000.0)


class SignalModel(StrEnum):
    """Names of the fits; the first three are for patients, the others for comparison and research only.

    The plain exponential underestimates, the added constant overestimates and truncation underestimates high R2*
    (Feng 2013, 10.1002/mrm.24607).
    """

    COMPLEX_FAT = "complex_fat"
    FIRST_MOMENT = "magnitude_first_moment"
    FAT_FIRST_MOMENT = "magnitude_fat_first_moment"
    PLAIN = "magnitude_plain"
    TRUNCATED = "magnitude_truncated"
    PLUS_CONSTANT = "magnitude_plus_constant"
    SQUARED = "magnitude_squared"


def fat_phasor(echo_times_s: Array, field_t: float) -> npt.NDArray[np.complex128]:
    """Complex signal (e,) of unit fat relative to water on resonance."""
    hz = FAT_SHIFT_PPM * 1e-6 * GYROMAGNETIC_HZ_PER_T * field_t
    return np.asarray(np.exp(2j * np.pi * np.multiply.outer(echo_times_s, hz)) @ FAT_AMPLITUDE)


def main_fat_shift_hz(field_t: float) -> float:
    """By how much the strongest line of fat precesses slower than water, positive."""
    return abs(float(FAT_SHIFT_PPM[np.argmax(FAT_AMPLITUDE)])) * 1e-6 * GYROMAGNETIC_HZ_PER_T * field_t


def water_fat_modulation(phasor: npt.NDArray[np.complex128], pdff: npt.ArrayLike) -> Array:
    """|(1 - f) + f c(TE)| for fat fraction ``pdff`` (...,): shape (..., e)."""
    f = np.asarray(pdff, dtype=np.float64)[..., None]
    return np.abs((1 - f) + f * phasor)


def amplitude(
    echo_times_s: Array,
    *,
    s0: npt.ArrayLike,
    r2star_per_s: npt.ArrayLike,
    pdff: npt.ArrayLike | None = None,
    field_t: float | None = None,
) -> Array:
    """Noise-free magnitude, shape (..., e): S0 exp(-R2* TE), times the water-fat modulation where ``pdff`` is given."""
    decay = np.exp(-np.asarray(r2star_per_s, dtype=np.float64)[..., None] * echo_times_s)
    decay = np.asarray(s0, dtype=np.float64)[..., None] * decay
    if pdff is None:
        return decay
    if field_t is None:
        raise ValueError("field_t is needed to compute the signal of fat")
    return decay * water_fat_modulation(fat_phasor(echo_times_s, field_t), pdff)


def sd_mono(echo_times_s: Array, law: NoiseLaw, *, snr: float, r2star_per_s: npt.ArrayLike) -> Array:
    """Cramer-Rao SD (1/s) of R2* (...,) of S0 exp(-R2* TE), infinite where the samples carry no information.

    ``snr`` is S0 / sigma at TE = 0.
    """
    a = snr * np.exp(-np.asarray(r2star_per_s, dtype=np.float64)[..., None] * echo_times_s)
    by_s0, by_rate, weights = a / snr, -echo_times_s * a, law.information(a)
    f11, f12, f22 = (
        np.sum(weights * p * q, axis=-1) for p, q in ((by_s0, by_s0), (by_s0, by_rate), (by_rate, by_rate))
    )
    determinant = f11 * f22 - f12**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(determinant > 0, np.sqrt(f11 / determinant), np.inf))


def sd_with_fat(
    echo_times_s: Array, law: NoiseLaw, *, snr: float, r2star_per_s: float, pdff: float, field_t: float
) -> tuple[float, float]:
    """Cramer-Rao SD of R2* (1/s) and of PDFF (fraction) when both are fitted."""
    phasor = fat_phasor(echo_times_s, field_t)
    m = water_fat_modulation(phasor, pdff)
    decay = np.exp(-r2star_per_s * echo_times_s)
    a = snr * m * decay
    slope = np.real(((1 - pdff) + pdff * phasor) * np.conj(phasor - 1)) / np.maximum(m, 1e-9)
    jacobian = np.stack([m * decay, -echo_times_s * a, snr * decay * slope])
    information = (jacobian * law.information(a)) @ jacobian.T
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    scaled = information / np.outer(scale, scale)
    if not np.all(np.isfinite(scaled)) or np.linalg.cond(scaled) > 1e12:
        return np.inf, np.inf
    sd = np.sqrt(np.diag(np.linalg.inv(scaled))) / scale
    return float(sd[1]), float(sd[2])


def measurable_limit(
    echo_times_s: Array, law: NoiseLaw, *, snr: float, relative_sd: float = AT_LIMIT_RELATIVE_SD
) -> float | None:
    """Highest R2* (1/s) that one voxel of this SNR (S0 / sigma at TE = 0) can measure, ``None`` where there is none.

    It is where the Cramer-Rao SD of R2*, with this noise law and these echo times, rises through ``relative_sd`` of
    R2* itself. With ``GAUSSIAN`` and 0.10 it is the first limit of the literature (clinical reference section 4.4).
    """
    grid = np.geomspace(*_LIMIT_SEARCH_PER_S, 160)

    def excess(r2star: npt.ArrayLike) -> Array:
        sd = sd_mono(echo_times_s, law, snr=snr, r2star_per_s=r2star) / np.asarray(r2star)
        return np.asarray(np.log(np.minimum(sd, 1e6) / relative_sd))

    measurable = np.flatnonzero(excess(grid) <= 0)
    if measurable.size == 0:
        return None
    last = int(measurable[-1])
    if last == grid.size - 1:
        return float(grid[-1])
    return float(brentq(excess, grid[last], grid[last + 1], rtol=1e-6))
