"""The whole assessment of a region: the cases every release must get right."""

import math
import re
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.policy import load_policy
from quant.assess import Assessment, FitFacts, assess
from quant.noise import NoiseModel
from quant.result import ClinicianDecides, FollowUpInterval, QcLine, Statistics
from quant.settings import AssessmentSettings
from quant.uncertainty import Repeatability
from quant.wording import format_lic
from tests.clinical_cases import BY_FIELD, ECHO_TIMES_S, fit_facts, region_of

SETTINGS = AssessmentSettings(
    calibration_by_field=BY_FIELD,
    grade_scheme="guglielmo-2023",
    policy=load_policy(None, None, None),
    repeatability=Repeatability(cov=0.055, floor_per_s=5.0),
)


def assessed(r2star_per_s: float, field_t: float = 1.5, **changes: Any) -> Assessment:
    region_changes = {
        key: changes.pop(key)
        for key in (
            "fraction_at_limit",
            "fraction_failed",
            "misfit",
            "pooled_ratio",
            "spread",
            "n_voxels",
            "pdff_percent",
        )
        if key in changes
    }
    facts = {key: changes.pop(key) for key in FitFacts.__dataclass_fields__ if key in changes}
    arguments: dict[str, Any] = {
        "field_t": field_t,
        "fit": fit_facts(**facts),
        "settings": SETTINGS,
        "study_date": date(2025, 8, 31),
        "indication": None,
        **changes,
    }
    return assess(region_of(r2star_per_s, **region_changes), **arguments)


def line(assessment: Assessment, code: str) -> QcLine:
    found = [line for line in assessment.qc if line.code == code]
    assert len(found) == 1, code
    return found[0]


def codes(assessment: Assessment) -> set[str]:
    return {line.code for line in assessment.qc}


def test_the_case_every_release_must_get_right() -> None:
    result = assessed(67.73)
    assert result.lic_mg_per_g is not None
    assert result.lic_mg_per_g.median == pytest.approx(2.08, abs=0.005)
    assert format_lic(result.lic_mg_per_g.median) == "2.1"
    assert result.lic_umol_per_g_median == pytest.approx(37.3, abs=0.05)
    assert result.t2star_ms is not None
    assert result.t2star_ms.median == pytest.approx(14.76, abs=0.005)
    assert result.calibration is not None
    assert (result.calibration.id, result.calibration.doi) == ("garbowski-2014", "10.1186/1532-429X-16-40")
    assert result.grade is not None
    assert (result.grade.code, result.grade.scheme) == ("mild", "guglielmo-2023")
    assert result.views is not None
    assert result.views.reference.above is True
    assert result.views.clinical.above is False
    assert "2.1 mg/g (37 µmol/g), above the 1.8 mg/g upper reference limit" in result.views.reference.text
    assert "Garbowski 2014 (1.5 T)" in result.views.reference.text
    assert (
        "other published 1.5 T calibrations give 1.4 to 1.9, so the value is borderline" in result.views.reference.text
    )
    assert result.views.clinical.text.startswith("Below the 3.2, 7 and 15 mg/g thresholds")
    assert "No clinically significant overload by the 7 mg/g criterion." in result.views.clinical.text
    assert isinstance(result.follow_up, FollowUpInterval)
    assert (result.follow_up.min_months, result.follow_up.max_months) == (12, 24)
    assert result.follow_up.population_match is False
    assert result.follow_up.indication is None


def test_the_same_value_at_3_t() -> None:
    result = assessed(67.73, 3.0)
    assert result.lic_mg_per_g is not None
    assert result.lic_mg_per_g.median == pytest.approx(0.88, abs=0.005)
    assert result.calibration is not None
    assert (result.calibration.id, result.calibration.field_t) == ("hernando-2023", 3.0)
    assert result.grade is not None
    assert result.grade.code == "normal"
    assert isinstance(result.follow_up, ClinicianDecides)
    assert [other.id for other in result.other_calibrations] == ["hernando-2021"]
    at_289 = assessed(67.73, 2.8936)
    assert at_289.lic_mg_per_g is not None
    assert at_289.lic_mg_per_g.median == pytest.approx(0.92, abs=0.005)


