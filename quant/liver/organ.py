"""Candidate organs: pieces refilled to organs, reduced to their thick part, and the choice among them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant.acquisition import BoolArray, FloatArray
from quant.liver.images import WorkingImages
from quant.liver.parameters import FinderParameters
from quant.liver.pieces import Pieces, join_pieces
from quant.liver.plane import Plane, fill_holes, keep_sized, keep_touching, label, occupied
from quant.liver.tissue import Tissue
from quant.liver.torso import Torso, liver_prior
from quant.liver.types import RegionNotFoundError

_PRIOR_CORE = 0.2  # the organ's deepest point lies where the prior exceeds this
_MAX_FAT_FRACTION = 0.5
_MIN_DENSITY = 0.5
_MIN_RADIUS_SCALED_MM = 9.0
_MIN_SLICE_RADIUS_SCALED_MM = 8.0
_SAME_LOG_R2STAR, _SAME_FAT, _SAME_LOG_S1 = 0.12, 0.07, 0.2  # other parts of the same organ
_SAME_RADIUS = 0.5
_SAME_OVERLAP = 0.5  # share of a candidate's thick part within the organ
# Parts of one dark organ that noise, shading and fat (not told from iron there) have parted do not compete.
_AKIN_R2STAR_PER_S, _AKIN_LOG_R2STAR = 100.0, 0.25


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One organ candidate, arrays (z, y, x) on the working grid.

    ``pieces`` are its homogeneous parts, ``filled`` the organ, ``thick`` its part without leaks into thinner
    neighbours, ``depth_mm`` the distance to its border. ``prior_mm3`` is its prior-weighted volume, ``radius_mm`` the
    largest inscribed radius, ``solidity`` the share of ``thick`` that looks like the organ; the rest are medians over
    ``pieces``. ``thick_mm3`` is the prior-weighted volume of ``thick``: unlike ``prior_mm3`` it does not suffer where
    noise breaks the pieces.
    """

    pieces: BoolArray
    filled: BoolArray
    thick: BoolArray
    depth_mm: FloatArray
    prior_mm3: float
    thick_mm3: float
    radius_mm: float
    solidity: float
    r2star_per_s: float
    fat_fraction: float
    density: float
    log_s1: float

    @property
    def score(self) -> float:
        """How much of a liver it makes: big, thick, solid, where livers lie."""
        return self.prior_mm3 * self.radius_mm * self.solidity**2


@dataclass(frozen=True, kw_only=True)
class Organ:
    """The organ taken for the liver: the best candidate with companions of the same features.

    ``rivals`` are other candidates of different features, ``own_mm3`` is the prior-weighted volume of the thick part.
    ``prior`` (z, y, x).
    """

    best: Candidate
    pieces: BoolArray
    filled: BoolArray
    thick: BoolArray
    depth_mm: FloatArray
    own_mm3: float
    rivals: tuple[Candidate, ...]
    prior: FloatArray


def find_organ(
    tissue: Tissue, pieces: Pieces, torso: Torso, images: WorkingImages, parameters: FinderParameters
) -> Organ:
    """The most liver-like organ on the patient's right; refuses where there is none."""
    plane = images.plane
    prior = liver_prior(torso, parameters)
    ranked = _candidates(tissue, pieces, torso, images, parameters, prior)
    if not ranked:
        raise RegionNotFoundError(
            "roi_no_liver", "No large homogeneous organ lies where the liver should be, at the patient's right."
        )
    best, others = ranked[0], ranked[1:]
    same = [c for c in others if _same_organ(c, best) or _within(c, best)]
    filled = np.logical_or.reduce([c.filled for c in (best, *same)])
    return Organ(
        best=best,
        pieces=np.logical_or.reduce([c.pieces for c in (best, *same)]),
        filled=filled,
        thick=np.logical_or.reduce(
            [best.thick, *(c.thick for c in same if c.radius_mm > _SAME_RADIUS * best.radius_mm)]
        ),
        depth_mm=plane.distance(filled),
        own_mm3=best.thick_mm3 + sum(c.thick_mm3 for c in same),
        rivals=tuple(c for c in others if not (_same_organ(c, best) or _within(c, best) or _akin(c, best))),
        prior=prior,
    )


