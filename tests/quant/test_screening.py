"""What is known of voxels before the fit."""

import numpy as np
import pytest

from quant.screening import air_voxels, broken_voxels


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf, -1.0, -1e-40])
@pytest.mark.parametrize("echo", [0, 2])
def test_one_sample_that_is_no_magnitude_breaks_a_voxel(bad: float, echo: int) -> None:
    signal = np.array([[3.0, 2.0, 1.0], [0.0, 0.0, 0.0], [3.0, 2.0, 1.0]], np.float32)
    signal[2, echo] = bad
    assert broken_voxels(signal).tolist() == [False, False, True]


@pytest.mark.parametrize("good", [0.0, -0.0, 1e-40, float(np.finfo(np.float32).max)])
def test_every_finite_magnitude_is_whole(good: float) -> None:
    assert not broken_voxels(np.full((2, 4), good, np.float32)).any()


def test_air_lies_clearly_below_both_limits() -> None:
    """The limits themselves, and what lies within rounding of them, are left to the fit."""
    signal = np.array([[1.0, 1.0], [1.0, 3.0], [1.6, 0.1], [1.0, np.sqrt(3)], [0.0, 0.0], [1.5, 0.0]], np.float32)
    voxels = np.array([5, 3, 2, 1, 0])
    air = air_voxels(signal, voxels, largest_energy=4.0, largest_first=1.5)
    assert air.tolist() == [False, False, False, False, True]
    assert air_voxels(signal, voxels, largest_energy=4.1, largest_first=1.51).tolist() == [
        True,
        True,
        False,
        False,
        True,
    ]
