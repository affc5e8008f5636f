"""The liver of an RT Structure Set (PS3.3 A.19): closed planar contours, drawn in any plane."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from node.errors import DeclinedError
from node.intake.tags import items, numbers, text, whole
from node.process.drawn_choice import Candidate, choose
from node.process.drawn_planes import FloatArray, along, nearest_plane, parallel
from quant.acquisition import BoolArray, Geometry

_CLOSED = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})
_FLAT_MM = 1.0  # how far the points of one contour may lie from their plane
_SAME_PLANE_MM = 0.2  # two contours of few points, each coordinate rounded to 0.1 mm, lie up to 0.17 mm apart
_NOTHING_MM2 = 1e-6  # a line encloses nothing
_MOST_POINTS = 1 << 20


def choose_contours(ds: Dataset) -> Candidate:
    """The region of interest that is the liver, among those that have contours.

    Raises:
        DeclinedError: none, or several, could be it; or contours and names cannot be brought together.
    """
    drawn = Counter(whole(item, "ReferencedROINumber") for item in items(ds, "ROIContourSequence") if _contours(item))
    numbered = Counter(whole(item, "ROINumber") for item in items(ds, "StructureSetROISequence"))
    if None in drawn or any(drawn[number] > 1 or numbered[number] > 1 for number in drawn):
        raise _unreadable("its contour sets have no numbers of their own, so that none can be told from another")
    observed = {whole(item, "ReferencedROINumber"): item for item in items(ds, "RTROIObservationsSequence")}
    found = []
    for item in items(ds, "StructureSetROISequence"):
        number = whole(item, "ROINumber")
        if number is not None and number in drawn:
            seen = observed.get(number, Dataset())
            code, meaning = _code(seen)
            kind = text(seen, "RTROIInterpretedType").upper()
            label = text(item, "ROIName")
            found.append(Candidate(number=number, label=label, code=code, meaning=meaning, interpreted_type=kind))
    return choose(found, "contour set")


def contour_mask(ds: Dataset, number: int, geometry: Geometry, shape: tuple[int, int, int]) -> BoolArray:
    """The voxels (z, y, x) whose centre lies inside the contours of region ``number``.

    Contours in one plane combine by exclusive or, so that one within another is a hole, also when it is written as a
    keyhole (PS3.3 C.8.8.6.3). Contours in planes of their own reach halfway to the next plane.

    Raises:
        DeclinedError: the contours cannot be read, or lie in planes that are not parallel.
    """
    holder = next(item for item in items(ds, "ROIContourSequence") if whole(item, "ReferencedROINumber") == number)
    contours = _contours(holder)
    normal = _common_normal(contours)
    ours = parallel(normal, geometry.normal)
    normal = geometry.normal if ours else normal
    planes = _by_plane(contours, normal)
    heights = np.array(sorted(planes))
    reach_mm = geometry.spacing_mm[0] / 2
    if not ours:
        reach_mm = float(np.diff(heights).min()) / 2 if len(heights) > 1 else max(geometry.spacing_mm) / 2
    index, within = nearest_plane(heights, along(geometry, shape, normal), reach_mm)
    first, second = _axes(normal)
    across, up = along(geometry, shape, first), along(geometry, shape, second)
    mask = np.zeros(shape, bool)
    for k, height in enumerate(heights):
        here = within & (index == k)
        points = np.stack([across[here], up[here]], axis=1)
        inside = np.zeros(len(points), bool)
        for contour in planes[float(height)]:
            inside ^= _inside(points, np.stack([contour @ first, contour @ second], axis=1))
        mask[here] = inside
    return mask


def _code(item: Dataset) -> tuple[tuple[str, str], str]:
    found = items(item, "RTROIIdentificationCodeSequence")
    if not found:
        return ("", ""), ""
    return (text(found[0], "CodingSchemeDesignator"), text(found[0], "CodeValue")), text(found[0], "CodeMeaning")


def _contours(holder: Dataset) -> list[FloatArray]:
    """The closed contours, each (points, 3) in mm.

    Raises:
        DeclinedError: the coordinates of one cannot be read.
    """
    found = []
    for item in items(holder, "ContourSequence"):
        if text(item, "ContourGeometricType").upper() not in _CLOSED:
            continue
        coordinates = numbers(item, "ContourData")
        if not coordinates or len(coordinates) % 3 or len(coordinates) > 3 * _MOST_POINTS:
            raise _unreadable("the coordinates of a contour are damaged")
        points = np.array(coordinates).reshape(-1, 3)
        if len(points) >= 3:
            found.append(points)
    return found


def _common_normal(contours: Sequence[FloatArray]) -> FloatArray:
    """Unit normal of the planes that the contours lie in: that of the largest, whose rounded points tell it best."""
    areas = [_area(points) for points in contours]
    sizes = [float(np.linalg.norm(area)) for area in areas]
    if max(sizes) < _NOTHING_MM2:
        raise DeclinedError("region_empty", "The drawn region is empty: its contours enclose nothing.")
    normal = areas[int(np.argmax(sizes))] / max(sizes)
    for points, area, size in zip(contours, areas, sizes, strict=True):
        if _depth_mm(points, normal) <= _FLAT_MM:
            continue
        own_plane = size >= _NOTHING_MM2 and _depth_mm(points, area / size) <= _FLAT_MM
        raise _unreadable(
            "its contours lie in planes that are not parallel" if own_plane else "a contour does not lie in one plane"
        )
    return np.asarray(normal)


def _area(points: FloatArray) -> FloatArray:
    """Twice the vector area (3,) of a closed contour, in mm2."""
    return np.asarray(np.cross(points - points[0], np.roll(points, -1, axis=0) - points[0]).sum(axis=0))


def _depth_mm(points: FloatArray, normal: FloatArray) -> float:
    return float(np.abs((points - points.mean(axis=0)) @ normal).max())


def _by_plane(contours: Sequence[FloatArray], normal: FloatArray) -> dict[float, list[FloatArray]]:
    planes: dict[float, list[FloatArray]] = {}
    for points in sorted(contours, key=lambda p: float((p @ normal).mean())):
        height = float((points @ normal).mean())
        last = next(reversed(planes), None)
        planes.setdefault(height if last is None or height - last > _SAME_PLANE_MM else last, []).append(points)
    return planes


def _axes(normal: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Two unit vectors in the plane of ``normal``."""
    first = np.cross(normal, np.eye(3)[int(np.abs(normal).argmin())])
    first = first / np.linalg.norm(first)
    return first, np.cross(normal, first)


def _inside(points: FloatArray, polygon: FloatArray) -> BoolArray:
    """Which ``points`` (n, 2) lie inside the polygon (k, 2), by the even-odd rule."""
    inside = np.zeros(len(points), bool)
    near = np.all((points >= polygon.min(axis=0)) & (points <= polygon.max(axis=0)), axis=1)
    x, y = points[near].T
    crossings = np.zeros(len(x), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:
            crossings ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    inside[near] = crossings
    return inside


def _unreadable(why: str) -> DeclinedError:
    return DeclinedError("region_unreadable", f"The drawn region cannot be read: {why}.")