def given_organ(
    mask: BoolArray, tissue: Tissue, torso: Torso, images: WorkingImages, parameters: FinderParameters
) -> Organ:
    """The organ that someone else has outlined (z, y, x on the working grid), without what cannot be liver."""
    prior = liver_prior(torso, parameters)
    filled = mask & torso.mask & (tissue.fat_fraction < parameters.lean_fat_fraction)
    filled &= tissue.wall_mm > parameters.wall_distance_scaled_mm * torso.scale
    pieces = filled & (images.plane.distance(tissue.homogeneous & filled) > parameters.node_depth_mm)
    if not pieces.any():
        raise RegionNotFoundError("roi_too_small", "The outline given holds no homogeneous tissue.")
    prior_mm3 = float(prior[pieces].sum() * images.voxel_mm3)
    alike = _look_alike(pieces, tissue, torso, parameters)
    best = _described(pieces, filled, alike, prior_mm3, tissue, torso, images, parameters, prior)
    return Organ(
        best=best,
        pieces=pieces,
        filled=filled,
        thick=best.thick,
        depth_mm=best.depth_mm,
        own_mm3=best.thick_mm3,
        rivals=(),
        prior=prior,
    )


def find_opposite(
    tissue: Tissue, pieces: Pieces, torso: Torso, images: WorkingImages, parameters: FinderParameters
) -> Candidate | None:
    """The organ with the largest thick part at the patient's left, where a mirrored liver would lie."""
    mirrored = liver_prior(torso, parameters, mirrored=True)
    left = _candidates(tissue, pieces, torso, images, parameters, mirrored)
    return max(left, key=lambda c: c.thick_mm3, default=None)


def _candidates(
    tissue: Tissue,
    pieces: Pieces,
    torso: Torso,
    images: WorkingImages,
    parameters: FinderParameters,
    prior: FloatArray,
) -> list[Candidate]:
    """Plausible organs by score, the best one first."""
    organ_of = join_pieces(pieces, prior, images.plane, parameters)
    volume = _organ_volumes(pieces, organ_of, prior, images.voxel_mm3)
    enough = max(parameters.min_candidate_mm3, parameters.min_candidate_share * float(volume.max(initial=0)))
    candidates = []
    for number in np.flatnonzero(volume > enough):
        members = organ_of[pieces.labels] == number
        if np.median(tissue.r2star_per_s[members]) > parameters.min_candidate_r2star_per_s:
            candidates.append(_candidate(members, float(volume[number]), tissue, torso, images, parameters, prior))
    return sorted((c for c in candidates if _plausible(c, torso.scale)), key=lambda c: -c.score)


def _organ_volumes(
    pieces: Pieces, organ_of: npt.NDArray[np.intp], prior: FloatArray, voxel_mm3: float
) -> npt.NDArray[np.float64]:
    """Prior-weighted volume of each organ in mm3; 0 at index 0."""
    volume = np.bincount(organ_of[pieces.labels].ravel(), prior.ravel()) * voxel_mm3
    volume[0] = 0
    return np.asarray(volume)


def _candidate(
    pieces: BoolArray,
    prior_mm3: float,
    tissue: Tissue,
    torso: Torso,
    images: WorkingImages,
    parameters: FinderParameters,
    prior: FloatArray,
) -> Candidate:
    alike = _look_alike(pieces, tissue, torso, parameters)
    filled = _refill(pieces, alike, tissue, torso, images.plane, parameters)
    return _described(pieces, filled, alike, prior_mm3, tissue, torso, images, parameters, prior)


def _described(
    pieces: BoolArray,
    filled: BoolArray,
    alike: BoolArray,
    prior_mm3: float,
    tissue: Tissue,
    torso: Torso,
    images: WorkingImages,
    parameters: FinderParameters,
    prior: FloatArray,
) -> Candidate:
    plane = images.plane
    depth = plane.distance(filled)
    radius = float((depth * (prior > _PRIOR_CORE)).max())
    thick = _thick_part(filled, depth, prior, torso.scale, plane, parameters.thick_fraction)
    return Candidate(
        pieces=pieces,
        filled=filled,
        thick=thick,
        depth_mm=depth,
        prior_mm3=prior_mm3,
        thick_mm3=float(prior[thick].sum() * images.voxel_mm3),
        radius_mm=radius,
        solidity=float((alike & thick).sum() / max(thick.sum(), 1)),
        r2star_per_s=float(np.median(tissue.r2star_per_s[pieces])),
        fat_fraction=float(np.median(tissue.fat_fraction[pieces])),
        density=float(np.median(tissue.density[pieces])),
        log_s1=float(np.median(tissue.log_s1[pieces])),
    )


def robust_sd(values: FloatArray, least: float) -> float:
    """Scaled median absolute deviation, at least ``least``."""
    return max(1.4826 * float(np.median(np.abs(values - np.median(values)))), least)


