"""Maps from complex echoes: water, fat, R2* and field where the phase can be used, the magnitude fit elsewhere."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri

from quant.acquisition import BoolArray
from quant.complex_volume import ComplexFit, ComplexSignal, fit_complex_volume
from quant.fit_maps import NOISE_ONLY_LEVEL, Maps
from quant.flags import FitFlag
from quant.slabs import in_plane_mean
from quant.threads import each_part
from quant.voxel_fit import RANGE_END, Setup, VoxelFit, Voxels

_LARGEST_RELATIVE_SD = 0.16  # of R2*; beyond, R2* falls low and the fat fraction scatters over its whole range
_OWN_SHARE = 0.75  # of that limit, for the voxel itself
_LARGEST_MISFIT = 0.04  # of the energy of a voxel's samples: 20 % of the signal
_BOX = 5  # voxels in plane whose mean decides, so that noise does not pick the fit of a voxel by its own result
_MOSTLY = 0.6  # of the fitted voxels around: what stands alone among others has nothing its field must agree with
_UNKNOWNS = 6
_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """Voxels (k,) that the complex fit leaves to the magnitude, and whether most of the tissue is among them."""

    voxels: Voxels
    most: bool


def foreground(signal: ComplexSignal, flags: npt.NDArray[np.int32], setup: Setup) -> Voxels:
    """Rows of ``signal`` (n, e) without a flag and with more than noise; the others of these are flagged as noise."""
    scale = setup.noise.sigma**2
    loudest, loudest_first = (scale * float(chdtri(2 * n, NOISE_ONLY_LEVEL)) for n in (signal.shape[1], 1))

    def mark(rows: slice) -> None:
        with np.errstate(over="ignore"):  # in voxels already flagged
            energy = np.square(np.abs(signal[rows]))
        noise = (energy.sum(axis=1) < loudest) & (energy[:, 0] < loudest_first)
        flags[rows][noise & (flags[rows] == 0)] = FitFlag.NOISE_ONLY

    each_part(len(signal), _CHUNK, mark)
    return np.flatnonzero(flags == 0)


def fit_by_phase(
    signal: ComplexSignal,
    voxels: Voxels,
    shape: tuple[int, int, int],
    setup: Setup,
    flags: npt.NDArray[np.int32],
) -> tuple[Maps, Leftover]:
    """Maps with the complex fit of ``voxels`` (k,) of ``signal`` (n, e), the raveled volume ``shape``.

    The maps keep ``flags`` (n,).
    """
    fit = fit_complex_volume(signal, voxels, shape, setup)
    misfit = fit.chi2 > _LARGEST_MISFIT * fit.energy + 2 * setup.echo_times_s.size
    left = _left(fit, misfit, voxels, shape, float(setup.echo_times_s[-1]))
    maps = Maps.empty(flags, with_pdff=True, with_b0=True)
    kept = np.flatnonzero(~left)

    def fill(some: slice) -> None:
        part = kept[some]
        maps.fill(voxels[part], _as_voxel_fit(fit, part, setup), setup)

    each_part(kept.size, _CHUNK, fill)
    most = 2 * int(np.count_nonzero(misfit)) > voxels.size
    return maps, Leftover(voxels=voxels[left], most=most)


def _left(
    fit: ComplexFit, misfit: BoolArray, voxels: Voxels, shape: tuple[int, int, int], last_echo_s: float
) -> BoolArray:
    """Voxels (k,) in whose surroundings R2* is too high for the complex fit, or phase and model disagree.

    At high R2* the few echoes left cannot tell water from fat: the fat fraction means nothing and bends R2*.
    """
    relative = np.minimum(fit.sd_r2star_per_s / np.maximum(fit.r2star_per_s, 1e-3), 1)
    decayed = np.minimum(fit.r2star_per_s * last_echo_s, 2)
    fitted = in_plane_mean(np.ones(voxels.size, np.float32), voxels, shape, size=_BOX)

    def around(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return in_plane_mean(values, voxels, shape, size=_BOX) / fitted

    uncertain = (around(relative) > _LARGEST_RELATIVE_SD) & (around(decayed) > 1)
    uncertain &= (relative > _OWN_SHARE * _LARGEST_RELATIVE_SD) & (decayed > 1 / 2)  # not merely next to such tissue
    left = uncertain | fit.exchanged | (around(misfit.astype(np.float32)) > 1 / 2)
    return left | (around(left.astype(np.float32)) > _MOSTLY)


def _as_voxel_fit(fit: ComplexFit, where: Voxels, setup: Setup) -> VoxelFit:
    r2star = fit.r2star_per_s[where].astype(np.float64)
    top = setup.max_rate / setup.spacing_s
    amplitude = fit.amplitude[where] * setup.noise.sigma
    return VoxelFit(
        s0=amplitude * np.exp(r2star * setup.echo_times_s[0]),
        r2star_per_s=r2star,
        sd_r2star_per_s=fit.sd_r2star_per_s[where].astype(np.float64),
        chi2=fit.chi2[where].astype(np.float64),
        dof=np.full(r2star.size, 2.0 * setup.echo_times_s.size - _UNKNOWNS),
        energy=fit.energy[where].astype(np.float64),
        first=fit.first[where].astype(np.float64),
        at_top=r2star >= RANGE_END * top,
        at_zero=r2star <= (1 - RANGE_END) * 1e-3 * top,
        pdff=fit.pdff[where].astype(np.float64),
        sd_pdff=fit.sd_pdff[where].astype(np.float64),
        b0_hz=fit.b0_hz[where].astype(np.float64),
        ambiguous=np.zeros(r2star.size, np.bool_),  # what may be exchanged is left to the magnitude
    )
