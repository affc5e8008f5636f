"""Turns stored arrays so that axes follow the patient: slices to the head, rows to the back, columns to the left.

The search then never depends on how the scanner stored the images (DICOM PS3.3 C.7.6.2.1.1).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.acquisition import Geometry
from quant.liver.types import RegionNotFoundError

MAX_TILT_DEG = 30.0  # slices up to here show the organs side by side as axial slices do


@dataclass(frozen=True, kw_only=True)
class PatientAxes:
    """How the stored (z, y, x) axes map onto head, back and left, and where the turned voxels lie.

    ``first_voxel_mm`` (z, 3), ``row_step_mm`` (3,) and ``column_step_mm`` (3,) give patient coordinates (LPS) of the
    turned array: ``first_voxel_mm[z] + y * row_step_mm + x * column_step_mm``.
    """

    transposed: bool
    flipped: tuple[bool, bool, bool]
    first_voxel_mm: npt.NDArray[np.float64]
    row_step_mm: npt.NDArray[np.float64]
    column_step_mm: npt.NDArray[np.float64]
    slice_spacing_mm: float

    def view(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Stored (z, y, x, ...) to patient axes, without a copy."""
        turned = array.swapaxes(1, 2) if self.transposed else array
        return turned[self._flips()]

    def turn(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Stored (z, y, x, ...) to patient axes."""
        return np.ascontiguousarray(self.view(array))

    def restore(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Patient axes (z, y, x, ...) back to the stored order."""
        stored = array[self._flips()]
        return np.ascontiguousarray(stored.swapaxes(1, 2) if self.transposed else stored)

    def _flips(self) -> tuple[slice, slice, slice]:
        z, y, x = (slice(None, None, -1) if flip else slice(None) for flip in self.flipped)
        return z, y, x


def axial_axes(geometry: Geometry, shape: tuple[int, int, int]) -> PatientAxes:
    """Axes of an axial acquisition of ``shape`` (z, y, x); refuses other slice orientations."""
    _require_axial(geometry.normal)
    row, column = geometry.row_direction, geometry.column_direction
    transposed = bool(abs(column[0]) > abs(row[0]) + 1e-6)
    left, back = (column, row) if transposed else (row, column)
    spacing_y, spacing_x = geometry.spacing_mm[1:][:: -1 if transposed else 1]
    n_y, n_x = shape[1:][:: -1 if transposed else 1]
    flipped = (bool(geometry.normal[2] < 0), bool(back[1] < 0), bool(left[0] < 0))
    row_step, column_step = back * spacing_y, left * spacing_x
    first = geometry.positions_mm[::-1] if flipped[0] else geometry.positions_mm
    if flipped[1]:
        first, row_step = first + (n_y - 1) * row_step, -row_step
    if flipped[2]:
        first, column_step = first + (n_x - 1) * column_step, -column_step
    return PatientAxes(
        transposed=transposed,
        flipped=flipped,
        first_voxel_mm=np.array(first),
        row_step_mm=row_step,
        column_step_mm=column_step,
        slice_spacing_mm=geometry.spacing_mm[0],
    )


def _require_axial(normal: npt.NDArray[np.float64]) -> None:
    tilt = float(np.degrees(np.arccos(min(1.0, abs(float(normal[2]))))))
    if tilt <= MAX_TILT_DEG:
        return
    plane = ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(normal)))]
    how = f"tilted {tilt:.0f} degrees from axial" if plane == "axial" else plane
    raise RegionNotFoundError(
        "roi_not_axial",
        f"The slices are {how}; the automatic region needs slices within {MAX_TILT_DEG:.0f} degrees of axial: "
        "a reader's region is needed.",
    )
