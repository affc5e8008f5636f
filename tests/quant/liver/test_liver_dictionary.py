"""The coarse fit against closed forms."""

import numpy as np
import pytest

from quant.liver.dictionary import fat_phasor, match, r2star_precision

TIMES_S = np.array([1.0, 2.2, 3.4, 4.6, 5.8, 7.0, 9.4, 11.8]) * 1e-3


@pytest.mark.parametrize("field_t", [1.5, 3.0])
@pytest.mark.parametrize("r2star", [25.0, 67.73, 150.0, 400.0, 800.0, 1500.0])
@pytest.mark.parametrize("fat", [0.0, 0.1, 0.3])
def test_noiseless_decays_are_recovered_coarsely(r2star: float, fat: float, field_t: float) -> None:
    signal = 900 * np.exp(-r2star * TIMES_S) * np.abs(1 - fat + fat * fat_phasor(TIMES_S, field_t))
    found = match(signal[None], TIMES_S, field_t)
    separable = r2star <= 400  # above, fat trades against R2* within the steps of the dictionary
    assert found.r2star_per_s[0] == pytest.approx(r2star, rel=0.04 if separable else 0.10, abs=2.5)
    if separable:
        assert found.s0[0] == pytest.approx(900, rel=0.05)
        assert found.fat_fraction[0] == pytest.approx(fat, abs=0.03)


def test_dark_tissue_is_never_called_fat() -> None:
    rng = np.random.default_rng(3)
    signal = np.abs(np.exp(-900 * TIMES_S) + rng.normal(0, 0.02, (500, len(TIMES_S))))
    assert match(signal, TIMES_S, 1.5).fat_fraction.max() < 0.43


def test_precision_is_the_inverse_of_fisher_information() -> None:
    decay = np.exp(-120 * TIMES_S)
    jacobian = np.stack([decay, -TIMES_S * decay])
    expected = np.sqrt(np.linalg.inv(jacobian @ jacobian.T)[1, 1])
    assert r2star_precision(np.array([120.0]), TIMES_S)[0] == pytest.approx(expected, rel=1e-9)


def test_fat_phasor_starts_at_one_and_opposes_water_at_2_3_ms_at_1_5_t() -> None:
    times = np.array([0.0, 2.3e-3, 4.6e-3])
    phasor = fat_phasor(times, 1.5)
    assert phasor[0] == pytest.approx(1)
    assert phasor[1].real < -0.5
    assert phasor[2].real > 0.5
