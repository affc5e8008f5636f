"""Islands amid structure are no parenchyma: bowel whose content has the liver's R2* breaks up into them."""

import numpy as np

from quant.liver.parenchyma import patchy_parts
from quant.liver.plane import Plane, label

PLANE = Plane(row_mm=3.0, column_mm=3.0)


def test_an_island_amid_structure_is_patchy_and_liver_beside_a_vessel_is_not() -> None:
    kept = np.zeros((1, 20, 40), bool)
    kept[0, 2:18, 2:16] = True  # liver
    kept[0, 8:12, 28:32] = True  # an island in the bowel
    structure = np.zeros_like(kept)
    structure[0, 2:18, 16:18] = True  # a vessel along the liver's edge
    structure[0, 7:13, 26:34] = True
    structure &= ~kept
    parts, count = label(kept)
    assert patchy_parts(parts, count, structure, PLANE).tolist() == [False, False, True]


def test_structure_in_other_slices_and_far_away_does_not_count() -> None:
    kept = np.zeros((2, 9, 9), bool)
    kept[0, 3:6, 0:3] = True
    structure = np.zeros_like(kept)
    structure[1] = True  # the slice above
    structure[0, :, 6:] = True  # 12 mm and more away
    parts, count = label(kept)
    assert not patchy_parts(parts, count, structure, PLANE).any()
