"""Numbers of the maps: the ends of the range stand for what lies beyond, and only lost signal has no number."""

import numpy as np
import pytest

from quant.acquisition import Geometry, MultiEcho
from quant.fit import fit_r2star
from quant.flags import FitFlag
from quant.map_values import highest_r2star_per_s, r2star_values
from quant.noise import NoiseModel
from quant.region import measure_region

TIMES_S = np.array([1.2, 2.4, 3.6, 4.8, 6.0, 7.2]) * 1e-3
NOISE = NoiseModel(sigma=1.0, coils=1.0, source="known")


def decay(r2star_per_s: float, s0: float = 1000.0) -> np.ndarray:
    return s0 * np.exp(-r2star_per_s * TIMES_S)


def noisy_block(r2star_per_s: float, seed: int) -> np.ndarray:
    """Rician magnitude (4, 16, 16, e) of one tissue, S0 / sigma 60."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(2, 4, 16, 16, TIMES_S.size))
    return np.hypot(decay(r2star_per_s, 60.0) + noise[0], noise[1])


def test_each_way_of_having_no_number_is_told_apart() -> None:
    gone_at_once = decay(9000.0, 1e7)  # 204 at the first echo, below the noise from the second on
    rising = 100.0 * np.exp(30 * TIMES_S)
    nothing = np.full(TIMES_S.size, 0.8)
    broken = np.where(np.arange(TIMES_S.size) == 2, np.nan, decay(50.0))
    signal = np.array([decay(60.0), gone_at_once, rising, nothing, broken])[None, None]
    fit = fit_r2star(signal, TIMES_S, field_t=1.5, noise=NOISE, model="magnitude_first_moment", threads=1)
    found = r2star_values(fit, TIMES_S)
    normal, high, low, noise, failed = found.values[0, 0]
    assert normal == pytest.approx(60.0, rel=1e-3)
    assert np.isnan(fit.r2star_per_s[0, 0, 1:]).all()
    assert fit.flags[0, 0, 1] & FitFlag.AT_LIMIT
    assert (low, high) == pytest.approx(found.range_per_s)
    assert high == pytest.approx(highest_r2star_per_s(TIMES_S))
    assert np.isnan([noise, failed]).all()


def test_what_was_not_fitted_has_no_number() -> None:
    mask = np.array([[[True, False]]])
    signal = np.array([[decay(60.0), decay(60.0)]])[None]
    fit = fit_r2star(signal, TIMES_S, field_t=1.5, noise=NOISE, model="magnitude_first_moment", mask=mask, threads=1)
    assert list(np.isnan(r2star_values(fit, TIMES_S).values[0, 0])) == [False, True]


@pytest.mark.parametrize("field_t", [1.5, 3.0])
@pytest.mark.parametrize("r2star_per_s", [2.0, 20.0, 60.0, 200.0, 600.0, 1000.0, 1500.0, 2000.0])
def test_median_of_the_map_is_that_of_the_region(r2star_per_s: float, field_t: float) -> None:
    acquisition = MultiEcho(
        signal=noisy_block(r2star_per_s, seed=int(r2star_per_s)).astype(np.float32),
        echo_times_s=TIMES_S,
        field_t=field_t,
        geometry=Geometry(
            positions_mm=np.array([[0.0, 0.0, 10.0 * z] for z in range(4)]),
            row_direction=np.array([1.0, 0, 0]),
            column_direction=np.array([0, 1.0, 0]),
            spacing_mm=(10.0, 2.0, 2.0),
            slice_thickness_mm=10.0,
        ),
    )
    fit = fit_r2star(acquisition.signal, TIMES_S, field_t=field_t, noise=NOISE, threads=1)
    mask = np.ones(fit.flags.shape, dtype=bool)
    found = r2star_values(fit, TIMES_S)
    assert np.nanmedian(found.values) == pytest.approx(measure_region(acquisition, fit, mask).median, rel=1e-5)
    assert np.isnan(found.values).mean() < 0.05
