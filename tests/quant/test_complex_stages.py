"""The stages of the complex fit by themselves: the scan against linear algebra, the field against exhaustive search."""

from itertools import product

import numpy as np
import pytest
from scipy.linalg import lstsq

from quant.complex_field import settle
from quant.complex_scan import KEPT, NONE, FieldRange
from quant.complex_volume import scan_voxels
from quant.models import fat_phasor
from quant.noise import NoiseModel
from quant.voxel_fit import Setup
from tests.quant.complex_volumes import TIMES_3T

UNEVEN = np.array([1.1, 2.15, 3.4, 4.3, 5.7, 6.6]) * 1e-3


def setup_of(times: np.ndarray) -> Setup:
    return Setup(echo_times_s=times, field_t=3.0, noise=NoiseModel(sigma=1.0, coils=1.0, source="given"))


@pytest.mark.parametrize(
    ("times_ms", "period_hz", "cyclic"),
    [
        ([1, 2, 3, 4], 1000.0, True),
        ([1, 2, 4, 5], 1000.0, True),
        ([1.0, 1.5, 2.5, 3.0], 2000.0, True),
        ([1, 2.5, 3.5], 2000.0, True),
        ([2.3, 3.2, 4.1, 5.1, 6.0, 7.0], 1000 / 0.94, True),
    ],
)
def test_the_period_of_the_field_follows_from_the_grid_of_echo_times(
    times_ms: list[float], period_hz: float, cyclic: bool
) -> None:
    found = FieldRange.of(np.array(times_ms) * 1e-3)
    assert found.cyclic is cyclic
    assert found.span_hz == pytest.approx(period_hz, rel=0.01)


def test_times_on_no_grid_have_no_period() -> None:
    found = FieldRange.of(UNEVEN)
    assert not found.cyclic
    assert found.span_hz == pytest.approx(1.5 / 0.9e-3)


def least_residual(samples: np.ndarray, times: np.ndarray, hz: float, r2star: float) -> float:
    """Sum of squares left by real amplitudes of water and fat with one free phase, phase by phase."""
    c = fat_phasor(times, 3.0)
    unit = np.exp((2j * np.pi * hz - r2star) * (times - times[0]))
    columns = np.stack([unit, unit * c], axis=1)
    real = np.concatenate([columns.real, columns.imag])
    left = []
    for phase in np.linspace(0, np.pi, 181):
        turned = samples * np.exp(-1j * phase)
        y = np.concatenate([turned.real, turned.imag])
        left.append(float(np.sum((y - real @ lstsq(real, y)[0]) ** 2)))
    return min(left)


@pytest.mark.parametrize("times", [TIMES_3T, UNEVEN], ids=["even", "uneven"])
def test_candidates_are_the_deepest_minima_of_the_residual(times: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    clean = 30 * (0.7 + 0.3 * fat_phasor(times, 3.0)) * np.exp((2j * np.pi * 60 - 120) * times + 0.7j)
    samples = clean + rng.standard_normal(times.size) + 1j * rng.standard_normal(times.size)
    setup = setup_of(times)
    fields = FieldRange.of(times)
    offset, cost, stiffness = scan_voxels(samples[None].astype(np.complex64), np.array([0]), setup, fields)

    def residual(point: float) -> float:
        hz = (point / fields.points - 0.5) * fields.span_hz
        return min(least_residual(samples, times, hz, r) for r in (25.0, 120.0, 350.0, 800.0))

    curve = np.array([residual(point) for point in range(fields.points)])
    inner = np.arange(fields.points) if fields.cyclic else np.arange(1, fields.points - 1)
    minima = [p for p in inner if curve[p] <= curve[p - 1] and curve[p] < curve[(p + 1) % fields.points]]
    deepest = sorted(minima, key=lambda p: curve[p])[:KEPT]
    found = [k for k in range(KEPT) if cost[0, k] < NONE]
    assert len(found) == len(deepest)
    for k in found:
        nearest = min(deepest, key=lambda p: abs(p - offset[0, k]))
        assert abs(nearest - offset[0, k]) <= 0.5
        assert cost[0, k] == pytest.approx(residual(float(offset[0, k])), abs=0.005 * np.sum(np.abs(samples) ** 2))
    assert list(cost[0]) == sorted(cost[0])
    assert stiffness[0] > 0


def energy(labels, index, offset, cost, slope, stiffness, weight, period) -> float:
    """What ``settle`` is to make small."""
    total = sum(float(cost[p, k]) for p, k in enumerate(labels))
    for (z, y, x), p in np.ndenumerate(index):
        for axis, (dz, dy, dx) in enumerate([(0, 0, 1), (0, 1, 0), (1, 0, 0)]):
            at = (z + dz, y + dy, x + dx)
            if any(a >= s for a, s in zip(at, index.shape, strict=True)):
                continue
            q = index[at]
            d = offset[q, labels[q]] - offset[p, labels[p]] - slope[p, axis]
            d -= period * np.round(d / period)
            total += float(weight[axis] * min(stiffness[p], stiffness[q]) * d * d)
    return total


@pytest.mark.parametrize("seed", range(6))
def test_the_field_is_the_best_of_all_combinations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape, period = (2, 2, 2), 32.0
    index = np.arange(8, dtype=np.int32).reshape(shape)
    offset = rng.uniform(0, period, (8, KEPT)).astype(np.float32)
    cost = rng.uniform(0, 20, (8, KEPT)).astype(np.float32)
    slope = rng.normal(0, 1, (8, 3)).astype(np.float32)
    stiffness = rng.uniform(0.5, 2, 8).astype(np.float32)
    weight = np.array([0.05, 0.05, 0.02], np.float32)
    label = np.zeros(8, np.int64)
    message = np.zeros((8, 3, KEPT), np.float32)
    settle(index, offset, cost, slope, stiffness, weight, np.float32(period), message, label, 30)
    rest = (index, offset, cost, slope, stiffness, weight, period)
    best = min(energy(labels, *rest) for labels in product(range(KEPT), repeat=8))
    assert energy(label, *rest) <= 1.02 * best


def test_a_ramp_of_a_fifth_of_the_period_per_voxel_is_followed() -> None:
    width, period = 40, 32.0
    index = np.arange(width, dtype=np.int32).reshape(1, 1, width)
    true = 0.2 * period * np.arange(width)
    offset = np.stack([true + 0.33 * period, true, true + 0.6 * period], axis=1) % period
    cost = np.tile(np.array([[0.0, 0.5, 6.0]], np.float32), (width, 1))
    cost[7, 0] = 40.0  # one voxel knows
    slope = np.zeros((width, 3), np.float32)
    slope[:, 0] = 0.2 * period
    label = np.zeros(width, np.int64)
    settle(
        index,
        offset.astype(np.float32),
        cost,
        slope,
        np.ones(width, np.float32),
        np.full(3, 0.5, np.float32),
        np.float32(period),
        np.zeros((width, 3, KEPT), np.float32),
        label,
        3,
    )
    assert (label == 1).all()
