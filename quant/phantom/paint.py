"""From patient coordinates to tissue: placement of the body, natural irregularity, and painting of the layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from quant.acquisition import FloatArray, Geometry
from quant.phantom.anatomy import AbdomenAnatomy
from quant.phantom.labels import Label
from quant.phantom.layers import Layer
from quant.phantom.stack import SUBSAMPLES, slice_points

LabelArray = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
# the skin of every part of the body, and the bottle: whatever else there is lies inside
_OUTLINES = (Label.SKIN, Label.WATER)


@dataclass(frozen=True, kw_only=True)
class Waves:
    """A smooth random field: a sum of plane waves. ``wave`` (k, 3) in rad/mm, ``phase`` (k,), ``amplitude`` (k, c)."""

    wave: FloatArray
    phase: FloatArray
    amplitude: FloatArray

    @classmethod
    def draw(
        cls,
        generator: np.random.Generator,
        *,
        channels: int,
        lengths_mm: tuple[float, float],
        sd: float,
        count: int = 10,
    ) -> "Waves":
        """Waves of random direction and of lengths between ``lengths_mm``; every channel has standard deviation sd."""
        direction = generator.standard_normal((count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = generator.uniform(*lengths_mm, size=(count, 1))
        amplitude = generator.standard_normal((count, channels))
        amplitude *= sd * np.sqrt(2) / np.linalg.norm(amplitude, axis=0)
        return cls(
            wave=(2 * np.pi / length * direction).astype(np.float32),
            phase=generator.uniform(0, 2 * np.pi, count).astype(np.float32),
            amplitude=amplitude.astype(np.float32),
        )

    def at(self, points: FloatArray) -> FloatArray:
        """The field (c, n) at points (3, n)."""
        total = np.zeros((self.amplitude.shape[1], points.shape[1]), dtype=np.float32)
        for wave, phase, amplitude in zip(self.wave, self.phase, self.amplitude, strict=True):
            total += amplitude[:, None] * np.sin(wave @ points + phase)
        return total


class LabelledBody(Protocol):
    """Anything that can be imaged: it knows the tissue at every point of the patient (LPS, mm)."""

    @property
    def anatomy(self) -> AbdomenAnatomy: ...

    def body_coordinates(self, points: FloatArray) -> FloatArray:
        """Coordinates (3, n) that move with the body, of patient coordinates (3, n)."""
        ...

    def labels_at(self, points: FloatArray) -> LabelArray:
        """Tissue labels (n,) at patient coordinates (3, n)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Body:
    """A placed body: painted layers, its position on the table, roll, size, and organic irregularity."""

    layers: Sequence[Layer]
    anatomy: AbdomenAnatomy
    offset_mm: FloatArray
    warp: Waves

    def body_coordinates(self, points: FloatArray) -> FloatArray:
        """Body coordinates (3, n) of patient coordinates (3, n)."""
        angle = np.deg2rad(self.anatomy.roll_deg)
        turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        moved = turn.astype(np.float32) @ (points - self.offset_mm[:, None].astype(np.float32))
        moved /= np.float32(self.anatomy.body_scale)
        if self.anatomy.situs_inversus:
            moved[0] = -moved[0]
        return moved

    def labels_at(self, points: FloatArray) -> LabelArray:
        """Tissue labels (n,) at patient coordinates (3, n)."""
        body = self.body_coordinates(points)
        body += self.warp.at(body)
        labels = np.zeros(points.shape[1], dtype=np.uint8)
        _paint_all([layer for layer in self.layers if layer.label in _OUTLINES], labels, body)
        filled = np.flatnonzero(labels)
        if filled.size:
            inner = labels[filled]
            _paint_all([layer for layer in self.layers if layer.label not in _OUTLINES], inner, body[:, filled])
            labels[filled] = inner
        return labels


def _paint_all(layers: Sequence[Layer], labels: LabelArray, points: FloatArray) -> None:
    low, high = points.min(axis=1), points.max(axis=1)
    for layer in layers:
        if not (np.any(layer.box[0] > high) or np.any(layer.box[1] < low)):
            _paint(layer, labels, points)


def _paint(layer: Layer, labels: LabelArray, points: FloatArray) -> None:
    low, high = layer.box
    candidate = (points[0] > low[0]) & (points[0] < high[0]) & (points[1] > low[1]) & (points[1] < high[1])
    candidate &= (points[2] > low[2]) & (points[2] < high[2])
    if layer.over is not None:
        allowed = np.zeros(256, dtype=bool)
        allowed[list(layer.over)] = True
        candidate &= allowed[labels]
    index = np.flatnonzero(candidate)
    if index.size:
        hit = index[layer.shape.inside(points[:, index])]
        labels[hit] = layer.label


def sample_labels(body: LabelledBody, geometry: Geometry, shape: tuple[int, int, int]) -> LabelArray:
    """Labels (z, k, y, x) at the k sub-samples of every voxel of a slice grid of ``shape`` (z, y, x)."""
    samples = np.zeros((shape[0], len(SUBSAMPLES), *shape[1:]), dtype=np.uint8)
    for z in range(shape[0]):
        points = np.concatenate([slice_points(geometry, z, shape[1:], offset) for offset in SUBSAMPLES], axis=1)
        samples[z] = body.labels_at(points).reshape(len(SUBSAMPLES), *shape[1:])
    return samples


def majority(samples: LabelArray) -> LabelArray:
    """The label (z, y, x) that most sub-samples (z, k, y, x) of a voxel carry; the first of equals."""
    votes = np.stack([(samples == samples[:, k : k + 1]).sum(axis=1) for k in range(samples.shape[1])], axis=1)
    winner = votes.argmax(axis=1)[:, None]
    return np.take_along_axis(samples, winner, axis=1)[:, 0]


def pure(samples: LabelArray, label: Label) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Voxels (z, y, x) whose every sub-sample carries ``label``."""
    return np.asarray((samples == label).all(axis=1))
