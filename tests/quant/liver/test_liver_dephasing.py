"""Voxels in a steep field: what counts as steep is held against a fit of simulated decays."""

from dataclasses import replace

import numpy as np
import pytest

from quant.acquisition import Geometry, MultiEcho
from quant.fit import R2StarMap
from quant.liver.dephasing import MOST_ADDED, dephased

TIMES_S = np.arange(1, 9) * 1.2e-3
PERIOD_HZ = 1 / 1.2e-3


def scene(rate_per_s: float, b0_hz: np.ndarray | None) -> tuple[MultiEcho, R2StarMap]:
    shape = (4, 6, 6)
    geometry = Geometry(
        positions_mm=np.array([[0, 0, 10.0 * z] for z in range(shape[0])]),
        row_direction=np.array([1.0, 0, 0]),
        column_direction=np.array([0, 1.0, 0]),
        spacing_mm=(10.0, 2.0, 2.0),
        slice_thickness_mm=8.0,
    )
    acquisition = MultiEcho(
        signal=np.ones((*shape, 8), np.float32), echo_times_s=TIMES_S, field_t=3.0, geometry=geometry
    )
    rates = np.full(shape, rate_per_s, np.float32)
    fit = R2StarMap(
        r2star_per_s=rates,
        s0=rates,
        pdff=None,
        b0_hz=b0_hz,
        sd_r2star_per_s=rates,
        residual=rates,
        flags=np.zeros(shape, np.int32),
        sigma=1.0,
        coils=1.0,
        noise_source="given",
        measurable_limit_per_s=None,
        model="test",
        noise_model="test",
        echoes_used=8,
    )
    return acquisition, fit


def ramp(hz_per_slice: float) -> np.ndarray:
    return np.broadcast_to(hz_per_slice * np.arange(4.0)[:, None, None], (4, 6, 6)).astype(np.float32)


def apparent_rate(rate_per_s: float, across_hz: float) -> float:
    """Least squares of the signal, R2* and amplitude free, by search."""
    signal = np.exp(-rate_per_s * TIMES_S) * np.sinc(across_hz * TIMES_S)
    tried = rate_per_s * np.linspace(0.9, 1.5, 6001)
    shapes = np.exp(-tried[:, None] * TIMES_S)
    amplitude = shapes @ signal / np.sum(shapes**2, axis=1)
    return float(tried[np.argmin(np.sum((signal - amplitude[:, None] * shapes) ** 2, axis=1))])


@pytest.mark.parametrize("rate_per_s", [30.0, 100.0, 400.0])
def test_voxels_drop_out_where_a_fit_would_read_five_percent_high(rate_per_s: float) -> None:
    across = np.linspace(1, 150, 300)
    added = np.array([apparent_rate(rate_per_s, hz) / rate_per_s - 1 for hz in across])
    limit_hz = float(across[np.argmax(added >= MOST_ADDED)])
    for factor, expected in ((0.93, False), (1.07, True)):
        field = ramp(factor * limit_hz / 0.8)  # eight tenths of the distance between slices are thickness
        assert (dephased(*scene(rate_per_s, field)) == expected).all()


def test_whole_periods_and_single_steps_are_no_gradient() -> None:
    field = ramp(0.0).copy()
    field[2:] += PERIOD_HZ
    field[:, 3:] += 90.0
    assert not dephased(*scene(50.0, field)).any()


def test_without_a_field_nothing_drops_out() -> None:
    assert not dephased(*scene(50.0, None)).any()


def test_voxels_without_a_field_stay_and_spoil_no_neighbours() -> None:
    field = ramp(0.0).copy()
    field[1, 2, 2] = np.nan
    acquisition, fit = scene(50.0, field)
    assert not dephased(acquisition, replace(fit, b0_hz=field)).any()
