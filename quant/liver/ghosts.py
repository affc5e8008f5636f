"""What breathing and pulsation put where nothing is: ghosts of bright tissue in the air beside the body.

They lie on the liver as well. A bright liver hardly changes, but a dark one may shine by them more than by itself from
its second echo on, and its R2* then reads half of what it is or less.
"""

import numpy as np
from scipy import ndimage

from quant.liver.images import WorkingImages
from quant.liver.torso import Torso

_CLEARANCE_MM = 12.0  # of the air that is looked at, from torso, arms and whatever else emits signal
_WINDOW_MM = 15.0  # over which power is averaged: ghosts are as wide as what they repeat
_STRONG = 90.0  # percentile over the air: ghosts lie along one direction only
_LEAST_PIXELS = 200
# What noise alone reaches at that percentile above the floor, sigma^2: medians of five lie less far below the mean than
# the floor says, and windows scatter with the power of ``coils`` channels. Simulated for 1 to 12 coils, within 0.1.
_NOISE_SHIFT, _NOISE_SCATTER = 0.35, 2.4
_RIM = 2  # pixels at the image's border, where filters of the reconstruction act


def ghost_level(images: WorkingImages, torso: Torso) -> float:
    """Signal of the strongest ghosts in the first echo's air, in the images' unit; 0 where there is no air to see any
    and where noise explains it.

    ``images`` and ``torso`` are not cropped yet.
    """
    plane = images.plane
    emitting = plane.open(images.early > torso.tissue_level, 3.0) | torso.mask
    air = plane.distance_from(emitting) > _CLEARANCE_MM
    air[:, :_RIM] = air[:, -_RIM:] = air[:, :, :_RIM] = air[:, :, -_RIM:] = False
    air &= torso.area_mm2[:, None, None] > 0
    if air.sum() < _LEAST_PIXELS:
        return 0.0
    size = (1, *(max(1, round(_WINDOW_MM / mm)) for mm in (plane.row_mm, plane.column_mm)))
    share = ndimage.uniform_filter(air.astype(np.float32), size)[air]
    power = ndimage.uniform_filter(np.where(air, images.fine[0] ** 2, 0), size)[air] / share
    averaged = images.blocks[0] * images.blocks[1]
    scatter = _NOISE_SCATTER * np.sqrt(images.coils / averaged / (share * np.prod(size)))
    noise = images.floor_power + images.sigma**2 * (_NOISE_SHIFT / averaged + scatter)
    return float(np.sqrt(max(0.0, float(np.percentile(power - noise, _STRONG)))))
