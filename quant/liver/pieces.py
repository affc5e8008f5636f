"""Homogeneous pieces of tissue and their union into organs.

A piece joins an organ only when it resembles the organ's own median and a member that it touches: chains of
neighbours that resemble each other would leak through the body wall.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from quant.acquisition import BoolArray, FloatArray
from quant.liver import kernels
from quant.liver.parameters import FinderParameters
from quant.liver.plane import IntArray, Plane, label
from quant.liver.tissue import R2STAR_OFFSET_PER_S, Tissue
from quant.liver.torso import Torso

_REACH_MM = 6.0  # pieces grow this far into their surroundings, so that thin barriers do not part them
_CONTACT_MM = 6.0  # length of common border that makes neighbours
_SEED_MM2 = 60.0  # prior-weighted area below which a piece starts no organ


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Homogeneous 2-D pieces, numbered from 1; index 0 of the per-piece arrays is unused.

    ``labels`` and ``grown`` (z, y, x) hold the pieces and their grown neighbourhoods; ``area_mm2``, the medians
    ``log_s1``, ``log_r2star``, ``log_density``, ``fat_fraction`` and ``log_r2star_sd3`` are (n + 1,);
    ``neighbours`` lists the pieces that each touches in its slice or overlaps in the next.
    """

    labels: IntArray
    grown: IntArray
    area_mm2: FloatArray
    log_s1: FloatArray
    log_r2star: FloatArray
    log_density: FloatArray
    fat_fraction: FloatArray
    log_r2star_sd3: FloatArray
    neighbours: tuple[tuple[int, ...], ...]


def find_pieces(tissue: Tissue, torso: Torso, plane: Plane, parameters: FinderParameters) -> Pieces:
    """Cuts homogeneous tissue into pieces and links neighbours."""
    labels, count = label(plane.distance(tissue.homogeneous) > parameters.node_depth_mm, diagonal=True)
    area = np.bincount(labels.ravel(), minlength=count + 1) * plane.pixel_mm2
    area[0] = 0
    grown = _grow(labels, torso.mask, plane, parameters.node_depth_mm + _REACH_MM)
    pairs = [*_side_by_side(grown, ~tissue.lean, plane), *_overlapping(labels, area, plane, parameters.slice_overlap)]

    voxels = np.flatnonzero(labels)
    voxels = voxels[np.argsort(labels.ravel()[voxels], kind="stable")]
    ends = np.cumsum(np.bincount(labels.ravel()[voxels], minlength=count + 1))

    def medians(feature: FloatArray) -> FloatArray:
        found = np.zeros(count + 1)
        kernels.medians_of_lists(feature.ravel().astype(np.float64), voxels, ends, found)
        return found

    return Pieces(
        labels=labels,
        grown=grown,
        area_mm2=area,
        log_s1=medians(tissue.log_s1),
        log_r2star=medians(tissue.log_r2star),
        log_density=medians(tissue.log_density),
        fat_fraction=medians(tissue.fat_fraction),
        log_r2star_sd3=medians(tissue.log_r2star_sd3),
        neighbours=_neighbour_lists(pairs, count),
    )


def _grow(labels: IntArray, within: BoolArray, plane: Plane, reach_mm: float) -> IntArray:
    grown = np.zeros_like(labels)
    for z in np.flatnonzero(labels.any((1, 2))):
        distance, nearest = ndimage.distance_transform_edt(
            labels[z] == 0, sampling=(plane.row_mm, plane.column_mm), return_indices=True
        )
        grown[z] = np.where((distance <= reach_mm) & within[z], labels[z][tuple(nearest)], 0)
    return grown


def _side_by_side(grown: IntArray, barrier: BoolArray, plane: Plane) -> Iterator[tuple[int, int]]:
    """Pairs whose grown pieces share a border of lean tissue; never across fat, air or lung."""
    found = []
    for before, after in (
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
        ((slice(None), slice(None), slice(None, -1)), (slice(None), slice(None), slice(1, None))),
    ):
        a, b = grown[before], grown[after]
        touching = (a > 0) & (b > 0) & (a != b) & ~(barrier[before] | barrier[after])
        found.append(np.stack([a[touching], b[touching]]))
    both = np.concatenate(found, axis=1)
    for one, other, count in _counted(both.min(0), both.max(0)):
        if count * plane.pixel_mm >= _CONTACT_MM:
            yield one, other


def _overlapping(labels: IntArray, area_mm2: FloatArray, plane: Plane, share: float) -> Iterator[tuple[int, int]]:
    """Pairs in adjacent slices that cover each other by ``share`` of the smaller one."""
    below, above = labels[:-1], labels[1:]
    both = (below > 0) & (above > 0)
    for one, other, count in _counted(below[both], above[both]):
        if count * plane.pixel_mm2 >= share * min(area_mm2[one], area_mm2[other]):
            yield one, other


def _counted(first: IntArray, second: IntArray) -> Iterator[tuple[int, int, int]]:
    """Pairs of ``first`` and ``second`` (n,), in their order, with how often each occurs."""
    base = int(second.max(initial=0)) + 1
    codes, counts = np.unique(first.astype(np.int64) * base + second, return_counts=True)
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        yield code // base, code % base, count


def _neighbour_lists(pairs: list[tuple[int, int]], count: int) -> tuple[tuple[int, ...], ...]:
    lists: list[list[int]] = [[] for _ in range(count + 1)]
    for a, b in pairs:
        lists[a].append(b)
        lists[b].append(a)
    return tuple(tuple(sorted(members)) for members in lists)


def join_pieces(pieces: Pieces, prior: FloatArray, plane: Plane, parameters: FinderParameters) -> npt.NDArray[np.intp]:
    """Organ number of every piece (n + 1,), from 1 in the order of their seeds; 0 for pieces in no organ.

    From each seed the organ spreads to neighbours that are like a member they touch in the first echo, and like the
    median of all members so far in R2*, density and fat.
    """
    weight = np.bincount(pieces.labels.ravel(), prior.ravel(), len(pieces.area_mm2)) * plane.pixel_mm2
    weight[0] = 0
    noise = pieces.log_r2star_sd3
    features = np.stack([pieces.log_r2star, pieces.log_density, pieces.fat_fraction])
    dark = pieces.log_r2star > np.log(parameters.dark_r2star_per_s + R2STAR_OFFSET_PER_S)
    limits = np.stack(
        [
            np.full(noise.size, parameters.join_log_s1),
            np.where(dark, parameters.join_dark_log_r2star, parameters.join_log_r2star) + noise,
            parameters.join_log_s0 + noise,
            np.full(noise.size, parameters.join_fat),
        ]
    )
    links = np.array([link for links in pieces.neighbours for link in links], np.int64)
    ends = np.cumsum([len(links) for links in pieces.neighbours])
    organ_of = np.zeros(len(weight), np.int64)
    organ = 0
    for seed in np.argsort(-weight, kind="stable"):
        if weight[seed] < _SEED_MM2:
            break
        if organ_of[seed] == 0:
            organ += 1
            kernels.spread(seed, organ, links, ends, pieces.area_mm2, pieces.log_s1, features, limits, organ_of)
    return organ_of
