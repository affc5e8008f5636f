"""A right kidney with the liver's R2* stays out of the region."""

import numpy as np

from quant.liver import LiverRegion, find_liver
from quant.phantom import AbdomenAnatomy, Label, Phantom, make_abdomen
from tests.quant.liver.storage import flagged_fit

_R2STAR_PER_S = 45.0
_KIDNEY = (Label.KIDNEY_CORTEX, Label.KIDNEY_MEDULLA)


def _found(level_mm: float) -> tuple[Phantom, LiverRegion]:
    anatomy = AbdomenAnatomy(
        r2star_overrides=dict.fromkeys(_KIDNEY, _R2STAR_PER_S), s0_overrides=dict.fromkeys(_KIDNEY, 1.0)
    )
    phantom = make_abdomen(
        anatomy=anatomy, r2star_per_s=_R2STAR_PER_S, pdff_percent=1.0, level_mm=level_mm, n_slices=1, matrix=128, seed=5
    )
    return phantom, find_liver(phantom.acquisition, flagged_fit(phantom.acquisition))


def test_beside_the_kidney_none_of_it_is_taken() -> None:
    phantom, region = _found(-35.0)
    kidney = np.isin(phantom.truth.labels, _KIDNEY)
    assert kidney.any()
    assert region.candidate is not None
    assert not (region.candidate & kidney).any()
    assert phantom.truth.whole_liver[region.candidate].mean() >= 0.99
