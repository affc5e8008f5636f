"""Region measurements: median and pooled decay against truth, counting, and what is left out."""

import numpy as np
import pytest

from quant.fit import fit_r2star
from quant.flags import FitFlag
from quant.noise import NoiseModel
from quant.quality import measurement_quality
from quant.region import measure_region
from tests.quant.complex_volumes import LABELS, TIMES_3T, body
from tests.quant.decays import SIGMA, acquisition, block, decay, even_times, noisy

TIMES = even_times(0.95, 0.75, 6)
VOXELS = 400
MONO = "magnitude_first_moment"


def known(coils: float) -> NoiseModel:
    return NoiseModel(sigma=SIGMA, coils=coils, source="known")


def everything(n: int) -> np.ndarray:
    return np.ones((1, 1, n), bool)


@pytest.mark.parametrize("coils", [1, 8])
@pytest.mark.parametrize(("r2star", "tolerance"), [(30, 0.02), (200, 0.01), (700, 0.015), (1000, 0.025), (1400, 0.045)])
def test_region_is_right_where_single_voxels_are_not(r2star: float, tolerance: float, coils: int) -> None:
    """400 voxels, SNR 50. The larger of the relative tolerance and four standard errors is allowed."""
    scan = acquisition(block(TIMES, r2star, VOXELS, coils=coils), TIMES, 3.0)
    fit = fit_r2star(scan.signal, TIMES, field_t=3.0, model=MONO, noise=known(coils))
    region = measure_region(scan, fit, everything(VOXELS))
    assert region.n_voxels == VOXELS
    assert region.median == pytest.approx(r2star, rel=tolerance, abs=4 * region.sd_fit_per_s)
    assert region.pooled_r2star_per_s == pytest.approx(r2star, rel=0.005, abs=4 * region.pooled_sd_per_s)
    assert region.pooled_difference == pytest.approx(region.pooled_r2star_per_s / region.median - 1)


def test_standard_errors_are_the_scatter_of_repeats() -> None:
    medians, pooled, said = [], [], []
    for seed in range(60):
        signal = noisy(np.broadcast_to(decay(TIMES, 300), (1, 1, VOXELS, 6)), coils=1, seed=seed)
        scan = acquisition(signal, TIMES, 3.0)
        region = measure_region(
            scan, fit_r2star(signal, TIMES, field_t=3.0, model=MONO, noise=known(1)), everything(VOXELS)
        )
        medians.append(region.median)
        pooled.append(region.pooled_r2star_per_s)
        said.append((region.sd_fit_per_s, region.pooled_sd_per_s))
    assert np.std(medians) == pytest.approx(np.mean(said, axis=0)[0], rel=0.3)
    assert np.std(pooled) == pytest.approx(np.mean(said, axis=0)[1], rel=0.3)


def test_pooled_decay_shows_the_curve_through_the_means() -> None:
    scan = acquisition(block(TIMES, 400, 5000, coils=8), TIMES, 3.0)
    fit = fit_r2star(scan.signal, TIMES, field_t=3.0, model=MONO, noise=known(8))
    pooled = measure_region(scan, fit, everything(5000)).pooled_decay
    assert pooled.signal == pytest.approx(scan.magnitude.astype(float).mean(axis=(0, 1, 2)), rel=1e-6)
    assert pooled.model == pytest.approx(pooled.signal, abs=4 * SIGMA / np.sqrt(5000))
    assert np.interp(TIMES, pooled.curve_times_s, pooled.curve) == pytest.approx(pooled.model, rel=0.01)
    assert pooled.noise_floor == pytest.approx(np.sqrt(16) * SIGMA * (1 - 1 / 64), rel=0.01)


@pytest.mark.parametrize(("gain", "severity"), [(1.0, "info"), (0.8, "warning"), (1.25, "warning"), (0.4, "failure")])
def test_later_echoes_of_another_gain_are_told(gain: float, severity: str) -> None:
    times = np.arange(1, 13) * 1.2e-3
    clean = decay(times, 68.7) * np.where(np.arange(12) < 6, 1.0, gain)
    scan = acquisition(noisy(np.broadcast_to(clean, (1, 1, 2000, 12)), coils=1, seed=5), times, 1.5)
    fit = fit_r2star(scan.signal, times, field_t=1.5, model=MONO, noise=known(1))
    region = measure_region(scan, fit, everything(2000))
    lines = measurement_quality(
        region, field_t=1.5, echo_times_s=times, echoes_used=12, measurable_limit_per_s=None, calibration=None, fat=None
    )
    assert [line.severity for line in lines if line.code == "pooled_misfit"] == [severity]


