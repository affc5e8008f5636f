"""In-plane morphology in millimetres, against distances counted by hand."""

import numpy as np
import pytest

from quant.liver.plane import Plane, fill_holes, keep_largest, keep_sized, keep_touching, label

PLANE = Plane(row_mm=2.0, column_mm=1.0)


def _stack(*rows: str) -> np.ndarray:
    return np.array([[[character == "#" for character in row] for row in rows]])


def test_discs_are_round_in_millimetres() -> None:
    disc = PLANE.disc(4.0)
    assert disc.shape == (1, 5, 9)
    assert disc[0, 2].all()
    assert disc[0, :, 4].all()
    assert not disc[0, 0, 0]


def test_distance_counts_from_the_border_and_the_image_edge() -> None:
    mask = np.ones((1, 5, 9), bool)
    mask[0, 2, 4] = False
    distance = PLANE.distance(mask)
    assert distance[0, 2, 3] == pytest.approx(1)
    assert distance[0, 1, 4] == pytest.approx(2)
    assert distance[0, 0, 0] == pytest.approx(1)


def test_distance_from_nothing_is_infinite() -> None:
    assert np.isinf(PLANE.distance_from(np.zeros((1, 3, 3), bool))).all()


def test_the_nearest_part_is_one_of_the_same_slice() -> None:
    parts = np.zeros((2, 3, 7), int)
    parts[0, 0, 0], parts[0, 2, 6] = 4, 5
    number, away_mm = PLANE.nearest(parts)
    assert number[0, 0].tolist() == [4, 4, 4, 4, 4, 5, 5]
    assert away_mm[0, 0, :4].tolist() == [0, 1, 2, 3]
    assert away_mm[0, 1, 0] == pytest.approx(2)
    assert not number[1].any()
    assert np.isinf(away_mm[1]).all()


def test_closing_bridges_gaps_and_spares_what_touches_the_border() -> None:
    mask = _stack("##.##", "##.##", "##.##")
    closed = PLANE.close(mask, 2.0)
    assert closed[0, 1].all()
    assert closed[mask].all()


def test_opening_drops_what_is_thin() -> None:
    mask = _stack("......", ".####.", ".#####", ".####.", "......")
    opened = Plane(row_mm=1.0, column_mm=1.0).open(mask, 1.0)
    assert opened[0, 2, 2]
    assert not opened[0, 2, 5] or opened[0, 2, 4]


def test_components_are_kept_by_size_and_seed() -> None:
    mask = _stack("##..#", "##...", ".....", "...##")
    np.testing.assert_array_equal(keep_largest(mask), _stack("##...", "##...", ".....", "....."))
    np.testing.assert_array_equal(keep_largest(mask, at_least=0.5), _stack("##...", "##...", ".....", "...##"))
    np.testing.assert_array_equal(keep_sized(mask, below_pixels=2), _stack("....#", ".....", ".....", "....."))
    seed = _stack(".....", ".....", ".....", "...#.")
    np.testing.assert_array_equal(keep_touching(mask, seed), _stack(".....", ".....", ".....", "...##"))


def test_slices_never_join() -> None:
    mask = np.ones((2, 3, 3), bool)
    assert label(mask)[1] == 2


def test_holes_are_filled() -> None:
    np.testing.assert_array_equal(fill_holes(_stack("###", "#.#", "###")), _stack("###", "###", "###"))
