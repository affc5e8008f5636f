"""Assembly: which images form an acquisition, whatever way and order they came in."""

import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.intake.assembly import AcquisitionPlan, Verdict, decide, plan_study
from node.intake.grid import build_grid
from node.intake.headers import read_header
from node.model import InstanceHeader, PlaneHeader
from tests.node.mr_images import AXIAL, CORONAL, OBLIQUE, SAGITTAL

SharedData = Callable[[str], Path]
ECHO_TIMES_MS = (1.2, 2.4, 3.6, 4.8)


def image(
    z: int = 0,
    echo_time_ms: float = 1.2,
    kind: str = "magnitude",
    *,
    series: str = "S1",
    orientation: tuple[float, ...] = AXIAL,
    spacing_mm: float = 8.0,
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    **changes: Any,
) -> InstanceHeader:
    """The header of one classic image."""
    a, b, c, d, e, f = orientation
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    position = tuple(o + z * spacing_mm * n for o, n in zip(origin_mm, normal, strict=True))
    plane = PlaneHeader(
        frame_number=None,
        kind=kind,
        echo_time_s=echo_time_ms / 1000,
        position_mm=position,  # type: ignore[arg-type]  # three values
        orientation=orientation,  # type: ignore[arg-type]  # six values
    )
    label = f"{changes.get('variant', '')}{changes.get('repeat', '')}"
    facts: dict[str, Any] = {
        "sop_instance_uid": f"{series}.{label}.{kind}.{z}.{echo_time_ms}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.4",
        "study_instance_uid": "STUDY",
        "series_instance_uid": series,
        "patient_id_hash": "0" * 16,
        "group_key": "group",
        "planes": (plane,),
        "acquired_s": 1000.0,
    }
    return InstanceHeader(**{**facts, **changes})


def scan(n_slices: int = 3, echoes: Sequence[float] = ECHO_TIMES_MS, **changes: Any) -> list[InstanceHeader]:
    return [image(z, t, **changes) for z in range(n_slices) for t in echoes]


def measurable(plans: Sequence[AcquisitionPlan]) -> list[AcquisitionPlan]:
    return [plan for plan in plans if plan.declined is None]


def codes(plans: Sequence[AcquisitionPlan]) -> list[str]:
    return sorted(plan.declined[0] for plan in plans if plan.declined is not None)


def uids(plan: AcquisitionPlan) -> set[str]:
    return {header.sop_instance_uid for header in plan.headers}


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL, OBLIQUE])
def test_whole_scan_is_one_complete_plan(orientation: tuple[float, ...]) -> None:
    (plan,) = plan_study(scan(orientation=orientation))
    assert plan.complete
    assert not plan.promised
    assert plan.missing == ()
    grid = build_grid(plan.headers)
    assert len(grid.positions_mm) == 3
    assert grid.echo_times_s == pytest.approx([0.0012, 0.0024, 0.0036, 0.0048])


def test_missing_cell_is_named_in_words() -> None:
    every = scan(n_slices=4, echoes=(1.2, 2.4, 3.6, 4.8, 6.0), spacing_mm=6.0)
    (plan,) = plan_study(h for h in every if h.sop_instance_uid != "S1..magnitude.2.6.0")
    assert not plan.complete
    assert plan.missing == ("slice 3 at 12.0 mm, echo 5 (6 ms), magnitude",)


def test_kinds_and_echoes_in_separate_series_are_one_acquisition() -> None:
    by_kind = [*scan(series="S1"), *scan(series="S2", kind="phase")]
    (plan,) = plan_study(by_kind)
    assert len(plan.headers) == 24
    assert plan.complete
    by_echo = [image(z, t, series=f"S{t}", acquired_s=1000 + 20 * t) for z in range(3) for t in ECHO_TIMES_MS]
    (plan,) = plan_study(by_echo)
    assert plan.complete


def test_slices_in_separate_series_are_one_stack_when_evenly_spaced() -> None:
    every = [image(z, t, series=f"S{z % 2}", acquired_s=1000.0 + z) for z in range(6) for t in ECHO_TIMES_MS]
    (plan,) = plan_study(every)
    assert plan.complete
    far = [*scan(series="S1"), *scan(series="S2", origin_mm=(0.0, 0.0, 97.0))]
    assert len(measurable(plan_study(far))) == 2


