"""The phantom's body: plausible organs in plausible places, placed by patient coordinates, repeatable by seed."""

import numpy as np
import pytest
from scipy import ndimage

from quant.phantom import AbdomenAnatomy, Label, Phantom, make_abdomen

WHOLE = {"n_slices": 14, "slice_thickness_mm": 8.0, "gap_mm": 7.0, "matrix": 72, "level_mm": 0.0}


def patient_coordinates(phantom: Phantom) -> np.ndarray:
    """Patient coordinates (z, y, x, 3) of every voxel."""
    geometry = phantom.acquisition.geometry
    shape = phantom.truth.labels.shape
    _, row, column = geometry.spacing_mm
    y, x = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    plane = y[..., None] * row * geometry.column_direction + x[..., None] * column * geometry.row_direction
    return geometry.positions_mm[:, None, None, :] + plane


def centre_of(phantom: Phantom, *labels: Label) -> np.ndarray:
    return patient_coordinates(phantom)[np.isin(phantom.truth.labels, labels)].mean(axis=0)


def volume_ml(phantom: Phantom, *labels: Label) -> float:
    return np.isin(phantom.truth.labels, labels).sum() * phantom.acquisition.geometry.voxel_volume_ml


@pytest.mark.parametrize("seed", range(4))
def test_organs_have_human_sizes_and_places(seed: int) -> None:
    phantom = make_abdomen(seed=seed, **WHOLE)
    # adult ranges, with room: liver 1.5 l, spleen 0.2 l, both kidneys 0.3 l, gall bladder 30 ml
    assert 900 < phantom.truth.whole_liver.sum() * phantom.acquisition.geometry.voxel_volume_ml < 2300
    assert 80 < volume_ml(phantom, Label.SPLEEN) < 420
    assert 150 < volume_ml(phantom, Label.KIDNEY_CORTEX, Label.KIDNEY_MEDULLA) < 450
    assert 10 < volume_ml(phantom, Label.GALL_BLADDER) < 60
    liver, spleen, aorta, cava, spine = (
        centre_of(phantom, label) for label in (Label.LIVER, Label.SPLEEN, Label.AORTA, Label.VENA_CAVA, Label.MARROW)
    )
    assert liver[0] < -30
    assert spleen[0] > 50
    assert cava[0] < aorta[0]
    assert spine[1] > aorta[1] > liver[1]
    assert centre_of(phantom, Label.HEART)[2] > liver[2] + 40


def test_the_liver_is_one_piece_and_holds_its_vessels() -> None:
    truth = make_abdomen(seed=1, **WHOLE).truth
    parts, count = ndimage.label(truth.whole_liver)
    sizes = ndimage.sum_labels(truth.whole_liver, parts, range(1, count + 1))
    assert max(sizes) / sum(sizes) > 0.98
    assert not (truth.liver & truth.vessels).any()
    assert (truth.whole_liver[truth.liver]).all()
    assert (truth.whole_liver[truth.vessels]).all()
    assert 0.005 < truth.vessels.sum() / truth.whole_liver.sum() < 0.12


def test_situs_inversus_mirrors_the_body() -> None:
    phantom = make_abdomen(anatomy=AbdomenAnatomy(situs_inversus=True), **WHOLE)
    assert centre_of(phantom, Label.LIVER)[0] > 30
    assert centre_of(phantom, Label.SPLEEN)[0] < -50


def test_variants_change_what_they_say() -> None:
    normal = make_abdomen(seed=2, **WHOLE)
    liver = {v: make_abdomen(seed=2, anatomy=AbdomenAnatomy(liver=v), **WHOLE) for v in ("small", "large", "left_only")}
    assert volume_ml(liver["small"], Label.LIVER) < 0.75 * volume_ml(normal, Label.LIVER)
    assert volume_ml(liver["large"], Label.LIVER) > 1.1 * volume_ml(normal, Label.LIVER)
    assert centre_of(liver["left_only"], Label.LIVER)[0] > centre_of(normal, Label.LIVER)[0] + 30
    spleen = {v: make_abdomen(seed=2, anatomy=AbdomenAnatomy(spleen=v), **WHOLE) for v in ("large", "absent")}
    assert volume_ml(spleen["large"], Label.SPLEEN) > 2 * volume_ml(normal, Label.SPLEEN)
    assert volume_ml(spleen["absent"], Label.SPLEEN) == 0


def test_ascites_and_lesions_are_painted() -> None:
    anatomy = AbdomenAnatomy(ascites_mm=12.0, lesions=10, liver="cirrhotic")
    phantom = make_abdomen(seed=3, anatomy=anatomy, **WHOLE)
    assert volume_ml(phantom, Label.ASCITES) > 300
    assert volume_ml(phantom, Label.LIVER_LESION) > 5
    labels = phantom.truth.labels
    around = ndimage.binary_dilation(labels == Label.LIVER, iterations=2)
    assert (around & (labels == Label.ASCITES)).sum() > 0


