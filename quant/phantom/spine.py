"""Spine and the muscles around it: vertebrae, discs, canal with cord, erectors, psoas, quadratus lumborum, crura."""

import numpy as np

from quant.phantom.labels import Label
from quant.phantom.layers import Layer, Variation
from quant.phantom.shapes import All, Ellipsoid, HalfSpace, Loft, Shape, Without

# knots (z, x, y, a, b) of the muscles on the left; the right side mirrors x
_ERECTOR = ((-260.0, 31.0, 76.0, 30.0, 19.0), (0.0, 32.0, 74.0, 30.0, 18.0), (220.0, 28.0, 74.0, 26.0, 15.0))
_PSOAS = (
    (-260.0, 52.0, 40.0, 25.0, 24.0),
    (-110.0, 42.0, 46.0, 20.0, 20.0),
    (-30.0, 29.0, 50.0, 7.0, 9.0),
    (-15.0, 27.0, 50.0, 1.0, 2.0),
)
_LUMBORUM = ((-260.0, 76.0, 62.0, 18.0, 12.0), (-110.0, 70.0, 66.0, 16.0, 9.0), (-20.0, 62.0, 72.0, 8.0, 4.0))
_CRUS = ((12.0, 26.0, -60.0), (19.0, 24.0, -10.0), (22.0, 22.0, 45.0), (18.0, 10.0, 75.0))


def build_back(vary: Variation) -> tuple[Layer, ...]:
    """The muscles on both sides of the spine."""
    layers = []
    for side in (-1.0, 1.0):
        muscles: list[Shape] = [
            Loft(knots=tuple((z, side * x, y, a, b) for z, x, y, a, b in knots), exponent=exponent)
            for knots, exponent in ((_ERECTOR, 2.3), (_PSOAS, 2.0), (_LUMBORUM, 2.0))
        ]
        muscles.append(vary.tube([(side * x, y, z) for x, y, z in _CRUS], (4.0, 5.0, 4.0, 3.0), sd_mm=1.0))
        layers += [Layer(label=Label.MUSCLE, shape=shape) for shape in muscles]
    return tuple(layers)


def build_spine(vary: Variation) -> tuple[Layer, ...]:
    """Vertebral bodies and discs, processes and arches, canal with cord."""
    size, pitch = vary.number(1.0, 0.05), vary.number(34.0, 0.05)
    start = float(vary.generator.uniform(0, pitch)) - 272.0
    knots = ((-272.0, 0.0, 44.0, 25.0 * size, 18.0 * size), (220.0, 0.0, 44.0, 20.0 * size, 16.0 * size))
    column = Loft(knots=knots, exponent=2.2)
    arch = Ellipsoid(centre=(0.0, 70.0, 0.0), half_axes=(18.0, 13.0, 400.0))
    canal = Ellipsoid(centre=(0.0, 69.0, 0.0), half_axes=(10.5, 7.5, 400.0))
    cord = Ellipsoid(centre=(0.0, 69.0, 90.0), half_axes=(5.0, 3.8, 130.0))
    levels = np.arange(start, 220.0, pitch)
    return (
        Layer(label=Label.CORTICAL_BONE, shape=column),
        Layer(label=Label.MARROW, shape=Loft(knots=knots, exponent=2.2, margin_mm=1.6)),
        *(layer for level in levels for layer in _level(float(level), column)),
        Layer(label=Label.CORTICAL_BONE, shape=Without(solid=arch, minus=[column])),
        Layer(label=Label.CEREBROSPINAL_FLUID, shape=Without(solid=canal, minus=[column])),
        Layer(label=Label.SPINAL_CORD, shape=cord, over=frozenset({Label.CEREBROSPINAL_FLUID})),
    )


def _level(low_mm: float, column: Loft) -> list[Layer]:
    """The disc at ``low_mm`` with the transverse and spinous processes above it."""
    layers = [Layer(label=Label.DISC, shape=All(parts=[_slab(low_mm, 8.0), column]))]
    for side in (-1.0, 1.0):
        transverse = Ellipsoid(centre=(side * 26, 66.0, low_mm + 16), half_axes=(17.0, 3.6, 5.5), turn_deg=side * 14)
        layers.append(Layer(label=Label.CORTICAL_BONE, shape=transverse, over=frozenset({Label.MUSCLE})))
    for label, half_axes in ((Label.CORTICAL_BONE, (3.6, 13.0, 11.0)), (Label.MARROW, (2.2, 11.0, 9.0))):
        layers.append(Layer(label=label, shape=Ellipsoid(centre=(0.0, 88.0, low_mm + 8), half_axes=half_axes)))
    return layers


def _slab(low_mm: float, height_mm: float) -> Shape:
    return All(
        parts=[
            HalfSpace(
                normal=(0.0, 0.0, 1.0),
                limit_mm=low_mm + height_mm,
                box=np.array([[-1e4, -1e4, low_mm], [1e4, 1e4, low_mm + height_mm]]),
            ),
            HalfSpace(normal=(0.0, 0.0, -1.0), limit_mm=-low_mm),
        ]
    )
