"""The set as a whole: what is in it, in which order, and that a repeat gives the same bytes."""

from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path
from pydicom.dataset import Dataset

from quant.acquisition import Geometry
from sr_templates.presentation import outlines
from sr_templates.result_set import BuiltSet, ResultIdentity, ResultMaps
from tests.sr_templates.sr_sources import (
    COLUMNS,
    ROWS,
    STUDY,
    as_earlier,
    build,
    build_refusal,
    build_two_maps,
    make_bounded_result,
    make_classic,
    make_enhanced,
    make_extreme_maps,
    make_geometry,
    make_identity,
    make_maps,
    make_mask,
    make_page,
    make_result,
)

OPTIONS = ("pdf", "pr", "ko")  # what a report does not refer to, for not every destination gets it


def of_role(built: BuiltSet, role: str) -> list[Dataset]:
    return [item.dataset for item in built.objects if item.role == role]


def roles(built: BuiltSet) -> list[str]:
    return list(dict.fromkeys(item.role for item in built.objects))


def test_roles_come_in_the_order_of_sending(measured: BuiltSet) -> None:
    assert roles(measured) == [
        "map.r2star",
        "map.lic",
        "map.t2star",
        "map.pdff",
        "page",
        "sr",
        "seg",
        "pm.r2star",
        "pm.lic",
        "pm.t2star",
        "pm.pdff",
        "sr.comprehensive",
        "sr.enhanced",
        "pdf",
        "pr",
        "ko",
    ]


def test_the_result_lists_every_object(measured: BuiltSet) -> None:
    assert [(o.role, o.sop_instance_uid, o.file) for o in measured.result.objects] == [
        (item.role, item.dataset.SOPInstanceUID, f"dicom/{item.file}") for item in measured.objects
    ]
    assert len({item.file for item in measured.objects}) == len(measured.objects)


def test_one_series_per_role_after_the_scanners_own(measured: BuiltSet) -> None:
    series = {(item.role, item.dataset.SeriesInstanceUID, item.dataset.Modality) for item in measured.objects}
    numbers = [item.dataset.SeriesNumber for item in measured.objects]
    assert len(series) == len(roles(measured))
    assert len({uid for _, uid, _ in series}) == len(series)
    assert min(numbers) > 9100
    assert len(set(numbers)) == len(series)


def test_built_twice_the_bytes_are_the_same() -> None:
    sets = [build_two_maps(make_enhanced(make_geometry("oblique", 2))) for _ in range(2)]
    first, second = ([item.content for item in built.objects] for built in sets)
    assert first == second


@cache
def revision(number: int) -> BuiltSet:
    """The result of one slice, or a later revision of it; only read."""
    source = make_classic(make_geometry(n_slices=1))
    if number == 1:
        return build_two_maps(source)
    identity = make_identity(job_id=f"job-{number}", revision=number)
    earlier = as_earlier(revision(number - 1), number - 1, f"job-{number - 1}")
    return build_two_maps(source, identity=identity, replaces=[earlier])


def test_another_job_has_other_uids_and_the_same_tracking() -> None:
    one, other = revision(1), revision(2)
    uids = [
        {item.dataset.SOPInstanceUID for item in built.objects}
        | {item.dataset.SeriesInstanceUID for item in built.objects}
        for built in (one, other)
    ]
    assert not uids[0] & uids[1]
    tracked = [of_role(built, "seg")[0].SegmentSequence[0].TrackingUID for built in (one, other)]
    assert tracked[0] == tracked[1]


def test_every_time_comes_from_the_frozen_one() -> None:
    later = make_identity(accepted_at=make_identity().accepted_at + timedelta(days=3))
    built = build_two_maps(make_classic(make_geometry(n_slices=1)), identity=later)
    for item in built.objects:
        for element in item.dataset.iterall():
            if element.keyword in ("StudyDate", "PatientBirthDate", "AcquisitionDate", "Date") or not element.value:
                continue
            if element.VR == "DA":
                assert element.value == "20260206", element
            if element.VR == "DT":
                assert str(element.value).startswith("20260206112233"), element


def test_a_revision_names_its_predecessors_and_itself() -> None:
    first, second = revision(1), revision(2)
    (report,) = of_role(second, "sr")
    (study,) = report.PredecessorDocumentsSequence
    named = {i.ReferencedSOPInstanceUID for s in study.ReferencedSeriesSequence for i in s.ReferencedSOPSequence}
    assert named == {i.dataset.SOPInstanceUID for i in first.objects if i.role.startswith("sr")}
    assert study.StudyInstanceUID == STUDY
    assert all(item.dataset.SeriesDescription.endswith("(revision 2)") for item in second.objects)


def named_by(note: Dataset) -> set[tuple[str, str, str]]:
    """Series, class and instance UIDs of the evidence of a rejection note."""
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    return {
        (s.SeriesInstanceUID, i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID)
        for s in study.ReferencedSeriesSequence
        for i in s.ReferencedSOPSequence
    }