@pytest.mark.parametrize(
    ("rate", "grade"), [(20, "normal"), (67.73, "mild"), (150, "moderate"), (400, "severe"), (800, "extreme")]
)
def test_grades_along_the_range(rate: float, grade: str) -> None:
    result = assessed(rate)
    assert result.grade is not None
    assert result.grade.code == grade
    assert result.lic_mg_per_g is not None
    assert result.lic_mg_per_g.bound is None


def test_statistics_follow_the_conversion() -> None:
    result = assessed(150, 3.0, spread=0.1)
    lic, rate = result.lic_mg_per_g, result.r2star_per_s
    assert lic is not None
    for name in ("median", "mean", "q1", "q3"):
        assert getattr(lic, name) == pytest.approx(-0.03 + 0.01349 * getattr(rate, name))
    assert lic.sd == pytest.approx(0.01349 * rate.sd)
    assert result.t2star_ms is not None
    assert result.t2star_ms.q1 == pytest.approx(1000 / rate.q3)
    assert result.t2star_ms.interval95 == pytest.approx((1000 / rate.interval95[1], 1000 / rate.interval95[0]))


def test_another_field_strength_gives_r2star_only() -> None:
    result = assessed(67.73, 7.0)
    assert result.r2star_per_s.median == 67.73
    assert (result.lic_mg_per_g, result.grade, result.views, result.calibration) == (None, None, None, None)
    assert result.lic_umol_per_g_median is None
    assert result.other_calibrations == ()
    assert line(result, "no_calibration_for_field").severity == "warning"
    assert isinstance(result.follow_up, ClinicianDecides)
    only_15 = replace(SETTINGS, calibration_by_field={"1.5": "garbowski-2014"})
    assert line(assessed(67.73, 3.0, settings=only_15), "no_calibration_configured").value == 3.0


def test_below_the_calibration_no_number_is_printed() -> None:
    result = assessed(5.0)
    assert (result.lic_mg_per_g, result.grade) == (None, None)
    assert "LIC below 0.5 mg/g, no number and no grade" in line(result, "r2star_below_calibration").text
    assert line(result, "r2star_below_normal_liver").limit == 23.7
    assert result.t2star_ms is None  # the interval of R2* reaches 0
    small = assessed(25.0, settings=replace(SETTINGS, calibration_by_field={"1.5": "hernando-2023"}))
    assert small.lic_mg_per_g is not None
    assert 0 < small.lic_mg_per_g.median < 0.5
    assert small.lic_mg_per_g.interval95[0] == 0
    assert line(small, "lic_below_reporting_limit").severity == "info"
    assert small.views is not None
    assert "LIC < 0.5 mg/g, below" in small.views.reference.text
    assert "-0." not in small.views.reference.text


@pytest.mark.parametrize(
    ("rate", "fraction", "limit", "value", "bound"),
    [
        (900, 0.60, 785, 785, "at_least"),
        (800, 0.10, 785, 785, "at_least"),
        (600, 0.30, 785, 594, "at_least"),  # the pooled fit is 1 % lower
        (600, 0.20, 785, 600, None),
        (60, 0.30, 785, 60, None),  # voxels with little decay are uncertain, not beyond the limit
        (600, 0.30, None, 600, None),
        (1500, 0.0, None, 1341.0, "at_least"),  # top of the calibration
    ],
)
def test_lower_bounds(rate: float, fraction: float, limit: float | None, value: float, bound: str | None) -> None:
    result = assessed(rate, fraction_at_limit=fraction, measurable_limit_per_s=limit)
    assert result.lic_mg_per_g is not None
    assert result.lic_mg_per_g.bound == bound
    assert result.lic_mg_per_g.median == pytest.approx(31.94 * (1000 / value) ** -1.014, rel=2e-3)
    assert ("lic_lower_bound" in codes(result)) == (bound is not None)
    if bound:
        assert isinstance(result.follow_up, ClinicianDecides)
        assert ("technical repeat" in result.follow_up.text) == (limit is not None)  # none reaches beyond a calibration
        assert result.views is not None
        assert f"LIC at least {format_lic(result.lic_mg_per_g.median)} mg/g" in result.views.reference.text


def test_lower_bound_below_an_edge_does_not_deny_overload() -> None:
    result = assessed(190, fraction_at_limit=0.5, measurable_limit_per_s=200)
    assert result.grade is not None
    assert result.grade.label == "at least moderate"
    assert result.views is not None
    assert result.views.clinical.above is False
    assert "cannot be told" in result.views.clinical.text
    assert "No clinically significant" not in result.views.clinical.text


