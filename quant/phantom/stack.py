"""Where the slices of a phantom acquisition lie in the patient."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from quant.acquisition import FloatArray, Geometry

Vector64 = npt.NDArray[np.float64]
Orientation = Literal["axial", "feet_first", "prone", "coronal", "sagittal"]

# row and column direction (LPS) of the untilted stack
_DIRECTIONS: dict[Orientation, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "feet_first": ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "prone": ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
    "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
}
# quarter-voxel offsets (slice, row, column): a tetrahedron, so that four samples see an edge in every direction
SUBSAMPLES: npt.NDArray[np.float64] = 0.25 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])


@dataclass(frozen=True, kw_only=True)
class SliceStack:
    """The slice grid: ``centre_mm`` (LPS) is the middle of the stack; ``tilt_deg`` turns it about its row direction,
    ``swivel_deg`` about its column direction."""

    n_slices: int = 12
    rows: int = 256
    columns: int = 256
    fov_mm: float = 400.0
    slice_thickness_mm: float = 8.0
    gap_mm: float = 2.0
    orientation: Orientation = "axial"
    tilt_deg: float = 0.0
    swivel_deg: float = 0.0
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 5.0)

    def __post_init__(self) -> None:
        if self.orientation not in _DIRECTIONS:
            raise ValueError(f"orientation must be one of {', '.join(get_args(Orientation))}, not {self.orientation!r}")
        if self.n_slices < 1 or min(self.rows, self.columns) < 16:
            raise ValueError("a stack needs at least one slice of 16 x 16 voxels")
        if min(self.fov_mm, self.slice_thickness_mm) <= 0 or self.gap_mm <= -self.slice_thickness_mm:
            raise ValueError("field of view, slice thickness and slice spacing must be positive")
        if max(abs(self.tilt_deg), abs(self.swivel_deg)) > 60:
            raise ValueError("tilt and swivel must lie between -60 and 60 degrees")

    @property
    def geometry(self) -> Geometry:
        """Positions and directions of the grid in patient coordinates."""
        row, column = (np.array(direction) for direction in _DIRECTIONS[self.orientation])
        column = _turned(column, row, self.tilt_deg)
        row = _turned(row, column, self.swivel_deg)
        normal = np.cross(row, column)
        pixel = self.fov_mm / self.columns
        spacing = self.slice_thickness_mm + self.gap_mm
        corner = np.array(self.centre_mm) - pixel * ((self.columns - 1) / 2 * row + (self.rows - 1) / 2 * column)
        steps = (np.arange(self.n_slices) - (self.n_slices - 1) / 2) * spacing
        return Geometry(
            positions_mm=corner + steps[:, None] * normal,
            row_direction=row,
            column_direction=column,
            spacing_mm=(spacing, pixel, pixel),
            slice_thickness_mm=self.slice_thickness_mm,
        )


def slice_points(geometry: Geometry, index: int, shape: tuple[int, int], offset: FloatArray) -> FloatArray:
    """Patient coordinates (3, y * x) of one slice's voxels, moved by ``offset`` voxels (slice, row, column)."""
    rows, columns = (np.arange(n) + o for n, o in zip(shape, offset[1:], strict=True))
    start = geometry.positions_mm[index] + offset[0] * geometry.slice_thickness_mm * geometry.normal
    down = rows[:, None] * geometry.spacing_mm[1] * geometry.column_direction
    along = columns[:, None] * geometry.spacing_mm[2] * geometry.row_direction
    points = start + down[:, None, :] + along[None, :, :]
    return np.asarray(points.reshape(-1, 3).T, dtype=np.float32)


def _turned(vector: Vector64, axis: Vector64, angle_deg: float) -> Vector64:
    """``vector`` (perpendicular to ``axis``) turned about ``axis``."""
    angle = np.deg2rad(angle_deg)
    return np.asarray(np.cos(angle) * vector + np.sin(angle) * np.cross(axis, vector), dtype=np.float64)