def test_a_revision_rejects_every_object_of_what_it_replaces() -> None:
    first, second, third = (revision(number) for number in (1, 2, 3))
    assert not of_role(first, "rejection")
    for later, earlier in ((second, first), (third, second)):
        notes = of_role(later, "rejection")
        assert {note.ConceptNameCodeSequence[0].CodeValue for note in notes} == {"113001"}
        named = [named_by(note) for note in notes]
        assert all(len({sop_class for _, sop_class, _ in one}) == 1 for one in named)  # taken by a destination, or not
        assert sum(map(len, named)) == len(set().union(*named))
        assert set().union(*named) == {
            (i.dataset.SeriesInstanceUID, i.dataset.SOPClassUID, i.dataset.SOPInstanceUID)
            for i in earlier.objects
            if i.role != "rejection"
        }


def test_outlines_follow_the_pixels_edges() -> None:
    """What lies inside the loops by the even-odd rule is the mask; two pixels that touch in a corner, and a hole."""
    mask = np.zeros((9, 8), dtype=bool)
    mask[1:6, 1:6] = True
    mask[3, 3] = False
    mask[6, 6] = mask[8, 7] = mask[0, 0] = True
    loops = list(outlines(mask))
    assert all((loop[0] == loop[-1]).all() for loop in loops)
    inside = np.zeros_like(mask)
    for loop in loops:
        centres = np.argwhere(np.ones_like(mask))[:, ::-1] + 0.5
        inside ^= Path(loop).contains_points(centres).reshape(mask.shape)
    np.testing.assert_array_equal(inside, mask)


def test_descriptions_carry_unit_and_research_label_until_signed() -> None:
    source, maps, mask = make_classic(make_geometry(n_slices=1)), make_maps(1), make_mask(1)
    research = revision(1)
    product = build(source, replace(make_result(maps, mask), research_use_only=False))
    assert of_role(research, "map.lic")[0].SeriesDescription == "LIC map [ug/g dry weight] - research use only"
    assert of_role(product, "map.lic")[0].SeriesDescription == "LIC map [ug/g dry weight]"
    for built, qualification in ((research, "RESEARCH"), (product, "PRODUCT")):
        found = {i.dataset.ContentQualification for i in built.objects if "ContentQualification" in i.dataset}
        assert found == {qualification}
    longest = build_two_maps(source, identity=make_identity(revision=9999))
    assert max(len(item.dataset.SeriesDescription) for item in longest.objects) <= 64


def test_the_report_is_automatic_and_says_so(measured: BuiltSet) -> None:
    (report,) = of_role(measured, "sr")
    flags = (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag)
    assert flags == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    assert report.AuthorObserverSequence[0].ObserverType == "DEV"


