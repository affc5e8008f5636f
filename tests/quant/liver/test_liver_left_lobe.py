"""A left lobe alone is reported where it holds iron; what reaches over from the wrong side is not."""

from dataclasses import replace

import pytest

from quant.fit import fit_r2star
from quant.liver import LiverRegion, find_liver
from quant.liver.checks import refused_by
from quant.liver.left_lobe import LEFT_LOBE_CHECKS, LeftLobeMeasures
from quant.phantom import AbdomenAnatomy, Phantom, make_abdomen
from tests.quant.liver.test_liver_checks import GOOD

LOBE = LeftLobeMeasures(
    **(
        GOOD.as_dict()
        | {
            "right_left": 0.5,
            "front_back": 0.3,
            "radius_scaled_mm": 18,
            "right_over_left": 0.5,
            "explained": 0.2,
            "r2star_per_s": 300,
            "pooled_r2star_per_s": 300,
        }
    ),
    rightmost=0.34,
    middle=0.53,
    leftmost=0.73,
    elsewhere=0.0,
    elsewhere_left=0.0,
    behind_left=0.1,
    slices=3,
)


def test_a_good_left_lobe_passes() -> None:
    assert refused_by(LOBE, LEFT_LOBE_CHECKS) == ((), ())


def test_its_own_left_end_is_no_second_lung() -> None:
    assert refused_by(replace(LOBE, r2star_per_s=700, second_lung=0.3), LEFT_LOBE_CHECKS) == ((), ())


def test_one_slice_is_enough_for_a_lobe_that_stands_alone() -> None:
    assert refused_by(replace(LOBE, slices=1, behind_left=0.0), LEFT_LOBE_CHECKS) == ((), ())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"middle": 0.66}, "roi_position"),
        ({"rightmost": 0.1}, "roi_position"),
        ({"leftmost": 0.9}, "roi_wrong_side"),
        ({"front_back": 0.5}, "roi_position"),
        ({"radius_scaled_mm": 12}, "roi_too_small"),
        ({"body_share": 0.35}, "roi_position"),
        ({"r2star_per_s": 120, "pooled_r2star_per_s": 120}, "roi_no_liver"),
        ({"elsewhere": 0.1}, "roi_rival"),
        ({"behind_left": 0.4}, "roi_wrong_side"),
        ({"middle": 0.47}, "roi_position"),  # as in mirrored images
        ({"slices": 1}, "roi_wrong_side"),
        ({"slices": 1, "behind_left": 0.0, "leftmost": 0.8}, "roi_wrong_side"),
        ({"slices": 1, "behind_left": 0.0, "first_echo_snr": 6}, "roi_wrong_side"),
        ({"slices": 1, "behind_left": 0.0, "rightmost": 0.43, "leftmost": 0.59}, "roi_wrong_side"),
        ({"vessel_side": 0.6, "dark_share": 0.2}, "roi_dark_organ"),
        ({"ghosts": 0.4}, "roi_ghosts"),
        ({"density": 0.5}, "roi_low_density"),
        ({"vessel_side": -0.6}, "roi_wrong_side"),
        ({"vessel_side": 0.6, "middle": 0.40}, "roi_position"),
        ({"vessel_side": 0.6, "elsewhere": 0.1, "elsewhere_left": 0.1}, "roi_rival"),
    ],
)
def test_one_bad_measure_refuses_with_one_reason(changes: dict[str, float], code: str) -> None:
    reasons, _ = refused_by(replace(LOBE, **changes), LEFT_LOBE_CHECKS)
    assert [reason.code for reason in reasons] == [code]


@pytest.mark.parametrize(
    "changes",
    [
        {"leftmost": 0.9},
        {"behind_left": 0.4},
        {"middle": 0.47},
        {"rightmost": 0.1},
        {"slices": 1},
        {"elsewhere": 0.1},
    ],
)
def test_what_speaks_for_a_liver_at_the_left_is_no_fault_where_the_vessels_tell_the_side(
    changes: dict[str, float],
) -> None:
    assert refused_by(replace(LOBE, **changes), LEFT_LOBE_CHECKS)[0]
    assert refused_by(replace(LOBE, **changes, vessel_side=0.6), LEFT_LOBE_CHECKS) == ((), ())


def _found(anatomy: AbdomenAnatomy, r2star_per_s: float) -> tuple[LiverRegion, Phantom]:
    phantom = make_abdomen(
        r2star_per_s=r2star_per_s, n_slices=3, matrix=160, snr=80, level_mm=15, seed=3, anatomy=anatomy
    )
    signal, times = phantom.acquisition.signal, phantom.acquisition.echo_times_s
    fit = fit_r2star(signal, times, field_t=phantom.acquisition.field_t, threads=1)
    return find_liver(phantom.acquisition, fit), phantom


def test_an_iron_loaded_left_lobe_is_found_with_a_warning() -> None:
    region, phantom = _found(AbdomenAnatomy(liver="left_only"), 350)
    assert region.mask is not None, region.refusals
    assert phantom.truth.whole_liver[region.mask].mean() >= 0.98
    assert "roi_left_lobe" in {line.code for line in region.qc}


@pytest.mark.parametrize(
    ("anatomy", "r2star_per_s"),
    [
        (AbdomenAnatomy(liver="left_only"), 40.0),
        (AbdomenAnatomy(situs_inversus=True), 350.0),
        (AbdomenAnatomy(situs_inversus=True, liver="cirrhotic"), 350.0),
    ],
)
def test_what_may_be_something_else_is_refused(anatomy: AbdomenAnatomy, r2star_per_s: float) -> None:
    region, _ = _found(anatomy, r2star_per_s)
    assert region.mask is None
