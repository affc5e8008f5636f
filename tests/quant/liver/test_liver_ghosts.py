"""Ghosts are seen in the air beside the body, and refuse a dark liver only."""

import numpy as np
import pytest

from quant.fit import fit_r2star
from quant.liver import find_liver
from quant.liver.ghosts import ghost_level
from quant.liver.images import WorkingImages, prepare
from quant.liver.orientation import axial_axes
from quant.liver.parameters import DEFAULTS
from quant.liver.torso import find_torso
from quant.phantom import AbdomenAnatomy, Phantom, default_echo_times_s, make_abdomen


def _abdomen(ghosts: float, r2star_per_s: float, n_slices: int = 1, coils: int = 1) -> Phantom:
    return make_abdomen(
        r2star_per_s=r2star_per_s,
        echo_times_s=default_echo_times_s(1.5, te1_ms=1.35, echoes=6),
        n_slices=n_slices,
        matrix=128,
        snr=60,
        coils=coils,
        seed=10,
        anatomy=AbdomenAnatomy(ghosts=ghosts, texture=0.02),
    )


def _images(phantom: Phantom) -> WorkingImages:
    acquisition = phantom.acquisition
    axes = axial_axes(acquisition.geometry, acquisition.signal.shape[:3])
    return prepare(acquisition, axes, (phantom.truth.sigma, phantom.truth.coils), DEFAULTS)


@pytest.mark.parametrize("coils", [1, 4, 12])
def test_noise_in_the_air_is_no_ghost(coils: int) -> None:
    images = _images(_abdomen(0.0, 60.0, coils=coils))
    assert ghost_level(images, find_torso(images, DEFAULTS)) < 0.5 * images.sigma


def test_the_level_is_that_of_the_ghost_that_was_added() -> None:
    images = _images(_abdomen(0.0, 60.0))
    torso = find_torso(images, DEFAULTS)
    added = 4 * images.sigma
    for stack in (images.fine, images.suppressed):
        stack[:] = np.hypot(stack, added)
    assert ghost_level(images, torso) == pytest.approx(added, rel=0.1)


@pytest.mark.parametrize(("ghosts", "r2star_per_s", "refused"), [(0.08, 1500.0, True), (0.08, 60.0, False)])
def test_ghosts_refuse_the_dark_liver_whose_decay_they_hide(ghosts: float, r2star_per_s: float, refused: bool) -> None:
    acquisition = _abdomen(ghosts, r2star_per_s, n_slices=3).acquisition
    fit = fit_r2star(acquisition.signal, acquisition.echo_times_s, field_t=acquisition.field_t, threads=1)
    region = find_liver(acquisition, fit)
    assert ("roi_ghosts" in {line.code for line in region.qc}) == refused
    assert (region.mask is None) == refused
