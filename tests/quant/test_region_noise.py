"""What neighbours share, and the error that noise gives a median."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d

from quant.fit import fit_r2star
from quant.noise import NoiseModel
from quant.region import measure_region
from quant.region_noise import sd_of_median, slices_to_compare, voxels_per_independent
from tests.quant.decays import SIGMA, acquisition, decay, even_times

TIMES = even_times(0.95, 0.75, 6)


def zero_filled(rng: np.random.Generator, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Noise of unit variance (z, y, x, e) whose image was interpolated to twice its matrix by zero filling."""
    spectrum = np.zeros(shape, complex)
    y, x = shape[1] // 4, shape[2] // 4
    inner = (slice(None), slice(y, 3 * y), slice(x, 3 * x))
    spectrum[inner] = rng.standard_normal((*spectrum[inner].shape, 2)).view(complex)[..., 0]
    image = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(1, 2)), axes=(1, 2)).real
    return image / image.std()


def test_independent_noise_counts_every_voxel() -> None:
    residual = np.random.default_rng(1).standard_normal((4, 40, 40, 6))
    where = np.ones((4, 40, 40), bool)
    assert voxels_per_independent(residual[where].astype(np.float32), where) == pytest.approx(1, abs=0.05)


def test_twofold_interpolation_leaves_a_quarter() -> None:
    residual = zero_filled(np.random.default_rng(2), (4, 64, 64, 6))
    where = np.zeros((4, 64, 64), bool)
    where[:, 10:50, 8:52] = True
    assert voxels_per_independent(residual[where].astype(np.float32), where) == pytest.approx(4, rel=0.15)


def test_what_varies_slowly_is_not_shared_noise() -> None:
    y, x = np.mgrid[0:48, 0:48]
    slow = np.sin(x / 25.0) * np.cos(y / 30.0)
    residual = np.random.default_rng(3).standard_normal((3, 48, 48, 6)) + slow[None, :, :, None]
    where = np.ones((3, 48, 48), bool)
    assert voxels_per_independent(residual[where].astype(np.float32), where) < 1.3


def test_noise_shared_between_slices_is_seen() -> None:
    residual = uniform_filter1d(np.random.default_rng(4).standard_normal((12, 30, 30, 6)), 2, axis=0)
    where = np.ones((12, 30, 30), bool)
    assert voxels_per_independent(residual[where].astype(np.float32), where) == pytest.approx(2, rel=0.1)


def test_regions_too_small_to_tell_are_taken_as_they_are() -> None:
    where = np.ones((1, 1, 4), bool)
    assert voxels_per_independent(np.ones((4, 6), np.float32), where) == 1


def test_the_fullest_slices_are_compared() -> None:
    where = np.zeros((5, 200, 200), bool)
    where[1, :20], where[2, :110], where[3, :5] = True, True, True
    assert slices_to_compare(where) == slice(2, 3)
    where[2, 60:] = False
    assert slices_to_compare(where) == slice(0, 5)


@pytest.mark.parametrize("tissue_sd", [0.0, 3.0, 10.0, 40.0])
def test_error_of_the_median_is_that_of_repeats(tissue_sd: float) -> None:
    """The truth of every voxel stays, the noise is drawn anew."""
    rng = np.random.default_rng(5)
    n, noise_sd = 2000, 10.0
    said = sd_of_median(noise_sd, tissue_sd, n)
    found = []
    for _ in range(20):  # truths: the density at the median varies between them
        truth = rng.normal(0, tissue_sd, n)
        found.append(np.var(np.median(truth + rng.normal(0, noise_sd, (200, n)), axis=1)))
    assert np.sqrt(np.mean(found)) == pytest.approx(said, rel=0.06)


def test_error_of_the_median_at_the_ends() -> None:
    assert sd_of_median(5.0, 0.0, 100) == pytest.approx(5 * np.sqrt(np.pi / 2) / 10)
    assert sd_of_median(0.0, 8.0, 100) == pytest.approx(0, abs=1e-6)
    assert sd_of_median(0.0, 0.0, 100) == 0
    assert np.isinf(sd_of_median(np.inf, 0.0, 100))


def test_standard_errors_hold_in_interpolated_images() -> None:
    """Without the neighbours' shared noise both would be half the scatter."""
    rng = np.random.default_rng(6)
    clean = np.broadcast_to(decay(TIMES, 300), (80, 64, 64, 6))
    signal = np.hypot(clean + SIGMA * zero_filled(rng, clean.shape), SIGMA * zero_filled(rng, clean.shape))
    scan = acquisition(signal.astype(np.float32), TIMES, 3.0)
    noise = NoiseModel(sigma=SIGMA, coils=1.0, source="known")
    fit = fit_r2star(scan.signal, TIMES, field_t=3.0, model="magnitude_first_moment", noise=noise)
    found = []
    for z in range(80):
        mask = np.zeros(signal.shape[:3], bool)
        mask[z, 16:48, 16:48] = True
        region = measure_region(scan, fit, mask)
        found.append((region.median, region.pooled_r2star_per_s, region.sd_fit_per_s, region.pooled_sd_per_s))
    medians, pooled, sd_median, sd_pooled = np.array(found).T
    assert np.std(medians) == pytest.approx(sd_median.mean(), rel=0.2)
    assert np.std(pooled) == pytest.approx(sd_pooled.mean(), rel=0.2)
