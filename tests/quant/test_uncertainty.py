"""Intervals against simulation of the same error model."""

import numpy as np
import pytest

from quant.calibration import CALIBRATIONS, LinearEquation
from quant.region_noise import sd_of_median
from quant.uncertainty import (
    Normal,
    Repeatability,
    interval_statement,
    lic_distribution,
    r2star_uncertainty,
)
from tests.clinical_cases import region_of

REPEATABILITY = Repeatability(cov=0.055, floor_per_s=5.0)


@pytest.mark.parametrize("key", CALIBRATIONS)
@pytest.mark.parametrize("rate", [40.0, 67.73, 250.0, 900.0])
def test_lic_interval_equals_monte_carlo(key: tuple[str, float], rate: float) -> None:
    calibration = CALIBRATIONS[key]
    sd = REPEATABILITY.sd_per_s(rate)
    rng = np.random.default_rng(1)
    rates = rng.normal(rate, sd, 400_000)
    lic = calibration.equation.lic(rates)
    equation = calibration.equation
    if isinstance(equation, LinearEquation) and equation.intercept_ci95 and equation.slope_ci95:
        intercept_sd, slope_sd = (np.ptp(ci) / 3.919928 for ci in (equation.intercept_ci95, equation.slope_ci95))
        lic = lic + rng.normal(0, intercept_sd, lic.size) + rng.normal(0, slope_sd, lic.size) * rate
    low, high = np.maximum(np.quantile(lic, (0.025, 0.975)), 0)
    distribution = lic_distribution(calibration, Normal(mean=rate, sd=sd))
    assert distribution.interval95 == pytest.approx((low, high), abs=0.01 + 0.002 * rate * 0.03)
    assert distribution.probability_below(1.8) == pytest.approx(float(np.mean(lic < 1.8)), abs=0.004)


def test_interval_of_the_median_covers_in_repeated_regions() -> None:
    """Regions drawn with tissue spread, voxel noise and scan-rescan error: 95 % of intervals hold the truth."""
    rng = np.random.default_rng(7)
    truth, tissue_sd, noise_sd, n = 120.0, 9.0, 6.0, 900
    covered = 0
    for _ in range(800):
        scan = truth + rng.normal(0, REPEATABILITY.sd_per_s(truth))
        voxels = scan + rng.normal(0, np.hypot(tissue_sd, noise_sd), n)
        q1, median, q3 = np.quantile(voxels, (0.25, 0.5, 0.75))
        region = region_of(
            float(median),
            n_voxels=n,
            sd_fit_per_s=sd_of_median(noise_sd, tissue_sd, n),
            voxel_sd_per_s=noise_sd,
            spread=(q3 - q1) / 1.349 / median,
        )
        sd = r2star_uncertainty(region, REPEATABILITY, region.median).total_per_s
        low, high = Normal(mean=region.median, sd=sd).interval95
        covered += low <= truth <= high
    assert 0.93 <= covered / 800 <= 0.97


def test_tissue_spread_leaves_out_what_noise_explains() -> None:
    noise_sd, tissue_sd, rate = 6.0, 8.0, 100.0
    region = region_of(rate, spread=float(np.hypot(noise_sd, tissue_sd)) / rate, voxel_sd_per_s=noise_sd)
    assert region.tissue_sd_per_s == pytest.approx(tissue_sd, rel=1e-3)
    assert region_of(rate, spread=0.9 * noise_sd / rate, voxel_sd_per_s=noise_sd).tissue_sd_per_s == 0


def test_repeatability_has_a_floor() -> None:
    assert REPEATABILITY.sd_per_s(40) == 5.0
    assert REPEATABILITY.sd_per_s(400) == pytest.approx(22.0)


def test_a_region_without_any_own_value_has_no_fit_part() -> None:
    parts = r2star_uncertainty(
        region_of(900, sd_fit_per_s=float("inf"), voxel_sd_per_s=float("inf")), REPEATABILITY, 900
    )
    assert parts.fit_per_s == 0
    assert parts.total_per_s == pytest.approx(REPEATABILITY.sd_per_s(900))


def test_normal_at_zero_and_in_error() -> None:
    assert Normal(mean=0.2, sd=0.5).interval95[0] == 0
    assert Normal(mean=2.0, sd=0).probability_below(2.0) == 0
    with pytest.raises(ValueError, match="finite"):
        Normal(mean=float("nan"), sd=1)


def test_statement_says_what_is_in_and_what_is_not() -> None:
    parts = r2star_uncertainty(region_of(67.73), REPEATABILITY, 67.73)
    garbowski = interval_statement(parts, CALIBRATIONS["garbowski-2014", 1.5])
    assert "Not included: error of the calibration line (not published)" in garbowski
    hernando = interval_statement(parts, CALIBRATIONS["hernando-2023", 1.5])
    assert "the calibration line's published confidence limits. Not included: scatter of single patients" in hernando
    assert "calibration" not in interval_statement(parts, None)
