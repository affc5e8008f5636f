"""The bias of a fit without fat, against a general least-squares fit of the same signal."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from quant.fat_bias import can_tell, fat_bias, water_only_fit
from quant.models import fat_phasor
from quant.noise import NoiseModel
from tests.clinical_cases import region_of

NOISE = NoiseModel(sigma=8.0, coils=1.0, source="background")
EARLY_1_5_T = 1e-3 * (0.3 + 0.2 * np.arange(6))  # all before opposed phase: fat looks like decay
FOUR_3_T = 1e-3 * (1.0 + 0.9 * np.arange(4))


@pytest.mark.parametrize(
    ("times", "field", "pdff", "rate"),
    [(FOUR_3_T, 3.0, 0.1, 150.0), (FOUR_3_T, 3.0, 0.2, 350.0), (EARLY_1_5_T, 1.5, 0.1, 60.0)],
)
def test_bias_is_that_of_a_least_squares_fit(times: np.ndarray, field: float, pdff: float, rate: float) -> None:
    signal = np.abs(1 - pdff + pdff * fat_phasor(times, field)) * np.exp(-rate * times)
    (_, fitted), _ = curve_fit(lambda t, s0, r: s0 * np.exp(-r * t), times, signal, p0=(1.0, rate))
    read = water_only_fit(times, field, pdff, np.array([rate]))
    assert read == pytest.approx([fitted], rel=0.003)
    assert water_only_fit(times, field, 0.0, np.array([rate])) == pytest.approx([rate], rel=0.003)


def test_the_range_holds_the_truth_behind_a_biased_reading() -> None:
    for pdff, truth in ((0.1, 40.0), (0.2, 40.0), (0.3, 120.0)):
        read = float(water_only_fit(EARLY_1_5_T, 1.5, pdff, np.array([truth]))[0])
        found = fat_bias(
            region_of(read), model="magnitude_first_moment", echo_times_s=EARLY_1_5_T, field_t=1.5, noise=NOISE
        )
        assert found is not None
        assert found.typical > 0.1
        assert found.r2star_per_s[0] <= 1.01 * truth
        assert found.r2star_per_s[1] == pytest.approx(read)


def test_what_echoes_can_tell() -> None:
    assert can_tell(FOUR_3_T, 3.0, 50.0, 60.0)
    assert not can_tell(FOUR_3_T, 3.0, 1.0, 60.0)  # noise
    assert not can_tell(FOUR_3_T[:3], 3.0, 50.0, 60.0)  # three echoes for three unknowns
    assert not can_tell(EARLY_1_5_T, 1.5, 50.0, 60.0)  # never opposed
    assert not can_tell(4.6e-3 * np.arange(1, 8), 1.5, 50.0, 60.0)  # all in phase
    assert not can_tell(FOUR_3_T, 3.0, float("nan"), 60.0)
