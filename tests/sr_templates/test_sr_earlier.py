"""A report that is written can be read back: the values of the result it was made from, whatever was measured."""

import pytest
from pydicom.dataset import Dataset

from sr_templates import codes
from sr_templates.check import decode, encode
from sr_templates.earlier import UnreadableReportError, is_ours, read_report
from sr_templates.result_set import BuiltSet
from sr_templates.tree import children, measurement_groups, median_of
from tests.sr_templates.sr_sources import (
    ECHO_TIMES_S,
    STUDY,
    as_earlier,
    build,
    build_refusal,
    make_bounded_result,
    make_classic,
    make_extreme_maps,
    make_followed_up,
    make_geometry,
    make_identity,
    make_mask,
)


def report_of(built: BuiltSet, role: str = "sr") -> Dataset:
    """As a receiver reads it."""
    return decode(encode(next(item.dataset for item in built.objects if item.role == role)))


EQUATION_OR_TABLE = {"121420", "121421", "121422", "121424"}  # CID 228, of which TID 1419 row 16 allows one


def test_the_lic_names_one_equation_with_its_reference(measured: BuiltSet) -> None:
    group = next(measurement_groups(report_of(measured)))
    lic = median_of(group, codes.LIC)
    assert lic is not None
    stated = [item for item in lic.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue in EQUATION_OR_TABLE]
    assert measured.result.calibration is not None
    assert len(stated) == 1
    assert measured.result.calibration.equation.replace("×", "x") in stated[0].TextValue
    assert measured.result.calibration.doi in stated[0].TextValue


@pytest.mark.parametrize("role", ["sr", "sr.comprehensive", "sr.enhanced"])
def test_round_trip(measured: BuiltSet, role: str) -> None:
    ds = report_of(measured, role)
    assert is_ours(ds)
    found = read_report(ds).measurement
    lic, r2star = measured.result.lic_mg_per_g, measured.result.r2star_per_s
    assert found is not None
    assert lic is not None
    assert r2star is not None
    assert found.lic_mg_per_g == pytest.approx(lic.median, abs=0.0005)
    assert found.interval95_mg_per_g == pytest.approx(lic.interval95, abs=0.001)
    assert found.r2star_per_s == pytest.approx(r2star.median, abs=0.005)
    assert found.date == "2026-02-03"
    assert (found.calibration_id, found.calibration_field_t, found.field_t) == ("garbowski-2014", 1.5, 1.5)
    assert (found.method_version, found.signal, found.model) == ("1", "magnitude", "single exponential")
    assert found.echo_times_s == pytest.approx(ECHO_TIMES_S)
    assert found.bound is None
    assert found.report.sop_instance_uid == ds.SOPInstanceUID


def test_a_bound_is_read_as_one() -> None:
    result = make_bounded_result(make_mask(3))
    built = build(make_classic(make_geometry(n_slices=3)), result, maps=make_extreme_maps(3, 0.4))
    found = read_report(report_of(built)).measurement
    assert found is not None
    assert found.bound == "at_least"
    assert found.interval95_mg_per_g == (pytest.approx(23.0, abs=0.001), None)


def test_a_refusal_states_nothing_and_still_replaces(measured: BuiltSet) -> None:
    later = build_refusal(
        make_classic(make_geometry()),
        replaces=[as_earlier(measured)],
        identity=make_identity(job_id="job-2", revision=2),
    )
    found = read_report(report_of(later))
    assert found.measurement is None
    assert str(report_of(measured).SOPInstanceUID) in found.replaces


def test_reports_of_others_are_not_ours(measured: BuiltSet) -> None:
    for keyword, value in (("Manufacturer", "other"), ("ManufacturerModelName", "x"), ("ContentTemplateSequence", [])):
        ds = report_of(measured)
        setattr(ds, keyword, value)
        assert not is_ours(ds)


def test_what_is_missing_is_never_guessed(measured: BuiltSet) -> None:
    def without(name: Dataset) -> Dataset:
        ds = report_of(measured)
        for group in measurement_groups(ds):
            group.ContentSequence = [item for item in group.ContentSequence if item not in list(children(group, name))]
        return ds

    with pytest.raises(UnreadableReportError, match="R2"):
        read_report(without(codes.R2STAR))
    with pytest.raises(UnreadableReportError, match="field strength"):
        read_report(without(codes.FIELD_STRENGTH))


def test_another_unit_is_refused(measured: BuiltSet) -> None:
    ds = report_of(measured)
    group = next(measurement_groups(ds))
    for item in children(group, codes.LIC):
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = "umol/g"
    with pytest.raises(UnreadableReportError, match="another unit"):
        read_report(ds)


def test_earlier_values_dates_and_references_are_coded_and_never_taken_for_todays() -> None:
    result = make_followed_up(3)
    built = build(make_classic(make_geometry(n_slices=3)), result)
    ds = report_of(built)
    groups = [group for group in measurement_groups(ds) if list(children(group, codes.EARLIER_LIC))]
    assert result.prior_check is not None
    assert len(groups) == 2
    for group, stated in zip(groups, reversed(result.prior_check.earlier), strict=True):
        number = next(children(group, codes.EARLIER_LIC))
        assert float(number.MeasuredValueSequence[0].NumericValue) == round(stated.lic_mg_per_g, 3)
        assert next(children(group, codes.EARLIER_DATE)).Date == stated.date.replace("-", "")
        source = next(children(number, codes.SOURCE_FOR_MEASUREMENT))
        assert source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == stated.report.sop_instance_uid
        assert bool(list(children(group, codes.LIC_CHANGE))) == stated.comparable
        assert bool(list(children(group, codes.EARLIER_WHY_NOT))) != stated.comparable
    assert {study.StudyInstanceUID for study in ds.PertinentOtherEvidenceSequence} == {f"{STUDY}.2025", f"{STUDY}.2024"}
    found = read_report(ds).measurement
    assert found is not None
    assert result.lic_mg_per_g is not None
    assert found.lic_mg_per_g == pytest.approx(result.lic_mg_per_g.median, abs=0.0005)
