"""Parallel planes of a drawn region, laid over an acquisition by position alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.errors import DeclinedError
from quant.acquisition import BoolArray, Geometry

FloatArray = npt.NDArray[np.float64]

_SAME_PLANE_MM = 0.01
_TIE = 1.001  # a voxel halfway between two planes belongs to one of them
_PARALLEL = 0.9998  # cosine of 1 degree: directions in files are rounded


@dataclass(frozen=True, kw_only=True)
class Planes:
    """Masks (k, rows, columns) on parallel planes, ascending along their normal.

    ``positions_mm`` (k, 3) are the centres of the first pixels, ``row_direction`` and ``column_direction`` (3,) as in
    ``Geometry``, ``spacing_mm`` is (between rows, between columns), ``reach_mm`` how far from its plane a mask counts.
    """

    masks: BoolArray
    positions_mm: FloatArray
    row_direction: FloatArray
    column_direction: FloatArray
    spacing_mm: tuple[float, float]
    reach_mm: float

    @property
    def normal(self) -> FloatArray:
        """Unit normal (3,)."""
        return np.cross(self.row_direction, self.column_direction)


def along(geometry: Geometry, shape: tuple[int, int, int], direction: FloatArray) -> FloatArray:
    """Coordinate (z, y, x) of every voxel centre along ``direction`` (3,), in mm."""
    _, spacing_y, spacing_x = geometry.spacing_mm
    start = geometry.positions_mm @ direction
    down = np.arange(shape[1]) * spacing_y * float(geometry.column_direction @ direction)
    right = np.arange(shape[2]) * spacing_x * float(geometry.row_direction @ direction)
    return np.asarray(start[:, None, None] + down[None, :, None] + right[None, None, :])


def nearest_plane(
    heights: FloatArray, coordinate: FloatArray, reach_mm: float
) -> tuple[npt.NDArray[np.intp], BoolArray]:
    """Index of the nearest of the ascending ``heights`` for every ``coordinate``, and whether it is within reach."""
    right = np.clip(np.searchsorted(heights, coordinate), 1, max(len(heights) - 1, 1))
    if len(heights) == 1:
        right = np.zeros_like(right)
    left = np.maximum(right - 1, 0)
    nearest = np.where(np.abs(coordinate - heights[left]) <= np.abs(coordinate - heights[right]), left, right)
    return nearest, np.asarray(np.abs(coordinate - heights[nearest]) <= _TIE * reach_mm)


def resample(planes: Planes, geometry: Geometry, shape: tuple[int, int, int]) -> BoolArray:
    """The region on the voxels (z, y, x): each takes the pixel whose centre is nearest to its own."""
    index, hit = nearest_plane(
        planes.positions_mm @ planes.normal, along(geometry, shape, planes.normal), planes.reach_mm
    )
    picked: list[npt.NDArray[np.intp]] = []
    for direction, spacing, size in (
        (planes.column_direction, planes.spacing_mm[0], planes.masks.shape[1]),
        (planes.row_direction, planes.spacing_mm[1], planes.masks.shape[2]),
    ):
        pixel = np.rint((along(geometry, shape, direction) - (planes.positions_mm @ direction)[index]) / spacing)
        hit &= (pixel >= 0) & (pixel < size)
        picked.append(np.clip(pixel, 0, size - 1).astype(np.intp))
    return np.asarray(planes.masks[index, picked[0], picked[1]] & hit)


def merged(masks: BoolArray, positions_mm: FloatArray, normal: FloatArray) -> tuple[BoolArray, FloatArray]:
    """Planes in ascending order; those at one place become one.

    Raises:
        DeclinedError: two of them lie in one plane and are shifted against each other.
    """
    heights = positions_mm @ normal
    order = np.argsort(heights, kind="stable")
    kept_masks: list[BoolArray] = []
    kept: list[FloatArray] = []
    for index in order:
        if kept and heights[index] - float(kept[-1] @ normal) <= _SAME_PLANE_MM:
            if np.abs(positions_mm[index] - kept[-1]).max() > _SAME_PLANE_MM:
                text = "The drawn region cannot be read: its frames overlap and are shifted against each other."
                raise DeclinedError("region_unreadable", text)
            kept_masks[-1] = kept_masks[-1] | masks[index]
        else:
            kept_masks.append(masks[index])
            kept.append(positions_mm[index])
    return np.array(kept_masks), np.array(kept)


def parallel(first: FloatArray, second: FloatArray) -> bool:
    """Whether two unit vectors point the same way, or opposite ways."""
    return abs(float(first @ second)) >= _PARALLEL
