"""The stages of the complex fit by themselves: candidates against a general search, the field against all choices."""

from itertools import product

import numpy as np
import pytest
from scipy.optimize import differential_evolution, least_squares

from quant.complex_field import settle
from quant.complex_scan import FieldRange
from quant.complex_volume import candidates
from quant.models import fat_phasor
from quant.noise import NoiseModel
from quant.voxel_fit import Setup
from tests.further import further
from tests.quant.complex_volumes import TIMES_3T

CANDIDATES = 3
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
    assert found.span_hz == pytest.approx(3.0 / 0.9e-3)


@pytest.mark.parametrize("apart_s", [1e-9, 3e-6, 1e-5])
def test_nearly_equal_echo_times_do_not_make_the_scan_endless(apart_s: float) -> None:
    found = FieldRange.of(np.array([1e-3, 1e-3 + apart_s, 2.3e-3, 3.6e-3, 4.9e-3]))
    assert found.points <= 1024
    assert found.span_hz > 2 * 20e-6 * 42.58e6 * 3  # 20 ppm to both sides at 3 T


def cost_of(samples: np.ndarray, times: np.ndarray, values: np.ndarray) -> float:
    """Sum of squares left by S0, phase, R2*, field and a fat fraction between 0 and 1."""
    s0, phase, r2star, hz, pdff = values
    fat = fat_phasor(times, 3.0)
    model = s0 * ((1 - pdff) + pdff * fat) * np.exp(1j * phase + (2j * np.pi * hz - r2star) * times)
    return float(np.sum(np.abs(samples - model) ** 2))


@pytest.mark.parametrize("times", [TIMES_3T, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("pdff", [0.3, *further([0.0, 0.9])])
def test_candidates_are_minima_that_a_general_search_finds_too(times: np.ndarray, pdff: float) -> None:
    rng = np.random.default_rng(3)
    fat = fat_phasor(times, 3.0)
    clean = 30 * ((1 - pdff) + pdff * fat) * np.exp((2j * np.pi * 60 - 180) * times + 0.7j)
    samples = clean + rng.standard_normal(times.size) + 1j * rng.standard_normal(times.size)
    fields = FieldRange.of(times)
    offset, cost, stiffness = candidates(samples[None].astype(np.complex64), np.array([0]), setup_of(times), fields)
    best = int(np.argmin(cost[0]))
    bounds = [(1, 200), (-7, 7), (0, 1500), (-fields.span_hz / 2, fields.span_hz / 2), (0, 1)]
    found = differential_evolution(lambda v: cost_of(samples, times, v), bounds, seed=1, tol=1e-10, maxiter=400)
    assert cost[0, best] <= 1.02 * found.fun + 0.1
    if found.fun < cost[0, best] + 0.1:  # the search, too, found the deepest minimum
        apart = abs(float(fields.hz_at(offset[0, best])) - found.x[3])
        assert min(apart, abs(apart - fields.span_hz)) < 3
    assert stiffness[0] > 0


def test_a_fat_fraction_held_at_nothing_does_not_keep_r2star_and_field_from_their_best() -> None:
    """Against bounded least squares from the truth: in high iron without fat, half of the noise asks for less than no
    fat."""
    rng = np.random.default_rng(8)
    truth = np.array([80.0, 0.4, 1000.0, 150.0, 0.0])
    s0, phase, r2star, hz, _ = truth
    clean = s0 * np.exp(1j * phase + (2j * np.pi * hz - r2star) * TIMES_3T)
    samples = clean + rng.standard_normal((80, 6)) + 1j * rng.standard_normal((80, 6))
    fields = FieldRange.of(TIMES_3T)
    offset, cost, _ = candidates(samples.astype(np.complex64), np.arange(80), setup_of(TIMES_3T), fields)
    nearest = np.argmin(np.abs(fields.hz_at(offset) - hz), axis=1)
    fat = fat_phasor(TIMES_3T, 3.0)
    for k, voxel in enumerate(samples):

        def left_over(v: np.ndarray, voxel: np.ndarray = voxel) -> np.ndarray:
            model = v[0] * ((1 - v[4]) + v[4] * fat) * np.exp(1j * v[1] + (2j * np.pi * v[3] - v[2]) * TIMES_3T)
            return (voxel - model).view(np.float64)

        bounds = ([1, -4, 0, -600, 0], [300, 4, 4000, 600, 1])
        best = least_squares(left_over, np.clip(truth, 1e-6, None), bounds=bounds, x_scale=[1, 0.01, 10, 1, 0.01])
        assert cost[k, nearest[k]] <= 2 * best.cost * 1.05 + 0.2


def energy(labels, index, offset, cost, slope, stiffness, weight, largest, period) -> float:
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
            total += float(weight[axis] * min(stiffness[p], stiffness[q]) * min(d * d, largest))
    return total


@pytest.mark.parametrize("limit", [20.0, 1e6])
@pytest.mark.parametrize("seed", [0, 1, *further(range(2, 6))])
def test_the_field_is_the_best_of_all_combinations(seed: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    shape, period = (2, 2, 2), 32.0
    index = np.arange(8, dtype=np.int32).reshape(shape)
    offset = rng.uniform(0, period, (8, CANDIDATES)).astype(np.float32)
    cost = rng.uniform(0, 20, (8, CANDIDATES)).astype(np.float32)
    slope = rng.normal(0, 1, (8, 3)).astype(np.float32)
    stiffness = rng.uniform(0.5, 2, 8).astype(np.float32)
    weight = np.array([0.05, 0.05, 0.02], np.float32)
    label = np.zeros(8, np.int64)
    message = np.zeros((8, 3, CANDIDATES), np.float32)
    largest = np.float32(limit)
    settle(index, offset, cost, slope, stiffness, weight, largest, np.float32(period), message, label, 30)
    rest = (index, offset, cost, slope, stiffness, weight, limit, period)
    best = min(energy(labels, *rest) for labels in product(range(CANDIDATES), repeat=8))
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
        np.float32(200.0),
        np.float32(period),
        np.zeros((width, 3, CANDIDATES), np.float32),
        label,
        3,
    )
    assert (label == 1).all()
