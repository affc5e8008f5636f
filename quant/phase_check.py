"""Does the complex fit agree with the magnitudes of the same voxels, which a wrong phase cannot harm?

A phase error that the model does not know (eddy currents, a first echo off by some degrees) can make water and fat
exchange over a whole organ. Where the magnitudes alone clearly say water, their R2* must be that of the complex fit.
"""

import numpy as np

from quant.complex_volume import ComplexSignal
from quant.fit_maps import Maps
from quant.voxel_fit import Setup, fit_free_fat

_SAMPLE = 8192
_LEAST_VOXELS = 50
_LARGEST_SHARE = 0.15  # of the voxels in which the magnitudes are clear
_STANDARD_DEVIATIONS, _RELATIVE, _FLOOR_PER_S = 4.0, 0.10, 10.0  # by which the two may differ, whichever is most
_IRON_IN_FAT_PER_S, _LARGEST_SHARE_OF_IT = 200.0, 0.05  # so much iron is not found in fat
_CLEAR = 0.2  # SD of R2* over R2* up to which a magnitude fit is clear


def share_contradicted(signal: ComplexSignal, maps: Maps, setup: Setup) -> float:
    """Share of the voxels of ``signal`` (n, e) fitted by phase in ``maps`` whose magnitudes clearly say otherwise.

    0 where too few voxels are clear.
    """
    assert maps.b0_hz is not None
    fitted = np.flatnonzero(np.isfinite(maps.b0_hz))
    sample = fitted[:: max(1, fitted.size // _SAMPLE) | 1]
    if sample.size < _LEAST_VOXELS:
        return 0.0
    magnitude = np.ascontiguousarray(np.abs(signal[sample]), dtype=np.float32)
    fit = fit_free_fat(magnitude, np.arange(sample.size), setup)
    assert fit.pdff is not None
    assert fit.ambiguous is not None
    clear = ~fit.ambiguous & (fit.pdff < 0.5) & (fit.sd_r2star_per_s < _CLEAR * fit.r2star_per_s)
    if np.count_nonzero(clear) < _LEAST_VOXELS:
        return 0.0
    joint = np.hypot(fit.sd_r2star_per_s, maps.sd[sample])
    allowed = np.maximum(_STANDARD_DEVIATIONS * joint, np.maximum(_RELATIVE * fit.r2star_per_s, _FLOOR_PER_S))
    apart = np.abs(maps.r2star[sample] - fit.r2star_per_s) > allowed
    return float(np.mean(apart[clear]))


def contradicted(signal: ComplexSignal, maps: Maps, setup: Setup) -> bool:
    """Whether so many voxels disagree, or hold iron in fat, that the phase is not to be trusted."""
    assert maps.pdff is not None
    with np.errstate(invalid="ignore"):  # NaN compares false
        iron_in_fat = (maps.pdff > 0.5) & (maps.r2star - 2 * maps.sd > _IRON_IN_FAT_PER_S)
    fitted = max(1, int(np.count_nonzero(np.isfinite(maps.pdff))))
    if np.count_nonzero(iron_in_fat) > _LARGEST_SHARE_OF_IT * fitted:
        return True
    return share_contradicted(signal, maps, setup) > _LARGEST_SHARE
