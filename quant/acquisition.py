"""What the scanner measured, as plain arrays: echo times, geometry and signal.

Arrays are ordered ``(z, y, x)`` or ``(z, y, x, e)``: slice, row, column, echo. Slices ascend along the
slice normal (row direction x column direction). Coordinates are DICOM patient coordinates (LPS, millimetres;
PS3.3 C.7.6.2): +x points to the patient's left, +y to the back, +z to the head.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Where the voxels lie in the patient.

    ``positions_mm`` (z, 3) is the centre of the first voxel of every slice; ``row_direction`` (3,) is the unit
    vector along which the column index grows (first half of Image Orientation Patient), ``column_direction`` (3,)
    the one along which the row index grows; ``spacing_mm`` is (between slices, between rows, between columns).
    The distance between slices and their thickness are NaN only where images are referred to and not measured.
    """

    positions_mm: npt.NDArray[np.float64]
    row_direction: npt.NDArray[np.float64]
    column_direction: npt.NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    slice_thickness_mm: float

    def __post_init__(self) -> None:
        if self.positions_mm.ndim != 2 or self.positions_mm.shape[1] != 3:
            raise ValueError(f"positions_mm must have shape (z, 3), not {self.positions_mm.shape}")
        for name in ("row_direction", "column_direction"):
            if abs(float(np.linalg.norm(getattr(self, name))) - 1) > 1e-3:
                raise ValueError(f"{name} is not a unit vector")
        if abs(float(self.row_direction @ self.column_direction)) > 1e-3:
            raise ValueError("row_direction and column_direction are not perpendicular")
        if min(self.spacing_mm) <= 0 or self.slice_thickness_mm <= 0:
            raise ValueError("spacing and slice thickness must be positive")
        if np.any(np.diff(self.positions_mm @ self.normal) <= 0):
            raise ValueError("slices must ascend along the slice normal")

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Unit slice normal, (3,): row direction x column direction."""
        return np.cross(self.row_direction, self.column_direction)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume that one voxel stands for, in millilitres (slice spacing, so gaps count)."""
        return float(np.prod(self.spacing_mm)) / 1000

    @property
    def pixel_area_mm2(self) -> float:
        """In-plane area of one voxel."""
        return self.spacing_mm[1] * self.spacing_mm[2]


@dataclass(frozen=True, kw_only=True)
class MultiEcho:
    """One multi-echo gradient-echo acquisition.

    ``signal`` (z, y, x, e) is float32 magnitude or complex64; ``echo_times_s`` (e,) ascends strictly;
    ``saturated`` (z, y, x), where given, marks voxels that reached the stored maximum in any echo.
    """

    signal: npt.NDArray[Any]
    echo_times_s: npt.NDArray[np.float64]
    field_t: float
    geometry: Geometry
    saturated: BoolArray | None = None

    def __post_init__(self) -> None:
        if self.signal.ndim != 4:
            raise ValueError(f"signal must have shape (z, y, x, e), not {self.signal.shape}")
        if self.echo_times_s.shape != (self.signal.shape[3],):
            raise ValueError(f"{self.signal.shape[3]} echoes but {self.echo_times_s.shape} echo times")
        if np.any(self.echo_times_s <= 0) or np.any(np.diff(self.echo_times_s) <= 0):
            raise ValueError("echo times must be positive and ascend")
        if self.echo_times_s[-1] > 1:
            raise ValueError("echo times are in seconds; the last one is above 1 s")
        if self.signal.shape[0] != len(self.geometry.positions_mm):
            raise ValueError(f"{self.signal.shape[0]} slices but {len(self.geometry.positions_mm)} positions")

    @property
    def is_complex(self) -> bool:
        """Whether the signal carries phase."""
        return np.iscomplexobj(self.signal)

    @property
    def magnitude(self) -> npt.NDArray[np.float32]:
        """Magnitude signal, (z, y, x, e), float32."""
        magnitude: npt.NDArray[np.float32] = np.abs(self.signal).astype(np.float32, copy=False)
        return magnitude
