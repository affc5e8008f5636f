"""Morphology and smoothing within slices, with radii in millimetres. Stacks are (z, y, x); slices never mix."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from quant.acquisition import BoolArray, FloatArray
from quant.liver import kernels
from quant.threads import each_part

IntArray = npt.NDArray[np.integer[Any]]

_IN_PLANE = np.zeros((3, 3, 3), bool)
_IN_PLANE[1] = True  # eight neighbours within the slice
_IN_PLANE_EDGES = ndimage.generate_binary_structure(3, 1)
_IN_PLANE_EDGES[[0, 2]] = False  # four neighbours within the slice


@dataclass(frozen=True, kw_only=True)
class Plane:
    """Pixel size of a stack."""

    row_mm: float
    column_mm: float

    @property
    def pixel_mm2(self) -> float:
        """Area of one pixel."""
        return self.row_mm * self.column_mm

    @property
    def pixel_mm(self) -> float:
        """Geometric mean of the pixel's sides."""
        return float(np.sqrt(self.pixel_mm2))

    def disc(self, radius_mm: float) -> BoolArray:
        """Footprint (1, y, x) of a disc, rounded up by a third of a pixel's area."""
        n_y, n_x = int(radius_mm // self.row_mm) + 1, int(radius_mm // self.column_mm) + 1
        y, x = np.mgrid[-n_y : n_y + 1, -n_x : n_x + 1]
        disc = (y * self.row_mm) ** 2 + (x * self.column_mm) ** 2 <= radius_mm**2 + 0.3 * self.pixel_mm2
        rows, columns = np.flatnonzero(disc.any(1)), np.flatnonzero(disc.any(0))
        return np.asarray(disc[None, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])

    def distance(self, mask: BoolArray) -> npt.NDArray[np.float32]:
        """Distance in mm of every pixel of ``mask`` to the nearest one outside it (beyond the image is outside)."""
        out = np.zeros(mask.shape, np.float32)
        for z in np.flatnonzero(mask.any((1, 2))):
            box = _box(mask[z])  # the nearest pixel outside the mask is never farther than the box's rim
            out[z][box] = _distance(np.pad(mask[z][box], 1), self)[1:-1, 1:-1]
        return out

    def distance_from(self, mask: BoolArray) -> npt.NDArray[np.float32]:
        """Distance in mm to the nearest pixel of ``mask`` in the same slice; infinite where the slice has none."""
        out = np.full(mask.shape, np.inf, np.float32)
        for z in np.flatnonzero(mask.any((1, 2))):
            out[z] = _distance(~mask[z], self)
        return out

    def nearest(self, parts: IntArray) -> tuple[IntArray, npt.NDArray[np.float32]]:
        """Number of the nearest of ``parts`` (above 0) in the same slice, and how far it is in mm; without one 0 and
        infinite."""
        number, away_mm = np.zeros_like(parts), np.full(parts.shape, np.inf, np.float32)
        for z in np.flatnonzero(parts.any((1, 2))):
            away_mm[z], (rows, columns) = ndimage.distance_transform_edt(
                parts[z] == 0, sampling=(self.row_mm, self.column_mm), return_indices=True
            )
            number[z] = parts[z][rows, columns]
        return number, away_mm

    def erode(self, mask: BoolArray, radius_mm: float) -> BoolArray:
        """Erosion by a disc; beyond the image is outside."""
        return np.asarray(ndimage.binary_erosion(mask, self.disc(radius_mm)))

    def dilate(self, mask: BoolArray, radius_mm: float) -> BoolArray:
        """Dilation by a disc."""
        return np.asarray(ndimage.binary_dilation(mask, self.disc(radius_mm)))

    def open(self, mask: BoolArray, radius_mm: float) -> BoolArray:
        """Opening by a disc: drops what is thinner than its diameter."""
        return self.dilate(self.erode(mask, radius_mm), radius_mm)

    def close(self, mask: BoolArray, radius_mm: float) -> BoolArray:
        """Closing by a disc, as if nothing but background lay beyond the image."""
        disc = self.disc(radius_mm)
        n_y, n_x = disc.shape[1] // 2, disc.shape[2] // 2
        padded = np.pad(mask, ((0, 0), (n_y, n_y), (n_x, n_x)))
        closed = ndimage.binary_erosion(ndimage.binary_dilation(padded, disc), disc, border_value=1)
        return np.asarray(closed[:, n_y : n_y + mask.shape[1], n_x : n_x + mask.shape[2]])

    def smooth(self, image: FloatArray, sigma_mm: float) -> FloatArray:
        """Gaussian of ``sigma_mm``."""
        return np.asarray(ndimage.gaussian_filter(image, (0, sigma_mm / self.row_mm, sigma_mm / self.column_mm)))

    def gradient(self, image: FloatArray, sigma_mm: float) -> FloatArray:
        """Magnitude of the in-plane gradient per mm after a Gaussian of ``sigma_mm``."""
        along_y, along_x = np.gradient(self.smooth(image, sigma_mm), self.row_mm, self.column_mm, axis=(1, 2))
        return np.asarray(np.hypot(along_y, along_x))


def _distance(mask: BoolArray, plane: Plane) -> FloatArray:
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=(plane.row_mm, plane.column_mm)))