def test_more_than_a_quarter_beyond_the_limit_is_seen() -> None:
    scan = acquisition(block(TIMES, 1900, 2000, coils=8), TIMES, 3.0)
    fit = fit_r2star(scan.signal, TIMES, field_t=3.0, model=MONO, noise=known(8))
    region = measure_region(scan, fit, everything(2000))
    assert region.fraction_at_limit > 0.5
    assert np.isfinite(region.median)
    assert region.median > 1300
    assert fit.measurable_limit_per_s is not None
    assert region.median > fit.measurable_limit_per_s


def test_voxels_at_the_ends_of_the_range_keep_their_rank() -> None:
    """Slow decays with noise: some voxels rise; dropping them would push the median up."""
    scan = acquisition(block(TIMES, 15, 4000, snr=25), TIMES, 3.0)
    fit = fit_r2star(scan.signal, TIMES, field_t=3.0, model=MONO, noise=known(1))
    region = measure_region(scan, fit, everything(4000))
    rising = (fit.flags & FitFlag.NO_DECAY) != 0
    assert 0.05 < np.mean(rising) < 0.3
    assert region.fraction_failed == pytest.approx(np.mean(rising), abs=0.01)
    assert region.median == pytest.approx(15, abs=4 * region.sd_fit_per_s)


def test_saturated_voxels_are_left_out() -> None:
    signal = block(TIMES, 100, VOXELS)
    signal[0, 0, :100] = signal[0, 0, :100, :1]
    saturated = np.zeros((1, 1, VOXELS), bool)
    saturated[0, 0, :100] = True
    scan = acquisition(signal, TIMES, 3.0, saturated=saturated)
    fit = fit_r2star(signal, TIMES, field_t=3.0, model=MONO, noise=known(1))
    region = measure_region(scan, fit, everything(VOXELS))
    assert (region.n_voxels, region.n_saturated) == (300, 100)
    assert region.median == pytest.approx(100, rel=0.03)
    assert region.fraction_failed < 0.02


def test_fat_fraction_is_given_where_it_was_fitted() -> None:
    times = even_times(1.2, 1.25, 8)
    scan = acquisition(block(times, 80, 1000, pdff=0.12, field_t=3.0), times, 3.0)
    fit = fit_r2star(scan.signal, times, field_t=3.0, model="magnitude_fat_first_moment", noise=known(1))
    region = measure_region(scan, fit, everything(1000))
    assert region.pdff_percent is not None
    assert region.pdff_percent.median == pytest.approx(12, abs=0.5)
    low, high = region.pdff_percent.interval95
    assert low < 12 < high or region.pdff_percent.median == pytest.approx(12, abs=0.2)
    assert region.pooled_pdff == pytest.approx(0.12, abs=0.003)
    assert region.pooled_r2star_per_s == pytest.approx(80, abs=4 * region.pooled_sd_per_s)
    water = fit_r2star(scan.signal, times, field_t=3.0, model=MONO, noise=known(1))
    assert measure_region(scan, water, everything(1000)).pdff_percent is None


def test_a_region_that_cannot_be_measured_says_so() -> None:
    signal = np.concatenate([block(TIMES, 100, 20), block(TIMES, 100, 80, snr=0)], axis=2)
    scan = acquisition(signal, TIMES, 3.0)
    fit = fit_r2star(signal, TIMES, field_t=3.0, model=MONO, noise=known(1))
    with pytest.raises(ValueError, match="voxels have an R2"):
        measure_region(scan, fit, everything(100))
    with pytest.raises(ValueError, match="no voxel"):
        measure_region(scan, fit, np.zeros((1, 1, 100), bool))
    with pytest.raises(ValueError, match="mask"):
        measure_region(scan, fit, np.ones((1, 100), bool))


def test_the_fat_that_the_phase_tells_goes_into_the_pooled_fit() -> None:
    truth = body(liver_r2star=(150,), liver_pdff=(0.25,), snr=40)
    fit = fit_r2star(truth.signal, TIMES_3T, field_t=3.0)
    mask = truth.label == LABELS["liver"]
    measured = measure_region(acquisition(truth.signal, TIMES_3T, 3.0), fit, mask)
    assert measured.fat == "fitted"
    assert measured.pooled_pdff == pytest.approx(0.25, abs=0.005)
    assert measured.pdff_percent.median == pytest.approx(25, abs=0.5)
    assert measured.pooled_r2star_per_s == pytest.approx(150, rel=0.01)
    assert measured.median == pytest.approx(150, rel=0.01)
