"""The side of the patient by aorta and vena cava: discs at known places, digital abdomens and real anatomies."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.roi.bodies import hard, mirrored_hard
from quant.acquisition import Geometry, MultiEcho
from quant.liver import LiverRegion, find_liver
from quant.liver.great_vessels import vessel_side
from quant.liver.images import prepare
from quant.liver.orientation import axial_axes
from quant.liver.parameters import DEFAULTS
from quant.liver.tissue import fit_body
from quant.liver.torso import find_torso
from quant.phantom import AbdomenAnatomy, Label, Phantom, make_abdomen
from tests.quant.liver.labelled_abdomen import simulate
from tests.quant.liver.storage import flagged_fit, stored_otherwise

SharedData = Callable[[str], Path]

SPACING_MM, SLICE_MM = 2.5, 8.0
TIMES_S = np.array([1.0, 2.2, 3.4, 4.6, 5.8, 7.0]) * 1e-3
MUSCLE_PER_S, BLOOD_PER_S, VENOUS_PER_S, FLUID_PER_S = 31.0, 5.0, 11.0, 3.0
# Place (left and back of the middle of the body) and radius in mm, R2*.
CANAL = (0.0, 65.0, 9.0, FLUID_PER_S)
AORTA = (10.0, 12.0, 10.0, BLOOD_PER_S)
CAVA = (-24.0, 4.0, 11.0, VENOUS_PER_S)
Disc = tuple[float, float, float, float]


def _discs(*slices: tuple[Disc, ...]) -> MultiEcho:
    """A body of muscle, an ellipse of 330 by 230 mm, with discs in each slice; SNR 60."""
    n = 160
    place = (np.arange(n) - (n - 1) / 2) * SPACING_MM
    back, left = np.meshgrid(place, place, indexing="ij")
    body = (left / 165) ** 2 + (back / 115) ** 2 < 1
    rates = np.full((len(slices), n, n), MUSCLE_PER_S)
    for z, discs in enumerate(slices):
        for x, y, radius, rate in discs:
            rates[z][np.hypot(left - x, back - y) < radius] = rate
    clean = 1000 * body[..., None] * np.exp(-rates[..., None] * TIMES_S)
    noise = np.random.default_rng(1).normal(0, 1000 / 60, (2, *clean.shape))
    positions = np.zeros((len(slices), 3))
    positions[:, :2], positions[:, 2] = place[0], SLICE_MM * np.arange(len(slices))
    return MultiEcho(
        signal=np.hypot(clean + noise[0], noise[1]).astype(np.float32),
        echo_times_s=TIMES_S,
        field_t=1.5,
        geometry=Geometry(
            positions_mm=positions,
            row_direction=np.array([1.0, 0.0, 0.0]),
            column_direction=np.array([0.0, 1.0, 0.0]),
            spacing_mm=(SLICE_MM, SPACING_MM, SPACING_MM),
            slice_thickness_mm=SLICE_MM,
        ),
    )


def _opposite(disc: Disc) -> Disc:
    return (-disc[0], *disc[1:])


def _side(acquisition: MultiEcho) -> float:
    axes = axial_axes(acquisition.geometry, acquisition.signal.shape[:3])
    images = prepare(acquisition, axes, (flagged_fit(acquisition).sigma, 1.0), DEFAULTS)
    torso = find_torso(images, DEFAULTS)
    return vessel_side(fit_body(images, torso, DEFAULTS), torso, images.plane, images.field_t)


def _in_mirrored_pixels(acquisition: MultiEcho) -> MultiEcho:
    return replace(acquisition, signal=np.ascontiguousarray(np.flip(acquisition.signal, 2)))


@pytest.mark.parametrize("n_slices", [1, 3])
def test_aorta_left_of_the_cava_is_normal_and_the_mirror_image_its_opposite(n_slices: int) -> None:
    body = _discs(*[(CANAL, AORTA, CAVA)] * n_slices)
    assert _side(body) == pytest.approx(1.0, abs=0.1)
    assert _side(_in_mirrored_pixels(body)) == pytest.approx(-_side(body), abs=0.05)


@pytest.mark.parametrize(
    ("left_out", "discs"),
    [
        ("the vena cava", (CANAL, AORTA)),
        ("the aorta", (CANAL, CAVA)),
        ("the canal, so that the midline is not known", (AORTA, CAVA)),
        ("all of them", ()),
    ],
)
def test_a_vessel_that_is_missing_leaves_no_evidence(left_out: str, discs: tuple[Disc, ...]) -> None:
    assert _side(_discs(discs)) == 0, left_out


@pytest.mark.parametrize(
    ("what", "beside"),
    [
        ("a second vena cava at the left", (36.0, 4.0, 11.0, VENOUS_PER_S)),
        ("bowel with fluid at the left", (30.0, -8.0, 10.0, FLUID_PER_S)),
    ],
)
def test_anything_like_a_cava_on_both_sides_leaves_no_evidence(what: str, beside: Disc) -> None:
    assert _side(_discs((CANAL, AORTA, CAVA, beside))) == 0, what


@pytest.mark.parametrize("aside_mm", [28.0, 34.0])
@pytest.mark.parametrize("aorta", [AORTA, (4.0, 12.0, 10.0, BLOOD_PER_S)])
def test_a_spot_beside_the_aorta_is_no_cava_where_the_cava_is_not_seen(aorta: Disc, aside_mm: float) -> None:
    """Bowel or a vein at the left of it."""
    assert _side(_discs((CANAL, aorta, (aside_mm, 4.0, 11.0, VENOUS_PER_S)))) == 0


def test_two_vessels_alike_on_both_sides_of_the_spine_leave_no_evidence() -> None:
    assert _side(_discs((CANAL, (17.0, 10.0, 10.0, 8.0), (-17.0, 10.0, 10.0, 8.0)))) == 0


def test_a_cava_in_few_of_the_slices_is_not_enough() -> None:
    with_cava, without = (CANAL, AORTA, CAVA), (CANAL, AORTA)
    assert _side(_discs(with_cava, without, without, without)) == 0
    assert _side(_discs(with_cava, with_cava, with_cava, without)) == pytest.approx(0.75, abs=0.1)


def test_slices_that_contradict_each_other_leave_no_evidence() -> None:
    normal, opposite = (CANAL, AORTA, CAVA), (CANAL, _opposite(AORTA), _opposite(CAVA))
    assert _side(_discs(normal, opposite)) == 0


def _abdomen(*, n_slices: int = 2, situs_inversus: bool = False, region: str = "abdomen") -> Phantom:
    anatomy = AbdomenAnatomy(situs_inversus=situs_inversus, region=region)
    return make_abdomen(r2star_per_s=120, n_slices=n_slices, matrix=160, seed=4, anatomy=anatomy)


def test_the_digital_abdomen_its_mirror_image_and_situs_inversus() -> None:
    normal = _abdomen().acquisition
    assert _side(normal) > 0.5
    assert _side(_in_mirrored_pixels(normal)) < -0.5
    assert _side(_abdomen(situs_inversus=True).acquisition) < -0.5


def test_the_side_does_not_depend_on_how_the_images_are_stored() -> None:
    normal = _abdomen().acquisition
    for transpose, flip_rows, flip_columns in ((True, False, False), (False, True, True), (True, False, True)):
        turned = stored_otherwise(normal, transpose, flip_rows, flip_columns)
        assert _side(turned) == pytest.approx(_side(normal), abs=1e-5)


@pytest.mark.parametrize("region", ["thighs", "pelvis", "bottle"])
def test_other_parts_of_the_body_have_no_side(region: str) -> None:
    assert _side(_abdomen(n_slices=1, region=region).acquisition) == 0


@pytest.mark.parametrize("patient", ["ct", "mr"])
def test_the_side_of_two_patients(shared_data: SharedData, patient: str) -> None:
    path = shared_data("abdomen-labels") / f"{patient}.npz"
    case = simulate(path, r2star_per_s=150, seed=3, thickness=4)
    assert _side(case.acquisition) > 0
    assert _side(_in_mirrored_pixels(case.acquisition)) < 0


def _find(phantom: Phantom) -> LiverRegion:
    return find_liver(phantom.acquisition, flagged_fit(phantom.acquisition))


def test_mirrored_vessels_refuse_a_left_lobe_joined_with_a_spleen_as_dark() -> None:
    """One slice: its shape is that of a liver at the right, and nothing but the vessels tells."""
    region = _find(mirrored_hard(51012)[0])
    assert region.mask is None
    assert "The vena cava lies left of the aorta: mirrored images or situs inversus." in {
        reason.text for reason in region.refusals
    }


def test_a_liver_that_its_spleen_outweighs_is_reported_where_the_vessels_tell_the_side() -> None:
    phantom, case = hard(50041)
    assert case == "liver cirrhotic"
    region = _find(phantom)
    assert region.checks["vessel_side"] > 0
    assert region.checks["right_over_left"] < 1
    assert region.mask is not None
    assert phantom.truth.whole_liver[region.mask].mean() > 0.98


def test_a_spleen_far_darker_than_the_liver_is_no_fault_where_the_vessels_tell_the_side() -> None:
    anatomy = AbdomenAnatomy(liver="small", spleen="large", r2star_overrides={Label.SPLEEN: 700.0})
    phantom = make_abdomen(anatomy=anatomy, r2star_per_s=70.0, level_mm=0.0, n_slices=1, matrix=128, seed=3)
    region = find_liver(phantom.acquisition, flagged_fit(phantom.acquisition))
    assert region.mask is not None, region.refusals
    assert phantom.truth.whole_liver[region.mask].mean() >= 0.98
    mirrored = _in_mirrored_pixels(phantom.acquisition)
    assert find_liver(mirrored, flagged_fit(mirrored)).mask is None
