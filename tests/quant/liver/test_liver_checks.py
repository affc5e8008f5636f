"""Each self-check fires on its own measure and on nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from quant.liver.checks import CHECKS, refused_by
from quant.liver.measures import Measures, bimodality

GOOD = Measures(
    area_mm2=9000,
    radius_scaled_mm=45,
    right_left=0.27,
    front_back=0.45,
    behind=0.02,
    lateral_gap=0.08,
    right_over_left=4,
    front=0.2,
    region_front=0.22,
    region_behind=0.02,
    opposite_front=0.4,
    opposite_within=0.0,
    explained=0.6,
    body_share=0.2,
    mirror_likeness=0.05,
    solidity=0.93,
    r2star_sd=0.08,
    r2star_sd_expected=0.12,
    r2star_sd_simulated=0.12,
    bimodality=0.1,
    structure_share=0.1,
    r2star_per_s=70,
    region_over_organ=1.0,
    density=1.0,
    first_echo_snr=40,
    dark_share=0.05,
    faint_opposite=0.1,
    darker_in_front=0.2,
    pooled_r2star_per_s=70,
    pooled_density=1.0,
    body_density=1.0,
    water_density=1.0,
    lung_likelihood=0.0,
    second_lung=0.0,
    ghosts=0.05,
    rival_score=0.1,
    vessel_side=0.0,
)


def test_a_good_region_passes() -> None:
    assert refused_by(GOOD, CHECKS) == ((), ())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"area_mm2": 480}, "roi_too_small"),
        ({"radius_scaled_mm": 18}, "roi_too_small"),
        ({"right_left": 0.5}, "roi_position"),
        ({"right_left": 0.1}, "roi_position"),
        ({"front_back": 0.7}, "roi_position"),
        ({"behind": 0.3}, "roi_position"),
        ({"lateral_gap": 0.3}, "roi_position"),
        ({"right_over_left": 0.5}, "roi_wrong_side"),
        ({"right_over_left": 1.1, "opposite_front": 0.2}, "roi_wrong_side"),
        ({"right_over_left": 3.5, "front_back": 0.6}, "roi_wrong_side"),
        ({"right_over_left": 2.0, "front": 0.29, "opposite_front": 0.09}, "roi_wrong_side"),
        ({"right_over_left": 0.75, "front": 0.3, "opposite_front": 0.4}, "roi_wrong_side"),
        ({"right_over_left": 1.3, "mirror_likeness": 0.47, "r2star_per_s": 280}, "roi_wrong_side"),
        ({"right_over_left": 2.7, "mirror_likeness": 0.35, "front_back": 0.54, "r2star_per_s": 280}, "roi_wrong_side"),
        ({"right_over_left": 1.3, "opposite_within": 0.9, "opposite_front": 0.25}, "roi_wrong_side"),
        ({"right_over_left": 1.8, "right_left": 0.32}, "roi_wrong_side"),
        ({"right_over_left": 3.5, "right_left": 0.32, "opposite_within": 1.0}, "roi_wrong_side"),
        ({"region_front": 0.36, "front": 0.35, "opposite_front": 0.36, "darker_in_front": 0}, "roi_wrong_side"),
        ({"region_front": 0.36, "front": 0.22, "opposite_front": 0.37}, "roi_wrong_side"),
        ({"region_behind": 0.2, "opposite_front": 0.35}, "roi_wrong_side"),
        ({"front": 0.41, "region_front": 0.43, "right_over_left": 9, "darker_in_front": 0}, "roi_wrong_side"),
        ({"right_left": 0.33, "front_back": 0.33}, "roi_wrong_side"),
        (
            {"right_over_left": 1.3, "mirror_likeness": 0.47, "opposite_front": 0.31, "r2star_per_s": 280},
            "roi_wrong_side",
        ),
        ({"explained": 0.15}, "roi_position"),
        ({"explained": 0.25, "right_left": 0.33}, "roi_position"),
        ({"body_share": 0.6}, "roi_position"),
        ({"body_share": 0.04}, "roi_too_small"),
        ({"mirror_likeness": 0.55}, "roi_symmetric"),
        ({"mirror_likeness": 0.45, "opposite_front": 0.2}, "roi_symmetric"),
        ({"mirror_likeness": 0.8, "r2star_per_s": 200}, "roi_symmetric"),
        ({"solidity": 0.6}, "roi_heterogeneous"),
        ({"r2star_sd": 0.3}, "roi_heterogeneous"),
        ({"bimodality": 0.8, "r2star_sd": 0.15}, "roi_heterogeneous"),
        ({"structure_share": 0.6}, "roi_heterogeneous"),
        ({"region_over_organ": 0.92}, "roi_heterogeneous"),
        ({"region_over_organ": 1.08}, "roi_heterogeneous"),
        ({"r2star_per_s": 12}, "roi_implausible_r2star"),
        ({"pooled_r2star_per_s": 2600}, "roi_implausible_r2star"),
        ({"density": 0.5}, "roi_low_density"),
        ({"density": 0.68, "r2star_per_s": 600}, "roi_low_density"),
        ({"density": 0.78, "r2star_per_s": 600, "first_echo_snr": 5.5}, "roi_low_density"),
        ({"first_echo_snr": 4.5, "r2star_per_s": 600}, "roi_low_signal"),
        ({"first_echo_snr": 2}, "roi_low_signal"),
        ({"first_echo_snr": 3.5, "r2star_per_s": 1500, "pooled_r2star_per_s": 1500}, "roi_low_signal"),
        ({"ghosts": 0.35}, "roi_ghosts"),
        ({"dark_share": 0.9}, "roi_dark_organ"),
        ({"front": 0.35, "opposite_front": 0.45}, "roi_dark_organ"),
        ({"faint_opposite": 0.5}, "roi_dark_organ"),
        ({"rival_score": 0.6}, "roi_rival"),
        ({"vessel_side": -0.6}, "roi_wrong_side"),
        ({"vessel_side": 0.6, "right_over_left": 0.3}, "roi_wrong_side"),
        ({"vessel_side": 0.6, "right_left": 0.42}, "roi_position"),
        ({"vessel_side": 0.6, "right_left": 0.11}, "roi_position"),
        ({"vessel_side": 0.6, "front": 0.44, "region_front": 0.45, "darker_in_front": 0}, "roi_wrong_side"),
    ],
)
def test_one_bad_measure_refuses_with_one_reason(changes: dict[str, float], code: str) -> None:
    reasons, lines = refused_by(replace(GOOD, **changes), CHECKS)
    assert [reason.code for reason in reasons] == [code]
    assert reasons[0].text.endswith(".")
    assert lines[0].severity == "failure"
    assert lines[0].value is not None


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"right_left": 0.39}, 0.37),
        (
            {
                "right_left": 0.36,
                "r2star_per_s": 280,
                "pooled_r2star_per_s": 280,
                "explained": 0.4,
                "right_over_left": 3,
            },
            0.34,
        ),
        ({"right_left": 0.14}, 0.15),
        ({"vessel_side": 0.6, "right_left": 0.42}, 0.40),
        ({"front_back": 0.2}, 0.27),
        ({"vessel_side": 0.6, "right_over_left": 0.3}, 0.4),
        ({"vessel_side": 0.6, "front": 0.44, "region_front": 0.45, "darker_in_front": 0}, 0.43),
        ({"vessel_side": 0.6, "front": 0.41, "region_front": 0.42, "front_back": 0.6, "darker_in_front": 0}, 0.39),
        ({"explained": 0.25, "right_left": 0.33}, 0.32),
        ({"mirror_likeness": 0.8, "r2star_per_s": 200}, 0.75),
        ({"density": 0.68, "r2star_per_s": 600}, 0.70),
        ({"first_echo_snr": 4.5, "r2star_per_s": 600}, 5.0),
    ],
)
def test_the_line_prints_the_limit_that_was_applied(changes: dict[str, float], limit: float) -> None:
    _, lines = refused_by(replace(GOOD, **changes), CHECKS)
    assert [line.limit for line in lines] == [limit]


@pytest.mark.parametrize(
    "changes",
    [
        {"right_left": 0.38},
        {"front": 0.41, "region_front": 0.42, "front_back": 0.5, "darker_in_front": 0},
        {"faint_opposite": 0.7},
    ],
)
def test_the_great_vessels_relieve_what_guards_against_the_wrong_side(changes: dict[str, float]) -> None:
    assert refused_by(replace(GOOD, vessel_side=0.6, **changes), CHECKS) == ((), ())
    assert refused_by(replace(GOOD, **changes), CHECKS) != ((), ())


def test_a_dark_organ_across_the_midline_need_be_twice_as_much_at_the_right() -> None:
    across = replace(GOOD, right_over_left=3.5, right_left=0.32, opposite_within=1.0, r2star_per_s=200)
    assert refused_by(across, CHECKS) == ((), ())
    assert refused_by(replace(across, right_over_left=1.8), CHECKS)[0][0].code == "roi_wrong_side"


def test_noise_of_dark_livers_does_not_make_the_region_no_sample() -> None:
    assert refused_by(replace(GOOD, region_over_organ=1.15, r2star_per_s=400), CHECKS) == ((), ())


def test_wide_r2star_is_no_fault_where_noise_explains_it() -> None:
    dark = replace(GOOD, r2star_sd=0.3, r2star_sd_expected=0.2, r2star_per_s=400)
    assert refused_by(dark, CHECKS) == ((), ())
    assert refused_by(replace(dark, r2star_per_s=200), CHECKS)[0][0].code == "roi_heterogeneous"
    assert refused_by(replace(GOOD, r2star_sd=0.5, r2star_sd_simulated=0.48), CHECKS) == ((), ())


@pytest.mark.parametrize("changes", [{"r2star_sd_simulated": 0.4}, {"r2star_sd": 0.6}, {"pooled_density": 0.8}])
def test_wider_r2star_than_noise_explains_or_that_of_lung_is_refused(changes: dict[str, float]) -> None:
    wide = replace(GOOD, r2star_sd=0.5, r2star_sd_simulated=0.6)
    (reason,), _ = refused_by(replace(wide, **changes), CHECKS)
    assert reason.code == "roi_heterogeneous"


def test_a_gaussian_has_one_mode_and_two_clusters_have_two() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(4, 0.1, 5000)
    two = np.r_[rng.normal(4, 0.02, 2500), rng.normal(4.5, 0.02, 2500)]
    assert bimodality(one) < 0.05
    assert bimodality(two) > 0.95
    assert bimodality(np.ones(100)) == 0


def test_a_spleen_as_dark_as_the_liver_is_no_fault() -> None:
    assert refused_by(replace(GOOD, mirror_likeness=0.6, r2star_per_s=200), CHECKS) == ((), ())


@pytest.mark.parametrize("pooled_density", [0.63, 1.5])
def test_faint_tissue_passes_where_its_pooled_decay_is_not_that_of_lung(pooled_density: float) -> None:
    faint = replace(GOOD, first_echo_snr=4.5, r2star_per_s=1500, pooled_r2star_per_s=1500)
    assert refused_by(faint, CHECKS) == ((), ())
    (reason,), _ = refused_by(replace(faint, pooled_density=pooled_density), CHECKS)
    assert reason.code == "roi_low_signal"


def test_dark_tissue_whose_pooled_decay_begins_low_may_be_lung() -> None:
    dark = replace(GOOD, r2star_per_s=800, first_echo_snr=12, pooled_density=0.55)
    (reason,), _ = refused_by(dark, CHECKS)
    assert reason.code == "roi_low_density"
    assert refused_by(replace(dark, pooled_density=0.65), CHECKS) == ((), ())


@pytest.mark.parametrize(
    "changes", [{"body_density": 0.65, "water_density": 0.50}, {"lung_likelihood": 0.3}, {"second_lung": 0.2}]
)
def test_dark_tissue_that_begins_low_beside_the_whole_body_may_be_lung(changes: dict[str, float]) -> None:
    dark = replace(GOOD, r2star_per_s=800, first_echo_snr=12)
    (reason,), _ = refused_by(replace(dark, **changes), CHECKS)
    assert reason.code == "roi_low_density"
    assert refused_by(replace(dark, body_density=0.65, water_density=0.65), CHECKS) == ((), ())
    assert refused_by(replace(GOOD, **changes), CHECKS) == ((), ())


def test_the_left_part_of_the_liver_itself_is_no_organ_opposite() -> None:
    across = replace(GOOD, front=0.15, region_front=0.34, region_behind=0.19, opposite_front=0.14, opposite_within=1.0)
    assert refused_by(across, CHECKS) == ((), ())
    assert refused_by(replace(across, opposite_front=0.30), CHECKS)[0][0].code == "roi_wrong_side"


def test_the_organ_opposite_counts_more_the_further_forward_it_reaches() -> None:
    beside_spleen = replace(GOOD, right_over_left=0.9, front=0.2, opposite_front=0.4)
    assert refused_by(beside_spleen, CHECKS) == ((), ())
    assert refused_by(replace(beside_spleen, opposite_front=0.25), CHECKS)[0][0].code == "roi_wrong_side"


@pytest.mark.parametrize(
    "changes",
    [
        {"right_over_left": 0.5},
        {"right_over_left": 1.8, "right_left": 0.32},
        {"right_left": 0.39},
        {"right_left": 0.13},
        {"region_front": 0.36, "front": 0.35, "opposite_front": 0.36, "darker_in_front": 0},
        {"region_behind": 0.2, "opposite_front": 0.35},
    ],
)
def test_what_speaks_for_a_spleen_at_the_right_is_no_fault_where_the_vessels_tell_the_side(
    changes: dict[str, float],
) -> None:
    assert refused_by(replace(GOOD, **changes), CHECKS)[0]
    assert refused_by(replace(GOOD, **changes, vessel_side=0.6), CHECKS) == ((), ())
