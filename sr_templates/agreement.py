"""The numbers in the objects are one and the same: float map under the region, report, classic map, record."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, MRImageStorage, ParametricMapStorage, SegmentationStorage

from quant.result import Bound, LiverIronResult
from sr_templates.check import ObjectError, name_of
from sr_templates.quantities import (
    LARGEST_STORED,
    NO_VALUE,
    QUANTITIES,
    SMALLEST_STORED,
    Quantity,
    stated,
    statistics_of,
)
from sr_templates.segmentation import ANALYSED_SEGMENT
from sr_templates.tree import measurement_groups, median_of, same_concept

_FLOAT32 = 2e-7  # relative spacing of the maps' numbers

Planes = dict[tuple[float, ...], npt.NDArray[np.float64]]


def check_numbers(objects: Sequence[Dataset], result: LiverIronResult) -> None:
    """Compare the median of every quantity in all objects that carry it.

    Raises:
        ObjectError: two of them differ by more than their rounding.
    """
    if result.status != "measured":
        return
    region = next((segment_planes(ds) for ds in objects if ds.SOPClassUID == SegmentationStorage), None)
    reports = [ds for ds in objects if ds.SOPClassUID == Comprehensive3DSRStorage]
    for quantity in QUANTITIES:
        statistics = statistics_of(result, quantity)
        if statistics is None:
            continue
        expected = stated(quantity, statistics.median)
        for report in reports:
            median = median_in_report(report, quantity)
            _compare(report, quantity, (median, median), expected, 0.0)
        if region is not None:
            _check_maps(objects, quantity, region, expected, statistics.bound)


def _check_maps(
    objects: Sequence[Dataset], quantity: Quantity, region: Planes, expected: float, bound: Bound | None
) -> None:
    """A bound may lie on its open side of the maps' median only."""

    def allowed(planes: Planes) -> tuple[float, float]:
        low, high = median_bounds(planes, region)
        return (-np.inf if bound == "at_least" else low), (np.inf if bound == "at_most" else high)

    rounding = 0.5001 * 10.0**-quantity.decimals + _FLOAT32 * abs(expected)
    for ds in objects:
        if ds.SOPClassUID == ParametricMapStorage and _maps(ds, quantity):
            _compare(ds, quantity, allowed(parametric_planes(ds)), expected, rounding)
    classic = [ds for ds in objects if ds.SOPClassUID == MRImageStorage and _maps(ds, quantity)]
    if classic:
        step = 1.0 / quantity.stored_per_unit
        storable = min(max(expected, SMALLEST_STORED * step), LARGEST_STORED * step)
        _compare(classic[0], quantity, allowed(classic_planes(classic, quantity)), storable, rounding + 0.5 * step)


def _compare(ds: Dataset, quantity: Quantity, bounds: tuple[float, float], expected: float, tolerance: float) -> None:
    low, high = bounds
    if not low - tolerance <= expected <= high + tolerance:  # NaN fails
        unit = quantity.unit.value
        found = f"between {low:g} and {high:g}" if low < high else f"{low:g}"
        raise ObjectError(
            f"{name_of(ds)}: median {quantity.label} is {found} {unit}, the result says {expected:g} {unit}"
        )


def median_bounds(planes: Planes, region: Planes) -> tuple[float, float]:
    """Between which numbers the median at the voxels of the region lies, plane by plane by position.

    They are the two middle values of the voxels that have one (a voxel beyond what can be measured has the end of the
    map's range). NaN where fewer than half of the voxels have a number: the map then shows mostly holes.
    """
    every = np.concatenate([planes[position][mask > 0] for position, mask in region.items()])
    values = np.sort(every[~np.isnan(every)])
    if values.size == 0 or 2 * values.size < every.size:
        return float("nan"), float("nan")
    return float(values[(values.size - 1) // 2]), float(values[values.size // 2])


def segment_planes(ds: Dataset, number: int = ANALYSED_SEGMENT) -> Planes:
    """Planes of one segment of a Segmentation by position: 1 inside, 0 outside."""
    bits = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")
    frames = bits[: int(ds.NumberOfFrames) * ds.Rows * ds.Columns].reshape(-1, ds.Rows, ds.Columns)
    groups = ds.PerFrameFunctionalGroupsSequence
    return {
        position: frames[k].astype(np.float64)
        for k, position in enumerate(_positions(ds))
        if groups[k].SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
    }


def parametric_planes(ds: Dataset) -> Planes:
    """Planes of a float map by position."""
    frames = np.frombuffer(ds.FloatPixelData, "<f4").reshape(-1, ds.Rows, ds.Columns).astype(np.float64)
    return dict(zip(_positions(ds), frames, strict=True))


def classic_planes(images: Sequence[Dataset], quantity: Quantity) -> Planes:
    """Planes of a classic map by position, in the quantity's unit, NaN for no value."""
    planes = {}
    for ds in images:
        stored = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns).astype(np.float64)
        stored[stored == NO_VALUE] = np.nan
        planes[_key(ds.ImagePositionPatient)] = stored / quantity.stored_per_unit
    return planes


def median_in_report(report: Dataset, quantity: Quantity) -> float:
    """The median that the report states for the quantity; NaN when it states none."""
    medians = (median_of(group, quantity.concept) for group in measurement_groups(report))
    return next(
        (float(item.MeasuredValueSequence[0].NumericValue) for item in medians if item is not None), float("nan")
    )


def _maps(ds: Dataset, quantity: Quantity) -> bool:
    where = ds if "RealWorldValueMappingSequence" in ds else ds.SharedFunctionalGroupsSequence[0]
    definition = where.RealWorldValueMappingSequence[0].QuantityDefinitionSequence[0]
    return same_concept(definition.ConceptCodeSequence[0], quantity.concept)


def _positions(ds: Dataset) -> list[tuple[float, ...]]:
    shared = ds.SharedFunctionalGroupsSequence[0]
    return [
        _key((group if "PlanePositionSequence" in group else shared).PlanePositionSequence[0].ImagePositionPatient)
        for group in ds.PerFrameFunctionalGroupsSequence
    ]


def _key(position: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(float(v), 3) + 0.0 for v in position)
