"""The policy table: what the shipped one says, and what a wrong one is told."""

from dataclasses import replace
from datetime import date

import pytest

from node.policy import load_policy
from quant.follow_up import NOT_APPROVED, Policy, add_months, follow_up
from quant.result import ClinicianDecides, FollowUpInterval

STUDY = date(2025, 8, 31)
SHIPPED = load_policy(None, None, None)


def ask(
    lic: float,
    indication: str | None,
    policy: Policy = SHIPPED,
    interval95: tuple[float, float] | None = None,
) -> FollowUpInterval | ClinicianDecides:
    return follow_up(
        policy, lic_mg_per_g=lic, interval95=interval95 or (lic, lic), indication_id=indication, study_date=STUDY
    )


@pytest.mark.parametrize(
    ("indication", "lic", "months", "match"),
    [
        ("scd-chronic-transfusion", 0.9, (12, 24), True),
        ("scd-chronic-transfusion", 2.1, (12, 24), True),
        ("scd-chronic-transfusion", 20.0, (12, 24), True),
        ("thalassaemia-transfusion-dependent", 1.0, (12, 12), True),
        ("thalassaemia-transfusion-dependent", 6.99, (12, 12), True),
        ("thalassaemia-transfusion-dependent", 7.0, (6, 12), True),
        ("thalassaemia-transfusion-dependent", 30.0, (6, 12), True),
        (None, 1.8, (12, 24), False),
        (None, 2.08, (12, 24), False),
        (None, 6.99, (12, 24), False),
        (None, 7.0, (6, 12), False),
        (None, 40.0, (6, 12), False),
    ],
)
def test_shipped_intervals(indication: str | None, lic: float, months: tuple[int, int], match: bool) -> None:
    interval = ask(lic, indication)
    assert isinstance(interval, FollowUpInterval)
    assert (interval.min_months, interval.max_months) == months
    assert interval.population_match is match
    assert interval.source in interval.text
    assert interval.indication == indication


@pytest.mark.parametrize("lic", [0.3, 2.5, 5.0, 10.0, 20.0])
@pytest.mark.parametrize(
    "indication",
    [
        "scd-no-chronic-transfusion",
        "thalassaemia-non-transfusion-dependent",
        "other-transfusion-dependent-anaemia",
        "haemochromatosis",
        "mds-aplastic-anaemia-transplant",
        "metabolic-liver-disease",
    ],
)
def test_without_a_guideline_the_clinician_decides(indication: str, lic: float) -> None:
    answer = ask(lic, indication)
    assert isinstance(answer, ClinicianDecides)
    assert "clinician decides" in answer.text


def test_normal_without_indication_is_the_clinicians() -> None:
    answer = ask(1.7999, None)
    assert isinstance(answer, ClinicianDecides)
    assert "below 1.8" in answer.text


def test_text_carries_dates_population_caveat_and_approval() -> None:
    interval = ask(2.08, None)
    assert isinstance(interval, FollowUpInterval)
    assert (interval.earliest_date, interval.latest_date) == ("2026-08-31", "2027-08-31")
    assert interval.rule_id == "ironnode-default/2026-1/NG-1"
    for words in (
        "12 to 24 months (2026-08-31 to 2027-08-31)",
        "doi:10.1182/bloodadvances.2019001143",
        "applied beyond its population",
        "same technique and calibration",
        "Transfusion load, a change of chelation, or ferritin",
        NOT_APPROVED,
    ):
        assert words in interval.text


def test_signed_policy_names_who_and_when() -> None:
    signed = load_policy(None, "Dr A. Example", "2026-05-01")
    interval = ask(2.08, None, signed)
    assert isinstance(interval, FollowUpInterval)
    assert interval.signed_off_by == "Dr A. Example"
    assert "Policy approved by Dr A. Example on 2026-05-01." in interval.text
    assert NOT_APPROVED not in interval.text


def test_no_study_date_no_dates() -> None:
    interval = follow_up(SHIPPED, lic_mg_per_g=8, interval95=(8, 8), indication_id=None, study_date=None)
    assert isinstance(interval, FollowUpInterval)
    assert (interval.earliest_date, interval.latest_date) == (None, None)
    assert "Next measurement in 6 to 12 months. " in interval.text


@pytest.mark.parametrize(
    ("day", "months", "then"),
    [
        (date(2025, 8, 31), 6, date(2026, 2, 28)),
        (date(2023, 8, 31), 6, date(2024, 2, 29)),
        (date(2024, 2, 29), 12, date(2025, 2, 28)),
        (date(2025, 12, 15), 1, date(2026, 1, 15)),
        (date(2025, 1, 31), 11, date(2025, 12, 31)),
    ],
)
def test_calendar_months(day: date, months: int, then: date) -> None:
    assert add_months(day, months) == then


def test_interval_across_a_band_edge_names_the_other_rule() -> None:
    tdt = "thalassaemia-transfusion-dependent"
    assert "from 7 mg/g the rule is 6 to 12 months" in ask(6.7, tdt, interval95=(5.8, 7.6)).text
    assert "below 7 mg/g the rule is 12 months" in ask(7.3, tdt, interval95=(6.4, 8.2)).text
    assert "Borderline" not in ask(3.0, tdt, interval95=(2.6, 3.4)).text  # both bands have the same rule
    assert "Borderline" not in ask(6.7, tdt, interval95=(6.6, 6.8)).text
    assert "below 1.8 mg/g the clinician decides" in ask(2.0, None, interval95=(1.7, 2.3)).text
    assert "from 1.8 mg/g the rule is 12 to 24 months" in ask(1.7, None, interval95=(1.4, 2.0)).text
    wide = ask(5.0, None, interval95=(1.0, 9.0)).text
    assert "below 1.8 mg/g the clinician decides and from 7 mg/g the rule is 6 to 12 months" in wide


def test_unknown_indication_is_named() -> None:
    with pytest.raises(ValueError, match=r"indication gout .*not-given, scd-chronic-transfusion"):
        ask(3, "gout")


def test_policy_refuses_holes_overlaps_and_unknown_names() -> None:
    rules = SHIPPED.rules
    with pytest.raises(ValueError, match=r"indication scd-chronic-transfusion, band L4 has no rule"):
        replace(SHIPPED, rules=tuple(r for r in rules if r.id != "SCD-2"))
    doubled = replace(rules[0], id="SCD-3", bands=("L2",))
    with pytest.raises(ValueError, match=r"band L2 has 2 rules \(SCD-1, SCD-3\)"):
        replace(SHIPPED, rules=(*rules, doubled))
    with pytest.raises(ValueError, match=r"rules\.SCD-1\.source: ash-1999 is not defined"):
        replace(SHIPPED, rules=(replace(rules[0], source="ash-1999"), *rules[1:]))
    with pytest.raises(ValueError, match=r"rules\.SCD-1\.source: an interval needs a source"):
        replace(rules[0], source=None)
    with pytest.raises(ValueError, match=r"rules\.SCD-1\.months"):
        replace(rules[0], months=(24, 12))
    with pytest.raises(ValueError, match=r"rules\.SCD-1\.note"):
        replace(rules[0], population_match=False)
    with pytest.raises(ValueError, match="not-given is missing"):
        replace(SHIPPED, indications=SHIPPED.indications[1:])
    with pytest.raises(ValueError, match="bands: the first must start at 0"):
        replace(SHIPPED, bands=SHIPPED.bands[1:])
    with pytest.raises(ValueError, match=r"rules\.SCD-1: stands twice"):
        replace(SHIPPED, rules=(*rules, rules[0]))
