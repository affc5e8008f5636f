"""An outline from elsewhere is trimmed and judged as the built-in one is."""

from dataclasses import replace

import numpy as np
import pytest

from quant.liver import find_liver, judge_liver
from quant.phantom import AbdomenAnatomy, Label, Phantom, make_abdomen
from tests.quant.liver.storage import flagged_fit, reorder, stored_otherwise


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    anatomy = AbdomenAnatomy(r2star_overrides={Label.SPLEEN: 250.0})
    return make_abdomen(seed=941, n_slices=3, matrix=128, r2star_per_s=90.0, anatomy=anatomy)


def _of(phantom: Phantom, *labels: Label) -> np.ndarray:
    return np.isin(phantom.truth.labels, labels)


def test_a_right_outline_is_trimmed_to_parenchyma(phantom: Phantom) -> None:
    region = judge_liver(phantom.acquisition, flagged_fit(phantom.acquisition), phantom.truth.whole_liver)
    assert region.mask is not None
    assert phantom.truth.whole_liver[region.mask].all()
    assert phantom.truth.liver[region.mask].mean() > 0.98
    assert region.checks["second_opinion_overlap"] > 0.6


def test_the_outline_follows_the_storage(phantom: Phantom) -> None:
    here = judge_liver(phantom.acquisition, flagged_fit(phantom.acquisition), phantom.truth.whole_liver)
    other = stored_otherwise(phantom.acquisition, True, True, False)
    outline = reorder(phantom.truth.whole_liver, True, True, False)
    there = judge_liver(other, flagged_fit(other), outline)
    assert here.mask is not None
    assert there.mask is not None
    assert (there.mask == reorder(here.mask, True, True, False)).all()


@pytest.mark.parametrize("labels", [(Label.SPLEEN,), (Label.KIDNEY_CORTEX, Label.KIDNEY_MEDULLA), (Label.MUSCLE,)])
def test_an_outline_of_another_organ_is_refused(phantom: Phantom, labels: tuple[Label, ...]) -> None:
    region = judge_liver(phantom.acquisition, flagged_fit(phantom.acquisition), _of(phantom, *labels))
    assert region.mask is None
    assert region.refusals


def test_nothing_outlined_is_a_reason(phantom: Phantom) -> None:
    outline = np.zeros(phantom.truth.liver.shape, bool)
    region = judge_liver(phantom.acquisition, flagged_fit(phantom.acquisition), outline)
    assert [reason.code for reason in region.refusals] == ["roi_no_liver"]


def test_an_outline_of_another_size_is_an_error(phantom: Phantom) -> None:
    with pytest.raises(ValueError, match="shape"):
        judge_liver(phantom.acquisition, flagged_fit(phantom.acquisition), np.ones((1, 5, 5), bool))


def test_mirrored_images_are_refused_with_a_perfect_outline(phantom: Phantom) -> None:
    turned = replace(phantom.acquisition, signal=np.ascontiguousarray(phantom.acquisition.signal[:, :, ::-1]))
    region = judge_liver(turned, flagged_fit(turned), phantom.truth.whole_liver[:, :, ::-1])
    assert region.mask is None
    assert {"roi_position", "roi_wrong_side"} & {reason.code for reason in region.refusals}


def test_the_built_in_region_is_the_same_as_without(phantom: Phantom) -> None:
    fit = flagged_fit(phantom.acquisition)
    own = find_liver(phantom.acquisition, fit)
    judged = judge_liver(phantom.acquisition, fit, phantom.truth.whole_liver)
    assert own.mask is not None
    assert judged.checks["second_opinion_change"] == pytest.approx(
        abs(judged.checks["r2star_per_s"] / own.checks["r2star_per_s"] - 1)
    )
