"""Where a bright organ ends: at tissue unlike the organ's own deep part.

With little iron, muscle of the body wall has the liver's R2*, and the search takes it in where no fat lies between.
Fat and signal at echo time zero differ then (muscle is lean, and its T1 is longer: 10.1148/radiol.2303021331), but each
by no more than shading and texture may vary within a liver. All three together, averaged over a few millimetres, tell
what none does alone.
"""

import numpy as np

from quant.acquisition import BoolArray, FloatArray
from quant.liver.organ import Organ, robust_sd
from quant.liver.parameters import FinderParameters
from quant.liver.plane import Plane, fill_holes, keep_largest, keep_touching
from quant.liver.tissue import Tissue
from quant.liver.torso import Torso

_DEEP = 0.5  # of a slice's largest depth: farther inside than muscle reaches that was taken in around the organ
_AVERAGED_MM = 4.0  # Gaussian sigma: noise and texture average out, muscle of the wall is thicker
_UNLIKE_SD = 3.0  # distance in SDs of the deep part, over all three features
_LEAST_SD_LOG_R2STAR, _LEAST_SD_FAT, _LEAST_SD_LOG_DENSITY = 0.03, 0.01, 0.03  # livers vary so much from part to part


def own_tissue(organ: Organ, tissue: Tissue, torso: Torso, plane: Plane, parameters: FinderParameters) -> BoolArray:
    """The organ's thick part (z, y, x) up to where R2*, fat and density together depart from those deep inside it.

    What departs within the organ (vessels, lesions) stays: it does not move the border.
    """
    depth = plane.distance(organ.thick)
    deep = organ.thick & (organ.prior > parameters.core_prior) & (depth > _DEEP * depth.max((1, 2), keepdims=True))
    if not deep.any():
        return organ.thick
    unlike = organ.thick & (_departure(tissue, organ.thick, deep, plane) > _UNLIKE_SD)
    like = organ.thick & ~plane.open(unlike, parameters.region_opening_mm)
    own = plane.open(fill_holes(like) & organ.thick, parameters.organ_opening_scaled_mm * torso.scale)
    return keep_touching(own, keep_largest(deep & own))


def _departure(tissue: Tissue, within: BoolArray, deep: BoolArray, plane: Plane) -> FloatArray:
    """Distance of the local mean ``within`` the organ from the median of ``deep``, in robust SDs over the features."""
    weight = within.astype(np.float32)
    share = np.maximum(plane.smooth(weight, _AVERAGED_MM), 1e-3)

    def deviation(feature: FloatArray, least_sd: float) -> FloatArray:
        mean = plane.smooth(feature * weight, _AVERAGED_MM) / share
        return np.asarray((mean - np.median(mean[deep])) / robust_sd(mean[deep], least_sd))

    return np.asarray(
        np.sqrt(
            deviation(tissue.log_r2star, _LEAST_SD_LOG_R2STAR) ** 2
            + deviation(tissue.fat_fraction, _LEAST_SD_FAT) ** 2
            + deviation(tissue.log_density, _LEAST_SD_LOG_DENSITY) ** 2
        )
    )
