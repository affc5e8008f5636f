"""Where no right-sided liver can be measured, there is a coded reason and no region."""

from dataclasses import replace

import numpy as np
import pytest

from bench.roi.bodies import impossible
from quant.acquisition import Geometry, MultiEcho
from quant.flags import FitFlag
from quant.liver import LiverRegion, find_liver
from quant.phantom import AbdomenAnatomy, Label, make_abdomen
from tests.quant.liver.storage import flagged_fit

TIMES_S = np.array([1.0, 2.4, 3.8, 5.2, 6.6, 8.0]) * 1e-3


def _axial(signal: np.ndarray, echo_times_s: np.ndarray = TIMES_S) -> MultiEcho:
    return MultiEcho(
        signal=signal.astype(np.float32),
        echo_times_s=echo_times_s,
        field_t=1.5,
        geometry=Geometry(
            positions_mm=np.arange(len(signal))[:, None] * np.array([0, 0, 8.0]),
            row_direction=np.array([1.0, 0, 0]),
            column_direction=np.array([0, 1.0, 0]),
            spacing_mm=(8.0, 3.0, 3.0),
            slice_thickness_mm=8.0,
        ),
    )


def _codes(region: LiverRegion) -> set[str]:
    assert region.mask is None
    assert all(reason.text.endswith(".") for reason in region.refusals)
    return {reason.code for reason in region.refusals}


def _find(acquisition: MultiEcho) -> LiverRegion:
    return find_liver(acquisition, flagged_fit(acquisition))


@pytest.mark.parametrize("r2star", [40.0, 300.0, 1300.0])
@pytest.mark.parametrize("seed", [911, 912])
def test_situs_inversus(r2star: float, seed: int) -> None:
    anatomy = AbdomenAnatomy(situs_inversus=True)
    phantom = make_abdomen(r2star_per_s=r2star, seed=seed, n_slices=2, matrix=128, anatomy=anatomy)
    assert _codes(_find(phantom.acquisition))


@pytest.mark.parametrize("seed", [913, 914])
def test_situs_inversus_of_a_liver_too_dark_to_be_seen(seed: int) -> None:
    """The spleen at the right looks like a liver, and the liver itself has no R2*. No vessel tells the side."""
    without_vessels = {label: 300.0 for label in (Label.AORTA, Label.VENA_CAVA)}
    spleen = {Label.SPLEEN: 79.0}
    anatomy = AbdomenAnatomy(situs_inversus=True, spleen="large", r2star_overrides=without_vessels | spleen)
    phantom = make_abdomen(
        r2star_per_s=2500.0, field_t=3.0, seed=seed, n_slices=2, matrix=128, snr=40, level_mm=-25.0, anatomy=anatomy
    )
    region = _find(phantom.acquisition)
    assert "roi_dark_organ" in _codes(region)
    assert region.checks["vessel_side"] == 0


@pytest.mark.parametrize("seed", [922, 923])
@pytest.mark.parametrize("r2star", [140.0, 400.0])
def test_situs_inversus_of_a_cirrhotic_liver(r2star: float, seed: int) -> None:
    """Its large left lobe reaches over to the right."""
    anatomy = AbdomenAnatomy(situs_inversus=True, liver="cirrhotic")
    phantom = make_abdomen(r2star_per_s=r2star, seed=seed, n_slices=3, matrix=128, level_mm=25.0, anatomy=anatomy)
    assert _codes(_find(phantom.acquisition))


@pytest.mark.parametrize("r2star", [40.0, 300.0, 1300.0])
def test_mirrored_pixels(r2star: float) -> None:
    acquisition = make_abdomen(r2star_per_s=r2star, seed=913, n_slices=2, matrix=128).acquisition
    assert _codes(_find(replace(acquisition, signal=np.ascontiguousarray(acquisition.signal[:, :, ::-1]))))


