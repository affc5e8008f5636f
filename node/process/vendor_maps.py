"""The scanner's own R2*, T2* or fat-fraction map, when it rides along: never an echo, never measured, only compared.

Scanners fit other models to the same images (a Siemens R2* map was found 1.35 times an exponential fit, and capped), so
a difference is a reason to look and proves neither side wrong.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from node.errors import InputError
from node.intake.admission import decline_object, decline_plane
from node.intake.grid import POSITION_TOLERANCE_MM
from node.intake.planes import Plane
from node.intake.stacks import alike
from node.intake.tags import text, whole
from node.intake.vendors import map_quantity
from node.process.frames import read_planes
from node.process.scaling import modality_values
from node.process.signal import SourceFile
from quant.acquisition import Geometry
from quant.result import QcLine, Severity

_DIFFERS = 0.2  # of our value; repeated scans stay below half of it
_DIFFERS_PERCENT = 5.0  # points of fat fraction
_IN_PLANE_TOLERANCE_MM = 0.5
_PER_S = {"": 1.0, "1": 1.0, "1/s": 1.0, "/s": 1.0, "s-1": 1.0, "Hz": 1.0, "1/ms": 1000.0, "/ms": 1000.0}
_MS = {"": 1.0, "1": 1.0, "ms": 1.0, "s": 1000.0}
_UNITS = frozenset({*_PER_S, *_MS, "%"}) - {"", "1"}
_WORDS = {"r2star": "R2*", "t2star": "T2*", "fat_fraction": "fat fraction"}


@dataclass(frozen=True, kw_only=True)
class VendorMap:
    """One map on our grid. ``values`` (z, y, x) float32 in 1/s (R2*, also of a T2* map) or percent (fat fraction), NaN
    where the map says nothing; ``None`` with ``why_not`` when it cannot be laid over our images."""

    quantity: str
    values: npt.NDArray[np.float32] | None
    unit_told: bool
    why_not: str = ""


@dataclass(frozen=True, kw_only=True)
class _MapPlane:
    """One plane of a map: where it lies among our slices, and what makes 1/s, ms or percent of its values; ``None``
    where it lies elsewhere or its unit is not known."""

    source: SourceFile
    plane: Plane
    quantity: str
    z: int | None
    scale: float | None


def vendor_maps(sources: Iterable[SourceFile], geometry: Geometry, shape: Sequence[int]) -> tuple[VendorMap, ...]:
    """The maps among the files, on the grid of the acquisition; ``shape`` is (slices, rows, columns). Each file is
    decoded once; one that cannot be decoded takes its quantities with it."""
    found: defaultdict[str, list[_MapPlane]] = defaultdict(list)
    for source in sources:
        for plane in source.planes.values():
            if quantity := _quantity(source, plane):
                found[quantity].append(_placed(source, plane, quantity, geometry, shape))
    why_not = {quantity: why for quantity, planes in found.items() if (why := _why_not(planes))}
    values = {
        quantity: np.full(tuple(shape), np.nan, dtype=np.float32) for quantity in found if quantity not in why_not
    }
    by_file: defaultdict[Path, list[_MapPlane]] = defaultdict(list)
    for quantity in values:
        for entry in found[quantity]:
            by_file[entry.source.path].append(entry)
    for entries in by_file.values():
        try:
            _lay(entries, values)
        except InputError:
            why_not.update({entry.quantity: "it cannot be decoded" for entry in entries})
    return tuple(
        VendorMap(
            quantity=quantity,
            values=None if quantity in why_not else values[quantity],
            unit_told=all(_unit(entry.plane) not in ("", "1") for entry in planes),
            why_not=why_not.get(quantity, ""),
        )
        for quantity, planes in sorted(found.items())
    )


def _quantity(source: SourceFile, plane: Plane) -> str:
    declined = decline_object(source.header, text(source.header.file_meta, "TransferSyntaxUID")) or decline_plane(plane)
    return map_quantity(plane.image_type) if declined is not None and declined[0] == "derived_map" else ""


def _placed(source: SourceFile, plane: Plane, quantity: str, geometry: Geometry, shape: Sequence[int]) -> _MapPlane:
    z = _slice_of(plane, source.header, geometry, shape)
    return _MapPlane(source=source, plane=plane, quantity=quantity, z=z, scale=_scale(plane, quantity))


def _why_not(planes: Iterable[_MapPlane]) -> str:
    """Why the planes of a map cannot be laid over our images; empty when they can."""
    for entry in planes:
        if entry.z is None:
            return "it lies on another grid"
        if entry.scale is None:
            return f"its unit ({_unit(entry.plane) or 'none'}) is not known"
    return ""


def _lay(entries: Sequence[_MapPlane], values: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Decode planes of one file into the maps of their quantities."""
    source = entries[0].source
    stored = read_planes(source.path, source.header, [entry.plane.frame_number or 0 for entry in entries])
    for entry, pixels in zip(entries, stored, strict=True):
        scaled = modality_values(pixels, entry.plane) * np.float32(entry.scale)
        values[entry.quantity][entry.z] = _quantities(scaled, entry.quantity)


