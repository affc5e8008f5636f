"""The right kidney seen beside the liver, and unlike it: then the liver holds none of it.

With like R2* nothing but fat parts the two, and the fat may be too thin to show. So the kidney's place is left out of
bright livers, unless the kidney itself shows there: an organ of its size and place that is not alike could not have
been taken for liver in any slice.
"""

import numpy as np

from quant.liver.organ import Organ, look_alike
from quant.liver.parameters import FinderParameters
from quant.liver.plane import Plane, label
from quant.liver.tissue import Tissue
from quant.liver.torso import Torso, kidney_bed

_CLEARANCE_MM = 3.0  # from the organ: its border mixes both
_OPENING_SCALED_MM = 10.0  # muscle of the back, bowel wall and vessels in the bed are thinner; kidneys measure 25 mm
_LEAST_SCALED_MM2 = 900.0  # of a kidney's section of about 25 cm2
_MOST_ALIKE = 0.05  # share of it that has the liver's features; its median differs by more than pieces of one organ do


def kidney_apart(organ: Organ, tissue: Tissue, torso: Torso, plane: Plane, parameters: FinderParameters) -> bool:
    """Whether in some slice the right kidney shows beside the organ and has other features than it."""
    beside = kidney_bed(torso) & tissue.lean & (plane.distance_from(organ.filled) > _CLEARANCE_MM)
    solid = plane.open(beside, _OPENING_SCALED_MM * torso.scale)
    alike = look_alike(organ.pieces, tissue, torso, parameters)
    parts, count = label(solid)
    size = np.bincount(parts.ravel(), minlength=count + 1) * plane.pixel_mm2
    size[0] = 0
    shown = solid & (size > _LEAST_SCALED_MM2 * torso.scale**2)[parts]
    if not shown.any() or alike[shown].mean() > _MOST_ALIKE:
        return False
    noise = float(np.median(tissue.log_r2star_sd3[shown]))
    return any(
        abs(np.median(feature[shown]) - np.median(feature[organ.pieces])) > limit
        for feature, limit in (
            (tissue.log_r2star, parameters.join_log_r2star + noise),
            (tissue.log_density, parameters.join_log_s0 + noise),
            (tissue.fat_fraction, parameters.join_fat),
        )
    )
