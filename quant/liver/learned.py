"""A learned model as provider of the liver's outline: resampling, normalisation and sliding windows around it.

The model itself is an argument (a function of one patch), so nothing here knows a runtime. What it returns is an
outline only: ``judge_liver`` trims and judges it as any other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from quant.acquisition import BoolArray, MultiEcho
from quant.fit import R2StarMap
from quant.liver.orientation import axial_axes

Volume = npt.NDArray[np.float32]
Triple = tuple[float, float, float]
Predict = Callable[[Volume], Volume]
"""One patch (1, c, z, y, x) to scores (1, k, z, y, x) of k labels."""

# Direction in which an axis' index rises: axis and sign in the order head, back, left.
_DIRECTIONS = {"S": (0, 1), "I": (0, -1), "P": (1, 1), "A": (1, -1), "L": (2, 1), "R": (2, -1)}
_WINDOW_SIGMA = (
    0.125  # of the patch: weight of a window's voxels falls towards its rim (nnU-Net, 10.1038/s41592-020-01008-z)
)
_LEAST_WEIGHT = 1e-3


class SegmentationError(Exception):
    """The model cannot be applied to these images, or its answer cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One input channel: ``echo:N`` (magnitude, from 1), ``r2star`` (1/s) or ``pdff`` (fraction).

    "window" maps ``low``..``high`` to 0..1, "percentile" clips to these percentiles and gives mean 0 and SD 1.
    """

    source: str
    rule: Literal["window", "percentile"]
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """How the model wants to be fed and read.

    ``orientation`` names, for the tensor's three axes, the direction in which the index rises: "SPL" is to the head,
    to the back, to the left. ``spacing_mm`` and ``patch`` follow these axes; ``overlap`` is the share that neighbouring
    patches have in common.
    """

    channels: tuple[Channel, ...]
    orientation: str
    spacing_mm: Triple
    patch: tuple[int, int, int]
    overlap: float
    activation: Literal["softmax", "sigmoid", "none"]
    label_index: int
    threshold: float

    def __post_init__(self) -> None:
        if sorted(_DIRECTIONS[letter][0] for letter in self.orientation if letter in _DIRECTIONS) != [0, 1, 2]:
            raise ValueError(
                f"orientation must name head or feet, back or front, left or right, not {self.orientation!r}"
            )
        if not self.channels or min(self.spacing_mm) <= 0 or min(self.patch) < 1 or not 0 <= self.overlap < 1:
            raise ValueError("a model needs channels, positive spacing and patch, and an overlap from 0 to below 1")


def outline_by_model(acquisition: MultiEcho, fit: R2StarMap, spec: ModelSpec, predict: Predict) -> BoolArray:
    """Voxels (z, y, x) that the model takes for liver, in stored order.

    Raises:
        RegionNotFoundError: the slices are not axial.
        SegmentationError: a channel is missing, or the scores are of the wrong shape or not finite.
    """
    axes = axial_axes(acquisition.geometry, acquisition.signal.shape[:3])
    turned = np.stack([axes.turn(_source(channel.source, acquisition, fit)) for channel in spec.channels])
    spacing = (
        axes.slice_spacing_mm,
        float(np.linalg.norm(axes.row_step_mm)),
        float(np.linalg.norm(axes.column_step_mm)),
    )
    order = [_DIRECTIONS[letter][0] for letter in spec.orientation]
    wanted = [0.0, 0.0, 0.0]
    for axis, mm in zip(order, spec.spacing_mm, strict=True):
        wanted[axis] = mm
    scale = [new / old for new, old in zip(wanted, spacing, strict=True)]
    shape = [max(1, round(n / s)) for n, s in zip(turned.shape[1:], scale, strict=True)]
    volume = np.stack([_normalised(_resampled(v, shape, scale), c) for v, c in zip(turned, spec.channels, strict=True)])
    liver = _restored(_liver_probability(_oriented(volume, spec), spec, predict), spec)
    back = _resampled(liver, list(turned.shape[1:]), [1 / s for s in scale])
    return axes.restore(back > spec.threshold)


def _source(name: str, acquisition: MultiEcho, fit: R2StarMap) -> Volume:
    """One channel (z, y, x); voxels without a value are 0."""
    if name == "r2star":
        values = fit.r2star_per_s
    elif name == "pdff":
        if fit.pdff is None:
            raise SegmentationError("The model needs a fat fraction, which these images do not give.")
        values = fit.pdff
    else:
        number = int(name.removeprefix("echo:")) if name.removeprefix("echo:").isdigit() else 0
        if not 1 <= number <= acquisition.signal.shape[3]:
            raise SegmentationError(f"The model needs {name}, which these images do not have.")
        values = np.abs(acquisition.signal[..., number - 1])
    return np.nan_to_num(values, nan=0.0, posinf=0.0).astype(np.float32)


def _resampled(volume: Volume, shape: list[int], scale: list[float]) -> Volume:
    """Linear interpolation on a grid of ``shape`` whose voxels are ``scale`` old ones wide; the outer faces meet."""
    grid = [
        np.clip((np.arange(n) + 0.5) * s - 0.5, 0, old - 1)
        for n, s, old in zip(shape, scale, volume.shape, strict=True)
    ]
    points = np.meshgrid(*grid, indexing="ij")
    return np.asarray(ndimage.map_coordinates(volume, points, order=1, mode="nearest"), np.float32)


def _normalised(volume: Volume, channel: Channel) -> Volume:
    if channel.rule == "window":
        return np.asarray(np.clip((volume - channel.low) / (channel.high - channel.low), 0, 1), np.float32)
    low, high = np.percentile(volume, (channel.low, channel.high))
    clipped = np.clip(volume, low, high)
    return np.asarray((clipped - clipped.mean()) / max(float(clipped.std()), 1e-8), np.float32)


def _oriented(volume: Volume, spec: ModelSpec) -> Volume:
    """(c, head, back, left) to the model's axes."""
    turned = volume.transpose(0, *(1 + _DIRECTIONS[letter][0] for letter in spec.orientation))
    flips = tuple(1 + i for i, letter in enumerate(spec.orientation) if _DIRECTIONS[letter][1] < 0)
    return np.ascontiguousarray(np.flip(turned, flips))


