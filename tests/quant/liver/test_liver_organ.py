"""Which part of an organ holds the region."""

import numpy as np

from quant.liver.organ import deepest_point, likely_depth


def test_of_lobes_alike_in_depth_the_likelier_one_is_taken() -> None:
    depth_mm = np.zeros((9, 9), np.float32)
    depth_mm[4, 2], depth_mm[4, 6] = 20, 24
    prior = np.full((9, 9), 0.1, np.float32)
    prior[:, :4], prior[:, 6] = 1.0, 0.7
    assert deepest_point(likely_depth(depth_mm, prior)) == (4, 2)
    depth_mm[4, 6] = 40
    assert deepest_point(likely_depth(depth_mm, prior)) == (4, 6)


def test_what_lies_where_no_liver_is_holds_none() -> None:
    assert not likely_depth(np.full((3, 3), 30, np.float32), np.full((3, 3), 0.2, np.float32)).any()