def test_repetitions_are_separate_acquisitions_and_keep_their_own_phase() -> None:
    first = [*scan(series="S1"), *scan(series="S2", kind="phase")]
    second = [*scan(series="S3", acquired_s=1300.0), *scan(series="S4", kind="phase", acquired_s=1300.0)]
    plans = measurable(plan_study([*second, *first]))
    assert [uids(plan) for plan in plans] == [{h.sop_instance_uid for h in half} for half in (first, second)]
    assert all(plan.complete for plan in plans)


def test_repetitions_within_a_series_are_told_by_their_number() -> None:
    plans = plan_study([*scan(repeat="1"), *scan(repeat="2", acquired_s=1100.0)])
    assert [len(plan.headers) for plan in measurable(plans)] == [12, 12]


def test_normalised_copy_is_not_measured_twice() -> None:
    plain, copy = scan(series="S25", variant="ND"), scan(series="S24", variant="ND\\NORM")
    plans = plan_study([*copy, *plain])
    (plan,) = measurable(plans)
    assert uids(plan) == {header.sop_instance_uid for header in plain}
    assert codes(plans) == ["second_reconstruction"]
    (alone,) = plan_study(copy)
    assert alone.complete


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ({}, {"variant": "NORM"}, "it is less filtered"),
        ({"variant": "ND"}, {"variant": "DIS2D"}, "it is less filtered"),
        ({"variant": "NORM"}, {"variant": "ND", "lost": 5}, "it is complete"),
        ({"variant": "NORM", "phase": True}, {"variant": "ND"}, "it has phase"),
        ({"variant": "ND", "echoes": (1.2, 2.4, 3.6, 4.8)}, {"variant": "GDC", "echoes": (1.2, 2.4, 3.6)}, "filtered"),
    ],
)
@pytest.mark.parametrize("names", [("S1", "S2"), ("S2", "S1")])
def test_preferred_reconstruction_is_chosen_and_said(
    first: dict[str, Any], second: dict[str, Any], why: str, names: tuple[str, str]
) -> None:
    """Whatever the series are called: complete, complex, untouched, more echoes."""
    better = _reconstruction(series=names[0], **first)
    worse = _reconstruction(series=names[1], **second)
    plans = plan_study([*worse, *better])
    (plan,) = measurable(plans)
    assert uids(plan) == {header.sop_instance_uid for header in better}
    assert codes(plans) == ["second_reconstruction"]
    (choice,) = plan.choice
    assert why in choice
    assert set(plan.companions) == {header.sop_instance_uid for header in worse}
    (again,) = measurable(plan_study([*better, *worse]))
    assert again == plan


def test_phase_that_was_moved_is_not_laid_on_magnitude_that_was_not() -> None:
    moved = [*scan(series="S2", variant="DIS2D", kind="phase")]
    (plan,) = measurable(plan_study([*scan(series="S1", variant="ND"), *moved]))
    assert uids(plan).isdisjoint(header.sop_instance_uid for header in moved)
    assert any("phase" in words for words in plan.missing)
    (plan,) = measurable(plan_study([*scan(series="S1", variant="DIS2D"), *moved]))
    assert {header.sop_instance_uid for header in moved} <= uids(plan)


@pytest.mark.parametrize("damage", ["kind", "echo_time"])
def test_phase_series_that_one_odd_image_spoils_is_named(damage: str) -> None:
    """Magnitude is measured alone, and the result says what was wrong with the phase."""
    phase = scan(series="S2", kind="phase")
    odd = image(0, 1.2 if damage == "kind" else 2.4, "magnitude" if damage == "kind" else "phase", series="S2")
    phase[0] = dataclasses.replace(odd, sop_instance_uid="odd")
    (plan,) = measurable(plan_study([*scan(series="S1"), *phase]))
    assert uids(plan) == {header.sop_instance_uid for header in scan(series="S1")}
    assert [line for line in plan.missing if "objects with phase" in line]


