"""Is the dark tissue that was found a lung?

Lung has a quarter to a half of the protons of other tissue, but S0 in its place may read too high: the tissue around,
by which receive shading is corrected, is lung as well, and dephasing at air makes the decay begin flat and fall steeply
later, which looks like a fatty liver that begins high. So S0 is held against the body's as a whole, and the first two
echoes are also read as if there were no fat. Where they then begin too low a second lung is looked for at the left;
there, and where the decay begins oddly high, fat has to explain the echoes clearly better than dephased tissue of
lung's density does.
"""

from dataclasses import dataclass

import numpy as np

from quant.acquisition import BoolArray, FloatArray
from quant.liver.dictionary import fat_phasor
from quant.liver.images import FINE_PIXELS, WorkingImages, without_floor
from quant.liver.parameters import FinderParameters
from quant.liver.search import Search
from quant.liver.torso import Torso

# S0 over the body's: what lung begins with at most, and liver at least, its fat known.
MOST_OF_LUNG, LEAST_OF_LIVER = 0.60, 0.70
_MAY_BE_LUNG = 0.70  # what the first two echoes of lung go back to at most
_MOST_OF_LIVER = 1.5  # what dephases decays faster at first, and seems to begin higher
# Lung and fatty liver as they may be: S0 over the body's, R2*, rate of the Gaussian decay by dephasing, fat fraction.
_LUNG_S0, _LIVER_S0 = (0.05, MOST_OF_LUNG), (LEAST_OF_LIVER, 3.0)
_R2STAR_PER_S = np.linspace(0.0, 3000.0, 121)
_DEPHASING_PER_S = np.concatenate(([0.0], np.geomspace(100.0, 1500.0, 24)))
_FAT = np.linspace(0.0, 0.42, 11)
# Later echoes are at the floor. What neither model knows of: 3 % of each echo (motion, texture), 2 % of the floor.
_ECHOES, _MODEL_ERROR, _FLOOR_ERROR = 5, 0.03, 0.02
# Of the torso's width and depth: behind at the left no left lobe lies, and spleens hold no fat.
_RIGHT, _LEFT, _BEHIND = 0.50, 0.58, 0.50
_OPENING_SCALED_MM = 6.0
_ALIKE_LOG, _ALIKE_SD = 0.35, 2.5  # first and second echo of a second lung against the first one's
_LEAST_AREA = 0.055  # of the torso's, that a whole organ fills


@dataclass(frozen=True, kw_only=True)
class LungSigns:
    """Values of one region of dark tissue that tell lung.

    ``body_density`` is S0 of its pooled decay over the body's S0 (without shading), ``water_density`` the same of the
    first two echoes as if there were no fat. Where that is low ``second_lung`` is the area of tissue behind at the left
    with like echoes that begins as low, over the organ's at the right (either lung may be part of the organ found),
    and, there and where S0 is high, ``lung_likelihood`` that of dephased tissue of lung's density over that of a fatty
    liver, 1 at most.
    """

    body_density: float
    water_density: float
    lung_likelihood: float
    second_lung: float


def lung_signs(search: Search, torso: Torso, images: WorkingImages, parameters: FinderParameters) -> LungSigns:
    """Signs of lung in the region found."""
    region, body_s0 = search.parenchyma.region, search.tissue.body_s0
    water_density = _begins_with(images, region) / body_s0
    body_density = float(search.parenchyma.pooled.decay.s0[0]) / body_s0
    low, odd = water_density < _MAY_BE_LUNG, body_density > _MOST_OF_LIVER
    return LungSigns(
        body_density=body_density,
        water_density=water_density,
        lung_likelihood=_lung_likelihood(images, region, body_s0) if low or odd else 0.0,
        second_lung=_second_lung(search, torso, images, parameters) if low else 0.0,
    )