def _quantities(scaled: npt.NDArray[np.float32], quantity: str) -> npt.NDArray[np.float32]:
    """1/s or percent; what is not above 0 (no fit, background) says nothing."""
    positive = np.where(scaled > 0, scaled, np.float32(np.nan))
    return np.asarray(1000 / positive if quantity == "t2star" else positive, dtype=np.float32)


def _scale(plane: Plane, quantity: str) -> float | None:
    """What makes 1/s, ms or percent of the map's modality values; fat fractions without a unit mean anything."""
    known = {"r2star": _PER_S, "t2star": _MS, "fat_fraction": {"%": 1.0}}[quantity]
    return known.get(_unit(plane))


def _unit(plane: Plane) -> str:
    """By UCUM code, else by Rescale Type where that names a unit (Philips classic writes ms, Hz or %)."""
    return plane.units or next((unit for unit in _UNITS if unit.lower() == plane.rescale_type.lower()), "")


def _slice_of(plane: Plane, header: Dataset, geometry: Geometry, shape: Sequence[int]) -> int | None:
    if plane.position_mm is None or plane.orientation is None or plane.pixel_spacing_mm is None:
        return None
    same_size = (whole(header, "Rows"), whole(header, "Columns")) == tuple(shape[1:])
    same_pixels = np.allclose(plane.pixel_spacing_mm, geometry.spacing_mm[1:], rtol=1e-3)
    ours = (*geometry.row_direction, *geometry.column_direction)
    if not (same_size and same_pixels and alike(plane.orientation, ours)):
        return None
    apart = np.asarray(geometry.positions_mm) - np.asarray(plane.position_mm)
    across = np.abs(apart @ np.asarray(geometry.normal))
    z = int(across.argmin())
    near = across[z] <= POSITION_TOLERANCE_MM and np.linalg.norm(apart[z]) <= _IN_PLANE_TOLERANCE_MM
    return z if near else None


def found_lines(maps: Iterable[VendorMap]) -> list[QcLine]:
    """That maps came, and what became of them."""
    lines = []
    for found in maps:
        kept = f"and is not compared: {found.why_not}" if found.values is None else "and is not used as an echo"
        text = f"The scanner's own {_WORDS[found.quantity]} map came along {kept}."
        lines.append(QcLine(code="vendor_map", severity="info", text=text))
    return lines


def comparison_lines(
    maps: Iterable[VendorMap], region: npt.NDArray[np.bool_], ours: Mapping[str, float | None]
) -> list[QcLine]:
    """The scanner's maps beside our values, inside our region (z, y, x). ``ours``: median ``r2star_per_s`` and
    ``pdff_percent``."""
    lines = []
    for found in maps:
        inside = np.empty(0) if found.values is None else found.values[region]
        our_median = ours["pdff_percent" if found.quantity == "fat_fraction" else "r2star_per_s"]
        if our_median is not None and np.isfinite(inside).any():
            lines.append(_comparison(found, float(np.nanmedian(inside)), our_median))
    return lines


def _comparison(found: VendorMap, theirs: float, ours: float) -> QcLine:
    fat = found.quantity == "fat_fraction"
    apart = abs(theirs - ours) if fat else abs(theirs / ours - 1)
    limit = _DIFFERS_PERCENT if fat else _DIFFERS
    unit = "%" if fat else "/s"
    text = (
        f"The scanner's own {_WORDS[found.quantity]} map has a median of {theirs:.3g} {unit} in the region, this"
        f" measurement {ours:.3g} {unit}{'' if found.unit_told else ' (the map tells no unit)'}."
    )
    severity: Severity = "warning" if apart > limit else "info"
    return QcLine(code="vendor_map_compared", severity=severity, text=text, value=apart, limit=limit)