@pytest.mark.parametrize(
    ("changes", "code", "severity"),
    [
        ({}, "echo_count", "info"),
        ({"echoes_used": 5}, "echo_count", "warning"),
        ({"echoes_used": 3}, "echo_count", "failure"),
        ({"fraction_at_limit": 0.05}, "fraction_at_limit", "info"),
        ({"fraction_at_limit": 0.06}, "fraction_at_limit", "warning"),
        ({"fraction_failed": 0.10}, "fraction_failed", "info"),
        ({"fraction_failed": 0.11}, "fraction_failed", "warning"),
        ({"misfit": 0.029}, "pooled_misfit", "info"),
        ({"misfit": 0.031}, "pooled_misfit", "warning"),
        ({"pooled_ratio": 0.96}, "pooled_disagreement", "info"),
        ({"pooled_ratio": 1.12}, "pooled_disagreement", "warning"),
        ({"n_voxels": 299}, "region_size", "warning"),
        ({"n_voxels": 300}, "region_size", "info"),
        ({"spread": 0.2}, "heterogeneity", "info"),
        ({"spread": 0.4}, "heterogeneity", "warning"),
        ({"echo_times_s": tuple(0.02 + t for t in ECHO_TIMES_S)}, "echo_times", "warning"),
        ({"echo_times_s": tuple(0.2 * t for t in ECHO_TIMES_S)}, "echo_times", "warning"),
        ({"echo_times_s": tuple(0.001 + 0.016 * n for n in range(12))}, "echo_spacing", "warning"),
        ({}, "measurable_limit", "info"),
        ({}, "interval_parts", "info"),
    ],
)
def test_quality_lines(changes: dict[str, Any], code: str, severity: str) -> None:
    assert line(assessed(67.73, **changes), code).severity == severity


REFUSED: list[dict[str, Any]] = [{"echoes_used": 3}, {"fraction_failed": 0.6}, {"misfit": 0.2}]


@pytest.mark.parametrize("changes", REFUSED)
@pytest.mark.parametrize("field_t", [1.5, 3.0])
def test_no_quality_line_of_a_refusal_states_the_value(changes: dict[str, Any], field_t: float) -> None:
    result = assessed(121.6, field_t, **{**FOUR_AT_3_T, **changes}, pooled_ratio=1.12)
    assert result.refusals
    assert "fat_not_modelled" in codes(result)
    for entry in result.qc:
        assert not re.search(r"\d /s|mg/g|T2\* \(|T2\* of", entry.text), entry.text


def test_no_quality_line_of_a_lower_bound_states_more_than_the_bound() -> None:
    result = assessed(1470.4, fraction_at_limit=0.99, pooled_ratio=1.2, measurable_limit_per_s=1052.0)
    assert result.r2star_per_s is not None
    assert result.r2star_per_s.bound == "at_least"
    assert "Pooled fit and median of voxel fits are 20 % apart." in line(result, "pooled_disagreement").text
    told = {float(rate) for entry in result.qc for rate in re.findall(r"(\d+(?:\.\d+)?) /s", entry.text)}
    assert not [rate for rate in told if rate > result.r2star_per_s.median + 0.5]


def test_a_healthy_liver_under_the_advised_protocol_warns_of_nothing() -> None:
    healthy = assessed(28.7)  # mean of 100 volunteers at 1.5 T, 10.1038/s41598-020-74968-z
    assert [entry.code for entry in healthy.qc if entry.severity != "info"] == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"echoes_used": 3}, "echo_count"),
        ({"fraction_failed": 0.51}, "fraction_failed"),
        ({"misfit": 0.16}, "pooled_misfit"),
    ],
)
def test_a_failure_leaves_no_number_and_no_verdict(changes: dict[str, Any], code: str) -> None:
    result = assessed(67.73, **changes)
    assert [reason.code for reason in result.refusals] == [code]
    assert line(result, code).severity == "failure"
    stated = (result.r2star_per_s, result.t2star_ms, result.lic_mg_per_g, result.grade, result.views)
    assert stated == (None,) * 5
    assert (result.lic_umol_per_g_median, result.calibration, result.other_calibrations) == (None, None, ())
    assert isinstance(result.follow_up, ClinicianDecides)
    assert result.follow_up.text.startswith(f"No interval is issued. {result.refusals[0].text} A technical repeat")
    assert "overrides this interval" not in result.follow_up.text
    assert assessed(67.73, fraction_failed=0.5).refusals == ()


