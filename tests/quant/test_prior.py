"""What may be compared with an earlier measurement, and what the difference says."""

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from quant.prior import PriorAnswer, with_priors
from quant.result import LiverIronResult, PriorComparison
from quant.uncertainty import Repeatability
from tests.node.report.report_cases import CASES, earlier, measured

TODAY = date(2025, 8, 31)
NOW = measured(180.0).result


def compared(*found: Any, now: LiverIronResult = NOW, **answer: Any) -> LiverIronResult:
    return with_priors(now, TODAY, PriorAnswer(earlier=found, **answer), Repeatability(cov=0.055, floor_per_s=5.0))


def prior(result: LiverIronResult) -> PriorComparison:
    assert result.prior is not None
    return result.prior


def test_change_rate_and_repeatability_by_hand() -> None:
    found = prior(compared(earlier("2023-08-31", 260.0)))
    # Garbowski: LIC = 31.94 (1000 / R2*)^-1.014, its slope at the mean R2* of 220 /s, 1.96 sqrt(2) 5.5 % of 220 /s
    change = 31.94 * ((1000 / 180) ** -1.014 - (1000 / 260) ** -1.014)
    slope = (31.94 * ((1000 / 220.001) ** -1.014 - (1000 / 219.999) ** -1.014)) / 0.002
    assert found.change_mg_per_g == pytest.approx(change, abs=1e-9)
    assert found.change_per_year_mg_per_g == pytest.approx(change / (731 / 365.25))
    assert found.repeatability_coefficient_mg_per_g == pytest.approx(2.7718 * 0.055 * 220 * slope, rel=1e-4)
    assert found.exceeds_repeatability


def test_an_unchanged_liver_rarely_exceeds_the_coefficient() -> None:
    """Two scans of one liver, each off by the repeatability: 5 % of the differences lie beyond, by definition."""
    rng = np.random.default_rng(4)
    scans = rng.normal(300, 0.055 * 300, (400, 2))
    beyond = 0
    for then, now in scans:
        assert NOW.lic_mg_per_g is not None
        assert NOW.r2star_per_s is not None
        lic = earlier("2024-01-01", now).lic_mg_per_g
        today = replace(
            NOW,
            lic_mg_per_g=replace(NOW.lic_mg_per_g, median=lic),
            r2star_per_s=replace(NOW.r2star_per_s, median=float(now)),
        )
        beyond += prior(compared(earlier("2024-01-01", then), now=today)).exceeds_repeatability
    assert 0.02 < beyond / 400 < 0.09


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"field_t": 3.0}, "field strength 3 T then, 1.5 T now"),
        ({"calibration_id": "hernando-2023"}, "calibration hernando-2023 (1.5 T) then, garbowski-2014 (1.5 T) now"),
        ({"method_version": "0"}, "method version 0 then, 1 now"),
        ({"signal": "complex"}, "signal complex then, magnitude now"),
        ({"model": "one_exponential"}, "signal model one exponential then, magnitude fat first moment now"),
        ({"echo_times_s": (0.004, 0.008, 0.012, 0.016)}, "4 echoes from 4.00 to 16.00 ms then"),
        ({"bound": "at_least"}, "the earlier value is a bound only"),
    ],
)
def test_what_differs_too_much_is_not_compared_and_said(changes: dict[str, Any], why: str) -> None:
    result = compared(earlier("2024-01-01", 260.0, **changes))
    found = prior(result)
    assert not found.comparable
    assert found.change_mg_per_g is found.change_per_year_mg_per_g is found.repeatability_coefficient_mg_per_g is None
    assert why in (found.why_not or "")
    assert result.prior_check is not None
    assert why in result.prior_check.text


def test_a_bound_of_today_is_not_compared() -> None:
    result = compared(earlier("2024-01-01", 260.0), now=CASES["at least"]().result)
    assert prior(result).why_not == "this value is a bound only"


def test_the_latest_comparable_one_is_compared_and_a_later_one_is_told() -> None:
    result = compared(earlier("2024-06-01", 260.0, field_t=3.0), earlier("2022-01-01", 300.0))
    assert prior(result).date == "2022-01-01"
    assert result.prior_check is not None
    assert [point.date for point in result.prior_check.earlier] == ["2022-01-01", "2024-06-01"]
    assert "The latest one is not comparable: Earlier measurement 2024-06-01" in result.prior_check.text


def test_no_rate_over_a_short_time_and_nothing_from_the_same_day_or_later() -> None:
    result = compared(earlier("2025-07-01", 260.0), earlier("2025-08-31", 100.0), earlier("2026-01-01", 100.0))
    assert prior(result).change_mg_per_g is not None
    assert prior(result).change_per_year_mg_per_g is None
    assert result.prior_check is not None
    assert len(result.prior_check.earlier) == 1
    assert "per year" not in result.prior_check.text


def test_every_way_of_not_comparing_is_said() -> None:
    def said(result: LiverIronResult) -> tuple[str, str]:
        assert result.prior_check is not None
        return result.prior_check.state, result.prior_check.text

    repeatability = Repeatability()
    assert said(with_priors(NOW, TODAY, None, repeatability)) == (
        "not_configured",
        "Earlier measurements were not looked for: no archive is configured.",
    )
    assert said(compared())[0] == "none_found"
    no_lic = compared(now=CASES["no calibration"]().result)
    assert said(no_lic) == ("not_checked", "Not compared with earlier measurements: no LIC is stated here.")
    unreached = with_priors(NOW, TODAY, PriorAnswer(not_checked="PACS: no answer"), repeatability)
    assert said(unreached) == ("not_checked", "Earlier measurements could not be checked: PACS: no answer.")
    assert [line.code for line in unreached.qc[len(NOW.qc) :]] == ["priors_not_checked"]
    undated = with_priors(NOW, None, PriorAnswer(), repeatability)
    assert said(undated)[1] == "Earlier measurements could not be checked: the study has no date."
    refused = CASES["refused"]().result
    assert with_priors(refused, TODAY, PriorAnswer(), repeatability) == refused


def test_reports_that_were_not_used_are_counted() -> None:
    result = compared(other_person=1, unreadable=2, left_out=3, other_issuer=4)
    added = {line.code: (line.severity, line.value) for line in result.qc[len(NOW.qc) :]}
    assert added == {
        "priors_other_person": ("warning", 1),
        "priors_other_issuer": ("info", 4),
        "priors_unreadable": ("warning", 2),
        "priors_left_out": ("info", 3),
    }
