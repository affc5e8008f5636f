"""Maps of a fit, filled part by part: a value where there is a measurement, flags everywhere.

Compiled and threaded, because it touches every voxel.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numba as nb
import numpy as np
import numpy.typing as npt
from scipy.special import chdtri

from quant.fit_block import BLOCK, exact_entry, f32
from quant.flags import UNFIT, FitFlag
from quant.models import AT_LIMIT_RELATIVE_SD
from quant.voxel_fit import NOISE_ONLY_LEVEL as NOISE_ONLY_LEVEL
from quant.voxel_fit import Setup, VoxelFit, Voxels, noise_only_below

Map = npt.NDArray[np.float32]

_POOR_FIT_LEVEL = 1e-3  # probability that a right model passes for wrong
_POOR_FIT_SHARE = f32(0.05)  # of the first echo: smaller misfits do not matter, however significant
_LARGEST_RELATIVE_SD = f32(AT_LIMIT_RELATIVE_SD)
_FAILED, _NOISE_ONLY, _AT_LIMIT = int(FitFlag.FAILED), int(FitFlag.NOISE_ONLY), int(FitFlag.AT_LIMIT)
_NO_DECAY, _POOR_FIT, _FAT_WATER_SWAP = int(FitFlag.NO_DECAY), int(FitFlag.POOR_FIT), int(FitFlag.FAT_WATER_SWAP)
_UNFIT = int(UNFIT)
_ZERO, _ONE, _NAN = f32(0), f32(1), f32(np.nan)
_NOWHERE = np.zeros(1, np.bool_)


@dataclass(frozen=True, kw_only=True)
class Maps:
    """Flat maps (n,), NaN where nothing was measured; ``pdff`` and ``b0_hz`` where the model has them."""

    r2star: Map
    s0: Map
    sd: Map
    residual: Map
    pdff: Map | None
    b0_hz: Map | None
    flags: npt.NDArray[np.int32]

    @staticmethod
    def empty(flags: npt.NDArray[np.int32], *, with_pdff: bool, with_b0: bool = False) -> "Maps":
        """Of the size of ``flags`` (n,), which they keep and fill."""

        def blank() -> Map:
            values = np.empty(flags.size, np.float32)
            _blank(values)
            return values

        return Maps(
            r2star=blank(),
            s0=blank(),
            sd=blank(),
            residual=blank(),
            pdff=blank() if with_pdff else None,
            b0_hz=blank() if with_b0 else None,
            flags=flags,
        )

    def fill(self, voxels: Voxels, fit: VoxelFit, setup: Setup, also: FitFlag = FitFlag.NONE) -> None:
        """Enter the fit of ``voxels`` (k,), with the flag ``also`` on each."""
        single = fit.cast(np.float32)
        echoes = setup.echo_times_s.size
        bounds = (*noise_only_below(setup.noise.coils, echoes), 1 / setup.echo_times_s[-1], echoes)
        _enter(
            voxels,
            (single.s0, single.r2star_per_s, single.sd_r2star_per_s, single.chi2),
            (single.dof, single.energy, single.first),
            (single.at_top, single.at_zero, _NOWHERE if single.ambiguous is None else single.ambiguous),
            tuple(np.float32(bound) for bound in bounds),
            _largest_chi2(2 * echoes),
            (self.s0, self.r2star, self.sd, self.residual),
            self.flags,
            np.int32(also),
        )
        for values_map, values in ((self.pdff, single.pdff), (self.b0_hz, single.b0_hz)):
            if values_map is not None and values is not None:
                _enter_where(voxels, values, self.r2star, values_map)


@lru_cache(maxsize=64)
def _largest_chi2(most: int) -> Map:
    """Chi squared above which a fit is poor, by degrees of freedom from 0 (as 1) to ``most``."""
    return np.asarray(chdtri(np.maximum(np.arange(most + 1), 1), _POOR_FIT_LEVEL), dtype=np.float32)


@exact_entry
def _blank(values):  # type: ignore[no-untyped-def]  # numba infers
    for i in nb.prange(values.size):
        values[i] = _NAN


@exact_entry
def _enter(voxels, fitted, evidence, marks, bounds, largest_chi2, maps, flags, also):  # type: ignore[no-untyped-def]
    """Flags of the fitted voxels (k,), and their values where there is a measurement."""
    s0, r2star, sd, chi2 = fitted
    dof, energy, first = evidence
    at_top, at_zero, ambiguous = marks
    noise_energy, noise_first, slowest, echoes = bounds
    n = voxels.size
    for block in nb.prange((n + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min((block + 1) * BLOCK, n)):
            # below the slowest decay, R2* is uncertain because it is low
            beyond = sd[i] > _LARGEST_RELATIVE_SD * r2star[i] and r2star[i] > slowest
            misfit = chi2[i] > largest_chi2[int(max(dof[i], _ZERO))]
            misfit = misfit and math.sqrt(chi2[i] / echoes) > _POOR_FIT_SHARE * first[i]
            flag = _AT_LIMIT if beyond or at_top[i] else 0
            flag |= _NO_DECAY if at_zero[i] else 0
            flag |= _POOR_FIT if misfit else 0
            flag |= _FAT_WATER_SWAP if ambiguous[i % ambiguous.size] else 0
            flag = flag if math.isfinite(r2star[i]) and math.isfinite(s0[i]) and dof[i] >= _ONE else _FAILED
            flag = _NOISE_ONLY if energy[i] < noise_energy and first[i] * first[i] < noise_first else flag
            voxel = voxels[i]
            flags[voxel] = flag | also
            if flag & _UNFIT == 0 and not at_top[i]:
                maps[0][voxel] = s0[i]
                maps[1][voxel] = r2star[i]
                maps[2][voxel] = sd[i]
                maps[3][voxel] = math.sqrt(chi2[i] / max(dof[i], _ONE))


@exact_entry
def _enter_where(voxels, values, measured, values_map):  # type: ignore[no-untyped-def]
    """Values (k,) of the voxels that have a number in the map ``measured``."""
    n = voxels.size
    for block in nb.prange((n + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min((block + 1) * BLOCK, n)):
            if not math.isnan(measured[voxels[i]]):
                values_map[voxels[i]] = values[i]
