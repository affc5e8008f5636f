"""Images of the same slices over the border of a study, a frame of reference or a timing: named, never joined."""

from typing import Any

import pytest

from node.intake.assembly import AcquisitionPlan, plan_study
from node.model import GroupFacts, InstanceHeader, ObjectPart
from tests.node.intake.test_assembly import ECHO_TIMES_MS, codes, image, measurable, scan

FACTS: dict[str, str] = {
    "study_instance_uid": "STUDY",
    "frame_of_reference_uid": "F",
    "matrix": "8x8",
    "pixel_spacing_mm": "2.000x2.000",
    "field_t": "1.5",
    "repetition_time_ms": "120.0",
    "flip_angle_deg": "20.0",
    "inversion_time_ms": "",
}


def volume(number: int, echoes: tuple[float, ...], facts: dict[str, str], **changes: Any) -> list[InstanceHeader]:
    """Three slices; ``facts`` are those of the whole volume."""
    told = GroupFacts(**{**FACTS, **facts})
    known: dict[str, Any] = {
        "series": f"S{number}",
        "study_instance_uid": told.study_instance_uid,
        "group_facts": told,
        "group_key": str(told),
        "names_patient": True,
        "bare_patient_id_hash": "p",
        **changes,
    }
    return [image(z, t, **known) for z in range(3) for t in echoes]


def reason_of_first(every: list[InstanceHeader]) -> str:
    plans: list[AcquisitionPlan] = [plan for plan in plan_study(every) if plan.headers[0].series_instance_uid == "S0"]
    assert plans[0].declined is not None
    return plans[0].declined[1]


@pytest.mark.parametrize(
    ("name", "fact"), [("study", "study_instance_uid"), ("frame of reference", "frame_of_reference_uid")]
)
def test_every_volume_apart_is_refused_and_each_names_the_others(name: str, fact: str) -> None:
    every = [h for n, t in enumerate(ECHO_TIMES_MS) for h in volume(n, (t,), {fact: f"V{n}"})]
    assert codes(plan_study(every)) == ["too_few_echoes"] * 4
    words = reason_of_first(every)
    assert f"(magnitude at 2.4, 3.6, 4.8 ms) differ in {name}" in words
    assert "series S1" in words
    assert "series S3" in words


def test_echo_in_another_study_is_missing_in_the_result() -> None:
    every = [*volume(0, ECHO_TIMES_MS[:3], {}), *volume(1, ECHO_TIMES_MS[3:], {"study_instance_uid": "OTHER"})]
    (plan,) = measurable(plan_study(every))
    assert not plan.complete
    assert "study OTHER series S1" in plan.missing[0]
    (alone,) = measurable(plan_study(every[:9], beside=every[9:]))
    assert alone.missing == plan.missing


def test_repetition_time_that_keeps_echoes_apart_is_told_with_its_values() -> None:
    every = [*volume(0, (1.2, 2.4), {}), *volume(1, (3.6, 4.8), {"repetition_time_ms": "120.1"})]
    assert "repetition time in ms (120.0 / 120.1)" in reason_of_first(every)


@pytest.mark.parametrize(
    ("facts", "changes"),
    [
        ({"study_instance_uid": "OTHER"}, {"bare_patient_id_hash": "q"}),
        ({"study_instance_uid": "OTHER"}, {"names_patient": False}),
        ({"study_instance_uid": "OTHER"}, {"acquired_s": 5000.0}),
        ({"study_instance_uid": "OTHER"}, {"origin_mm": (0.0, 0.0, 4.0)}),
        ({"study_instance_uid": "OTHER", "matrix": "16x16"}, {}),
    ],
    ids=["patient", "nameless", "later", "other slices", "matrix"],
)
def test_what_is_no_sister_is_not_named(facts: dict[str, str], changes: dict[str, Any]) -> None:
    every = [*volume(0, ECHO_TIMES_MS[:1], {}), *volume(1, ECHO_TIMES_MS[1:2], facts, **changes)]
    assert "differ" not in reason_of_first(every)


def test_another_scan_of_the_same_slices_is_not_missed_by_a_whole_one() -> None:
    every = [*scan(), *volume(0, ECHO_TIMES_MS, {}), *volume(1, (2.3, 4.6), {"flip_angle_deg": "9.0"})]
    assert all(plan.complete for plan in measurable(plan_study(every)))


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        ([(1, 2), (2, 2)], ()),
        ([(1, 2)], ("part 2 of 2 of the concatenation C",)),
        ([(2, 0), (4, 0)], ("part 1, 3 of 4 of the concatenation C",)),
    ],
)
def test_lost_part_of_a_concatenation_is_named(parts: list[tuple[int, int]], missing: tuple[str, ...]) -> None:
    every = [
        image(z, t, part=ObjectPart(concatenation_uid="C", number=n, total=total))
        for z, (n, total) in enumerate(parts)
        for t in ECHO_TIMES_MS
    ]
    (plan,) = plan_study(every)
    assert plan.missing == missing
    assert plan.complete is not bool(missing)