def _look_alike(pieces: BoolArray, tissue: Tissue, torso: Torso, parameters: FinderParameters) -> BoolArray:
    """All tissue whose features lie near those of ``pieces``."""

    def near(feature: FloatArray, within: float, least_sd: float) -> BoolArray:
        sample = feature[pieces]
        limit = max(within, 2.5 * robust_sd(sample, least_sd))
        return np.asarray(np.abs(feature - np.median(sample)) < limit + 0.7 * tissue.log_r2star_sd3)

    dark = float(np.median(tissue.r2star_per_s[pieces])) > parameters.dark_r2star_per_s
    alike = (
        near(tissue.log_r2star, 0.22 if dark else 0.12, 0.03)
        & near(tissue.log_density, 0.4 if dark else 0.2, 0.04)
        & torso.mask
        & (tissue.wall_mm > parameters.wall_distance_scaled_mm * torso.scale)
    )
    if dark:
        return alike
    fat_off = np.abs(tissue.fat_fraction - np.median(tissue.fat_fraction[pieces]))
    return np.asarray(alike & (fat_off < 0.12) & (tissue.edge < 1.4))


def _refill(
    pieces: BoolArray, alike: BoolArray, tissue: Tissue, torso: Torso, plane: Plane, parameters: FinderParameters
) -> BoolArray:
    """Pieces grown into the tissue like them, closed over vessels and small holes."""
    grown = plane.open(alike, parameters.refill_opening_mm) | plane.dilate(pieces, parameters.node_depth_mm)
    filled = plane.close(keep_touching(grown, pieces), parameters.refill_closing_mm)
    holes = fill_holes(filled) & ~filled
    filled |= keep_sized(holes, below_pixels=parameters.refill_hole_mm2 / plane.pixel_mm2)
    filled &= torso.mask & (tissue.fat_fraction < parameters.lean_fat_fraction)
    filled &= tissue.wall_mm > parameters.wall_distance_scaled_mm * torso.scale
    filled &= occupied(pieces)
    return plane.open(filled, parameters.organ_opening_scaled_mm * torso.scale)


def _thick_part(
    filled: BoolArray, depth_mm: FloatArray, prior: FloatArray, scale: float, plane: Plane, fraction: float
) -> BoolArray:
    """Per slice, the opening by ``fraction`` of the inscribed radius, around the deepest point."""
    inside = likely_depth(depth_mm, prior)
    cut = fraction * inside.max((1, 2))
    cut[inside.max((1, 2)) < _MIN_SLICE_RADIUS_SCALED_MM * scale] = np.inf
    core, _ = label(depth_mm > cut[:, None, None])
    at_deepest = np.array([image[deepest_point(deep)] for image, deep in zip(core, inside, strict=True)])
    core_mask = (core > 0) & (core == at_deepest[:, None, None])
    return np.asarray((plane.distance_from(core_mask) < cut[:, None, None]) & filled & occupied(core_mask))


def likely_depth(depth_mm: FloatArray, prior: FloatArray) -> FloatArray:
    """Depth weighted with the prior (z, y, x): where lobes are alike in depth the right one is taken."""
    return np.asarray(depth_mm * np.where(prior > _PRIOR_CORE, prior, 0))


def deepest_point(depth: FloatArray) -> tuple[int, int]:
    """(y, x) of the maximum of one slice."""
    y, x = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return int(y), int(x)


def _plausible(candidate: Candidate, scale: float) -> bool:
    return (
        candidate.fat_fraction < _MAX_FAT_FRACTION
        and candidate.density > _MIN_DENSITY
        and candidate.radius_mm > _MIN_RADIUS_SCALED_MM * scale
    )


def _same_organ(candidate: Candidate, best: Candidate) -> bool:
    log_ratio = np.log((candidate.r2star_per_s + 30) / (best.r2star_per_s + 30))
    return bool(
        abs(log_ratio) < _SAME_LOG_R2STAR
        and abs(candidate.fat_fraction - best.fat_fraction) < _SAME_FAT
        and abs(candidate.log_s1 - best.log_s1) < _SAME_LOG_S1
    )


def _within(candidate: Candidate, best: Candidate) -> bool:
    """Whether the candidate lies in what ``best`` has grown to."""
    thick = candidate.thick
    return bool((thick & best.filled).sum() > _SAME_OVERLAP * thick.sum())


def _akin(candidate: Candidate, best: Candidate) -> bool:
    dark = min(candidate.r2star_per_s, best.r2star_per_s) > _AKIN_R2STAR_PER_S
    return dark and abs(np.log(candidate.r2star_per_s / best.r2star_per_s)) < _AKIN_LOG_R2STAR
