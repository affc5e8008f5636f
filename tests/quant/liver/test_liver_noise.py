"""How much R2* scatters by noise alone, from simulated noise at the region's decay."""

from dataclasses import replace

import numpy as np
import pytest

from quant.liver.dictionary import Match
from quant.liver.images import WorkingImages, prepare
from quant.liver.organ import robust_sd
from quant.liver.orientation import axial_axes
from quant.liver.parameters import DEFAULTS
from quant.liver.tissue import fit_at, log_r2star_sd, noisy_log_r2star
from quant.phantom import default_echo_times_s, make_abdomen

S0 = 1000.0


def _images(coils: int = 1, r2star_per_s: float = 60.0, snr: float = 60.0) -> tuple[WorkingImages, np.ndarray]:
    """Images and where they show nothing but liver (z, y, x)."""
    phantom = make_abdomen(
        r2star_per_s=r2star_per_s,
        echo_times_s=default_echo_times_s(1.5, te1_ms=1.1, echoes=8),
        n_slices=1,
        matrix=128,
        snr=snr,
        coils=coils,
        seed=31,
    )
    acquisition = phantom.acquisition
    axes = axial_axes(acquisition.geometry, acquisition.signal.shape[:3])
    images = prepare(acquisition, axes, (phantom.truth.sigma, float(coils)), DEFAULTS)
    return images, axes.view(phantom.truth.liver[..., None])[..., 0]


def _decay(r2star_per_s: float) -> Match:
    one = np.ones(1, np.float32)
    return Match(s0=S0 * one, r2star_per_s=r2star_per_s * one, fat_fraction=0 * one)


def test_clear_echoes_scatter_as_the_bound_says() -> None:
    images, _ = _images()
    simulated = robust_sd(noisy_log_r2star(images, _decay(60.0)), 0.0)
    bound = float(log_r2star_sd(images, np.float32(S0), np.float32(60.0), images.fine_sd, ceiling=2.0))
    assert simulated == pytest.approx(bound, rel=0.6)


@pytest.mark.parametrize("coils", [1, 8])
def test_dark_liver_scatters_as_its_pixels_do(coils: int) -> None:
    images, liver = _images(coils, r2star_per_s=1200.0)
    _, r2star_per_s, _ = fit_at(images, liver, images.fine[:, liver])
    measured = robust_sd(np.log(r2star_per_s[liver] + 30), 0.0)
    assert robust_sd(noisy_log_r2star(images, _decay(1200.0)), 0.0) == pytest.approx(measured, rel=0.35)


def test_more_coils_scatter_more_and_the_same_noise_is_drawn_again() -> None:
    images, _ = _images()
    one = noisy_log_r2star(images, _decay(1200.0))
    assert np.array_equal(one, noisy_log_r2star(images, _decay(1200.0)))
    assert robust_sd(noisy_log_r2star(replace(images, coils=8.0), _decay(1200.0)), 0.0) > 1.3 * robust_sd(one, 0.0)
