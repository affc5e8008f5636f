"""Muscle of the body wall with the liver's R2*, and no fat between the two: the region stays in the liver."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from quant.acquisition import BoolArray
from quant.liver import find_liver
from quant.phantom import AbdomenAnatomy, Label, Phantom, make_abdomen
from tests.quant.liver.storage import flagged_fit

Points = npt.NDArray[np.floating]

_R2STAR_PER_S = 33.0


@dataclass(frozen=True)
class _ThickWall:
    """A cylinder of fat around muscle, ``wall_mm`` thick at the right, where the liver lies against it; LPS mm."""

    muscle_s0: float
    wall_mm: float

    @property
    def anatomy(self) -> AbdomenAnatomy:
        return AbdomenAnatomy(
            r2star_overrides={Label.MUSCLE: _R2STAR_PER_S, Label.SPLEEN: 60.0},
            s0_overrides={Label.MUSCLE: self.muscle_s0},
        )

    def body_coordinates(self, points: Points) -> Points:
        return points

    def labels_at(self, points: Points) -> npt.NDArray[np.uint8]:
        x, y = points[0], points[1]

        def within(x_mm: float, y_mm: float, half_x_mm: float, half_y_mm: float) -> npt.NDArray[np.bool_]:
            return np.asarray(((x - x_mm) / half_x_mm) ** 2 + ((y - y_mm) / half_y_mm) ** 2 < 1)

        right = self.wall_mm - 150  # where the liver meets the wall
        labels = np.zeros(x.shape, np.uint8)
        labels[within(0, 0, 165, 115)] = Label.SUBCUTANEOUS_FAT
        labels[within(0, 0, 150, 100)] = Label.MUSCLE
        cavity = within((right + 140) / 2, 0, (140 - right) / 2, 90)
        labels[cavity] = Label.VISCERAL_FAT
        labels[within(right + 52, -5, 65, 72) & cavity] = Label.LIVER
        labels[within(95, 30, 28, 38)] = Label.SPLEEN
        labels[within(0, 60, 25, 25)] = Label.CORTICAL_BONE
        return labels


def _found(muscle_s0: float, pdff_percent: float, wall_mm: float) -> tuple[Phantom, BoolArray]:
    phantom = make_abdomen(
        body=_ThickWall(muscle_s0, wall_mm),
        r2star_per_s=_R2STAR_PER_S,
        pdff_percent=pdff_percent,
        n_slices=1,
        matrix=112,
        seed=4,
    )
    region = find_liver(phantom.acquisition, flagged_fit(phantom.acquisition))
    assert region.mask is not None, region.refusals
    assert phantom.truth.whole_liver[region.mask].mean() >= 0.98
    return phantom, region.mask


@pytest.mark.parametrize("muscle_s0", [0.85, 1.0])
def test_muscle_of_the_same_r2star_is_left_out(muscle_s0: float) -> None:
    _found(muscle_s0, pdff_percent=6.0, wall_mm=46.0)


def test_beside_a_wall_like_the_liver_in_all_that_is_seen_a_wide_margin_is_kept() -> None:
    phantom, mask = _found(1.0, pdff_percent=1.0, wall_mm=22.0)
    muscle = np.argmax(phantom.truth.labels == Label.MUSCLE, axis=2)  # its first column in each row, inside the fat
    first = np.argmax(mask, axis=2)
    margin_mm = (first - muscle)[mask.any(axis=2)] * phantom.acquisition.geometry.spacing_mm[2]
    assert margin_mm.min() > 34.0
