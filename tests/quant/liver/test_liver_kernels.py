"""The compiled loops against plain numpy and scipy."""

import numpy as np
import pytest
from scipy import ndimage

from quant.fit import fit_r2star
from quant.liver import find_liver, kernels
from quant.liver.dictionary import match
from quant.liver.orientation import axial_axes
from quant.liver.plane import fill_holes, median
from quant.phantom import make_abdomen

RNG = np.random.default_rng(7)
ODD = np.array([[0, 1, 0, 0, 1], [1, 1, 1, 0, 0], [0, 1, 0, 1, 1]], bool)


@pytest.mark.parametrize("footprint", [np.ones((3, 3), bool), np.ones((5, 5), bool), np.ones((1, 3), bool), ODD])
def test_median_is_that_of_scipy(footprint: np.ndarray) -> None:
    image = RNG.gamma(2.0, 50.0, (3, 17, 23)).astype(np.float32)
    np.testing.assert_array_equal(median(image, footprint), ndimage.median_filter(image, footprint=footprint[None]))


@pytest.mark.parametrize(("blocks", "flipped"), [((1, 1), False), ((2, 2), True), ((3, 2), True)])
def test_block_means_are_those_of_numpy(blocks: tuple[int, int], flipped: bool) -> None:
    signal = RNG.gamma(2.0, 50.0, (2, 13, 12, 5)).astype(np.float32)
    turned = signal[::-1, :, ::-1] if flipped else signal.swapaxes(1, 2)
    echoes = np.array([0, 1, 4])
    rows, columns = turned.shape[1] // blocks[0], turned.shape[2] // blocks[1]
    out = np.empty((3, 2, rows, columns), np.float32)
    first = (turned.ctypes.data - signal.ctypes.data) // 4
    steps = tuple(step // 4 for step in turned.strides[:3])
    kernels.block_power_means(signal.reshape(-1), first, steps, blocks, echoes, out)
    kept = turned[:, : rows * blocks[0], : columns * blocks[1], echoes].astype(np.float64)
    power = (kept**2).reshape(2, rows, blocks[0], columns, blocks[1], 3).mean((2, 4))
    np.testing.assert_allclose(out, np.moveaxis(np.sqrt(power), -1, 0), rtol=3e-7)


def test_best_match_is_the_highest_correlation_with_its_neighbours() -> None:
    signals, atoms = RNG.normal(size=(4, 300)).astype(np.float32), RNG.normal(size=(4, 30)).astype(np.float32)
    at, near = np.empty(300, np.int64), np.empty((5, 300), np.float32)
    kernels.best_matches(signals, atoms, 5, at, near)
    table = (signals.T.astype(float) @ atoms).reshape(300, 6, 5)
    row, column = np.divmod(table.reshape(300, -1).argmax(1), 5)
    np.testing.assert_array_equal(at, 5 * row + column)
    for found, (down, right) in zip(near, ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)), strict=True):
        expected = table[np.arange(300), np.clip(row + down, 0, 5), np.clip(column + right, 0, 4)]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_match_does_not_depend_on_its_place_in_the_list() -> None:
    times = np.arange(1, 7) * 1.3e-3
    signals = np.abs(np.exp(-RNG.uniform(20, 900, (700, 1)) * times) + RNG.normal(0, 0.03, (700, 6)))
    whole, part = match(signals, times, 1.5), match(signals[333:350], times, 1.5)
    np.testing.assert_array_equal(whole.r2star_per_s[333:350], part.r2star_per_s)
    assert match(signals[:0], times, 1.5).s0.shape == (0,)


def test_medians_of_lists_and_by_weight() -> None:
    values = np.array([5.0, 1.0, 4.0, 2.0, 3.0])
    found = np.zeros(4)
    kernels.medians_of_lists(values, np.array([0, 1, 2, 3, 4]), np.array([0, 3, 3, 5]), found)
    assert found.tolist() == [0, 4, 0, 3]
    assert kernels.weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 5.0])) == 2
    assert kernels.weighted_median(np.array([3.0, 1.0, 2.0]), np.array([9.0, 1.0, 5.0])) == 3


def test_an_organ_spreads_to_what_is_like_it_and_no_further() -> None:
    """A row of six pieces: the fourth differs from its neighbour, the sixth is never reached."""
    links = [[], [2], [1, 3], [2, 4], [3, 5], [4, 6], [5]]
    feature = np.array([0, 1.0, 1.1, 1.2, 3.0, 1.1, 1.1])
    organ_of = np.zeros(7, np.int64)
    kernels.spread(
        1,
        4,
        np.array([link for some in links for link in some]),
        np.cumsum([len(some) for some in links]),
        np.ones(7),
        feature,
        np.zeros((3, 7)),
        np.full((4, 7), 0.5),
        organ_of,
    )
    assert organ_of.tolist() == [0, 4, 4, 4, 0, 0, 0]


def test_holes_are_what_has_no_way_out() -> None:
    mask = RNG.random((4, 30, 31)) < 0.55
    expected = np.stack([ndimage.binary_fill_holes(image) for image in mask])
    np.testing.assert_array_equal(fill_holes(mask), expected)


def test_warm_up_leaves_nothing_to_compile() -> None:
    kernels.warm_up()
    compiled = [kernels.block_power_means, kernels.medians_of_neighbours, kernels.best_matches]
    compiled += [kernels.medians_of_lists, kernels.spread]
    before = [len(kernel.signatures) for kernel in compiled]
    acquisition = make_abdomen(n_slices=3, matrix=128, snr=100).acquisition
    fit = fit_r2star(acquisition.signal, acquisition.echo_times_s, field_t=acquisition.field_t)
    assert find_liver(acquisition, fit).candidate is not None
    assert [len(kernel.signatures) for kernel in compiled] == before


def test_turning_by_view_and_by_copy_agree() -> None:
    acquisition = make_abdomen(n_slices=2, matrix=32, orientation="prone").acquisition
    axes = axial_axes(acquisition.geometry, acquisition.signal.shape[:3])
    np.testing.assert_array_equal(axes.view(acquisition.signal), axes.turn(acquisition.signal))
