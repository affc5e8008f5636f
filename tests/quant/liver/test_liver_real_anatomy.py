"""Anatomies of two patients (label maps of others) with simulated signals: no phantom of ours has shaped them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from quant.liver import find_liver
from tests.further import further
from tests.quant.liver.labelled_abdomen import LUNG, VISCERAL_FAT, simulate
from tests.quant.liver.storage import flagged_fit

SharedData = Callable[[str], Path]


@pytest.mark.parametrize("patient", ["ct", "mr"])
@pytest.mark.parametrize(
    ("r2star", "field_t"), [(67.0, 3.0), (800.0, 1.5), *further([(25.0, 1.5), (150.0, 1.5), (400.0, 3.0)])]
)
def test_the_region_lies_in_the_liver(shared_data: SharedData, patient: str, r2star: float, field_t: float) -> None:
    path = shared_data("abdomen-labels") / f"{patient}.npz"
    case = simulate(path, r2star_per_s=r2star, field_t=field_t, seed=int(r2star), thickness=8)
    region = find_liver(case.acquisition, flagged_fit(case.acquisition))
    assert region.mask is not None, region.refusals
    assert (case.liver_share[region.mask] >= 0.5).mean() >= 0.98
    assert region.checks["r2star_per_s"] == pytest.approx(r2star, rel=0.08)


@pytest.mark.parametrize("tissue", [VISCERAL_FAT, LUNG])
def test_without_a_liver_there_is_no_region(shared_data: SharedData, tissue: int) -> None:
    path = shared_data("abdomen-labels") / "mr.npz"
    case = simulate(path, r2star_per_s=60, seed=2, thickness=8, liver_becomes=tissue)
    region = find_liver(case.acquisition, flagged_fit(case.acquisition))
    assert region.mask is None
    assert region.refusals
