"""Where the slices lie: positions, directions and spacing from the planes, never from order or numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.errors import DeclinedError
from node.intake.grid import POSITION_TOLERANCE_MM
from node.intake.planes import Plane
from quant.acquisition import Geometry
from quant.result import QcLine

_IRREGULAR_FRACTION = 0.02  # of the spacing; written positions jitter by less than 0.001 of it (dcm_qa_xa30)
_IRREGULAR_MM = 0.05


@dataclass(frozen=True, kw_only=True)
class StackGeometry:
    """The geometry, and what is worth saying about it."""

    geometry: Geometry
    qc: tuple[QcLine, ...]


def stack_geometry(planes: Sequence[Plane], spacing_between_slices_mm: float | None) -> StackGeometry:
    """Geometry of slices in ascending order along the normal, one plane each.

    Missing slices (gaps that are whole multiples of the spacing) are allowed and named; the spacing is then that
    of the neighbours. Slices at irregular distances are declined. ``spacing_between_slices_mm`` serves single slices.
    """
    row, column = _directions(planes[0])
    positions = np.array([plane.position_mm for plane in planes], dtype=np.float64)
    heights = positions @ np.cross(row, column)
    thickness = planes[0].slice_thickness_mm
    between, qc = _spacing(np.diff(heights), spacing_between_slices_mm or thickness)
    geometry = Geometry(
        positions_mm=positions,
        row_direction=row,
        column_direction=column,
        spacing_mm=(between, *_in_plane(planes[0])),
        slice_thickness_mm=thickness or between,
    )
    return StackGeometry(geometry=geometry, qc=qc)


def loose_geometry(planes: Sequence[Plane]) -> tuple[tuple[int, ...], Geometry]:
    """Where planes of one orientation lie when they need not form a stack: to refer to them, not to measure in them.

    Returns the indices of planes at distinct positions, ascending along the normal, and their geometry. The spacing
    between slices is the middle one of their distances; what the headers do not tell is NaN.
    """
    row, column = _directions(planes[0])
    positions = np.array([plane.position_mm for plane in planes], dtype=np.float64)
    heights = positions @ np.cross(row, column)
    kept: list[int] = []
    for index in np.argsort(heights, kind="stable"):
        if not kept or heights[index] - heights[kept[-1]] > POSITION_TOLERANCE_MM:
            kept.append(int(index))
    thickness = planes[kept[0]].slice_thickness_mm or float("nan")
    between = float(np.median(np.diff(heights[kept]))) if len(kept) > 1 else thickness
    geometry = Geometry(
        positions_mm=positions[kept],
        row_direction=row,
        column_direction=column,
        spacing_mm=(between, *_in_plane(planes[kept[0]])),
        slice_thickness_mm=thickness,
    )
    return tuple(kept), geometry


def _in_plane(plane: Plane) -> tuple[float, float]:
    assert plane.pixel_spacing_mm is not None  # planes without pixel spacing never get here
    return plane.pixel_spacing_mm


def _directions(plane: Plane) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Row and column direction, made exactly orthonormal (files round them)."""
    row, column = np.array(plane.orientation, dtype=np.float64).reshape(2, 3)
    row /= np.linalg.norm(row)
    column -= (column @ row) * row
    return row, column / np.linalg.norm(column)


def _spacing(gaps: npt.NDArray[np.float64], single_mm: float | None) -> tuple[float, tuple[QcLine, ...]]:
    if gaps.size == 0:
        if single_mm is None or single_mm <= 0:
            raise DeclinedError("no_geometry", "A single slice without Slice Thickness (0018,0050).")
        return single_mm, ()
    smallest = float(gaps.min())
    steps = np.rint(gaps / smallest)
    nominal = float(gaps.sum() / steps.sum())
    deviation = float(np.max(np.abs(gaps - steps * nominal)))
    if deviation > max(_IRREGULAR_MM, _IRREGULAR_FRACTION * nominal):
        text = f"Slices lie at irregular distances ({smallest:.2f} to {gaps.max():.2f} mm); they are no single stack."
        raise DeclinedError("irregular_slices", text)
    skipped = int(steps.sum() - steps.size)
    if skipped == 0:
        return nominal, ()
    text = f"{skipped} slice positions inside the stack have no image; spacing of the others is {nominal:.2f} mm."
    return nominal, (QcLine(code="slice_gaps", severity="warning", text=text, value=float(skipped), limit=0.0),)
