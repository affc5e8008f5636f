"""Lung is dark as a loaded liver is, and told by how little signal it begins with."""

from dataclasses import replace

import numpy as np
import pytest

from quant.liver import find_liver
from quant.phantom import AbdomenAnatomy, Label, make_abdomen
from tests.quant.liver.storage import flagged_fit


def test_lungs_begin_too_low_for_a_liver_and_lie_on_both_sides() -> None:
    anatomy = AbdomenAnatomy(r2star_overrides={Label.LUNG: 700.0}, s0_overrides={Label.LUNG: 0.35})
    chest = make_abdomen(
        r2star_per_s=60.0, field_t=3.0, seed=904, n_slices=1, matrix=128, snr=60, level_mm=150.0, anatomy=anatomy
    ).acquisition
    region = find_liver(chest, flagged_fit(chest))
    assert region.mask is None
    failed = {(line.code, line.limit) for line in region.qc if line.severity == "failure"}
    assert {("roi_low_density", 0.70), ("roi_low_density", 0.12)} <= failed
    assert region.checks["body_density"] == pytest.approx(0.4, abs=0.1)


def test_a_fatty_dark_liver_beside_as_dark_a_spleen_is_no_pair_of_lungs() -> None:
    """Its first echo is dark by fat: without fat in mind it would begin as low as lung."""
    anatomy = AbdomenAnatomy(spleen="large", r2star_overrides={Label.SPLEEN: 1000.0})
    abdomen = make_abdomen(
        r2star_per_s=1000.0, pdff_percent=20.0, field_t=3.0, seed=930, n_slices=2, matrix=128, snr=60, anatomy=anatomy
    ).acquisition
    region = find_liver(abdomen, flagged_fit(abdomen))
    assert region.mask is not None
    assert region.checks["water_density"] < 0.60 < 0.90 < region.checks["body_density"]
    assert region.checks["second_lung"] < 0.06


def test_dephased_tissue_of_the_density_of_lung_is_no_fatty_liver() -> None:
    """Alone, in the place of a liver: its decay begins flat, as fat makes it at 3 T, and nothing lies opposite."""
    phantom = make_abdomen(r2star_per_s=700.0, field_t=3.0, seed=931, n_slices=1, matrix=128, snr=60)
    abdomen, truth = phantom.acquisition, phantom.truth
    times_s, signal = abdomen.echo_times_s, abdomen.signal.copy()
    lung = 0.35 * truth.liver_s0 * np.exp(-700.0 * times_s - (450.0 * times_s) ** 2)
    noise = truth.sigma * np.random.default_rng(1).standard_normal((2, int(truth.whole_liver.sum()), len(times_s)))
    signal[truth.whole_liver] = np.hypot(lung + noise[0], noise[1])
    chest = replace(abdomen, signal=signal)
    region = find_liver(chest, flagged_fit(chest))
    assert [line.limit for line in region.qc if line.code == "roi_low_density"] == [0.22]
    assert region.mask is None
    assert region.checks["body_density"] > 0.70
    assert find_liver(abdomen, flagged_fit(abdomen)).mask is not None