def median(image: FloatArray, footprint: BoolArray) -> npt.NDArray[np.float32]:
    """Median (upper one) of every pixel's neighbours in ``footprint`` (y, x) of odd sides; the image is mirrored at
    its edges."""
    n_y, n_x = footprint.shape[0] // 2, footprint.shape[1] // 2
    padded = np.pad(np.asarray(image, np.float32), ((0, 0), (n_y, n_y), (n_x, n_x)), mode="symmetric")
    out = np.empty(image.shape, np.float32)
    down, right = np.nonzero(footprint)
    each_part(len(out), 1, lambda slices: kernels.medians_of_neighbours(padded[slices], down, right, out[slices]))
    return out


def square(side: int) -> BoolArray:
    """Footprint (y, x) of ``side`` by ``side`` pixels."""
    return np.ones((side, side), bool)


def _box(mask: BoolArray) -> tuple[slice, slice]:
    """Rows and columns that ``mask`` (y, x) extends over."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def label(mask: BoolArray, *, diagonal: bool = False) -> tuple[IntArray, int]:
    """Components within slices, numbered 1.. over the stack."""
    labels, count = ndimage.label(mask, _IN_PLANE if diagonal else _IN_PLANE_EDGES)
    return labels, int(count)


def occupied(mask: BoolArray) -> BoolArray:
    """Slices (z, 1, 1) in which ``mask`` has a pixel."""
    return np.asarray(mask.any((1, 2), keepdims=True))


def fill_holes(mask: BoolArray) -> BoolArray:
    """Fills, in every slice, what has no way (by edges of pixels) to the outside."""
    free, _ = label(np.pad(~mask, ((0, 0), (1, 1), (1, 1)), constant_values=True))
    return np.asarray(free != free[:, :1, :1])[:, 1:-1, 1:-1]


def keep_touching(mask: BoolArray, seed: BoolArray) -> BoolArray:
    """Components of ``mask`` (in their slice) that hold a pixel of ``seed``."""
    labels, count = label(mask)
    chosen = np.zeros(count + 1, bool)
    chosen[labels[seed]] = True
    chosen[0] = False
    return chosen[labels]


def keep_sized(mask: BoolArray, *, below_pixels: float) -> BoolArray:
    """Components of ``mask`` smaller than ``below_pixels``."""
    labels, _ = label(mask)
    size = np.bincount(labels.ravel())
    size[0] = 0
    small = (size > 0) & (size < below_pixels)
    return small[labels]


def keep_largest(mask: BoolArray, *, at_least: float = 1.0) -> BoolArray:
    """Per slice the components of at least ``at_least`` times the size of the slice's largest."""
    labels, count = label(mask)
    size = np.bincount(labels.ravel(), minlength=count + 1)
    size[0] = 0
    largest = size[labels].max((1, 2))
    return np.asarray((labels > 0) & (size[labels] >= at_least * largest[:, None, None]))
