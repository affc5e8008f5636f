"""From the organ to its parenchyma: deep inside, without vessels, ducts, lesions and artefacts."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from quant.acquisition import BoolArray, FloatArray
from quant.liver.border import own_tissue
from quant.liver.dictionary import Match
from quant.liver.images import Stack, WorkingImages, without_floor
from quant.liver.organ import Organ, deepest_point, likely_depth, robust_sd
from quant.liver.parameters import FinderParameters
from quant.liver.plane import IntArray, Plane, label, occupied
from quant.liver.tissue import R2STAR_OFFSET_PER_S, Tissue, fit_at, fit_one, log_r2star_sd
from quant.liver.torso import Torso, kidney_bed
from quant.liver.types import RegionNotFoundError

_MIN_CORE_MM2 = 300.0
# Above this R2* kidney and wall muscle differ from the liver; below, the region keeps further from the organ's border.
_KIDNEY_R2STAR_PER_S, _BRIGHT_DEPTH, _BRIGHT_WALL = 100.0, 1.35, 1.4
# Muscle reads 20 to 55 /s at 1.5 to 3 T; the search takes for alike what differs by up to a fifth of R2* + 30 /s.
_MUSCLE_R2STAR_PER_S = 70.0
# Where the organ has taken in muscle beside the spine or of the side wall, all of the wall's muscle looks alike: a
# margin of all its thickness. Liver fills little of what lies within 15 mm of the subcutaneous fat's inner border.
_FLOODED_WALL, _FLOODED_SHARE, _SPINE_MUSCLE = 1.9, 0.06, 0.80
_SIDE_WALL_SCALED_MM, _FLOODED_SIDE = 15.0, 0.20
_SIDE_RIGHT, _SIDE_FRONT_BACK = 0.35, (0.25, 0.70)  # of the torso's width and depth: liver beside the wall
_TREND_SIGMA_MM = 25.0  # shading and R2* trends across the liver are no structure
_COARSE_OUTLIER = 2.2  # robust SDs for the vessel-suppressed R2*
_PART_OF_LARGEST, _PART_OF_DEEPEST = 0.2, 0.6  # smaller and shallower parts of a slice are dropped
_PATCHY, _BESIDE_MM = 0.4, 6.0  # share of structure in and so close around a part that is no parenchyma


@dataclass(frozen=True, kw_only=True)
class PooledDecay:
    """The decay of a region's medians, hardly touched by noise, and its ``density`` as in ``Tissue``."""

    density: float
    decay: Match

    @property
    def r2star_per_s(self) -> float:
        """R2* of the decay."""
        return float(self.decay.r2star_per_s[0])


@dataclass(frozen=True, kw_only=True)
class Parenchyma:
    """The region on the working grid, arrays (z, y, x).

    ``core`` is the deep part of the organ, ``structure`` what was dropped from it, ``region`` the rest.
    ``fine_log_r2star`` (of the five-point median, valid in ``core``) and ``fine_first_echo`` serve the self-checks;
    ``log_r2star_sd`` is the robust SD of the former in the core, ``expected_sd`` what noise explains of it; ``pooled``
    is the decay of the whole region.
    """

    core: BoolArray
    structure: BoolArray
    region: BoolArray
    fine_log_r2star: Stack
    fine_first_echo: Stack
    log_r2star_sd: float
    expected_sd: float
    pooled: PooledDecay

    @property
    def structure_share(self) -> float:
        """Share of the core that was dropped as structure."""
        return float(self.structure[self.core].mean())


def find_parenchyma(
    organ: Organ, tissue: Tissue, torso: Torso, images: WorkingImages, parameters: FinderParameters
) -> Parenchyma:
    """Trims the organ; refuses where nothing deep and clean is left."""
    core = _core(organ, tissue, torso, images, parameters)
    fine = images.fine[:, core]
    s0, r2star, _ = fit_at(images, core, fine)
    log_r2star = np.log(r2star + np.float32(R2STAR_OFFSET_PER_S))
    first = np.zeros(core.shape, np.float32)
    first[core] = without_floor(fine[0], images.floor_power)
    typical = organ.pieces & core if (organ.pieces & core).sum() > 50 else core
    spread = robust_sd(log_r2star[typical], 0.03)
    bad = core & _outliers(tissue, log_r2star, first, typical, spread, images, parameters)
    clusters = ndimage.binary_opening(bad, np.ones((1, 2, 2)))  # single pixels are noise, not structure
    structure = (images.plane.dilate(clusters, parameters.structure_margin_mm) | bad) & core
    region = _solid_parts(core & ~structure, structure, organ, images, parameters)
    if not region.any():
        raise RegionNotFoundError("roi_too_small", "No parenchyma is left after vessels and structures are taken out.")
    noise = log_r2star_sd(images, s0, r2star, images.fine_sd, ceiling=2.0)
    return Parenchyma(
        core=core,
        structure=structure,
        region=region,
        fine_log_r2star=log_r2star,
        fine_first_echo=first,
        log_r2star_sd=spread,
        expected_sd=float(np.median(noise[region])),
        pooled=_pooled(region, tissue, images),
    )


def _pooled(region: BoolArray, tissue: Tissue, images: WorkingImages) -> PooledDecay:
    found = fit_one(images, np.median(images.fine[:, region], axis=1))
    reference = float(np.median(tissue.s0[region] / tissue.density[region]))
    return PooledDecay(density=float(found.s0[0]) / reference, decay=found)