def test_channels_in_series_of_their_own() -> None:
    """Combined images are preferred; without them the channels are turned down."""
    channels = [header for n in (1, 2, 3) for header in scan(series=f"S{n}", coil=f"H{n}")]
    combined = scan(series="S9", coil="HEA;HEP")
    (plan,) = measurable(plan_study([*channels, *combined]))
    assert uids(plan) == {header.sop_instance_uid for header in combined}
    assert any("combined" in words for words in plan.choice)
    plans = plan_study(channels)
    assert measurable(plans) == []
    assert "single_channel" in codes(plans)


def _reconstruction(*, lost: int | None = None, phase: bool = False, **changes: Any) -> list[InstanceHeader]:
    found = [*scan(**changes), *(scan(kind="phase", **changes) if phase else ())]
    return [header for number, header in enumerate(found) if number != lost]


def test_scanner_maps_of_the_study_go_with_the_job_and_copies_too() -> None:
    maps = [
        dataclasses.replace(image(z, series="S9"), declined=("derived_map", "a map"), planes=(), map_of="r2star")
        for z in range(3)
    ]
    (plan,) = measurable(plan_study([*scan(), *maps]))
    assert plan.companions == tuple(sorted(header.sop_instance_uid for header in maps))
    assert set(plan.job_uids) == uids(plan) | set(plan.companions)
    assert plan.complete


@pytest.mark.parametrize(
    ("stray", "words"),
    [
        ({"group_key": "other"}, "differ in matrix"),
        ({"orientation": OBLIQUE}, "another plane"),
        ({"declined": ("no_echo_time", "No echo time."), "planes": ()}, "no_echo_time"),
    ],
)
def test_echo_that_falls_out_of_its_series_is_named(stray: dict[str, Any], words: str) -> None:
    every = scan()
    lost = [h for h in every if h.planes[0].echo_time_s == 0.0048]
    fallen = [
        dataclasses.replace(
            image(z, 4.8, **{k: v for k, v in stray.items() if k == "orientation"}),
            **{k: v for k, v in stray.items() if k != "orientation"},
        )
        for z in range(3)
    ]
    (plan,) = measurable(plan_study([*(h for h in every if h not in lost), *fallen]))
    assert [line for line in plan.missing if words in line]
    assert not plan.complete


def test_scanner_maps_in_the_series_are_missed_by_nobody() -> None:
    riding = [
        dataclasses.replace(image(z), sop_instance_uid=f"map{z}", declined=("derived_map", "A map."), planes=())
        for z in range(3)
    ]
    (plan,) = measurable(plan_study([*scan(), *riding]))
    assert plan.missing == ()


def test_two_protocols_with_other_echoes_are_not_interleaved() -> None:
    other = scan(series="S2", echoes=(1.0, 2.2, 3.4, 4.6), acquired_s=1400.0)
    plans = plan_study([*scan(series="S1"), *other])
    assert [len(build_grid(plan.headers).echo_times_s) for plan in measurable(plans)] == [4, 4]


def test_one_phase_image_beside_several_echoes_is_a_difference() -> None:
    phase = [image(z, 4.8, "phase", series="S2") for z in range(3)]
    plans = plan_study([*scan(), *phase])
    (plan,) = measurable(plans)
    assert len(plan.headers) == 12
    assert codes(plans) == ["phase_difference"]


def test_two_echoes_are_turned_down_in_words() -> None:
    (plan,) = plan_study(scan(echoes=(4.92, 7.38)))
    assert plan.declined is not None
    assert plan.declined[0] == "too_few_echoes"
    assert "4.92, 7.38 ms" in plan.declined[1]
    assert "field-map" in plan.declined[1]
    assert not plan.final


def test_phase_alone_is_no_measurement() -> None:
    assert codes(plan_study(scan(kind="phase"))) == ["no_magnitude"]
    (plan,) = plan_study([*scan(kind="real"), *scan(kind="imaginary")])
    assert plan.complete


