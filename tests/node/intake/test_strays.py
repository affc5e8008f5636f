"""What was lost is named: echoes in series of their own, filtered echoes, and images of another patient."""

import dataclasses
from typing import Any

import pytest

from node.intake.assembly import plan_study
from node.model import InstanceHeader
from tests.node.intake.test_assembly import ECHO_TIMES_MS, codes, image, measurable, scan, uids


def per_echo(**changes: Any) -> list[InstanceHeader]:
    """Every echo in a series of its own."""
    return [image(z, t, series=f"S{number}", **changes) for number, t in enumerate(ECHO_TIMES_MS) for z in range(3)]


def last_echo(every: list[InstanceHeader]) -> list[InstanceHeader]:
    return [header for header in every if header.planes[0].echo_time_s == 0.0048]


def damaged(every: list[InstanceHeader], **changes: Any) -> list[InstanceHeader]:
    lost = last_echo(every)
    return [*(h for h in every if h not in lost), *(dataclasses.replace(header, **changes) for header in lost)]


USELESS = (
    ({"declined": ("no_geometry", "No position."), "planes": ()}, "no_geometry"),
    ({"declined": ("unsupported_transfer_syntax", "Not decoded."), "planes": ()}, "Not decoded"),
    ({"declined": ("derived_image", "DERIVED."), "planes": (), "told_echo_times_s": (0.0048,)}, "derived_image"),
)
FITS_NOWHERE = (
    ({"group_key": "another matrix"}, "4.8 ms"),
    ({"variant": "NORM"}, "4.8 ms"),
    ({"variant": "DIS2D"}, "4.8 ms"),
)


@pytest.mark.parametrize(
    ("changes", "words", "clock"),
    [
        *((changes, words, 1000.0) for changes, words in (*USELESS, *FITS_NOWHERE)),
        *((changes, words, None) for changes, words in USELESS),
    ],
)
def test_echo_lost_with_its_whole_series_is_named(changes: dict[str, Any], words: str, clock: float | None) -> None:
    (plan,) = measurable(plan_study(damaged(per_echo(acquired_s=clock), **changes)))
    assert {h.planes[0].echo_time_s for h in plan.headers} == {0.0012, 0.0024, 0.0036}
    assert [line for line in plan.missing if words in line]
    assert not plan.complete


@pytest.mark.parametrize(
    "changes",
    [
        {"declined": ("spin_echo", "SE."), "planes": (), "acquired_s": 5000.0},
        {"declined": ("no_geometry", "No position."), "planes": (), "acquired_s": 5000.0},
        {"declined": ("derived_map", "A map."), "planes": (), "map_of": "r2star"},
        {"declined": ("derived_image", "DERIVED."), "planes": (), "told_echo_times_s": (0.0012,)},
    ],
)
def test_other_scans_and_computed_images_of_the_study_are_missed_by_nobody(changes: dict[str, Any]) -> None:
    others = [dataclasses.replace(image(z, series="S9"), **changes) for z in range(3)]
    (plan,) = measurable(plan_study([*scan(), *others]))
    assert plan.missing == ()
    assert plan.complete


def test_spin_echoes_of_a_study_without_clocks_are_missed_by_nobody() -> None:
    other = dataclasses.replace(image(series="S9", acquired_s=None), declined=("spin_echo", "SE."), planes=())
    (plan,) = measurable(plan_study([*scan(acquired_s=None), other]))
    assert plan.complete


@pytest.mark.parametrize("variant", ["NORM", "DIS2D", "FIL"])
def test_filtered_echo_of_the_same_series_is_not_mixed_with_plain_ones(variant: str) -> None:
    every = damaged(scan(variant="ND"), variant=f"{variant}\\ND")
    (plan,) = measurable(plan_study(every))
    assert not uids(plan) & {header.sop_instance_uid for header in last_echo(every)}
    assert [line for line in plan.missing if "4.8 ms" in line]


def test_normalised_magnitude_keeps_its_phase() -> None:
    every = [*scan(series="S1", variant="NORM"), *scan(series="S2", variant="ND", kind="phase")]
    (plan,) = measurable(plan_study(every))
    assert uids(plan) == {header.sop_instance_uid for header in every}


@pytest.mark.parametrize("share", ["slice", "echo", "whole"])
def test_images_of_two_patients_in_one_study_are_refused(share: str) -> None:
    """The second patient's images are neither mixed in nor left aside in silence."""
    other = {"patient_id_hash": "1" * 16, "bare_patient_id_hash": "1" * 16}
    ours = {"patient_id_hash": "0" * 16, "bare_patient_id_hash": "0" * 16}
    every = scan(**ours)
    if share == "whole":
        every += scan(series="S2", **other)
    else:
        theirs = last_echo(every) if share == "echo" else [h for h in every if h.planes[0].position_mm[2] == 0]
        every = [dataclasses.replace(header, **other) if header in theirs else header for header in every]
    plans = plan_study(every)
    assert measurable(plans) == []
    assert set(codes(plans)) == {"several_patients"}
    assert sum(len(plan.headers) for plan in plans) == len(every)


def test_an_issuer_that_some_images_lack_is_no_second_patient() -> None:
    with_issuer = scan(patient_id_hash="a" * 16, bare_patient_id_hash="0" * 16)
    bare = scan(kind="phase", patient_id_hash="0" * 16, bare_patient_id_hash="0" * 16)
    assert len(measurable(plan_study([*with_issuer, *bare]))) == 1
    elsewhere = scan(kind="phase", patient_id_hash="b" * 16, bare_patient_id_hash="0" * 16)
    assert set(codes(plan_study([*with_issuer, *elsewhere]))) == {"several_patients"}


TRAINS = ((1.0, 3.6, 6.2), (2.3, 4.9, 7.5))


@pytest.mark.parametrize(
    ("echoes", "moments", "told"),
    [
        (TRAINS, (1000.0, 1020.0), True),
        (TRAINS, (1000.0, 2000.0), False),  # another scan
        (((1.0, 2.3, 3.6), (4.9, 6.2, 7.5)), (1000.0, 1020.0), False),  # not between each other
        ((TRAINS[0], TRAINS[0]), (1000.0, 1020.0), False),  # a repetition
    ],
)
def test_half_of_two_interleaved_echo_trains_names_the_other(
    echoes: tuple[tuple[float, ...], ...], moments: tuple[float, float], told: bool
) -> None:
    every = [h for n, times in enumerate(echoes) for h in scan(echoes=times, series=f"S{n}", acquired_s=moments[n])]
    first, second = measurable(plan_study(every))
    assert any("2.3, 4.9, 7.5 ms" in line and "20 s apart" in line for line in first.missing) is told
    assert any("1, 3.6, 6.2 ms" in line for line in second.missing) is told
