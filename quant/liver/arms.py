"""Arms that touch the torso, told by the neck between the two: skin on skin shows no other border.

An arm at the flank is joined to a much thicker trunk by a neck narrower than itself. Erosion parts the two once its
radius exceeds half of the neck's width; what comes off at the side, much thinner than the trunk, is an arm.
"""

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from quant.acquisition import BoolArray
from quant.liver.images import Stack
from quant.liver.plane import Plane, keep_touching

_THICKEST = 0.60  # of the trunk's inscribed radius: a second thigh is as thick as the first
_NECK = 1.06  # inscribed radius of an arm over half the width of its neck: less is a bulge of the trunk
_CORE = 0.9  # of an arm's depth
_TRUNK_OVER_ARM = 1.25  # radius of the disc that fits into the trunk but not through the neck, over that of the arm's
_STEP = 1.04  # from one radius of erosion to the next
_REGROW_MM = 2.0  # beyond the radius of erosion
_BEYOND_MM = 80.0  # that the body is continued beyond the image's sides: an arm cut by them keeps its thickness


def without_arms(bodies: BoolArray, plane: Plane, narrowest_neck_mm: float) -> BoolArray:
    """``bodies`` (z, y, x) without the arms that necks of ``narrowest_neck_mm`` and more join to them."""
    n = int(np.ceil(_BEYOND_MM / plane.column_mm))
    wide = np.pad(bodies, ((0, 0), (0, 0), (n, n)), mode="edge")
    depth_mm = plane.distance(wide)
    out = bodies.copy()
    for z in np.flatnonzero(bodies.any((1, 2))):
        row, column = np.unravel_index(int(depth_mm[z, :, n:-n].argmax()), bodies.shape[1:])
        trunk = int(row), int(column) + n
        for arm in _arms(depth_mm[z], trunk, narrowest_neck_mm / 2):
            out[z] &= ~_around(arm, trunk, depth_mm[z], plane)[:, n:-n]
    return out


def _arms(depth_mm: Stack, trunk: tuple[int, int], radius_mm: float) -> Iterator[BoolArray]:
    """The part of each arm (y, x) that erosion by some radius from ``radius_mm`` on parts from the ``trunk``."""
    thickest_mm = _THICKEST * depth_mm[trunk]
    found = np.zeros(depth_mm.shape, bool)
    while radius_mm < thickest_mm:
        parts, count = ndimage.label(depth_mm > radius_mm)
        across = np.flatnonzero((parts == parts[trunk]).any(0))
        for number in set(range(1, count + 1)) - {int(parts[trunk])}:
            part = parts == number
            arm_like = _NECK * radius_mm < depth_mm[part].max() < thickest_mm
            at_side = not across[0] <= np.nonzero(part)[1].mean() <= across[-1]
            if arm_like and at_side and not (found & part).any():
                found |= part
                yield part
        radius_mm *= _STEP


def _around(arm: BoolArray, trunk: tuple[int, int], depth_mm: Stack, plane: Plane) -> BoolArray:
    """What lies nearer to the ``arm`` than to the trunk, or is joined to that and out of reach of the trunk.

    Distances are from the discs that fit into either.
    """
    arm_mm = _CORE * float(depth_mm[arm].max())
    trunk_mm = _TRUNK_OVER_ARM * arm_mm
    parts, _ = ndimage.label(depth_mm > trunk_mm)
    to_arm, to_trunk = plane.distance_from(np.stack([arm & (depth_mm > arm_mm), parts == parts[trunk]]))
    nearer = (depth_mm > 0) & (to_arm - arm_mm < to_trunk - trunk_mm)
    beyond = (depth_mm > 0) & (to_trunk > trunk_mm + _REGROW_MM)
    return np.asarray(keep_touching((nearer | beyond)[None], nearer[None])[0])
