"""Feeding a model and reading its answer: orientation, resampling and tiling leave every voxel where it is."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from quant.liver.learned import Channel, ModelSpec, SegmentationError, outline_by_model
from quant.phantom import Phantom, make_abdomen
from tests.quant.liver.storage import flagged_fit, reorder, stored_otherwise

WINDOW = Channel(source="echo:1", rule="window", low=0.0, high=1000.0)
SPEC = ModelSpec(
    channels=(WINDOW,),
    orientation="SPL",
    spacing_mm=(10.0, 4.0, 4.0),
    patch=(4, 100, 100),
    overlap=0.5,
    activation="none",
    label_index=1,
    threshold=0.5,
)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_abdomen(seed=951, n_slices=4, matrix=(100, 100))


def _scores(first: np.ndarray) -> np.ndarray:
    return np.stack([1 - first, first])[None]


def _bright(patch: np.ndarray) -> np.ndarray:
    return _scores((patch[0, 0] > 0.6).astype(np.float32))


def _outline(phantom: Phantom, spec: ModelSpec, predict: Callable[[np.ndarray], np.ndarray] = _bright) -> np.ndarray:
    return outline_by_model(phantom.acquisition, flagged_fit(phantom.acquisition), spec, predict)


def test_on_its_own_grid_the_answer_is_the_models(phantom: Phantom) -> None:
    expected = phantom.acquisition.magnitude[..., 0] > 600
    assert 0.05 < expected.mean() < 0.5
    assert (_outline(phantom, SPEC) == expected).all()


@pytest.mark.parametrize("orientation", ["IAR", "PSL", "LPS", "RIA"])
def test_the_models_axes_do_not_move_the_answer(phantom: Phantom, orientation: str) -> None:
    size = {"S": 4, "I": 4, "P": 100, "A": 100, "L": 100, "R": 100}
    mm = {"S": 10.0, "I": 10.0, "P": 4.0, "A": 4.0, "L": 4.0, "R": 4.0}
    patch = tuple(size[letter] for letter in orientation)
    spacing = tuple(mm[letter] for letter in orientation)
    spec = replace(SPEC, orientation=orientation, patch=patch, spacing_mm=spacing)
    assert (_outline(phantom, spec) == _outline(phantom, SPEC)).all()


def test_a_model_that_looks_to_the_left_is_told_where_left_is(phantom: Phantom) -> None:
    """An asymmetric kernel: the answer moves one voxel to the patient's left, however the images are stored."""

    def shifted(patch: np.ndarray) -> np.ndarray:
        return _scores(np.roll(patch[0, 0] > 0.6, 1, axis=2).astype(np.float32))

    here = _outline(phantom, SPEC, shifted)
    bright = phantom.acquisition.magnitude[..., 0] > 600
    assert (here == np.roll(bright, 1, axis=2)).all()  # columns run to the left
    other = stored_otherwise(phantom.acquisition, False, True, True)
    there = outline_by_model(other, flagged_fit(other), SPEC, shifted)
    assert (there == reorder(here, False, True, True)).all()


def test_tiles_leave_no_seams(phantom: Phantom) -> None:
    """A model with a small field of view gives the same in patches and at once, away from the patches' rims."""

    def local(patch: np.ndarray) -> np.ndarray:
        return _scores(ndimage.uniform_filter(patch[0, 0], (1, 3, 3), mode="nearest"))

    whole = _outline(phantom, replace(SPEC, threshold=0.6), local)
    tiled = _outline(phantom, replace(SPEC, threshold=0.6, patch=(3, 40, 36)), local)
    assert (whole != tiled).mean() < 2e-4


def test_coarser_models_find_the_same_place(phantom: Phantom) -> None:
    coarse = _outline(phantom, replace(SPEC, spacing_mm=(12.0, 6.0, 5.0), patch=(3, 32, 32)))
    fine = ndimage.binary_opening(_outline(phantom, SPEC), np.ones((1, 5, 5)))
    assert coarse[fine].mean() > 0.85


def test_activations() -> None:
    small = make_abdomen(seed=952, n_slices=1, matrix=32)

    def logits(patch: np.ndarray) -> np.ndarray:
        return _scores(patch[0, 0]) * 40 - 20

    spec = replace(SPEC, spacing_mm=(10.0, 12.5, 12.5), patch=(1, 32, 32))
    soft, sigmoid = (_outline(small, replace(spec, activation=kind), logits) for kind in ("softmax", "sigmoid"))
    assert (soft == sigmoid).all()
    assert soft.any()


@pytest.mark.parametrize(
    ("change", "answer", "told"),
    [
        ({}, lambda p: _scores(p[0, 0])[..., :-1], "shape"),
        ({"label_index": 5}, _bright, "labels"),
        ({}, lambda p: _scores(p[0, 0]) * np.nan, "finite"),
        ({"channels": (replace(WINDOW, source="echo:99"),)}, _bright, "echo:99"),
        ({"channels": (replace(WINDOW, source="pdff"),)}, _bright, "fat fraction"),
    ],
)
def test_what_cannot_be_used_is_told(
    phantom: Phantom, change: dict[str, object], answer: Callable[[np.ndarray], np.ndarray], told: str
) -> None:
    with pytest.raises(SegmentationError, match=told):
        _outline(phantom, replace(SPEC, **change), answer)


@pytest.mark.parametrize("orientation", ["SPX", "SSL", "SP"])
def test_impossible_orientations(orientation: str) -> None:
    with pytest.raises(ValueError, match="orientation"):
        replace(SPEC, orientation=orientation)
