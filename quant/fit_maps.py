"""Maps of a fit, filled part by part: a value where there is a measurement, flags everywhere."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2 as chi_squared

from quant.flags import UNFIT, FitFlag
from quant.models import AT_LIMIT_RELATIVE_SD
from quant.voxel_fit import Setup, VoxelFit, Voxels

Map = npt.NDArray[np.float32]

NOISE_ONLY_LEVEL = 1e-3
"""Probability that noise alone passes for signal."""
_POOR_FIT_LEVEL = 1e-3  # probability that a right model passes for wrong
_POOR_FIT_SHARE = 0.05  # of the first echo: smaller misfits do not matter, however significant


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
            return np.full(flags.size, np.nan, np.float32)

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
        flags = flags_of(fit, setup)
        measured = ((flags & UNFIT) == 0) & ~fit.at_top
        at = voxels[measured]
        self.flags[voxels] = flags | also
        self.r2star[at] = fit.r2star_per_s[measured]
        self.s0[at] = fit.s0[measured]
        self.sd[at] = fit.sd_r2star_per_s[measured]
        self.residual[at] = np.sqrt(fit.chi2[measured] / np.maximum(fit.dof[measured], 1))
        for map_, values in ((self.pdff, fit.pdff), (self.b0_hz, fit.b0_hz)):
            if map_ is not None and values is not None:
                map_[at] = values[measured]


def flags_of(fit: VoxelFit, setup: Setup) -> npt.NDArray[np.int32]:
    """Flags (k,) of fitted voxels."""
    echoes, coils = setup.echo_times_s.size, setup.noise.coils
    noise_only = (fit.energy < chi_squared.isf(NOISE_ONLY_LEVEL, 2 * coils * echoes)) & (
        fit.first**2 < chi_squared.isf(NOISE_ONLY_LEVEL, 2 * coils)
    )
    failed = ~np.isfinite(fit.r2star_per_s) | ~np.isfinite(fit.s0) | (fit.dof < 1)
    beyond = fit.sd_r2star_per_s > AT_LIMIT_RELATIVE_SD * fit.r2star_per_s
    beyond &= fit.r2star_per_s * setup.echo_times_s[-1] > 1  # below, R2* is uncertain because it is low
    misfit_limit = chi_squared.isf(_POOR_FIT_LEVEL, np.arange(1, 2 * echoes + 1))  # by degrees of freedom
    misfit = (fit.chi2 > misfit_limit[np.maximum(fit.dof, 1).astype(np.int64) - 1]) & (
        np.sqrt(fit.chi2 / echoes) > _POOR_FIT_SHARE * fit.first
    )
    flags = np.zeros(fit.s0.shape, np.int32)
    for flag, where in (
        (FitFlag.AT_LIMIT, beyond | fit.at_top),
        (FitFlag.NO_DECAY, fit.at_zero),
        (FitFlag.POOR_FIT, misfit),
        (FitFlag.FAT_WATER_SWAP, fit.ambiguous),
    ):
        if where is not None:
            flags[where] |= flag
    flags[failed] = FitFlag.FAILED
    flags[noise_only] = FitFlag.NOISE_ONLY
    return flags