@pytest.mark.parametrize(
    "anatomy",
    [
        AbdomenAnatomy(liver="absent"),
        AbdomenAnatomy(region="pelvis"),
        AbdomenAnatomy(region="thighs"),
        AbdomenAnatomy(region="head"),
        AbdomenAnatomy(region="bottle"),
    ],
)
def test_bodies_without_a_liver(anatomy: AbdomenAnatomy) -> None:
    phantom = make_abdomen(anatomy=anatomy, n_slices=3, matrix=64)
    assert not phantom.truth.whole_liver.any()
    assert (phantom.truth.labels != Label.BACKGROUND).mean() > 0.05
    assert np.isfinite(phantom.acquisition.signal).all()


def test_gas_rises() -> None:
    """Gas lies in front in a supine and behind in a prone patient."""
    for orientation, sign in (("axial", 1), ("prone", -1)):
        phantom = make_abdomen(seed=1, orientation=orientation, **WHOLE)
        in_stomach = centre_of(phantom, Label.STOMACH_CONTENT)[1] - centre_of(phantom, Label.GAS)[1]
        assert sign * in_stomach > 0


def test_feet_first_shows_the_same_body_turned_around() -> None:
    head_first, feet_first = (
        make_abdomen(seed=5, n_slices=4, matrix=64, orientation=o, level_mm=10.0, snr=1e6)
        for o in ("axial", "feet_first")
    )
    assert feet_first.acquisition.geometry.normal == pytest.approx([0, 0, -1])
    turned = feet_first.truth.liver[::-1, :, ::-1]
    assert (turned == head_first.truth.liver).mean() > 0.9999


def test_tilted_slices_cut_the_same_body() -> None:
    """The label at a patient position does not depend on how the slices are tilted."""
    straight = make_abdomen(seed=6, n_slices=26, slice_thickness_mm=4, gap_mm=0, matrix=100, level_mm=0.0)
    tilted = make_abdomen(seed=6, n_slices=3, slice_thickness_mm=4, gap_mm=8, matrix=100, tilt_deg=20, swivel_deg=8)
    where = np.argwhere(tilted.truth.liver)[::37]
    points = patient_coordinates(tilted)[tuple(where.T)]
    first = patient_coordinates(straight)[0, 0, 0]
    index = np.round((points - first) / [4.0, 4.0, 4.0]).astype(int)
    inside = (index >= 0).all(axis=1) & (index[:, 2] < 26)
    assert inside.mean() > 0.9
    hit = straight.truth.whole_liver[index[inside, 2], index[inside, 1], index[inside, 0]]
    assert hit.mean() > 0.95


def test_equal_arguments_give_equal_arrays_and_seeds_differ() -> None:
    one, two, other = (make_abdomen(n_slices=2, matrix=64, seed=s) for s in (7, 7, 8))
    assert np.array_equal(one.acquisition.signal, two.acquisition.signal)
    assert np.array_equal(one.truth.labels, two.truth.labels)
    assert not np.array_equal(one.truth.labels, other.truth.labels)


def test_iron_changes_no_anatomy_and_no_noise() -> None:
    low, high = (make_abdomen(n_slices=1, matrix=64, seed=1, r2star_per_s=r) for r in (40.0, 900.0))
    assert np.array_equal(low.truth.labels, high.truth.labels)
    air = low.truth.labels == Label.BACKGROUND
    assert np.array_equal(low.acquisition.signal[air], high.acquisition.signal[air])


def test_overrides_replace_tissue_values() -> None:
    anatomy = AbdomenAnatomy(r2star_overrides={Label.SPLEEN: 300.0}, pdff_overrides={Label.PANCREAS: 0.3})
    truth = make_abdomen(n_slices=3, matrix=96, anatomy=anatomy).truth
    assert np.median(truth.r2star_per_s[truth.labels == Label.SPLEEN]) == pytest.approx(300, rel=0.1)
    assert truth.tissues[Label.PANCREAS].pdff == 0.3


def test_matrix_may_be_rectangular() -> None:
    phantom = make_abdomen(n_slices=1, matrix=(48, 80), fov_mm=400)
    assert phantom.acquisition.signal.shape[:3] == (1, 48, 80)
    assert phantom.acquisition.geometry.spacing_mm[1:] == (5.0, 5.0)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"r2star_per_s": 0.0}, "r2star_per_s"),
        ({"pdff_percent": 140.0}, "pdff_percent"),
        ({"field_t": 40.0}, "field_t"),
        ({"kind": "phase"}, "kind"),
        ({"kind": "complex", "coils": 8}, "coils"),
        ({"snr": -1.0}, "snr"),
        ({"orientation": "upside_down"}, "orientation"),
        ({"n_slices": 0}, "slice"),
        ({"tilt_deg": 80.0}, "tilt"),
        ({"fov_mm": 0.0}, "field of view"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make_abdomen(**arguments)


@pytest.mark.parametrize(
    ("field", "value"),
    [("body_scale", 3.0), ("liver", "huge"), ("lesions", -1), ("region", "foot"), ("ghosts", 2.0)],
)
def test_bad_anatomy_is_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        AbdomenAnatomy(**{field: value})
