"""Muscle of the body wall with the liver's R2*, and no fat between the two: the region stays in the liver."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from quant.liver import find_liver
from quant.phantom import AbdomenAnatomy, Label, make_abdomen
from tests.quant.liver.storage import flagged_fit

Points = npt.NDArray[np.floating]

_R2STAR_PER_S = 33.0


@dataclass(frozen=True)
class _ThickWall:
    """A cylinder of fat around muscle, thick at the right, where the liver lies against it; LPS mm."""

    muscle_s0: float

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

        labels = np.zeros(x.shape, np.uint8)
        labels[within(0, 0, 165, 115)] = Label.SUBCUTANEOUS_FAT
        labels[within(0, 0, 150, 100)] = Label.MUSCLE
        labels[within(18, 0, 122, 90)] = Label.VISCERAL_FAT
        labels[within(-52, -5, 65, 72) & within(18, 0, 122, 90)] = Label.LIVER
        labels[within(95, 30, 28, 38)] = Label.SPLEEN
        labels[within(0, 60, 25, 25)] = Label.CORTICAL_BONE
        return labels


@pytest.mark.parametrize("muscle_s0", [0.85, 1.0])
def test_muscle_of_the_same_r2star_is_left_out(muscle_s0: float) -> None:
    phantom = make_abdomen(
        body=_ThickWall(muscle_s0),
        r2star_per_s=_R2STAR_PER_S,
        pdff_percent=6.0,
        n_slices=1,
        matrix=112,
        seed=4,
    )
    region = find_liver(phantom.acquisition, flagged_fit(phantom.acquisition))
    assert region.mask is not None, region.refusals
    assert phantom.truth.whole_liver[region.mask].mean() >= 0.98
