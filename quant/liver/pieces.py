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
from quant.liver.parameters import FinderParameters
from quant.liver.plane import IntArray, Plane, label
from quant.liver.tissue import Tissue
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
    of_piece = np.split(voxels, np.cumsum(np.bincount(labels.ravel()[voxels], minlength=count + 1)[1:-1]))

    def medians(feature: FloatArray) -> FloatArray:
        flat = feature.ravel()
        return np.array([0.0, *(_upper_median(flat[piece]) for piece in of_piece if len(piece))])

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


def _upper_median(values: FloatArray) -> float:
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle])


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
    pairs, counts = np.unique(np.sort(np.concatenate(found, axis=1), axis=0), axis=1, return_counts=True)
    for (a, b), count in zip(pairs.T, counts, strict=True):
        if count * plane.pixel_mm >= _CONTACT_MM:
            yield int(a), int(b)


def _overlapping(labels: IntArray, area_mm2: FloatArray, plane: Plane, share: float) -> Iterator[tuple[int, int]]:
    """Pairs in adjacent slices that cover each other by ``share`` of the smaller one."""
    below, above = labels[:-1], labels[1:]
    both = (below > 0) & (above > 0)
    pairs, counts = np.unique(np.stack([below[both], above[both]]), axis=1, return_counts=True)
    for (a, b), count in zip(pairs.T, counts, strict=True):
        if count * plane.pixel_mm2 >= share * min(area_mm2[a], area_mm2[b]):
            yield int(a), int(b)


def _neighbour_lists(pairs: list[tuple[int, int]], count: int) -> tuple[tuple[int, ...], ...]:
    lists: list[list[int]] = [[] for _ in range(count + 1)]
    for a, b in pairs:
        lists[a].append(b)
        lists[b].append(a)
    return tuple(tuple(sorted(members)) for members in lists)


def join_pieces(pieces: Pieces, prior: FloatArray, plane: Plane, parameters: FinderParameters) -> npt.NDArray[np.intp]:
    """Organ number of every piece (n + 1,), from 1 in the order of their seeds; 0 for pieces in no organ."""
    weight = np.bincount(pieces.labels.ravel(), prior.ravel(), len(pieces.area_mm2)) * plane.pixel_mm2
    weight[0] = 0
    organ_of = np.zeros(len(weight), np.intp)
    organ = 0
    for seed in np.argsort(-weight, kind="stable"):
        if weight[seed] < _SEED_MM2:
            break
        if organ_of[seed] == 0:
            organ += 1
            _spread(pieces, int(seed), organ, organ_of, parameters)
    return organ_of


def _spread(
    pieces: Pieces, seed: int, organ: int, organ_of: npt.NDArray[np.intp], parameters: FinderParameters
) -> None:
    """Marks in ``organ_of`` the pieces that join ``seed``, breadth first."""
    members = [seed]
    organ_of[seed] = organ
    queue = list(pieces.neighbours[seed])
    while queue:
        piece = queue.pop(0)
        if organ_of[piece] or not _fits(pieces, piece, members, organ_of, organ, parameters):
            continue
        organ_of[piece] = organ
        members.append(piece)
        queue.extend(pieces.neighbours[piece])


def _fits(
    pieces: Pieces,
    piece: int,
    members: list[int],
    organ_of: npt.NDArray[np.intp],
    organ: int,
    parameters: FinderParameters,
) -> bool:
    touching = [other for other in pieces.neighbours[piece] if organ_of[other] == organ]
    area = pieces.area_mm2[members]
    noise = pieces.log_r2star_sd3[piece]

    def off(feature: FloatArray) -> float:
        return abs(float(feature[piece]) - weighted_median(feature[members], area))

    return bool(
        min(abs(pieces.log_s1[piece] - pieces.log_s1[other]) for other in touching) < parameters.join_log_s1
        and off(pieces.log_r2star) < parameters.join_log_r2star + noise
        and off(pieces.log_density) < parameters.join_log_s0 + noise
        and off(pieces.fat_fraction) < parameters.join_fat
    )


def weighted_median(values: FloatArray, weights: FloatArray) -> float:
    """Value at half the weight."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, cumulative[-1] / 2)])
