"""The comparison models: their known faults, and that they are what they are called."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from quant.fit import fit_r2star
from quant.noise import NoiseModel
from tests.quant.decays import SIGMA, block, even_times

TIMES = even_times(0.95, 0.75, 6)
NOISE = NoiseModel(sigma=SIGMA, coils=8, source="known")


def median(model: str, r2star: float) -> float:
    fit = fit_r2star(block(TIMES, r2star, 3000, coils=8), TIMES, field_t=3.0, model=model, noise=NOISE)
    return float(np.nanmedian(fit.r2star_per_s)) / r2star - 1


@pytest.mark.parametrize(
    ("model", "at_500", "at_1000"),
    [
        ("magnitude_first_moment", (-0.01, 0.01), (-0.02, 0.02)),
        ("magnitude_squared", (-0.02, 0.02), (-0.03, 0.03)),
        ("magnitude_plain", (-0.10, -0.06), (-0.38, -0.31)),
        ("magnitude_truncated", (-0.10, -0.05), (-0.20, -0.10)),
        ("magnitude_plus_constant", (0.02, 0.15), (0.10, 0.45)),
    ],
)
def test_faults_are_those_measured_and_published(
    model: str, at_500: tuple[float, float], at_1000: tuple[float, float]
) -> None:
    """8 coils, SNR 50: fitting reference C.3, same ranking as Feng 2013 (10.1002/mrm.24607)."""
    assert at_500[0] <= median(model, 500) <= at_500[1]
    assert at_1000[0] <= median(model, 1000) <= at_1000[1]


def test_plain_is_the_ordinary_least_squares_exponential() -> None:
    signal = block(TIMES, 250, 20)
    fit = fit_r2star(signal, TIMES, field_t=3.0, model="magnitude_plain", noise=NOISE)
    for decay, r2star, sd in zip(signal[0, 0], fit.r2star_per_s[0, 0], fit.sd_r2star_per_s[0, 0], strict=True):
        (_, peer), _ = curve_fit(lambda t, a, r: a * np.exp(-r * t), TIMES, decay, (600.0, 200.0))
        assert r2star == pytest.approx(peer, abs=0.01 * float(sd))


def test_plus_constant_is_the_ordinary_least_squares_with_a_floor() -> None:
    times = even_times(1, 1.5, 10)
    truth = 500 * np.exp(-300 * times) + 60
    signal = (truth + np.random.default_rng(3).normal(0, 2, (1, 1, 20, 10))).astype(np.float32)
    noise = NoiseModel(sigma=2.0, coils=1, source="known")
    fit = fit_r2star(signal, times, field_t=3.0, model="magnitude_plus_constant", noise=noise)
    for decay, r2star in zip(signal[0, 0], fit.r2star_per_s[0, 0], strict=True):
        (_, peer, _), _ = curve_fit(lambda t, a, r, c: a * np.exp(-r * t) + c, times, decay, (500.0, 300.0, 50.0))
        assert r2star == pytest.approx(peer, rel=1e-3)
