"""What is known of voxels before the fit."""

import numpy as np
import pytest

from quant.flags import FitFlag
from quant.screening import screened


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf, -1.0, -1e-40, 3e38, 1.001e19])
@pytest.mark.parametrize("echo", [0, 2])
def test_one_sample_that_is_no_magnitude_breaks_a_voxel(bad: float, echo: int) -> None:
    signal = np.array([[3.0, 2.0, 1.0], [0.0, 0.0, 0.0], [3.0, 2.0, 1.0]], np.float32)
    signal[2, echo] = bad
    assert screened(signal).tolist() == [0, 0, FitFlag.FAILED]


@pytest.mark.parametrize("good", [0.0, -0.0, 1e-40, 0.999e19])
def test_every_finite_magnitude_is_whole(good: float) -> None:
    assert not screened(np.full((2, 4), good, np.float32)).any()
