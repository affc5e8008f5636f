"""Slices and discs of a region against what can be counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.acquisition import Geometry
from quant.fit import R2StarMap
from quant.flags import FitFlag
from quant.liver import find_liver
from quant.liver.parts import FEWEST_DISCS, MOST_DISCS, disc_mask, measure_parts, place_discs
from quant.phantom import make_abdomen
from tests.quant.liver.storage import flagged_fit

GEOMETRY = Geometry(
    positions_mm=np.arange(3)[:, None] * np.array([0, 0, 10.0]),
    row_direction=np.array([1.0, 0, 0]),
    column_direction=np.array([0, 1.0, 0]),
    spacing_mm=(10.0, 2.0, 2.0),
    slice_thickness_mm=8.0,
)


def _fit(rates: np.ndarray, flags: int | np.ndarray = 0) -> R2StarMap:
    phantom = make_abdomen(n_slices=1, matrix=16)
    return replace(
        flagged_fit(phantom.acquisition),
        r2star_per_s=rates.astype(np.float32),
        flags=np.zeros(rates.shape, np.int32) + flags,
    )


def _box(shape: tuple[int, int, int] = (3, 60, 60)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[:, 10:50, 10:50] = True
    return mask


def test_slices_have_their_own_statistics() -> None:
    rates = np.broadcast_to(np.array([40.0, 50.0, 90.0])[:, None, None], (3, 60, 60))
    parts = measure_parts(_box(), np.ones((3, 60, 60), bool), _fit(rates), GEOMETRY)
    assert [part.median_per_s for part in parts.slices] == [40, 50, 90]
    assert [part.n_voxels for part in parts.slices] == [1600] * 3
    assert parts.slices[0].volume_ml == pytest.approx(1600 * 2 * 2 * 10 / 1000)
    assert parts.median_per_s == 50


def test_discs_lie_apart_inside_and_on_the_right() -> None:
    mask, right = _box(), np.zeros((3, 60, 60), bool)
    right[:, :, :32] = True
    discs = place_discs(mask & right, (2.0, 2.0))
    assert FEWEST_DISCS <= len(discs) <= MOST_DISCS
    painted = np.zeros(mask.shape, int)
    for z, y, x, radius in discs:
        painted[z] += disc_mask(mask.shape[1:], (y, x), radius, (2.0, 2.0))
    assert painted.max() == 1
    assert not painted[~(mask & right)].any()
    assert {z for z, *_ in discs} == {0, 1, 2}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_discs_never_leave_a_ragged_region(seed: int) -> None:
    mask = np.random.default_rng(seed).random((2, 40, 40)) < 0.97
    for z, y, x, radius in place_discs(mask, (2.5, 1.5)):
        assert mask[z][disc_mask(mask.shape[1:], (y, x), radius, (2.5, 1.5))].all()


def test_discs_agree_with_an_even_region_and_warn_in_an_uneven_one() -> None:
    mask, everywhere = _box(), np.ones((3, 60, 60), bool)
    even = measure_parts(mask, everywhere, _fit(np.full((3, 60, 60), 60.0)), GEOMETRY).line()
    assert (even.severity, even.value) == ("info", 60)
    rates = np.full((3, 60, 60), 60.0)
    rates[:, :, 10:20] = 120
    uneven = measure_parts(mask, everywhere, _fit(np.where(rates > 60, 60, 200.0)), GEOMETRY)
    assert uneven.line().severity == "info"
    few = np.zeros((3, 60, 60), bool)
    few[:, 10:50, 10:24] = True
    right_only = measure_parts(mask, few, _fit(rates), GEOMETRY).line()
    assert right_only.severity == "warning"
    assert right_only.value == pytest.approx(120, rel=0.2)


def test_too_small_a_region_has_no_discs() -> None:
    mask = np.zeros((3, 60, 60), bool)
    mask[0, 10:14, 10:40] = True
    parts = measure_parts(mask, np.ones_like(mask), _fit(np.full(mask.shape, 50.0)), GEOMETRY)
    assert parts.disc_mean_per_s is None
    assert "no room" in parts.line().text


def test_voxels_beyond_the_limit_count_as_larger() -> None:
    rates = np.full((3, 60, 60), 1500.0)
    rates[:, ::2] = np.nan
    flags = np.where(np.isnan(rates), int(FitFlag.AT_LIMIT), 0)
    rates[:, 1::6] = np.nan  # without a flag: no value, not counted
    parts = measure_parts(_box(), np.ones((3, 60, 60), bool), _fit(rates, flags), GEOMETRY)
    assert parts.slices[0].q1_per_s == 1500
    assert parts.slices[0].q3_per_s == np.inf
    assert "beyond what single voxels" in parts.line().text


def test_a_found_region_brings_its_parts() -> None:
    phantom = make_abdomen(seed=931, n_slices=3, matrix=128)
    region = find_liver(phantom.acquisition, flagged_fit(phantom.acquisition))
    assert region.mask is not None
    assert region.parts is not None
    assert sum(part.n_voxels for part in region.parts.slices) == region.mask.sum()
    assert len(region.parts.discs) >= FEWEST_DISCS
    truth = phantom.truth.whole_liver
    for disc in region.parts.discs:
        spacing = phantom.acquisition.geometry.spacing_mm[1:]
        pixels = disc_mask(truth.shape[1:], (disc.row, disc.column), disc.radius_mm, spacing)
        assert truth[disc.part.slice_index][pixels].all()
    assert [line.code for line in region.qc].count("roi_discs") == 1


def test_lobes_are_parted_and_a_small_one_has_no_value() -> None:
    rates = np.where(np.arange(60)[None, None, :] < 30, 50.0, 70.0) + np.zeros((3, 60, 60))
    right = np.zeros((3, 60, 60), bool)
    right[:, :, :30] = True
    parts = measure_parts(_box(), right, _fit(rates), GEOMETRY)
    assert parts.right_lobe is not None
    assert parts.left_lobe is not None
    assert (parts.right_lobe.median_per_s, parts.left_lobe.median_per_s) == (50, 70)
    assert parts.right_lobe.n_voxels + parts.left_lobe.n_voxels == _box().sum()
    right[:, :, :49] = True  # 3 slices x 40 x 1 pixels of 4 mm2: just below 5 cm2
    parts = measure_parts(_box(), right, _fit(rates), GEOMETRY)
    assert parts.left_lobe is None
