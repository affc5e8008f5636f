"""Solids of the digital abdomen, as predicates over points in body coordinates.

Body coordinates are millimetres, directions as in the patient (LPS): +x left, +y back, +z head; the origin lies in
the middle of the torso at the level of the portal bifurcation. Points are arrays (3, n), answers (n,) bool.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from quant.acquisition import BoolArray, FloatArray

Box = npt.NDArray[np.floating[Any]]
EVERYWHERE: Box = np.array([[-1e4] * 3, [1e4] * 3])


class Shape(Protocol):
    """A solid: ``box`` (2, 3) encloses it, ``inside`` tells for every point whether it belongs to it."""

    @property
    def box(self) -> Box: ...

    def inside(self, points: FloatArray) -> BoolArray: ...


@dataclass(frozen=True, kw_only=True)
class Ellipsoid:
    """An ellipsoid with half axes (x, y, z), turned by ``turn_deg`` about z and then leaned by ``lean_deg`` about y."""

    centre: tuple[float, float, float]
    half_axes: tuple[float, float, float]
    turn_deg: float = 0.0
    lean_deg: float = 0.0

    @property
    def box(self) -> Box:
        centre, reach = np.asarray(self.centre), max(self.half_axes)
        return np.array([centre - reach, centre + reach])

    def inside(self, points: FloatArray) -> BoolArray:
        x, y, z = (points[i] - self.centre[i] for i in range(3))
        cos, sin = np.cos(np.deg2rad(self.lean_deg)), np.sin(np.deg2rad(self.lean_deg))
        x, z = cos * x - sin * z, sin * x + cos * z
        cos, sin = np.cos(np.deg2rad(self.turn_deg)), np.sin(np.deg2rad(self.turn_deg))
        x, y = cos * x + sin * y, cos * y - sin * x
        a, b, c = self.half_axes
        inside: BoolArray = (x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 < 1
        return inside


@dataclass(frozen=True, kw_only=True)
class Loft:
    """A stack of superellipses |x/a|^n + |y/b|^n < 1 whose centre and half axes run smoothly through knots in z.

    ``knots`` has one row (z, x, y, a, b) per level, ascending in z; the solid ends at the outer knots. ``margin_mm``
    shrinks every half axis.
    """

    knots: tuple[tuple[float, float, float, float, float], ...]
    exponent: float = 2.0
    turn_deg: float = 0.0
    margin_mm: float = 0.0
    _table: FloatArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        knots = np.asarray(self.knots)
        levels = np.arange(knots[0, 0], knots[-1, 0] + 1e-9, 1.0)
        table = PchipInterpolator(knots[:, 0], knots[:, 1:])(levels)
        table[:, 2:] = np.maximum(table[:, 2:] - self.margin_mm, 1e-3)
        object.__setattr__(self, "_table", table.T.astype(np.float32))

    @property
    def box(self) -> Box:
        x, y, a, b = self._table
        reach = np.maximum(a, b) if self.turn_deg else None
        rx, ry = (a, b) if reach is None else (reach, reach)
        first, last = self.knots[0][0], self.knots[-1][0]
        return np.array([[(x - rx).min(), (y - ry).min(), first], [(x + rx).max(), (y + ry).max(), last]])

    def radius(self, points: FloatArray) -> FloatArray:
        """Superelliptic radius (n,): below 1 inside, 1 on the surface; infinite above and below the knots."""
        level = points[2] - self.knots[0][0]
        index = np.clip(level, 0, self._table.shape[1] - 1).astype(np.intp)
        cx, cy, a, b = self._table[:, index]
        x, y = points[0] - cx, points[1] - cy
        if self.turn_deg:
            cos, sin = np.cos(np.deg2rad(self.turn_deg)), np.sin(np.deg2rad(self.turn_deg))
            x, y = cos * x + sin * y, cos * y - sin * x
        radius: FloatArray = (np.abs(x / a) ** self.exponent + np.abs(y / b) ** self.exponent) ** (1 / self.exponent)
        outside = (level < 0) | (level > self.knots[-1][0] - self.knots[0][0])
        return np.where(outside, np.inf, radius)

    def inside(self, points: FloatArray) -> BoolArray:
        return self.radius(points) < 1


@dataclass(frozen=True, kw_only=True)
class Tube:
    """A vessel or gut loop: a chain of capsules through ``path`` (m, 3) whose radius runs linearly between knots."""

    path: tuple[tuple[float, float, float], ...]
    radii_mm: tuple[float, ...]

    @property
    def box(self) -> Box:
        path, radii = np.asarray(self.path), np.asarray(self.radii_mm)[:, None]
        return np.array([(path - radii).min(axis=0), (path + radii).max(axis=0)])

    def inside(self, points: FloatArray) -> BoolArray:
        inside = np.zeros(points.shape[1], dtype=bool)
        path = np.asarray(self.path, dtype=np.float32)
        for i in range(len(path) - 1):
            axis = path[i + 1] - path[i]
            offset = points - path[i][:, None]
            along = np.clip(axis @ offset / float(axis @ axis), 0, 1)
            radius = self.radii_mm[i] + along * (self.radii_mm[i + 1] - self.radii_mm[i])
            offset -= axis[:, None] * along
            inside |= np.einsum("in,in->n", offset, offset) < radius**2
        return inside


@dataclass(frozen=True, kw_only=True)
class Below:
    """Everything under a diaphragm: the higher of several paraboloid domes (top x, y, z, fall per mm^2 in x and y)."""

    domes: tuple[tuple[float, float, float, float, float], ...]
    shift_mm: float = 0.0

    @property
    def box(self) -> Box:
        top = max(dome[2] for dome in self.domes) + self.shift_mm
        return np.array([EVERYWHERE[0], [EVERYWHERE[1][0], EVERYWHERE[1][1], top]])

    def inside(self, points: FloatArray) -> BoolArray:
        x, y, z = points
        height = np.full(points.shape[1], -np.inf, dtype=np.float32)
        for cx, cy, top, fall_x, fall_y in self.domes:
            np.maximum(height, top - fall_x * (x - cx) ** 2 - fall_y * (y - cy) ** 2, out=height)
        return np.asarray(z < height + self.shift_mm)


@dataclass(frozen=True, kw_only=True)
class HalfSpace:
    """Points whose component along ``normal`` is below ``limit_mm``."""

    normal: tuple[float, float, float]
    limit_mm: float
    box: Box = field(default_factory=lambda: EVERYWHERE)

    def inside(self, points: FloatArray) -> BoolArray:
        return np.asarray(np.asarray(self.normal, dtype=np.float32) @ points < self.limit_mm)


@dataclass(frozen=True, kw_only=True)
class All:
    """The intersection of solids."""

    parts: Sequence[Shape]

    @property
    def box(self) -> Box:
        boxes = [part.box for part in self.parts]
        return np.array([np.max([b[0] for b in boxes], axis=0), np.min([b[1] for b in boxes], axis=0)])

    def inside(self, points: FloatArray) -> BoolArray:
        return np.asarray(np.logical_and.reduce([part.inside(points) for part in self.parts]))


@dataclass(frozen=True, kw_only=True)
class AnyOf:
    """The union of solids."""

    parts: Sequence[Shape]

    @property
    def box(self) -> Box:
        boxes = [part.box for part in self.parts]
        return np.array([np.min([b[0] for b in boxes], axis=0), np.max([b[1] for b in boxes], axis=0)])

    def inside(self, points: FloatArray) -> BoolArray:
        return np.asarray(np.logical_or.reduce([part.inside(points) for part in self.parts]))


@dataclass(frozen=True, kw_only=True)
class Without:
    """One solid minus others."""

    solid: Shape
    minus: Sequence[Shape]

    @property
    def box(self) -> Box:
        return self.solid.box

    def inside(self, points: FloatArray) -> BoolArray:
        inside = self.solid.inside(points)
        for part in self.minus:
            inside &= ~part.inside(points)
        return inside


@dataclass(frozen=True, kw_only=True)
class Ribs:
    """Ribs in the body wall: bands of the mid-wall surface that fall towards the front, ``pitch_mm`` apart."""

    wall: Loft
    pitch_mm: float
    fall_mm: float
    half_height_mm: float
    half_thickness_mm: float
    lowest_mm: float

    @property
    def box(self) -> Box:
        low, high = self.wall.box.copy()
        return np.array([low - 15, high + 15])

    def inside(self, points: FloatArray) -> BoolArray:
        x, y, z = points
        radius = self.wall.radius(points)
        distance = np.abs(radius - 1) * np.hypot(x, y)
        forward = np.arctan2(-y, np.abs(x)) / np.pi + 0.5
        height = z + self.fall_mm * forward
        phase = np.mod(height, self.pitch_mm) - self.pitch_mm / 2
        near_spine_or_front = (forward < 0.12) | (forward > 0.84)
        oval = (distance / self.half_thickness_mm) ** 2 + (phase / self.half_height_mm) ** 2 < 1
        inside: BoolArray = oval & ~near_spine_or_front & (height > self.lowest_mm)
        return inside
