"""Does the complex fit agree with the magnitudes of the same voxels, which a wrong phase cannot harm?

A phase error that the model does not know (eddy currents, a first echo off by some degrees) can make water and fat
exchange over a whole organ. Where the magnitudes alone clearly say water, their R2* must be that of the complex fit.
"""

import numpy as np

from quant.complex_volume import ComplexSignal
from quant.fit_maps import Maps
from quant.flags import FitFlag
from quant.voxel_fit import Setup, VoxelFit, Voxels, fit_free_fat

_SAMPLE = 8192
_LEAST_VOXELS = 50
_LARGEST_SHARE = 0.15  # of the voxels
_WORSE = 2.0  # times as many poor fits with the phase as without
_STANDARD_DEVIATIONS, _RELATIVE, _FLOOR_PER_S = 4.0, 0.10, 10.0  # by which the two may differ, whichever is most
_IRON_IN_FAT_PER_S, _LARGEST_SHARE_OF_IT = 150.0, 0.05  # so much iron is not found in fat
_CLEAR = 0.2  # SD of R2* over R2* up to which a magnitude fit is clear


def contradicted(signal: ComplexSignal, maps: Maps, setup: Setup) -> bool:
    """Whether the phase of ``signal`` (n, e), fitted in ``maps``, is not to be trusted.

    So it is where many voxels hold iron in fat, where the magnitudes of many clearly say another R2*, or where they
    are explained by their magnitudes but not with the phase.
    """
    assert maps.pdff is not None
    assert maps.b0_hz is not None
    with np.errstate(invalid="ignore"):  # NaN compares false
        iron_in_fat = (maps.pdff > 0.5) & (maps.r2star - 2 * maps.sd > _IRON_IN_FAT_PER_S)
    fitted = np.flatnonzero(np.isfinite(maps.b0_hz))
    if np.count_nonzero(iron_in_fat) > _LARGEST_SHARE_OF_IT * max(1, fitted.size):
        return True
    sample = fitted[:: max(1, fitted.size // _SAMPLE) | 1]
    if sample.size < _LEAST_VOXELS:
        return False
    magnitude = np.ascontiguousarray(np.abs(signal[sample]), dtype=np.float32)
    fit = fit_free_fat(magnitude, np.arange(sample.size), setup)
    alone = Maps.empty(np.zeros(sample.size, np.int32), with_pdff=True)
    alone.fill(np.arange(sample.size), fit, setup)
    poor, poor_alone = (float(np.mean((f & FitFlag.POOR_FIT) != 0)) for f in (maps.flags[sample], alone.flags))
    if poor > max(_LARGEST_SHARE, _WORSE * poor_alone):
        return True
    return _share_contradicted(maps, sample, fit) > _LARGEST_SHARE


def _share_contradicted(maps: Maps, sample: Voxels, fit: VoxelFit) -> float:
    """Share of the ``sample`` (k,) whose magnitudes alone, ``fit``, clearly say another R2* than ``maps``.

    0 where too few voxels are clear.
    """
    assert fit.pdff is not None
    assert fit.ambiguous is not None
    clear = ~fit.ambiguous & (fit.pdff < 0.5) & (fit.sd_r2star_per_s < _CLEAR * fit.r2star_per_s)
    if np.count_nonzero(clear) < _LEAST_VOXELS:
        return 0.0
    joint = np.hypot(fit.sd_r2star_per_s, maps.sd[sample])
    allowed = np.maximum(_STANDARD_DEVIATIONS * joint, np.maximum(_RELATIVE * fit.r2star_per_s, _FLOOR_PER_S))
    apart = np.abs(maps.r2star[sample] - fit.r2star_per_s) > allowed
    return float(np.mean(apart[clear]))
