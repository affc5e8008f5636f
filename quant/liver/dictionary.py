"""Coarse fat-water-R2* fit of magnitude signals by matching against precomputed decays.

It serves the search for the organ only: robust, quick, and without starting values. The reported R2* comes from
``quant.fit``.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant.acquisition import FloatArray
from quant.liver import kernels
from quant.threads import each_part

GYROMAGNETIC_MHZ_PER_T = 42.577478518  # proton, CODATA 2018 (shielding neglected)
# Liver fat spectrum relative to water at body temperature: Hamilton et al., NMR Biomed 2011, doi:10.1002/nbm.1622,
# in the form of the ISMRM 2012 fat-water challenge (Hernando et al., Magn Reson Med 2012, doi:10.1002/mrm.24369).
FAT_SHIFT_PPM = np.array([-3.80, -3.40, -2.60, -1.94, -0.39, 0.60])
FAT_AMPLITUDE = np.array([0.087, 0.693, 0.128, 0.004, 0.039, 0.048]) / 0.999
LOG_R2STAR = np.linspace(np.log(3), np.log(3000), 56)
FAT_FRACTIONS = np.array([0, 0.04, 0.08, 0.13, 0.18, 0.25, 0.32, 0.4, 0.5, 0.65, 0.8, 0.92, 1.0])
# With R2* above this, fat above this fraction cannot be told from iron in magnitude data: such atoms are left out.
MAX_R2STAR_WITH_FAT_PER_S, MAX_FAT_AT_HIGH_R2STAR = 220.0, 0.42
_CHUNK = 128 * kernels.LANES  # signals matched on one thread


@dataclass(frozen=True, kw_only=True)
class Match:
    """Fitted S0 (signal unit), R2* (1/s) and fat fraction (0..1) of each signal, all (n,) float32."""

    s0: npt.NDArray[np.float32]
    r2star_per_s: npt.NDArray[np.float32]
    fat_fraction: npt.NDArray[np.float32]


def fat_phasor(echo_times_s: FloatArray, field_t: float) -> npt.NDArray[np.complex128]:
    """Complex fat signal per unit fat on resonance with water, (e,)."""
    shift_hz = FAT_SHIFT_PPM * GYROMAGNETIC_MHZ_PER_T * field_t
    return np.asarray(FAT_AMPLITUDE @ np.exp(2j * np.pi * np.outer(shift_hz, echo_times_s)))


def match(signals: FloatArray, echo_times_s: FloatArray, field_t: float) -> Match:
    """Best decay for each of ``signals`` (n, e), magnitudes with the noise floor removed."""
    atoms, norms = _atoms(echo_times_s, field_t)
    best, near = np.empty(len(signals), np.int64), np.empty((5, len(signals)), np.float32)
    columns = len(FAT_FRACTIONS)

    def fill(part: slice) -> None:
        beside = np.empty((5, part.stop - part.start), np.float32)
        kernels.best_matches(np.ascontiguousarray(signals[part].T, np.float32), atoms, columns, best[part], beside)
        near[:, part] = beside

    each_part(len(signals), _CHUNK, fill)
    at_r, at_f = np.divmod(best, columns)
    top, up, down, back, on = near
    log_r2star = np.interp(at_r + _vertex(up, top, down), np.arange(len(LOG_R2STAR)), LOG_R2STAR)
    fat = np.interp(at_f + _vertex(back, top, on), np.arange(columns), FAT_FRACTIONS)
    return Match(
        s0=np.asarray(top / norms[best], np.float32),
        r2star_per_s=np.exp(log_r2star).astype(np.float32),
        fat_fraction=fat.astype(np.float32),
    )


def _atoms(echo_times_s: FloatArray, field_t: float) -> tuple[FloatArray, FloatArray]:
    """Unit-norm decays (e, n_r2star * n_fat), and their norms before scaling."""
    fat = np.abs((1 - FAT_FRACTIONS[:, None]) + FAT_FRACTIONS[:, None] * fat_phasor(echo_times_s, field_t))
    decays = np.exp(-np.exp(LOG_R2STAR)[:, None, None] * echo_times_s) * fat  # (r, f, e)
    flat = decays.reshape(-1, len(echo_times_s))
    norms = np.maximum(np.linalg.norm(flat, axis=1), 1e-30)
    unit = flat / norms[:, None]
    banned = (np.exp(LOG_R2STAR)[:, None] > MAX_R2STAR_WITH_FAT_PER_S) & (FAT_FRACTIONS > MAX_FAT_AT_HIGH_R2STAR)
    unit[banned.ravel()] = 0
    return np.ascontiguousarray(unit.T, np.float32), norms.astype(np.float32)


def _vertex(before: FloatArray, at: FloatArray, after: FloatArray) -> FloatArray:
    """Offset (-1..1) of the top of the parabola through three neighbours; 0 where the middle one is not the top."""
    curvature = before - 2 * at + after
    offset = 0.5 * (before - after) / np.where(curvature == 0, 1, curvature)
    return np.where((curvature < 0) & (before < at) & (after < at), np.clip(offset, -1, 1), 0.0)


def r2star_precision(r2star_per_s: FloatArray, echo_times_s: FloatArray) -> FloatArray:
    """Cramer-Rao bound of the SD of R2* (1/s) for S0 = 1 and noise SD 1, mono-exponential decay."""
    decay = np.exp(-np.asarray(r2star_per_s)[..., None] * echo_times_s)
    slope = -echo_times_s * decay
    a, b, c = (decay**2).sum(-1), (decay * slope).sum(-1), (slope**2).sum(-1)
    return np.asarray(np.sqrt(a / np.maximum(a * c - b * b, 1e-30)))