@pytest.mark.parametrize(
    ("region", "codes"),
    [
        ("pelvis", {"roi_too_small", "roi_position", "roi_symmetric", "roi_wrong_side", "roi_no_liver"}),
        ("thighs", {"roi_symmetric", "roi_no_torso", "roi_position", "roi_wrong_side", "roi_too_small"}),
        ("head", {"roi_no_torso"}),
        ("bottle", {"roi_no_liver", "roi_symmetric", "roi_no_torso"}),
    ],
)
@pytest.mark.parametrize("seed", [914, 915])
def test_other_parts_of_the_body(region: str, codes: set[str], seed: int) -> None:
    phantom = make_abdomen(seed=seed, n_slices=2, matrix=128, anatomy=AbdomenAnatomy(region=region))
    assert _codes(_find(phantom.acquisition)) & codes


def test_absent_liver_beside_a_dark_spleen() -> None:
    anatomy = AbdomenAnatomy(liver="absent", r2star_overrides={Label.SPLEEN: 300.0})
    phantom = make_abdomen(seed=916, n_slices=3, matrix=128, anatomy=anatomy)
    assert _codes(_find(phantom.acquisition))


def test_noise_alone() -> None:
    rng = np.random.default_rng(917)
    noise = np.hypot(*rng.normal(0, 20, (2, 3, 96, 128, 6)))
    assert _codes(_find(_axial(noise))) & {"roi_no_torso", "roi_no_liver", "roi_low_signal", "roi_too_small"}


def test_two_bottles_side_by_side() -> None:
    rng = np.random.default_rng(918)
    y, x = np.mgrid[-48:48, -64:64] * 3.0
    bottles = (np.hypot(x - 80, y) < 75) | (np.hypot(x + 80, y) < 75)
    clean = 1000.0 * bottles[None, :, :, None] * np.exp(-60 * TIMES_S) * np.ones((2, 1, 1, 1))
    assert _codes(_find(_axial(np.abs(clean + rng.normal(0, 15, clean.shape)))))


def test_zeros_are_no_torso() -> None:
    assert _codes(_find(_axial(np.zeros((2, 64, 64, 6))))) == {"roi_no_torso"}


def test_coronal_slices_need_a_reader() -> None:
    acquisition = make_abdomen(seed=919, n_slices=2, matrix=96, orientation="coronal").acquisition
    region = _find(acquisition)
    assert _codes(region) == {"roi_not_axial"}
    assert "coronal" in region.refusals[0].text
    assert "reader's region" in region.refusals[0].text


def test_two_echoes_are_too_few() -> None:
    assert _codes(_find(_axial(np.ones((1, 64, 64, 2)), TIMES_S[:2]))) == {"roi_too_few_echoes"}


def test_a_region_that_the_fit_could_not_measure() -> None:
    acquisition = make_abdomen(seed=920, n_slices=2, matrix=128).acquisition
    region = find_liver(acquisition, flagged_fit(acquisition, FitFlag.NOISE_ONLY))
    assert _codes(region) == {"roi_low_signal"}
    assert region.candidate is not None
    assert region.excluded["low_snr"] == region.candidate.sum()


def test_a_region_refused_by_a_check_is_still_shown() -> None:
    anatomy = AbdomenAnatomy(situs_inversus=True)
    region = _find(make_abdomen(seed=921, n_slices=2, matrix=128, anatomy=anatomy).acquisition)
    assert region.mask is None
    failures = [line for line in region.qc if line.severity == "failure"]
    assert [line.code for line in failures] == [reason.code for reason in region.refusals]


@pytest.mark.parametrize(
    ("seed", "case", "organ"),
    [(12004, "mirrored", "a large spleen"), (5017, "situs inversus", "a spleen as dark as the liver")],
)
def test_a_spleen_at_the_right_is_told_by_how_far_forward_it_reaches(seed: int, case: str, organ: str) -> None:
    phantom, drawn = impossible(seed)
    assert drawn == case
    region = _find(phantom.acquisition)
    assert "roi_wrong_side" in _codes(region), organ
    assert region.candidate is not None
    assert not phantom.truth.whole_liver[region.candidate].any()
    shown = [line.value for line in region.qc if line.code == "roi_wrong_side"]
    assert region.checks["region_front"] in shown