def _core(organ: Organ, tissue: Tissue, torso: Torso, images: WorkingImages, parameters: FinderParameters) -> BoolArray:
    r2star_per_s = float(np.median(tissue.r2star_per_s[organ.pieces]))
    bright = r2star_per_s < _KIDNEY_R2STAR_PER_S
    depth = max(parameters.core_depth_scaled_mm * torso.scale, parameters.min_core_depth_mm)
    depth *= _BRIGHT_DEPTH if bright else 1.0
    own = organ.thick
    if parameters.own_border and r2star_per_s < _MUSCLE_R2STAR_PER_S:
        own = own_tissue(organ, tissue, torso, images.plane, parameters)
    wall = (_FLOODED_WALL if _floods(organ, own, tissue, torso, parameters) else _BRIGHT_WALL) if bright else 1.0
    core = (
        own
        & (images.plane.distance(own) > depth)
        & (organ.prior > parameters.core_prior)
        & (tissue.wall_mm > parameters.core_wall_scaled_mm * torso.scale * wall)
        & tissue.lean
    )
    if bright:
        core &= ~kidney_bed(torso)
    if core.sum() * images.plane.pixel_mm2 < _MIN_CORE_MM2:
        raise RegionNotFoundError("roi_too_small", "What looks like liver is too thin or too patchy to hold a region.")
    return core


def _floods(organ: Organ, own: BoolArray, tissue: Tissue, torso: Torso, parameters: FinderParameters) -> bool:
    """Whether the organ has taken in muscle: behind, or (what is left of it as its ``own``) at the right side wall."""
    wall_mm = tissue.wall_mm / torso.scale
    front, back = _SIDE_FRONT_BACK
    side = (wall_mm > parameters.wall_distance_scaled_mm) & (wall_mm < _SIDE_WALL_SCALED_MM) & occupied(own)
    side &= (torso.right_left < _SIDE_RIGHT) & (torso.front_back > front) & (torso.front_back < back)
    at_side = float((own & side).sum() / max(side.sum(), 1))
    return share_behind(organ, torso) > _FLOODED_SHARE or at_side > _FLOODED_SIDE


def share_behind(organ: Organ, torso: Torso) -> float:
    """Share of the organ that lies where only the muscles of the back are."""
    behind = organ.filled & (torso.front_back > _SPINE_MUSCLE)
    return float(behind.sum() / max(organ.filled.sum(), 1))


def _outliers(
    tissue: Tissue,
    log_r2star: Stack,
    first: Stack,
    typical: BoolArray,
    spread: float,
    images: WorkingImages,
    parameters: FinderParameters,
) -> BoolArray:
    """Pixels unlike the typical ones in R2*, in local brightness, or on an edge."""
    middle = float(np.median(log_r2star[typical]))
    brightness = np.log(np.maximum(first, images.fine_sd))
    weight = typical.astype(np.float32)
    smooth = images.plane.smooth
    trend = smooth(brightness * weight, _TREND_SIGMA_MM) / np.maximum(smooth(weight, _TREND_SIGMA_MM), 0.01)
    detrended = brightness - trend
    return np.asarray(
        (np.abs(log_r2star - middle) > parameters.outlier_sd * spread)
        | (np.abs(detrended) > parameters.outlier_sd * robust_sd(detrended[typical], 0.02))
        | (tissue.edge > parameters.structure_edge)
        | (np.abs(tissue.log_r2star - middle) > _COARSE_OUTLIER * max(spread, 0.04))
    )


def _solid_parts(
    region: BoolArray, structure: BoolArray, organ: Organ, images: WorkingImages, parameters: FinderParameters
) -> BoolArray:
    """Parts of useful size that belong, per slice, to the organ's component with the deepest point."""
    opened = images.plane.open(region, parameters.region_opening_mm)
    parts, count = label(opened)
    patchy = patchy_parts(parts, count, structure, images.plane)
    organ_parts, _ = label(organ.filled)
    chosen = np.zeros(region.shape, bool)
    inside = likely_depth(organ.depth_mm, organ.prior)
    for z in np.flatnonzero(opened.any((1, 2))):
        at_home = organ_parts[z] == organ_parts[z][deepest_point(inside[z])]
        keep = _kept_parts(parts[z], organ.depth_mm[z], count, images.plane.pixel_mm2, parameters.min_part_mm2)
        chosen[z] = (keep & ~patchy)[parts[z]] & at_home
    return chosen


def patchy_parts(parts: IntArray, count: int, structure: BoolArray, plane: Plane) -> BoolArray:
    """Which part numbers (count + 1,) lie amid structure, as bowel does whose content looks like liver."""
    number, away_mm = plane.nearest(parts)
    beside = np.bincount(number[structure & (away_mm < _BESIDE_MM)], minlength=count + 1)
    size = np.bincount(parts.ravel(), minlength=count + 1)
    return np.asarray(beside > _PATCHY * (beside + size))


def _kept_parts(parts: BoolArray, depth_mm: FloatArray, count: int, pixel_mm2: float, min_mm2: float) -> BoolArray:
    """Which part numbers (count + 1,) of one slice are large enough, absolutely and beside the others."""
    size = np.bincount(parts.ravel(), minlength=count + 1).astype(float) * pixel_mm2
    size[0] = 0
    deepest = np.zeros(count + 1)
    inside = parts > 0
    np.maximum.at(deepest, parts[inside], depth_mm[inside])
    large = (size >= _PART_OF_LARGEST * size.max()) | (deepest >= _PART_OF_DEEPEST * deepest.max())
    return np.asarray(large & (size >= min_mm2))
