"""Arms that touch the torso are no part of it; a second thigh, and a bulge without a neck, are no arms."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from quant.acquisition import MultiEcho
from quant.liver import find_liver
from quant.liver.arms import without_arms
from quant.liver.plane import Plane
from quant.phantom import make_abdomen
from tests.quant.liver.storage import flagged_fit

PLANE = Plane(row_mm=2.5, column_mm=2.5)
TORSO_MM = (150.0, 95.0)
Mask = npt.NDArray[np.bool_]


def _ellipse(x_mm: float, y_mm: float, half_width_mm: float, half_depth_mm: float, columns: int = 220) -> Mask:
    y, x = np.mgrid[-50:50, -columns // 2 : columns // 2] * 2.5
    return np.asarray(((x - x_mm) / half_width_mm) ** 2 + ((y - y_mm) / half_depth_mm) ** 2 < 1)[None]


@pytest.mark.parametrize("radius_mm", [30.0, 40.0, 48.0])
@pytest.mark.parametrize("pressed_mm", [3.0, 10.0])
@pytest.mark.parametrize("sides", [(-1,), (1,), (-1, 1)])
def test_arms_at_the_flank_are_cut_off(radius_mm: float, pressed_mm: float, sides: tuple[int, ...]) -> None:
    torso = _ellipse(0, 0, *TORSO_MM)
    body = torso.copy()
    for side in sides:
        body |= _ellipse(side * (TORSO_MM[0] + radius_mm - pressed_mm), 10, radius_mm, radius_mm * 1.1)
    trunk = without_arms(body, PLANE, 10.0)
    assert (trunk & ~torso).sum() < 0.15 * (body & ~torso).sum()
    assert (trunk & torso).sum() > 0.99 * torso.sum()


@pytest.mark.parametrize("columns", [144, 160])
def test_an_arm_that_the_image_cuts_is_cut_off(columns: int) -> None:
    torso = _ellipse(0, 0, *TORSO_MM, columns)
    body = torso | _ellipse(TORSO_MM[0] + 38, 10, 46, 46, columns)
    trunk = without_arms(body, PLANE, 10.0)
    assert (trunk & ~torso).sum() < 0.2 * (body & ~torso).sum()
    assert (trunk & torso).sum() > 0.98 * torso.sum()


TORSO = _ellipse(0, 0, *TORSO_MM)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(_ellipse(0, 0, 85, 90) | _ellipse(165, 0, 85, 90), id="second thigh"),
        pytest.param(TORSO | _ellipse(60, -70, 40, 40), id="in front"),
        pytest.param(TORSO | _ellipse(130, 0, 60, 60), id="no neck"),
        pytest.param(TORSO, id="nothing"),
    ],
)
def test_what_is_no_arm_stays(body: Mask) -> None:
    assert np.array_equal(without_arms(body, PLANE, 10.0), body)


def test_slices_without_a_body_stay_empty() -> None:
    assert not without_arms(np.zeros((2, 20, 20), bool), PLANE, 10.0).any()


def _with_arms(acquisition: MultiEcho) -> MultiEcho:
    """The same images with arms of muscle in fat pressed against both flanks."""
    signal = np.array(acquisition.signal)
    times, (_, row_mm, column_mm) = acquisition.echo_times_s, acquisition.geometry.spacing_mm
    body = signal[0, ..., 0] > 200
    columns, rows = np.flatnonzero(body.any(0)), np.flatnonzero(body.any(1))
    y, x = np.mgrid[: body.shape[0], : body.shape[1]] * np.array([row_mm, column_mm])[:, None, None]
    for edge_mm, outwards in ((columns[0] * column_mm, -1), (columns[-1] * column_mm, 1)):
        from_axis = np.hypot(x - edge_mm - outwards * 36, y - rows.mean() * row_mm)
        for radius_mm, rate in ((45, 40.0), (36, 33.0)):
            signal[:, (from_axis < radius_mm) & ~body] = 900 * np.exp(-rate * times)
    return replace(acquisition, signal=signal.astype(np.float32))


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_region_is_that_of_the_body_without_arms(mirrored: bool) -> None:
    bare = make_abdomen(r2star_per_s=40, n_slices=2, matrix=144, fov_mm=520, seed=2).acquisition
    if mirrored:
        bare = replace(bare, signal=np.ascontiguousarray(bare.signal[:, :, ::-1]))
    found, found_bare = (find_liver(images, flagged_fit(bare)) for images in (_with_arms(bare), bare))
    assert (found.mask is None) == (found_bare.mask is None) == mirrored
    if found.mask is not None and found_bare.mask is not None:
        assert (found.mask & found_bare.mask).sum() > 0.9 * max(found.mask.sum(), found_bare.mask.sum())
