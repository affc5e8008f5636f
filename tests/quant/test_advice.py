"""What to do after a refusal follows its cause and what the scan had."""

from dataclasses import replace

import pytest

from quant.advice import advice_for
from tests.node.report.report_cases import base_result

HAD = base_result(1.5)
assert HAD.acquisition is not None
assert HAD.fit is not None
GOOD, FIT = HAD.acquisition, HAD.fit
LATE = replace(GOOD, echo_times_s=(0.003, 0.006, 0.009, 0.012, 0.015))
MORE_ECHOES = "6 to 12 echoes"
MORE_SIGNAL = "For more signal at the next scan: larger voxels or thicker slices."
EARLIER = "a first TE of about 1 ms (now 3.00 ms)"


@pytest.mark.parametrize(
    "code", ["roi_low_signal", "roi_dark_organ", "fraction_failed", "fit_not_possible", "roi_ghosts"]
)
def test_the_protocol_that_the_scan_had_is_not_asked_for(code: str) -> None:
    told = " ".join(advice_for(code, GOOD, replace(FIT, fraction_at_limit=0.9)))
    assert MORE_SIGNAL in told
    for had in (MORE_ECHOES, "first TE", "echo spacing", "1.5 T", "first echo"):
        assert had not in told


@pytest.mark.parametrize("code", ["roi_low_signal", "roi_dark_organ", "roi_no_liver", "roi_too_small"])
def test_late_echoes_are_named_with_what_they_were(code: str) -> None:
    assert EARLIER in " ".join(advice_for(code, LATE, FIT))


@pytest.mark.parametrize("code", ["fraction_failed", "fit_not_possible"])
def test_few_echoes_are_asked_for_more(code: str) -> None:
    assert MORE_ECHOES in " ".join(advice_for(code, LATE, FIT))


def test_a_liver_that_was_not_found_may_be_dark() -> None:
    assert "If the liver is dark in the first echo" in " ".join(advice_for("roi_no_liver", GOOD, FIT))


def test_failed_fits_with_signal_are_not_put_down_to_noise() -> None:
    assert advice_for("fraction_failed", GOOD, FIT) == (
        "Repeat in one breath-hold; check the images for motion, artefacts and lesions.",
    )


def test_a_region_unlike_its_organ_asks_for_more_liver_and_a_scattered_one_for_one_breath() -> None:
    (told,) = advice_for("roi_heterogeneous", GOOD, FIT)
    assert "one breath-hold" in told
    assert "motion" in told
    assert "more slices through the right liver lobe" in told
    assert "draw the liver" in told


@pytest.mark.parametrize(
    "code", ["roi_low_signal", "roi_no_liver", "too_few_echoes", "no_pixel_data", "never_heard_of"]
)
def test_without_an_acquisition_there_is_still_something_to_do(code: str) -> None:
    assert all(advice_for(code, None, None))


def test_an_outline_lost_in_noise_asks_for_signal_and_one_that_is_cut_does_not() -> None:
    assert MORE_SIGNAL in " ".join(advice_for("roi_no_torso", GOOD, replace(FIT, fraction_at_limit=0.43)))
    assert MORE_SIGNAL not in " ".join(advice_for("roi_no_torso", GOOD, FIT))
    assert "field of view" in advice_for("roi_no_torso", GOOD, FIT)[0]
