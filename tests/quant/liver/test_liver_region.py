"""The region lies inside the liver of digital abdomens, whatever the iron, the field and the storage order."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from quant.fit import fit_r2star
from quant.flags import FitFlag
from quant.liver import check_region, find_liver
from quant.liver.finder import beyond_slices
from quant.phantom import Phantom, make_abdomen
from tests.further import further
from tests.quant.liver.storage import flagged_fit, reorder, stored_otherwise

MIN_YIELD = 0.9


def _abdomen(r2star: float, field_t: float, seed: int, n_slices: int = 3) -> Phantom:
    return make_abdomen(r2star_per_s=r2star, field_t=field_t, seed=seed, n_slices=n_slices, matrix=128, snr=60)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return _abdomen(67.73, 1.5, 900)


RATES_PER_S = (25.0, 67.0, 150.0, 400.0, 800.0)


@pytest.mark.parametrize("fields_t", [(3.0, 1.5, 3.0, 1.5, 1.5), *further([((1.5, 3.0, 1.5, 3.0, 3.0),)])])
def test_regions_lie_in_the_liver_and_measure_it(fields_t: tuple[float, ...]) -> None:
    cases = list(zip(RATES_PER_S, fields_t, strict=True))
    reported = 0
    for seed, (r2star, field_t) in enumerate(cases, start=930):
        phantom = _abdomen(r2star, field_t, seed)
        region = find_liver(phantom.acquisition, flagged_fit(phantom.acquisition))
        if region.mask is None:
            continue
        reported += 1
        case = f"R2* {r2star}, {field_t} T, seed {seed}"
        assert phantom.truth.whole_liver[region.mask].mean() >= 0.98, case
        inside = np.nanmedian(phantom.truth.r2star_per_s[region.mask])
        assert inside == pytest.approx(np.median(phantom.truth.r2star_per_s[phantom.truth.liver]), rel=0.06), case
    assert reported >= MIN_YIELD * len(cases)


def test_one_slice_is_enough_and_is_said() -> None:
    phantom = _abdomen(120.0, 1.5, 903, n_slices=1)
    region = find_liver(phantom.acquisition, flagged_fit(phantom.acquisition))
    assert region.mask is not None
    assert phantom.truth.whole_liver[region.mask].mean() >= 0.98
    assert [line.code for line in region.qc] == ["roi_single_slice", "roi_discs"]


def test_a_liver_that_goes_on_beyond_the_slices_is_said(phantom: Phantom) -> None:
    """The phantom's slices end in the middle of the liver; the same volume with room above and below says nothing."""
    text = "The liver goes on beyond the slices at both ends. Add slices at the next scan to measure more of it."
    region = find_liver(phantom.acquisition, flagged_fit(phantom.acquisition))
    assert [line.text for line in region.qc if line.code == "liver_beyond_slices"] == [text]
    assert region.organ is not None
    assert beyond_slices(np.pad(region.organ, ((1, 1), (0, 0), (0, 0)))) == ()


def test_a_drawn_disc_is_not_blamed_for_being_no_whole_liver(phantom: Phantom) -> None:
    """Discs of 25 mm radius: in the middle of the liver, and as far to the left in the body."""
    acquisition, fit = phantom.acquisition, flagged_fit(phantom.acquisition)
    z, y, x = (int(np.median(where)) for where in np.nonzero(phantom.truth.liver))
    rows, columns = np.ogrid[: acquisition.signal.shape[1], : acquisition.signal.shape[2]]
    radius = 25 / acquisition.geometry.spacing_mm[1]

    def warnings(column: int) -> list[str]:
        drawn = np.zeros(acquisition.signal.shape[:3], dtype=bool)
        drawn[z] = (rows - y) ** 2 + (columns - column) ** 2 < radius**2
        return [line.code for line in check_region(acquisition, fit, drawn)]

    assert warnings(x) == []
    assert warnings(acquisition.signal.shape[2] - x) != []


