"""Is the dark tissue that was found a lung?

Lung has a quarter to a half of the protons of other tissue, but S0 in its place may read too high: the tissue around,
by which receive shading is corrected, is lung as well, and dephasing at air makes the decay begin flat and fall steeply
later, which looks like a fatty liver that begins high. So S0 is held against the body's as a whole, and the first two
echoes are also read as if there were no fat; and where they begin too low a second lung is looked for at the left.
"""

from dataclasses import dataclass

import numpy as np

from quant.acquisition import BoolArray, FloatArray
from quant.liver.images import WorkingImages, without_floor
from quant.liver.parameters import FinderParameters
from quant.liver.search import Search
from quant.liver.torso import Torso

# Of the body's S0: what the first two echoes of lung begin with at most.
_MOST_OF_LUNG = 0.70
# Of the torso's width and depth: behind at the left no left lobe lies, and spleens hold no fat.
_RIGHT, _LEFT, _BEHIND = 0.50, 0.58, 0.50
_OPENING_SCALED_MM = 6.0
_ALIKE_LOG, _ALIKE_SD = 0.35, 2.5  # first and second echo of a second lung against the first one's
_LEAST_AREA = 0.055  # of the torso's, that a whole organ fills


@dataclass(frozen=True, kw_only=True)
class LungSigns:
    """Values of one region of dark tissue that tell lung.

    ``body_density`` is S0 of its pooled decay over the body's S0 (without shading), ``water_density`` the same of the
    first two echoes as if there were no fat; ``second_lung`` is the area of tissue behind at the left with like echoes
    that begins as low, over the organ's at the right. Either lung may be part of the organ found.
    """

    body_density: float
    water_density: float
    second_lung: float


def lung_signs(search: Search, torso: Torso, images: WorkingImages, parameters: FinderParameters) -> LungSigns:
    """Signs of lung in the region found."""
    region, body_s0 = search.parenchyma.region, search.tissue.body_s0
    water_density = _begins_with(images, region) / body_s0
    return LungSigns(
        body_density=float(search.parenchyma.pooled.decay.s0[0]) / body_s0,
        water_density=water_density,
        second_lung=_second_lung(search, torso, images, parameters) if water_density < _MOST_OF_LUNG else 0.0,
    )


def _begins_with(images: WorkingImages, region: BoolArray) -> float:
    """Signal at echo time zero by the medians of the first two echoes in ``region``."""
    medians = np.median(images.fine[:2, region], axis=1)
    first, second = np.maximum(without_floor(medians, images.floor_power), images.fine_sd)
    before, between = images.echo_times_s[0], images.echo_times_s[1] - images.echo_times_s[0]
    return float(first * max(first / second, 1.0) ** (before / between))


def _second_lung(search: Search, torso: Torso, images: WorkingImages, parameters: FinderParameters) -> float:
    region, organ = search.parenchyma.region, search.organ.filled
    slices = np.flatnonzero(region.any((1, 2)))
    like = torso.mask & (search.tissue.wall_mm > parameters.wall_distance_scaled_mm * torso.scale)
    for echo in images.suppressed[:2]:
        like &= _alike(without_floor(echo, images.floor_power), region, images.suppressed_sd)
    second = np.zeros(region.shape, bool)
    second[slices] = images.plane.open(like[slices], _OPENING_SCALED_MM * torso.scale)
    second &= (torso.right_left > _LEFT) & (torso.front_back > _BEHIND)
    if not second.any() or _begins_with(images, second) > _MOST_OF_LUNG * search.tissue.body_s0:
        return 0.0
    organ_mm2 = (organ & (torso.right_left < _RIGHT))[slices].sum((1, 2)) * images.plane.pixel_mm2
    least_mm2 = _LEAST_AREA * torso.area_mm2[slices]
    return float(second.sum() * images.plane.pixel_mm2 / np.maximum(organ_mm2, least_mm2).sum())


def _alike(echo: FloatArray, region: BoolArray, noise_sd: float) -> BoolArray:
    middle = float(np.median(echo[region]))
    low, high = middle * np.exp(-_ALIKE_LOG), middle * np.exp(_ALIKE_LOG)
    bounds = min(low, middle - _ALIKE_SD * noise_sd), max(high, middle + _ALIKE_SD * noise_sd)
    return np.asarray((echo > bounds[0]) & (echo < bounds[1]))
