"""The check before the outbox notices what is wrong, and names the object and the attribute."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset

from quant.result import LiverIronResult
from sr_templates.agreement import check_numbers, median_bounds
from sr_templates.check import ObjectError, check_object, check_references, encode
from sr_templates.header import without_value_warnings
from sr_templates.result_set import BuiltSet
from tests.sr_templates.sr_sources import (
    COLUMNS,
    ROWS,
    build,
    make_bounded_result,
    make_classic,
    make_extreme_maps,
    make_geometry,
    make_maps,
    make_mask,
    make_result,
)


def copy_of(built: BuiltSet, role: str) -> Dataset:
    return copy.deepcopy(next(item.dataset for item in built.objects if item.role == role))


@pytest.mark.parametrize(
    ("role", "keyword", "name"),
    [
        ("map.lic", "PixelSpacing", "LIC map"),
        ("map.r2star", "RealWorldValueMappingSequence", r"R2\* map"),
        ("page", "BurnedInAnnotation", "report page"),
        ("sr", "CompletionFlag", "report"),
        ("seg", "SegmentSequence", "Liver region"),
        ("pm.lic", "FrameOfReferenceUID", "float map"),
        ("pm.lic", "PatientID", "float map"),
    ],
)
def test_a_missing_attribute_is_named(measured: BuiltSet, role: str, keyword: str, name: str) -> None:
    ds = copy_of(measured, role)
    del ds[keyword]
    with pytest.raises(ObjectError, match=f"{name}.*: {keyword} (has no value|is absent)"):
        check_object(encode(ds))


def test_an_empty_attribute_and_a_bad_uid_are_named(measured: BuiltSet) -> None:
    ds = copy_of(measured, "map.lic")
    ds.Manufacturer = ""
    with pytest.raises(ObjectError, match="Manufacturer has no value"):
        check_object(encode(ds))
    ds = copy_of(measured, "map.lic")
    del ds.SeriesInstanceUID
    with without_value_warnings():
        ds.SeriesInstanceUID = "2.25.01"
    with pytest.raises(ObjectError, match="SeriesInstanceUID is not a UID"):
        check_object(encode(ds))


def test_lost_pixels_are_noticed(measured: BuiltSet) -> None:
    for role, keyword in (("map.lic", "PixelData"), ("pm.lic", "FloatPixelData"), ("seg", "PixelData")):
        ds = copy_of(measured, role)
        ds[keyword].value = ds[keyword].value[:-4]
        with pytest.raises(ObjectError, match=f"{keyword} has .* bytes"):
            check_object(encode(ds))


def test_references_that_lead_nowhere_are_noticed(measured: BuiltSet) -> None:
    source = make_classic(make_geometry()).datasets
    objects = [item.dataset for item in measured.objects]
    check_references(objects, source)
    with pytest.raises(ObjectError, match=r"ReferencedSOPInstanceUID .* is nowhere"):
        check_references(objects, source[1:])
    with pytest.raises(ObjectError, match="same SOPInstanceUID"):
        check_references([*objects, objects[0]], source)
    report = copy_of(measured, "sr")
    report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence.pop()
    others = [ds for ds in objects if ds.SOPInstanceUID != report.SOPInstanceUID]
    with pytest.raises(ObjectError, match="CurrentRequestedProcedureEvidenceSequence lacks"):
        check_references([*others, report], source)


def change_median(result: LiverIronResult, field: str, by: float) -> LiverIronResult:
    statistics = getattr(result, field)
    return replace(result, **{field: replace(statistics, median=statistics.median + by)})


@pytest.mark.parametrize(
    ("field", "by"), [("r2star_per_s", 0.3), ("lic_mg_per_g", 0.02), ("t2star_ms", 0.2), ("pdff_percent", 0.2)]
)
def test_a_number_that_differs_from_the_map_stops_the_set(field: str, by: float) -> None:
    result = change_median(make_result(make_maps(3), make_mask(3)), field, by)
    with pytest.raises(ObjectError, match=r"median .* the result says"):
        build(make_classic(make_geometry(n_slices=3)), result)


def test_a_map_of_another_place_stops_the_set(measured: BuiltSet) -> None:
    objects = [item.dataset for item in measured.objects if item.role != "pm.r2star"]
    moved = copy_of(measured, "pm.r2star")
    values = np.frombuffer(moved.FloatPixelData, "<f4").reshape(5, -1)
    moved.FloatPixelData = np.roll(values, 2, axis=0).tobytes()
    check_numbers([*objects, copy_of(measured, "pm.r2star")], measured.result)
    shifted = copy_of(measured, "pm.r2star")
    shifted.FloatPixelData = (values + np.float32(1)).tobytes()
    with pytest.raises(ObjectError, match=r"R2\* float map"):
        check_numbers([*objects, shifted], measured.result)


def test_a_report_without_a_number_of_the_result_stops_the_set(measured: BuiltSet) -> None:
    report = copy_of(measured, "sr")
    container = next(i for i in report.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "126010")
    group = container.ContentSequence[0]
    group.ContentSequence = [i for i in group.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue != "113064"]
    with pytest.raises(ObjectError, match=r"report.*median T2\* is nan"):
        check_numbers([report], measured.result)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0], (2.0, 2.0)),
        ([1.0, 2.0, 3.0, 4.0], (2.0, 3.0)),
        ([1.0, 2.0, 3.0, 4.0, np.nan], (2.0, 3.0)),
        ([np.nan, np.nan, 5.0, 6.0], (5.0, 6.0)),
    ],
)
def test_the_median_lies_between_the_middle_values(values: list[float], expected: tuple[float, float]) -> None:
    place = (0.0, 0.0, 0.0)
    planes = {place: np.array([values])}
    assert median_bounds(planes, {place: np.ones((1, len(values)))}) == expected


@pytest.mark.parametrize("values", [[np.nan] * 4, [np.nan, np.nan, np.nan, 5.0]])
def test_a_region_of_holes_agrees_with_nothing(values: list[float]) -> None:
    place = (0.0, 0.0, 0.0)
    low, high = median_bounds({place: np.array([values])}, {place: np.ones((1, 4))})
    assert np.isnan([low, high]).all()


BOUNDED_SOURCE = make_classic(make_geometry(n_slices=3))


@pytest.mark.parametrize("share", [0.3, 0.7, 1.0], ids=lambda share: f"{share:.0%} of the voxels too high")
def test_a_bound_agrees_with_maps_at_and_above_it(share: float) -> None:
    maps = make_extreme_maps(3, share)
    built = build(BOUNDED_SOURCE, make_bounded_result(make_mask(3)), maps=maps)
    inside = make_mask(3)
    for ds, region in zip((i.dataset for i in built.objects if i.role == "map.lic"), inside, strict=True):
        stored = np.frombuffer(ds.PixelData, "<u2").reshape(ROWS, COLUMNS)[region]
        assert (stored > 0).all()
        assert np.mean(stored == 43_000) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize(("field", "factor"), [("lic_mg_per_g", 1.05), ("r2star_per_s", 1.05), ("t2star_ms", 0.95)])
def test_a_bound_beyond_the_map_stops_the_set(field: str, factor: float) -> None:
    maps = make_extreme_maps(3, 0.3)
    result = make_bounded_result(make_mask(3))
    statistics = getattr(result, field)
    at_median = {"lic_mg_per_g": maps.lic_mg_per_g, "r2star_per_s": maps.r2star_per_s, "t2star_ms": maps.t2star_ms}
    median = float(np.median(at_median[field][make_mask(3)]))  # type: ignore[index]  # all three maps are there
    changed = replace(result, **{field: replace(statistics, median=median * factor)})
    with pytest.raises(ObjectError, match=r"median .* the result says"):
        build(BOUNDED_SOURCE, changed, maps=maps)


def test_a_value_that_is_no_bound_must_be_the_median_of_the_map() -> None:
    maps = make_extreme_maps(3, 0.3)
    result = make_bounded_result(make_mask(3))
    assert result.r2star_per_s is not None
    with pytest.raises(ObjectError, match=r"median R2\* .* the result says"):
        build(BOUNDED_SOURCE, replace(result, r2star_per_s=replace(result.r2star_per_s, bound=None)), maps=maps)