def test_a_bound_carries_nothing_unbounded() -> None:
    result = assessed(1067, fraction_at_limit=0.6, pooled_ratio=0.94, measurable_limit_per_s=1058.0)
    rate, t2star, lic = result.r2star_per_s, result.t2star_ms, result.lic_mg_per_g
    assert rate is not None
    assert t2star is not None
    assert lic is not None
    assert (rate.median, rate.bound) == (pytest.approx(0.94 * 1067), "at_least")  # the least of the three
    assert (t2star.median, t2star.bound) == (pytest.approx(1000 / rate.median), "at_most")
    for statistics in (rate, lic):
        assert statistics.interval95[0] < statistics.interval95[1] == statistics.median
        assert all(math.isnan(v) for v in (statistics.mean, statistics.sd, statistics.q1, statistics.q3))
    assert t2star.interval95[0] == t2star.median < t2star.interval95[1]
    assert result.other_calibrations
    assert all(o.lic_mg_per_g < lic.median for o in result.other_calibrations)  # at the bound, not at the median
    assert "60 % of the voxels" in line(result, "lic_lower_bound").text
    assert "heterogeneity" not in codes(result)
    assert "T2* of the liver" not in line(result, "echo_times").text
    by_median = assessed(1067, fraction_at_limit=0.2, measurable_limit_per_s=1058.0)
    assert "the median R2* (1067 /s) reaches it" in line(by_median, "lic_lower_bound").text


def test_beyond_the_calibration_r2star_itself_is_measured() -> None:
    result = assessed(1500, measurable_limit_per_s=None)
    assert result.r2star_per_s is not None
    assert (result.r2star_per_s.median, result.r2star_per_s.bound) == (1500, None)
    assert result.lic_mg_per_g is not None
    assert result.lic_mg_per_g.bound == "at_least"


def test_a_high_bound_first_says_what_is_established() -> None:
    severe = assessed(1300, fraction_at_limit=0.6, measurable_limit_per_s=1310.0).follow_up
    assert isinstance(severe, ClinicianDecides)
    assert severe.text.startswith("Severe iron overload is established: LIC at least 41.3 mg/g, grade extreme")
    assert severe.text.index("established") < severe.text.index("technical repeat")
    low = assessed(40, fraction_at_limit=0.6, measurable_limit_per_s=45.0).follow_up
    assert "established" not in low.text


FOUR_AT_3_T: dict[str, Any] = {
    "echo_times_s": (1.0e-3, 1.9e-3, 2.8e-3, 3.7e-3),
    "echoes_used": 4,
    "noise": NoiseModel(sigma=150.0, coils=1.0, source="background"),  # S0 is 400: too noisy to show fat
}


def test_fat_that_the_echoes_cannot_tell_is_warned_of() -> None:
    """A water-only fit reads 29 % low there with 20 % fat: the bias of the noise-free signal, fitted by hand."""
    result = assessed(121, 3.0, **FOUR_AT_3_T)
    warning = line(result, "fat_not_modelled")
    assert warning.severity == "warning"
    assert warning.value == pytest.approx(-0.29, abs=0.01)
    assert "lower R2* here (-29 % with 20 % fat)" in warning.text
    assert "Not included: the bias by fat, which is not modelled" in line(result, "interval_parts").text
    assert result.views is not None
    assert result.views.reference.borderline is True
    assert "fat, which is not modelled, may have moved it across" in result.views.reference.text
    assert "fat_not_modelled" not in codes(assessed(121, 3.0, **{**FOUR_AT_3_T, "noise": fit_facts().noise}))


def test_fat_that_was_fitted_needs_no_warning_and_has_its_repeatability() -> None:
    fat_model: dict[str, Any] = {**FOUR_AT_3_T, "model": "magnitude_fat_first_moment"}
    assert "fat_not_modelled" in codes(assessed(121, 3.0, **fat_model))  # no voxel told its fat: fitted as water
    fat = Statistics(median=8.0, mean=8.0, sd=2.0, q1=7.0, q3=9.0, interval95=(7.9, 8.1))
    result = assessed(121, 3.0, **fat_model, pdff_percent=fat)
    assert "fat_not_modelled" not in codes(result)
    assert result.pdff_percent is not None
    assert result.pdff_percent.interval95 == pytest.approx((8 - 2.974, 8 + 2.974), abs=0.005)  # 1.96 x 4.2 / 2.77