def _restored(volume: Volume, spec: ModelSpec) -> Volume:
    """The model's axes back to (head, back, left)."""
    flips = tuple(i for i, letter in enumerate(spec.orientation) if _DIRECTIONS[letter][1] < 0)
    order = [_DIRECTIONS[letter][0] for letter in spec.orientation]
    return np.ascontiguousarray(np.flip(volume, flips).transpose(np.argsort(order)))


def _liver_probability(volume: Volume, spec: ModelSpec, predict: Predict) -> Volume:
    """Probability (z, y, x) of the liver's label from overlapping patches of a volume (c, z, y, x)."""
    padding = [max(0, p - n) for p, n in zip(spec.patch, volume.shape[1:], strict=True)]
    padded = np.pad(volume, [(0, 0), *((0, more) for more in padding)], mode="edge")
    weight = _window(spec.patch)
    total, weights = (np.zeros(padded.shape[1:], np.float32) for _ in range(2))
    for place in _windows(padded.shape[1:], spec):
        scores = predict(np.ascontiguousarray(padded[(None, slice(None), *place)]))
        total[place] += weight * _activated(scores, spec)
        weights[place] += weight
    inside = tuple(slice(0, n) for n in volume.shape[1:])
    return np.asarray((total / weights)[inside], np.float32)


def _windows(shape: tuple[int, ...], spec: ModelSpec) -> Iterator[tuple[slice, ...]]:
    starts = []
    for size, patch in zip(shape, spec.patch, strict=True):
        count = 1 + int(np.ceil((size - patch) / max(1.0, patch * (1 - spec.overlap))))
        starts.append(np.unique(np.linspace(0, size - patch, count).round().astype(int)))
    for corner in product(*starts):
        yield tuple(slice(int(start), int(start) + patch) for start, patch in zip(corner, spec.patch, strict=True))


def _window(patch: tuple[int, int, int]) -> Volume:
    sides = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / max(_WINDOW_SIGMA * n, 0.5)) ** 2) for n in patch]
    z, y, x = np.ix_(*sides)
    return np.asarray(np.maximum(z * y * x, _LEAST_WEIGHT), np.float32)


def _activated(scores: Volume, spec: ModelSpec) -> Volume:
    """Probability of the liver's label in one patch."""
    if scores.ndim != 5 or scores.shape[0] != 1 or scores.shape[2:] != spec.patch:
        raise SegmentationError(f"The model answers with shape {scores.shape} to a patch of {spec.patch}.")
    if spec.label_index >= scores.shape[1]:
        raise SegmentationError(f"The model has {scores.shape[1]} labels, the card names number {spec.label_index}.")
    if not np.isfinite(scores).all():
        raise SegmentationError("The model's answer holds values that are not finite.")
    if spec.activation == "softmax":
        powers = np.exp(scores[0] - scores[0].max(axis=0))
        return np.asarray(powers[spec.label_index] / powers.sum(axis=0), np.float32)
    chosen = scores[0, spec.label_index]
    return np.asarray(1 / (1 + np.exp(-chosen)) if spec.activation == "sigmoid" else chosen, np.float32)