def _begins_with(images: WorkingImages, region: BoolArray) -> float:
    """Signal at echo time zero by the medians of the first two echoes in ``region``."""
    medians = np.median(images.fine[:2, region], axis=1)
    first, second = np.maximum(without_floor(medians, images.floor_power), images.fine_sd)
    before, between = images.echo_times_s[0], images.echo_times_s[1] - images.echo_times_s[0]
    return float(first * max(first / second, 1.0) ** (before / between))


def _lung_likelihood(images: WorkingImages, region: BoolArray, body_s0: float) -> float:
    """Likelihood of the first echoes' medians in ``region`` as lung over that as fatty liver, 1 at most."""
    times_s = images.echo_times_s[:_ECHOES]
    medians = np.median(images.fine[:_ECHOES, region], axis=1) / body_s0
    floor_power = images.floor_power / body_s0**2
    power = medians**2 - floor_power
    noise = images.fine_sd / body_s0 * np.sqrt(FINE_PIXELS / max(region.sum(), FINE_PIXELS))
    errors = (2 * medians * noise, 2 * _MODEL_ERROR * np.abs(power), np.full_like(power, _FLOOR_ERROR * floor_power))
    sd = np.linalg.norm(errors, axis=0)

    t_r, t_d = np.multiply.outer(_R2STAR_PER_S, times_s), np.multiply.outer(_DEPHASING_PER_S, times_s)
    lung = np.exp(-t_r[:, None] - t_d**2)
    water_fat = np.abs(1 - _FAT[:, None] + _FAT[:, None] * fat_phasor(times_s, images.field_t))
    liver = np.exp(-t_r[:, None]) * water_fat
    excess = _chi_squared(lung, _LUNG_S0, power, sd) - _chi_squared(liver, _LIVER_S0, power, sd)
    return float(np.exp(-0.5 * max(excess, 0.0)))


def _chi_squared(decays: FloatArray, s0: tuple[float, float], power: FloatArray, sd: FloatArray) -> float:
    """Least chi-squared of the ``power`` (e,) by any of the ``decays`` (..., e) with S0 between two bounds."""
    unit = decays**2
    scale = (unit * power / sd**2).sum(-1) / ((unit / sd) ** 2).sum(-1)
    scale = np.clip(scale, s0[0] ** 2, s0[1] ** 2)
    return float((((power - scale[..., None] * unit) / sd) ** 2).sum(-1).min())


def _second_lung(search: Search, torso: Torso, images: WorkingImages, parameters: FinderParameters) -> float:
    region, organ = search.parenchyma.region, search.organ.filled
    slices = np.flatnonzero(region.any((1, 2)))
    like = torso.mask & (search.tissue.wall_mm > parameters.wall_distance_scaled_mm * torso.scale)
    for echo in images.suppressed[:2]:
        like &= _alike(without_floor(echo, images.floor_power), region, images.suppressed_sd)
    second = np.zeros(region.shape, bool)
    second[slices] = images.plane.open(like[slices], _OPENING_SCALED_MM * torso.scale)
    second &= (torso.right_left > _LEFT) & (torso.front_back > _BEHIND)
    if not second.any() or _begins_with(images, second) > _MAY_BE_LUNG * search.tissue.body_s0:
        return 0.0
    organ_mm2 = (organ & (torso.right_left < _RIGHT))[slices].sum((1, 2)) * images.plane.pixel_mm2
    least_mm2 = _LEAST_AREA * torso.area_mm2[slices]
    return float(second.sum() * images.plane.pixel_mm2 / np.maximum(organ_mm2, least_mm2).sum())


def _alike(echo: FloatArray, region: BoolArray, noise_sd: float) -> BoolArray:
    middle = float(np.median(echo[region]))
    low, high = middle * np.exp(-_ALIKE_LOG), middle * np.exp(_ALIKE_LOG)
    bounds = min(low, middle - _ALIKE_SD * noise_sd), max(high, middle + _ALIKE_SD * noise_sd)
    return np.asarray((echo > bounds[0]) & (echo < bounds[1]))