@pytest.mark.parametrize(("field", "spacing_ms"), [(1.5, 4.6), (3.0, 2.3)])
def test_in_phase_echoes_need_no_warning(field: float, spacing_ms: float) -> None:
    times = tuple(1e-3 * spacing_ms * n for n in range(1, 8))
    assert "fat_not_modelled" not in codes(assessed(67.73, field, echo_times_s=times, echoes_used=7))


def test_the_borderline_band_reaches_the_follow_up() -> None:
    result = assessed(215, indication="thalassaemia-transfusion-dependent")
    assert result.lic_mg_per_g is not None
    assert result.lic_mg_per_g.interval95[0] < 7 < result.lic_mg_per_g.interval95[1]
    assert isinstance(result.follow_up, FollowUpInterval)
    assert (result.follow_up.min_months, result.follow_up.max_months) == (12, 12)
    assert "from 7 mg/g the rule is 6 to 12 months" in result.follow_up.text


def test_limit_that_cannot_reach_severe_iron_says_so() -> None:
    assert (
        "An LIC of 15 mg/g (1114 /s) cannot be measured"
        in line(assessed(67.73, 3.0, measurable_limit_per_s=785.0), "measurable_limit").text
    )
    assert "cannot be measured" not in line(
        assessed(67.73, 1.5, measurable_limit_per_s=785.0), "measurable_limit"
    ).text  # fmt: skip


def test_indication_decides_the_interval() -> None:
    result = assessed(260, indication="thalassaemia-transfusion-dependent")
    assert isinstance(result.follow_up, FollowUpInterval)
    assert (result.follow_up.min_months, result.follow_up.max_months) == (6, 12)
    assert result.follow_up.indication == "thalassaemia-transfusion-dependent"
    with pytest.raises(ValueError, match="indication gout"):
        assessed(260, indication="gout")


def test_other_calibrations_on_the_other_side_of_7_are_named() -> None:
    result = assessed(240)  # Garbowski 7.5, the linear ones 6.0 to 6.3
    assert result.views is not None
    assert result.views.clinical.above is True
    assert "Borderline: calibrations disagree on the side" in result.views.clinical.text.replace(
        "the 95 % interval includes 7 and ", ""
    )


def test_settings_are_checked_when_made() -> None:
    with pytest.raises(ValueError, match=r"garbowski-2014 has no equation at 3\.0 T"):
        replace(SETTINGS, calibration_by_field={"3.0": "garbowski-2014"})
    with pytest.raises(ValueError, match=r"grading\.scheme"):
        replace(SETTINGS, grade_scheme="none")


def test_a_region_without_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        assessed(float("nan"))


@settings(deadline=None)  # a slow machine is no counter-example
@given(rate=st.floats(11, 1300), field=st.sampled_from([1.5, 2.89, 3.0]))
def test_every_liver_gets_consistent_statements(rate: float, field: float) -> None:
    result = assessed(rate, field)
    assert result.lic_mg_per_g is not None
    assert result.views is not None
    assert result.grade is not None
    lic = result.lic_mg_per_g
    assert lic.interval95[0] <= lic.median <= lic.interval95[1]
    assert result.views.reference.above == (lic.median >= 1.8) == (result.grade.code != "normal")
    assert result.views.clinical.above == (lic.median >= 7) == (result.grade.code in ("severe", "extreme"))
    printed = format_lic(lic.median)
    if not printed.startswith("<"):
        assert (float(printed) >= 1.8) == result.views.reference.above
    others = sorted(other.lic_mg_per_g for other in result.other_calibrations)
    assert all(format_lic(end) in result.views.reference.text for end in others[:1] + others[-1:])  # as in the table


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0833, "2.1"), (1.79, "1.79"), (1.8, "1.8"), (6.96, "6.96"), (0.49, "< 0.5"), (-0.1, "< 0.5")],
)
def test_printed_lic_stays_on_its_side_of_the_thresholds(value: float, text: str) -> None:
    assert format_lic(value) == text
    assert float(format_lic(1.799_999)) < 1.8