def test_the_report_lists_all_evidence(measured: BuiltSet) -> None:
    (report,) = of_role(measured, "sr")
    listed = {
        instance.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    source = {ds.SOPInstanceUID for ds in make_classic(make_geometry()).datasets}
    others = {
        item.dataset.SOPInstanceUID
        for item in measured.objects
        if not item.role.startswith("sr") and item.role not in OPTIONS
    }
    assert listed == source | others


def test_every_container_of_the_report_is_separate(measured: BuiltSet) -> None:
    (report,) = of_role(measured, "sr")
    values = [element.value for element in report.iterall() if element.keyword == "ContinuityOfContent"]
    assert set(values) == {"SEPARATE"}
    assert len(values) >= 6


def test_the_page_keeps_every_pixel(measured: BuiltSet) -> None:
    (page,) = of_role(measured, "page")
    assert page.BurnedInAnnotation == "YES"
    stored = np.frombuffer(page.PixelData, np.uint8)[: 33 * 21 * 3].reshape(33, 21, 3)
    np.testing.assert_array_equal(stored, make_page())
    assert len(page.PixelData) % 2 == 0


def test_float_maps_say_nan_for_no_value_and_begin_with_a_number(measured: BuiltSet) -> None:
    (ds,) = of_role(measured, "pm.r2star")
    values = np.frombuffer(ds.FloatPixelData, "<f4").reshape(-1, ROWS, COLUMNS)
    truth = make_maps().r2star_per_s
    assert values[0, 0, 0] == 0
    assert np.isnan(ds.FloatPixelPaddingValue)
    assert np.isnan(ds.FloatPixelPaddingRangeLimit)
    np.testing.assert_array_equal(np.isnan(values)[1:], np.isnan(truth)[1:])


def test_values_beyond_sixteen_bits_and_below_one_stay_values() -> None:
    maps = make_maps(1)
    assert maps.lic_mg_per_g is not None
    lic = maps.lic_mg_per_g.copy()
    lic[0, 1, 1:4] = (70.0, -0.03, np.inf)
    (ds,) = of_role(build(make_classic(make_geometry(n_slices=1)), maps=replace(maps, lic_mg_per_g=lic)), "map.lic")
    stored = np.frombuffer(ds.PixelData, "<u2").reshape(ROWS, COLUMNS)
    assert list(stored[1, 1:4]) == [65535, 1, 0]


def test_real_world_mapping_gives_the_value_in_the_unit(measured: BuiltSet) -> None:
    for role, unit, slope in (
        ("map.r2star", "/s", 1.0),
        ("map.lic", "mg/g", 0.001),
        ("map.t2star", "ms", 0.01),
        ("map.pdff", "%", 0.1),
    ):
        mappings = {
            m.MeasurementUnitsCodeSequence[0].CodeValue: m
            for m in of_role(measured, role)[0].RealWorldValueMappingSequence
        }
        assert mappings[unit].RealWorldValueSlope == slope
        assert mappings[unit].RealWorldValueIntercept == 0
    units = of_role(measured, "map.lic")[0].RealWorldValueMappingSequence
    assert [m.MeasurementUnitsCodeSequence[0].CodeValue for m in units] == ["ug/g", "mg/g"]
    assert "RescaleSlope" not in of_role(measured, "map.lic")[0]


def test_the_analysed_region_is_the_only_segment(measured: BuiltSet) -> None:
    (seg,) = of_role(measured, "seg")
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["Liver, analysed region"]


def test_maps_say_what_their_ends_mean(measured: BuiltSet) -> None:
    maps = make_extreme_maps(1, 0.5)
    built = build(make_classic(make_geometry(n_slices=1)), make_bounded_result(make_mask(1)), maps=maps)
    expected = {
        "lic": ("43000 means 43 mg/g or more, 300 means 0.3 mg/g or less", "43 = that or more, 0.3 = that or less"),
        "r2star": ("4000 means 4000 /s or more, 1 means 1 /s or less", "4000 = that or more, 0 = that or less"),
        "t2star": ("65535 means 655.35 ms or more, 25 means 0.25 ms or less", "655.4 = that or more, 0.25 = that or"),
    }
    for key, (stored_words, float_words) in expected.items():
        (classic,), (floats,) = of_role(built, f"map.{key}"), of_role(built, f"pm.{key}")
        for text in (classic.DerivationDescription, classic.ImageComments):
            assert "0 means no value" in text
            assert stored_words in text
        assert classic.PixelPaddingValue == 0
        assert "NaN means no value" in floats.ImageComments
        assert float_words in floats.ImageComments
    assert "or more" not in of_role(measured, "map.lic")[0].ImageComments  # no ends were given


def test_a_refusal_has_no_region_and_no_numbers(refused: BuiltSet) -> None:
    assert "seg" not in roles(refused)
    without = build_refusal(make_classic(make_geometry(n_slices=2)), maps=None)
    assert roles(without) == ["page", "sr", "sr.comprehensive", "sr.enhanced", "pdf", "ko"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": np.zeros((2, ROWS, COLUMNS), dtype=bool)}, "mask is empty"),
        ({"mask": make_mask(3)}, "the mask have shape"),
        ({"page_rgb": np.zeros((4, 4), dtype=np.uint8)}, "the page must be uint8"),
    ],
)
def test_parts_that_do_not_fit_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(make_classic(make_geometry(n_slices=2)), **changes)


def test_a_declined_acquisition_has_no_objects() -> None:
    result = replace(build_refusal(make_classic(make_geometry(n_slices=1))).result, status="declined")
    with pytest.raises(ValueError, match="declined"):
        build(make_classic(make_geometry(n_slices=1)), result, mask=None)


def test_maps_of_different_shape_are_named() -> None:
    with pytest.raises(ValueError, match=r"the T2\* map has shape"):
        ResultMaps(r2star_per_s=make_maps(2).r2star_per_s, t2star_ms=make_maps(1).t2star_ms)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"job_id": ""}, "job_id"), ({"revision": 0}, "revision"), ({"accepted_at": None}, "time zone")],
)
def test_an_identity_that_decides_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    base = make_identity()
    arguments = {"job_id": base.job_id, "accepted_at": base.accepted_at, **changes}
    if changes.get("accepted_at", base) is None:
        arguments["accepted_at"] = base.accepted_at.replace(tzinfo=None)
    with pytest.raises(ValueError, match=message):
        ResultIdentity(**arguments)


def test_thin_slices_far_apart_keep_their_gap() -> None:
    geometry = make_geometry(n_slices=2)
    wide = Geometry(
        positions_mm=geometry.positions_mm,
        row_direction=geometry.row_direction,
        column_direction=geometry.column_direction,
        spacing_mm=geometry.spacing_mm,
        slice_thickness_mm=3.0,
    )
    (ds, *_) = of_role(build(make_classic(wide)), "map.r2star")
    assert (float(ds.SliceThickness), float(ds.SpacingBetweenSlices)) == (3.0, 12.0)
