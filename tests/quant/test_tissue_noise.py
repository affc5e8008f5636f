"""Noise of the region where that of air is another."""

import numpy as np
import numpy.typing as npt
import pytest

from quant.acquisition import MultiEcho
from quant.fit import fit_r2star
from quant.models import amplitude
from quant.noise import NoiseModel
from quant.region import measure_region
from quant.tissue_noise import FROM_AIR_AND_REGION, fit_with_noise_of, sigma_ratio
from tests.quant.decays import SIGMA, acquisition, decay, even_times, noisy
from tests.quant.test_region_noise import zero_filled

TIMES = even_times(1.0, 1.1, 8)
SHAPE = (3, 96, 96)
Y, X = np.mgrid[0:96, 0:96]
BODY = (abs(Y - 48) < 30) & (abs(X - 48) < 34)
REGION = np.broadcast_to((abs(Y - 48) < 16) & (abs(X - 42) < 16), SHAPE).copy()
DEPTH = np.exp(-((Y - 48) ** 2 + (X - 48) ** 2) / (2 * 28.0**2))  # 1 in the middle of the body


def scanned(
    r2star: float, *, coils: int, attenuation: float, seed: int = 5, clean: npt.NDArray[np.float64] | None = None
) -> MultiEcho:
    """A body in air seen by an array whose sensitivity falls by ``attenuation`` towards its middle, and divided by it.

    The noise of the receivers is uniform; after the division it is highest in the middle.
    """
    sensitivity = (1 - attenuation * DEPTH)[None, :, :, None]
    tissue = decay(TIMES, r2star, snr=60.0) if clean is None else clean
    clean = np.broadcast_to(np.where(BODY, 1.0, 0.0)[None, :, :, None] * tissue, (*SHAPE, TIMES.size))
    received = noisy(clean * sensitivity, coils=coils, seed=seed)
    return acquisition((received / sensitivity).astype(np.float32), TIMES)


@pytest.mark.parametrize("coils", [1, 4, 12])
@pytest.mark.parametrize("r2star", [400.0, 700.0])
def test_normalised_images_keep_their_r2star(r2star: float, coils: int) -> None:
    images = scanned(r2star, coils=coils, attenuation=0.35)
    fit = fit_r2star(images.signal, TIMES, field_t=1.5)
    anew = fit_with_noise_of(images, fit, REGION)
    assert anew.noise_source == FROM_AIR_AND_REGION
    assert anew.coils == fit.coils
    true_sigma = SIGMA / float(np.median(1 - 0.35 * np.broadcast_to(DEPTH, SHAPE)[REGION]))
    assert anew.sigma == pytest.approx(true_sigma, rel=0.08)
    before, after = (abs(measure_region(images, f, REGION).median / r2star - 1) for f in (fit, anew))
    assert before > 2 * after
    assert after < 0.015


@pytest.mark.parametrize("coils", [1, 8])
@pytest.mark.parametrize("r2star", [50.0, 500.0])
def test_even_noise_is_left_as_air_tells_it(r2star: float, coils: int) -> None:
    images = scanned(r2star, coils=coils, attenuation=0.0)
    fit = fit_r2star(images.signal, TIMES, field_t=1.5)
    assert fit_with_noise_of(images, fit, REGION) is fit


def test_scatter_that_is_no_noise_raises_no_floor() -> None:
    """Ghosts and pulsation scatter in proportion to the signal; the floor of late echoes stays that of air."""
    images = scanned(500.0, coils=8, attenuation=0.0)
    gain = 1 + 0.06 * np.random.default_rng(3).standard_normal(images.signal.shape).astype(np.float32)
    shaken = acquisition(np.where(images.signal > 6 * SIGMA, images.signal * gain, images.signal), TIMES)
    fit = fit_r2star(shaken.signal, TIMES, field_t=1.5)
    assert sigma_ratio(shaken, fit, REGION) > 1.05
    assert fit_with_noise_of(shaken, fit, REGION) is fit


@pytest.mark.parametrize("coils", [1, 8])
@pytest.mark.parametrize("edge", [34, 40])
def test_a_region_that_reaches_over_fat_is_fitted_with_the_noise_of_air(edge: int, coils: int) -> None:
    """Fat bends the pooled decay as a higher floor would: the fit with it was up to 55 % low."""
    fat = np.broadcast_to(edge > X, SHAPE).ravel()
    both = amplitude(
        TIMES, s0=np.full(fat.size, 60.0), r2star_per_s=np.where(fat, 30.0, 400.0), pdff=np.where(fat, 0.9, 0.05),
        field_t=1.5,
    ).reshape(*SHAPE, TIMES.size)  # fmt: skip
    images = scanned(400.0, coils=coils, attenuation=0.35, clean=SIGMA * both)
    fit = fit_r2star(images.signal, TIMES, field_t=1.5)
    assert sigma_ratio(images, fit, REGION) > 1.05
    assert fit_with_noise_of(images, fit, REGION) is fit


@pytest.mark.parametrize("assumed", [0.7, 1.0, 1.3])
def test_scatter_tells_sigma_far_above_the_floor(assumed: float) -> None:
    images = scanned(40.0, coils=1, attenuation=0.0)
    noise = NoiseModel(sigma=assumed * SIGMA, coils=1.0, source="given")
    fit = fit_r2star(images.signal, TIMES, field_t=1.5, noise=noise, mask=REGION)
    assert sigma_ratio(images, fit, REGION) == pytest.approx(1 / assumed, rel=0.03)


def test_interpolation_does_not_look_like_other_noise() -> None:
    clean = np.broadcast_to(decay(TIMES, 40.0, snr=60.0), (*SHAPE, TIMES.size))
    images = acquisition((clean + SIGMA * zero_filled(np.random.default_rng(6), clean.shape)).astype(np.float32), TIMES)
    noise = NoiseModel(sigma=SIGMA, coils=1.0, source="given")
    fit = fit_r2star(images.signal, TIMES, field_t=1.5, noise=noise, mask=REGION)
    assert sigma_ratio(images, fit, REGION) == pytest.approx(1, rel=0.03)


def test_few_voxels_tell_nothing() -> None:
    images = scanned(400.0, coils=4, attenuation=0.35)
    fit = fit_r2star(images.signal, TIMES, field_t=1.5)
    few = np.zeros(SHAPE, bool)
    few[1, 44:52, 44:52] = True
    assert np.isnan(sigma_ratio(images, fit, few))
    assert fit_with_noise_of(images, fit, few) is fit
