"""Noise estimates against simulated truth and against the real and imaginary parts of a real scan."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from quant.fit import fit_r2star
from quant.noise import NoiseModel, estimate_complex_noise, estimate_noise
from quant.region import measure_region
from tests.quant.decays import SIGMA, acquisition, body_in_air, decay, even_times, noisy

TIMES = even_times(1.2, 1.2, 8)


@pytest.mark.parametrize("echoes", [4, 6, 12])
@pytest.mark.parametrize("coils", [1, 4, 8])
def test_air_gives_sigma_and_coils(coils: int, echoes: int) -> None:
    times = even_times(1.2, 1.2, echoes)
    noise = estimate_noise(body_in_air(times, coils=coils), times)
    assert noise.source == "background"
    assert noise.sigma == pytest.approx(SIGMA, rel=0.05)
    assert noise.coils == pytest.approx(coils, rel=0.1)


def test_noise_that_varies_over_the_image_does_not_pass_for_another_coil_number() -> None:
    signal = body_in_air(TIMES, coils=4) * np.linspace(0.8, 1.25, 64, dtype=np.float32)[:, None]
    noise = estimate_noise(signal, TIMES)
    assert noise.coils == pytest.approx(4, rel=0.1)
    assert noise.sigma == pytest.approx(SIGMA, rel=0.10)  # one number for what varies by 22 % to either side


@pytest.mark.parametrize("coils", [1, 8])
def test_zeroed_background_leaves_sigma_of_the_body(coils: int) -> None:
    signal = body_in_air(TIMES, coils=coils)
    masked = np.where((np.mean(signal, axis=3) > 10 * SIGMA)[..., None], signal, 0)
    noise = estimate_noise(masked, TIMES)
    assert noise.source == "body residual"
    assert not noise.from_background
    assert noise.sigma == pytest.approx(SIGMA, rel=0.05)


def test_without_any_air_sigma_comes_from_the_body() -> None:
    noise = estimate_noise(body_in_air(TIMES, coils=1)[:, 16:48, 14:50], TIMES)
    assert noise.source == "body residual"
    assert noise.sigma == pytest.approx(SIGMA, rel=0.05)


@pytest.mark.parametrize(("r2star", "snr"), [(370, 20), (508, 17), (917, 25)])
def test_air_is_believed_where_all_tissue_decays_into_the_noise(r2star: float, snr: float) -> None:
    """The spread of such tissue is that of the floor, which is far less than sigma."""
    signal = only_dark_tissue(r2star, sigma=100 / snr)
    noise = estimate_noise(signal, TIMES)
    assert noise.source == "background"
    assert noise.sigma == pytest.approx(100 / snr, rel=0.05)


def test_dark_tissue_without_air_has_no_known_noise() -> None:
    signal = only_dark_tissue(917, sigma=4)[:, 12:52, 12:52]
    with pytest.raises(ValueError, match="neither air nor enough tissue"):
        estimate_noise(signal, TIMES)


def only_dark_tissue(r2star: float, sigma: float) -> np.ndarray:
    """A block (3, 64, 64, e) of S0 100 in air, one coil."""
    rng = np.random.default_rng(3)
    tissue = np.zeros((3, 64, 64), bool)
    tissue[:, 12:52, 12:52] = True
    rate = r2star * (1 + 0.05 * rng.standard_normal(tissue.shape))
    clean = np.where(tissue[..., None], 100 * np.exp(-rate[..., None] * TIMES), 0)
    noise = rng.standard_normal((2, *clean.shape)) * sigma
    return np.hypot(clean + noise[0], noise[1]).astype(np.float32)


def bright_and_dark(times: np.ndarray, *, coils: int, dark: float, pdff: float = 0.0, trim: int = 0) -> np.ndarray:
    """60/s on the left, ``dark``/s with fat on the right, (2, y, x, e); in air unless ``trim`` cuts it off."""
    y, x = np.mgrid[0:64, 0:64]
    inside = (abs(y - 32) < 24) & (abs(x - 32) < 26)
    halves = (decay(times, 60.0), decay(times, dark, pdff=pdff))
    s0 = np.where(inside, 1 + 0.2 * np.sin(x / 15.0), 0.0)[..., None]
    clean = s0 * np.where((x < 32)[..., None], *halves)
    cut = slice(trim, 64 - trim)
    return noisy(np.broadcast_to(clean, (2, *clean.shape))[:, cut, cut], coils=coils, seed=coils)


@pytest.mark.parametrize(
    ("coils", "dark", "pdff"), [(6, 500.0, 0.1), (8, 900.0, 0.0), (12, 1000.0, 0.0), (32, 1000.0, 0.05)]
)
def test_the_floor_of_dark_decays_tells_any_coil_number_without_background(
    coils: int, dark: float, pdff: float
) -> None:
    signal = bright_and_dark(TIMES, coils=coils, dark=dark, pdff=pdff, trim=10)
    fit = fit_r2star(signal, TIMES, field_t=1.5)
    assert fit.noise_source == "body residual"
    assert fit.coils == pytest.approx(coils, rel=0.12)
    assert fit.sigma == pytest.approx(SIGMA, rel=0.06)
    region = np.zeros(signal.shape[:3], bool)
    region[:, 3:-3, 25:-3] = True
    measured = measure_region(acquisition(signal, TIMES, 1.5), fit, region)
    assert measured.pooled_r2star_per_s == pytest.approx(dark, rel=0.06)


def test_air_of_many_coils_is_believed_beside_tissue_that_decays_into_it() -> None:
    """What has decayed into the noise lies within the air; so many coils let it pass for dark tissue."""
    signal = bright_and_dark(TIMES, coils=32, dark=1000.0)
    noise = estimate_noise(signal, TIMES)
    assert noise.source == "background"
    assert noise.coils == pytest.approx(32, rel=0.06)
    assert noise.sigma == pytest.approx(SIGMA, rel=0.03)


def test_dark_tissue_that_scatters_like_many_coils_is_no_air() -> None:
    """One coil, SNR 12: its power varies as little as that of 31 coils, but it decays."""
    times = even_times(0.7, 0.7, 8)
    dark = np.broadcast_to(decay(times, 15.0, snr=12.0), (2, 64, 64, times.size)).copy()
    dark[:, 16:48, 16:48] = decay(times, 25.0, snr=60.0)
    noise = estimate_noise(noisy(dark, coils=1, seed=5), times)
    assert noise.source == "body residual"
    assert noise.sigma == pytest.approx(SIGMA, rel=0.06)


def liver_alone(coils: int, *, snr: float, pdff: float) -> np.ndarray:
    """60/s without air or other tissue, but uneven, (2, 40, 40, e)."""
    brightness = np.linspace(0.8, 1.2, 40)[:, None]
    clean = decay(TIMES, 60.0, pdff=pdff, field_t=1.5, snr=snr) * np.broadcast_to(brightness, (2, 40, 40))[..., None]
    return noisy(clean, coils=coils, seed=3)


@pytest.mark.parametrize(("coils", "snr"), [(1, 20.0), (1, 50.0), (8, 20.0), (8, 50.0)])
@pytest.mark.parametrize("pdff", [0.0, 0.1])
def test_liver_alone_does_not_tell_the_coils_and_the_region_says_so(coils: int, snr: float, pdff: float) -> None:
    """No decay reaches the floor, and many coils bend decays as fat does: 32 of them would fit a little better and read
    up to 100/s. One is taken; what eight would read is stated."""
    signal = liver_alone(coils, snr=snr, pdff=pdff)
    fit = fit_r2star(signal, TIMES, field_t=1.5)
    region = measure_region(acquisition(signal, TIMES, 1.5), fit, np.ones(signal.shape[:3], bool))
    assert fit.noise_source == "body residual"
    assert fit.coils == 1
    assert region.coil_shift_per_s > 0
    if coils == 1:
        assert region.median == pytest.approx(60, rel=0.02)
    assert region.pooled_r2star_per_s + region.coil_shift_per_s * (coils == 8) == pytest.approx(60, rel=0.02)


def test_decays_that_no_floor_explains_do_not_tell_the_coils() -> None:
    """Every tissue bent far beyond its noise, as by the field: the likelihood of many coils must not win by that."""
    signal = body_in_air(TIMES, coils=1, r2star=150.0)[:, 16:48, 14:50]
    bent = signal * (1 + 0.5 * np.cos(np.arange(TIMES.size) * 2.1)).astype(np.float32)
    fit = fit_r2star(bent, TIMES, field_t=1.5, model="magnitude_first_moment")
    assert fit.coils == 1


def test_complex_images_give_sigma_of_their_channels() -> None:
    rng = np.random.default_rng(4)
    signal = body_in_air(TIMES, coils=1, seed=9)
    clean = np.where(signal > 6 * SIGMA, signal, 0) * np.exp(0.4j)
    values = clean + SIGMA * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
    noise = estimate_complex_noise(values, TIMES)
    assert noise.coils == 1
    assert noise.sigma == pytest.approx(SIGMA, rel=0.05)
    fit = fit_r2star(values, TIMES, field_t=1.5)
    assert fit.noise_model.startswith("gaussian (complex)")
    assert fit.model == "complex_fat"


@pytest.mark.parametrize("value", [0.0, 700.0])
def test_an_image_without_noise_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="the noise cannot be estimated"):
        estimate_noise(np.full((1, 40, 40, 6), value), even_times(1, 1, 6))


@pytest.mark.parametrize(("sigma", "coils"), [(0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (1.0, 0.9), (1.0, 200.0)])
def test_impossible_noise_is_refused(sigma: float, coils: float) -> None:
    with pytest.raises(ValueError, match=r"sigma|coils"):
        NoiseModel(sigma=sigma, coils=coils, source="test")


def test_real_abdomen_agrees_with_its_own_real_and_imaginary_parts(shared_data: Callable[[str], Path]) -> None:
    """GE stores magnitude, real and imaginary (0043,102F): the corners of the late real images are sigma itself."""
    images: dict[int, dict[tuple[float, float], np.ndarray]] = {0: {}, 2: {}}
    for path in sorted((shared_data("ge-mfgre-abdomen") / "dicom").rglob("*")):
        if not path.is_file():
            continue
        dataset = pydicom.dcmread(path)
        kind = int(dataset[0x0043, 0x102F].value)
        if kind in images:
            place = (float(dataset.SliceLocation), float(dataset.EchoTime))
            images[kind][place] = dataset.pixel_array.astype(np.float32)
    slices, times = (sorted({key[i] for key in images[0]}) for i in (0, 1))
    magnitude = np.array([[images[0][z, t] for t in times] for z in slices]).transpose(0, 2, 3, 1)
    corners = [images[2][z, t][rows, cols] for z in slices for t in times[-3:]
               for rows in (slice(0, 24), slice(-24, None)) for cols in (slice(0, 24), slice(-24, None))]  # fmt: skip
    noise = estimate_noise(magnitude, 1e-3 * np.array(times))
    assert noise.source == "background"
    assert noise.coils == 1
    assert noise.sigma == pytest.approx(np.median([np.std(corner) for corner in corners]), rel=0.1)
