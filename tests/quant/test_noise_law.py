"""The noise law against the confluent hypergeometric function and scipy's own distributions."""

import numpy as np
import pytest
from scipy.special import gammaln, hyp1f1
from scipy.stats import ncx2

from quant.noise_law import GAUSSIAN, noise_law

COILS = (1.0, 1.3, 2.0, 4.0, 8.0, 16.0, 32.0)
AMPLITUDES = np.linspace(0, 12, 241)


def exact_mean(a: np.ndarray, n: float) -> np.ndarray:
    """Constantinides 1997: sqrt(2) Gamma(n + 1/2) / Gamma(n) 1F1(-1/2; n; -a^2 / 2)."""
    return np.sqrt(2) * np.exp(gammaln(n + 0.5) - gammaln(n)) * hyp1f1(-0.5, n, -(a**2) / 2)


def exact_information(a: float, n: float) -> float:
    """Integral of (dp/da)^2 / p over the magnitude, p from scipy's non-central chi squared."""
    m = np.linspace(1e-3, a + np.sqrt(2 * n) + 9, 6000)
    step = 1e-4

    def density(x: float) -> np.ndarray:
        return 2 * m * ncx2.pdf(m**2, 2 * n, x**2)

    slope = (density(a + step) - density(a - step)) / (2 * step)
    p = density(a)
    return float(np.trapezoid(np.where(p > 1e-30, slope**2 / np.maximum(p, 1e-30), 0), m))


@pytest.mark.parametrize("n", COILS)
def test_mean_and_variance_follow_the_hypergeometric_function(n: float) -> None:
    law, mean = noise_law(n), exact_mean(AMPLITUDES, n)
    assert np.abs(law.mean(AMPLITUDES) - mean).max() < 2e-4
    assert np.abs(law.variance(AMPLITUDES) - (AMPLITUDES**2 + 2 * n - mean**2)).max() < 4e-4


@pytest.mark.parametrize("n", COILS)
def test_slope_is_the_derivative_of_the_exact_mean(n: float) -> None:
    a = np.linspace(0.05, 12, 200)
    derivative = (exact_mean(a + 1e-4, n) - exact_mean(a - 1e-4, n)) / 2e-4
    assert np.abs(noise_law(n).mean_slope(a) - derivative).max() < 6e-4
    assert noise_law(n).mean_slope(0.0) == 0


@pytest.mark.parametrize("n", [1.0, 2.5, 8.0])
@pytest.mark.parametrize("a", [0.2, 0.7, 1.5, 3.0, 6.0])
def test_information_is_the_integral_of_the_squared_score(n: float, a: float) -> None:
    assert noise_law(n).information(a) == pytest.approx(exact_information(a, n), abs=2e-4)


@pytest.mark.parametrize("n", [1.0, 8.0, 64.0])
def test_far_above_the_floor_noise_is_gaussian_with_a_known_bias(n: float) -> None:
    a = np.array([100.0, 1e4, 1e8])
    law = noise_law(n)
    assert law.mean(a) - a == pytest.approx((2 * n - 1) / (2 * a), rel=0.02, abs=1e-7)
    assert law.variance(a) == pytest.approx(1, abs=0.01)
    assert law.information(1e8) == pytest.approx(1)


def test_gaussian_has_no_floor() -> None:
    a = np.array([0.0, 0.5, 20.0])
    assert GAUSSIAN.mean(a) == pytest.approx(a)
    assert GAUSSIAN.mean_slope(a) == pytest.approx(1)
    assert GAUSSIAN.variance(a) == pytest.approx(1)


@pytest.mark.parametrize("n", [0.5, 65.0, float("nan")])
def test_coil_numbers_outside_the_law_are_refused(n: float) -> None:
    with pytest.raises(ValueError, match="coils"):
        noise_law(n)
