"""Layers of a body, and the variability with which a seed shapes them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from quant.phantom.labels import Label
from quant.phantom.shapes import Box, Ellipsoid, Shape, Tube

Vector = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One solid and its tissue; ``over`` names the tissues it may replace (None: all), ``box`` (2, 3) encloses it."""

    label: Label
    shape: Shape
    over: frozenset[Label] | None = None
    box: Box = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "box", self.shape.box.astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class Variation:
    """The seed's anatomical variability: draws are made in the order in which the body is built."""

    generator: np.random.Generator
    strength: float

    def number(self, mean: float, relative_sd: float) -> float:
        """A positive length near ``mean``, never farther than 2.5 standard deviations."""
        draw = float(np.clip(self.generator.standard_normal(), -2.5, 2.5))
        return mean * (1 + self.strength * relative_sd * draw)

    def point(self, mean: Vector, sd_mm: float) -> Vector:
        draws = np.clip(self.generator.standard_normal(3), -2.0, 2.0) * sd_mm * self.strength
        return (mean[0] + float(draws[0]), mean[1] + float(draws[1]), mean[2] + float(draws[2]))

    def ellipsoid(
        self, centre: Vector, half_axes: Vector, *, sd_mm: float = 3.0, turn_deg: float = 0.0, lean_deg: float = 0.0
    ) -> Ellipsoid:
        size = self.number(1.0, 0.06)
        a, b, c = (size * axis for axis in half_axes)
        turn = turn_deg + self.number(4.0, 1.0) - 4.0
        return Ellipsoid(centre=self.point(centre, sd_mm), half_axes=(a, b, c), turn_deg=turn, lean_deg=lean_deg)

    def tube(self, path: Sequence[Vector], radii_mm: Sequence[float], *, sd_mm: float = 2.0) -> Tube:
        size = self.number(1.0, 0.08)
        return Tube(path=tuple(self.point(p, sd_mm) for p in path), radii_mm=tuple(size * r for r in radii_mm))
