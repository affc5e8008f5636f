"""Searches that are varied slightly must find the region again: all of them, of noisy dark livers two of three."""

import numpy as np
import pytest

from quant.liver import find_liver
from quant.liver import finder as finder_module
from quant.liver.images import prepare
from quant.liver.orientation import axial_axes
from quant.liver.parameters import DEFAULTS, FinderParameters
from quant.liver.search import Search, Stability, search, stability
from quant.liver.tissue import fit_body
from quant.liver.torso import find_torso
from quant.liver.types import RegionNotFoundError
from quant.phantom import make_abdomen
from quant.threads import thread_limit
from tests.quant.liver.storage import flagged_fit


def _stability(failures: int) -> Stability:
    """Where as many of the varied searches find nothing and the others the same."""
    phantom = make_abdomen(r2star_per_s=200, seed=951, n_slices=1, matrix=128)
    axes = axial_axes(phantom.acquisition.geometry, phantom.acquisition.signal.shape[:3])
    images = prepare(phantom.acquisition, axes, (phantom.truth.sigma, 1.0), DEFAULTS)
    torso = find_torso(images, DEFAULTS)
    found = search(fit_body(images, torso, DEFAULTS), torso, images, DEFAULTS)
    left = [failures]

    def again(_: FinderParameters) -> Search:
        left[0] -= 1
        if left[0] >= 0:
            raise RegionNotFoundError("roi_no_liver", "Nothing.")
        return found

    return stability(found, again, DEFAULTS)


@pytest.mark.parametrize(("failures", "overlaps"), [(0, (1, 1)), (1, (0, 1)), (2, (0, 0))])
def test_a_search_that_finds_nothing_overlaps_by_nothing(failures: int, overlaps: tuple[float, float]) -> None:
    stable = _stability(failures)
    assert (stable.overlap, stable.median_overlap) == overlaps
    assert stable.r2star_change == 0


@pytest.mark.parametrize(
    ("r2star_per_s", "median_overlap", "change", "refused"),
    [(200, 0.8, 0.0, True), (900, 0.8, 0.0, False), (900, 0.2, 0.0, True), (900, 0.8, 0.2, True)],
)
def test_two_of_three_are_enough_where_the_liver_is_dark(
    monkeypatch: pytest.MonkeyPatch, r2star_per_s: float, median_overlap: float, change: float, refused: bool
) -> None:
    unstable = Stability(r2star_change=change, overlap=0.0, median_overlap=median_overlap)
    monkeypatch.setattr(finder_module, "stability", lambda *_: unstable)
    acquisition = make_abdomen(r2star_per_s=r2star_per_s, seed=951, n_slices=1, matrix=128, snr=80).acquisition
    region = find_liver(acquisition, flagged_fit(acquisition))
    assert ("roi_unstable" in {reason.code for reason in region.refusals}) == refused
    assert (region.mask is None) == refused


def test_threads_change_nothing() -> None:
    acquisition = make_abdomen(r2star_per_s=200, seed=952, n_slices=3, matrix=128).acquisition
    fit = flagged_fit(acquisition)
    with thread_limit(1):
        alone = find_liver(acquisition, fit)
    with thread_limit(2):
        together = find_liver(acquisition, fit)
    assert alone.mask is not None
    assert together.mask is not None
    np.testing.assert_array_equal(alone.mask, together.mask)
    assert together.checks == alone.checks