def test_ambiguous_planes_are_refused_with_what_they_look_like() -> None:
    def twice(**changes: Any) -> list[InstanceHeader]:
        return [
            dataclasses.replace(header, sop_instance_uid=f"{header.sop_instance_uid}.{copy}")
            for copy in range(changes.pop("copies", 2))
            for header in scan(**changes)
        ]

    assert codes(plan_study(twice())) == ["ambiguous_planes"]
    assert codes(plan_study(twice(echoes=(4.9,)))) == ["field_map"]
    assert codes(plan_study(twice(echoes=(4.9,), copies=6))) == ["equal_echo_times"]
    channels = [
        dataclasses.replace(header, sop_instance_uid=f"{header.sop_instance_uid}.{coil}", coil=coil)
        for coil in ("BO1", "BO2")
        for header in scan()
    ]
    assert codes(plan_study(channels)) == ["single_channel"]


def test_localiser_series_of_three_orientations() -> None:
    planes = [image(z, 5.0, series="S9", orientation=o) for o in (AXIAL, CORONAL, SAGITTAL) for z in range(2)]
    scout = [dataclasses.replace(header, sop_instance_uid=f"L{n}") for n, header in enumerate(planes)]
    plans = plan_study([*scout, *scan()])
    assert codes(plans) == ["localiser"]
    assert len(measurable(plans)) == 1


def test_object_of_several_orientations_is_no_stack() -> None:
    planes = tuple(image(0, t, orientation=o).planes[0] for o in (AXIAL, CORONAL) for t in ECHO_TIMES_MS)
    (plan,) = plan_study([dataclasses.replace(image(), planes=planes)])
    assert plan.declined is not None
    assert plan.declined[0] == "mixed_geometry"


def test_tilted_image_leaves_a_named_hole_and_not_a_wrong_slice() -> None:
    every = [h for h in scan() if h.sop_instance_uid != "S1..magnitude.1.3.6"]
    tilted = dataclasses.replace(image(1, 3.6, orientation=OBLIQUE), sop_instance_uid="tilted")
    plans = plan_study([*every, tilted])
    (plan,) = measurable(plans)
    assert plan.missing == (
        "slice 2 at 8.0 mm, echo 3 (3.6 ms), magnitude",
        "1 images of the same series that lie in another plane",
    )
    assert codes(plans) == ["too_few_echoes"]


def test_header_promises_hold_the_plan_open() -> None:
    promised = [dataclasses.replace(h, expected_echoes=6, expected_slices=3, expected_images=18) for h in scan()]
    (plan,) = plan_study(promised)
    assert not plan.complete
    assert plan.missing == ("4 of 6 echoes that the header promises", "12 of 18 images that the header promises")
    kept = [dataclasses.replace(h, expected_echoes=4, expected_slices=3, expected_images=12) for h in scan()]
    (plan,) = plan_study(kept)
    assert plan.complete
    assert plan.promised


def test_multi_frame_object_with_all_echoes_is_whole() -> None:
    planes = tuple(dataclasses.replace(header.planes[0], frame_number=n) for n, header in enumerate(scan(), start=1))
    (plan,) = plan_study([dataclasses.replace(image(), planes=planes)])
    assert plan.promised


def test_declined_instances_are_grouped_by_series_and_reason() -> None:
    strange = [image(z, series="S7", declined=("not_mr", "CT"), planes=()) for z in range(3)]
    more = [image(z, series="S8", declined=("not_mr", "CT"), planes=()) for z in range(2)]
    plans = plan_study([*strange, *more])
    assert sorted(len(plan.headers) for plan in plans) == [2, 3]
    assert all(plan.final for plan in plans)


@pytest.mark.parametrize(
    ("facts", "quiet_s", "verdict", "ask_again_s"),
    [
        ({"complete": True, "promised": True}, 0.0, Verdict.READY, 0.0),
        ({"complete": True}, 0.5, Verdict.WAIT, 2.0),
        ({"complete": True}, 2.0, Verdict.READY, 0.0),
        ({}, 19.0, Verdict.WAIT, 20.0),
        ({}, 20.0, Verdict.READY, 0.0),
        ({"declined": ("too_few_echoes", "")}, 3.0, Verdict.WAIT, 20.0),
        ({"declined": ("too_few_echoes", "")}, 20.0, Verdict.DECLINE, 0.0),
        ({"declined": ("not_mr", ""), "final": True}, 0.0, Verdict.DECLINE, 0.0),
    ],
)
def test_when_a_plan_is_acted_on(facts: dict[str, Any], quiet_s: float, verdict: Verdict, ask_again_s: float) -> None:
    defaults = {"key": "k", "study_instance_uid": "S", "headers": (), "complete": False, "promised": False}
    decision = decide(AcquisitionPlan(**{**defaults, **facts}), quiet_s=quiet_s, settle_s=20.0, complete_quiet_s=2.0)
    assert (decision.verdict, decision.quiet_s) == (verdict, ask_again_s)


