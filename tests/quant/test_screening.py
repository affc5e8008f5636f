"""What is known of voxels before the fit."""

import numpy as np
import pytest

from quant.flags import FitFlag
from quant.screening import clipped_rows, screened


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf, -1.0, -1e-40, 3e38, 1.001e19])
@pytest.mark.parametrize("echo", [0, 2])
def test_one_sample_that_is_no_magnitude_breaks_a_voxel(bad: float, echo: int) -> None:
    signal = np.array([[3.0, 2.0, 1.0], [0.0, 0.0, 0.0], [3.0, 2.0, 1.0]], np.float32)
    signal[2, echo] = bad
    assert screened(signal).tolist() == [0, 0, FitFlag.FAILED]


@pytest.mark.parametrize("good", [0.0, -0.0, 1e-40, 0.999e19])
def test_every_finite_magnitude_is_whole(good: float) -> None:
    assert not screened(np.full((2, 4), good, np.float32)).any()


def _decays(n: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    decay = rng.uniform(50, 200, (n, 1)) * np.exp(-rng.uniform(10, 90, (n, 1)) * 1e-3 * np.arange(1, 7))
    return (decay + rng.normal(0, 1, decay.shape)).clip(0).astype(np.float32)


def test_rows_that_were_clipped_are_found() -> None:
    signal = _decays(4000)
    clipped = np.minimum(signal, np.float32(170))
    usable = np.arange(4000) % 7 > 0
    assert clipped_rows(clipped, usable).tolist() == np.flatnonzero(usable & (signal >= 170).any(axis=1)).tolist()


def test_rows_that_were_not_clipped_are_not() -> None:
    everywhere = np.ones(4000, np.bool_)
    signal = _decays(4000)
    assert clipped_rows(signal, everywhere).size == 0
    assert clipped_rows(np.round(signal), everywhere).size == 0  # whole numbers
    assert clipped_rows(np.repeat(signal[:2], 2000, axis=0), everywhere).size == 0  # two tissues without noise
    assert clipped_rows(np.zeros_like(signal), everywhere).size == 0
    assert clipped_rows(signal, ~everywhere).size == 0