@pytest.mark.parametrize("how", list(product((False, True), repeat=3)))
def test_storage_order_does_not_move_the_region(phantom: Phantom, how: tuple[bool, bool, bool]) -> None:
    acquisition = phantom.acquisition
    reference = find_liver(acquisition, flagged_fit(acquisition))
    other = stored_otherwise(acquisition, *how)
    region = find_liver(other, flagged_fit(other))
    assert reference.mask is not None
    assert region.mask is not None
    np.testing.assert_array_equal(region.mask, reorder(reference.mask, *how))
    assert region.checks == pytest.approx(reference.checks)


def test_scaling_the_signal_does_not_move_the_region(phantom: Phantom) -> None:
    acquisition = phantom.acquisition
    scaled = replace(acquisition, signal=(acquisition.signal * np.float32(2**-12)))
    one, two = (find_liver(a, flagged_fit(a)).mask for a in (acquisition, scaled))
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one, two)


def test_order_in_memory_does_not_move_the_region(phantom: Phantom) -> None:
    acquisition = phantom.acquisition
    mixed = replace(acquisition, signal=np.asfortranarray(acquisition.signal.astype(np.complex64)))
    one, two = (find_liver(a, flagged_fit(acquisition)).mask for a in (acquisition, mixed))
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one, two)


def test_complex_input_gives_the_region_of_its_magnitude() -> None:
    phantom = make_abdomen(seed=904, n_slices=2, matrix=128, kind="complex")
    magnitude = replace(phantom.acquisition, signal=phantom.acquisition.magnitude)
    one, two = (find_liver(a, flagged_fit(a)).mask for a in (phantom.acquisition, magnitude))
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one, two)


def test_unmeasured_voxels_are_taken_out_and_counted_but_those_at_the_limit_stay(phantom: Phantom) -> None:
    acquisition = phantom.acquisition
    plain = find_liver(acquisition, flagged_fit(acquisition)).mask
    assert plain is not None
    voxels = np.argwhere(plain)[:40]
    flags = np.zeros(plain.shape, np.int32)
    given = (FitFlag.NOISE_ONLY, FitFlag.FAILED, FitFlag.SATURATED, FitFlag.AT_LIMIT)
    for part, flag in zip(np.split(voxels, 4), given, strict=True):
        flags[tuple(part.T)] = flag
    fit = flagged_fit(acquisition, flags)
    fit.r2star_per_s[flags != 0] = np.nan
    region = find_liver(acquisition, fit)
    assert region.mask is not None
    assert {reason: region.excluded[reason] for reason in ("low_snr", "poor_fit", "saturated")} == {
        "low_snr": 10,
        "poor_fit": 10,
        "saturated": 10,
    }
    assert region.mask.sum() == plain.sum() - 30
    assert region.mask[flags == FitFlag.AT_LIMIT].all()


def test_exclusions_and_region_add_up_to_the_organ(phantom: Phantom) -> None:
    region = find_liver(phantom.acquisition, flagged_fit(phantom.acquisition))
    assert region.mask is not None
    assert region.organ is not None
    assert not (region.mask & ~region.organ).any()
    assert region.organ.sum() == region.mask.sum() + sum(region.excluded.values())
    assert region.excluded["edge"] > 0


def test_with_the_real_fit_the_median_is_the_livers(phantom: Phantom) -> None:
    acquisition = phantom.acquisition
    fit = fit_r2star(acquisition.signal, acquisition.echo_times_s, field_t=acquisition.field_t, threads=1)
    region = find_liver(acquisition, fit)
    assert region.mask is not None
    assert np.nanmedian(fit.r2star_per_s[region.mask]) == pytest.approx(67.73, rel=0.05)


def test_the_same_input_gives_the_same_region(phantom: Phantom) -> None:
    one, two = (find_liver(phantom.acquisition, flagged_fit(phantom.acquisition)) for _ in range(2))
    assert one.checks == two.checks