STUDY = [
    *scan(series="S1"),
    *scan(series="S2", kind="phase"),
    *scan(series="S3", variant="NORM"),
    *scan(series="S4", acquired_s=1500.0),
    *scan(series="S5", orientation=OBLIQUE, echoes=(5.0,)),
    *[image(z, series="S7", declined=("not_mr", "CT"), planes=()) for z in range(2)],
]


@settings(max_examples=60, deadline=None)
@given(order=st.randoms(use_true_random=False), duplicates=st.lists(st.sampled_from(STUDY), max_size=10))
def test_order_and_duplicates_do_not_matter(order: random.Random, duplicates: list[InstanceHeader]) -> None:
    arrivals = [*STUDY, *duplicates]
    order.shuffle(arrivals)
    assert plan_study(arrivals) == plan_study(STUDY)


@settings(max_examples=60, deadline=None)
@given(order=st.randoms(use_true_random=False), present=st.integers(min_value=1, max_value=len(STUDY)))
def test_every_instance_is_in_exactly_one_plan_and_keys_are_unique(order: random.Random, present: int) -> None:
    arrivals = list(STUDY)
    order.shuffle(arrivals)
    plans = plan_study(arrivals[:present])
    assert sorted(h.sop_instance_uid for p in plans for h in p.headers) == sorted(
        h.sop_instance_uid for h in arrivals[:present]
    )
    assert len({plan.key for plan in plans}) == len(plans)


def test_planning_the_images_of_a_plan_gives_that_plan() -> None:
    """The worker plans the files of its job anew."""
    for plan in measurable(plan_study(STUDY)):
        (again,) = plan_study(plan.headers)
        assert again.headers == plan.headers
        assert again.declined is None


@settings(max_examples=60, deadline=None)
@given(series=st.lists(st.sampled_from(["S1", "S2", "S3"]), min_size=24, max_size=24))
def test_split_into_series_does_not_change_the_acquisition(series: list[str]) -> None:
    whole = [*scan(n_slices=3), *scan(n_slices=3, kind="phase")]
    split = [dataclasses.replace(h, series_instance_uid=s) for h, s in zip(whole, series, strict=True)]
    (plan,) = plan_study(split)
    assert uids(plan) == {header.sop_instance_uid for header in whole}
    assert plan.complete


@settings(max_examples=40, deadline=None)
@given(lost=st.integers(min_value=0, max_value=11))
def test_key_stays_when_late_images_arrive(lost: int) -> None:
    whole = scan()
    (before,) = plan_study(whole[:lost] + whole[lost + 1 :])
    (after,) = plan_study(whole)
    assert before.key == after.key
    assert not before.complete
    assert after.complete


def _plans_of(folder: Path) -> tuple[AcquisitionPlan, ...]:
    return plan_study(read_header(path) for path in sorted(folder.rglob("*.dcm")))


def test_real_ge_abdomen_is_complete_and_promised(shared_data: SharedData) -> None:
    (plan,) = _plans_of(shared_data("ge-mfgre-abdomen"))
    assert len(plan.headers) == 180
    assert plan.complete
    assert plan.promised
    grid = build_grid(plan.headers)
    assert grid.kinds == ("magnitude", "real", "imaginary")
    assert (len(grid.positions_mm), len(grid.echo_times_s)) == (5, 12)


def test_real_siemens_field_map_is_declined(shared_data: SharedData) -> None:
    assert codes(_plans_of(shared_data("siemens-gre-2echo"))) == ["phase_difference", "too_few_echoes"]


def test_real_philips_sets_are_declined(shared_data: SharedData) -> None:
    assert codes(_plans_of(shared_data("philips-enhanced-2echo"))) == ["not_an_image", "too_few_echoes"]
    assert codes(_plans_of(shared_data("philips-enhanced-b0map"))) == ["field_map"]
