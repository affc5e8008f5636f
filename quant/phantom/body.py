"""The frame that holds the organs: skin, fat, muscle, ribs, lungs and heart, around spine and back muscles.

Sizes are of an average adult; the seed moves and scales every part a little.
"""

from dataclasses import dataclass, replace

from quant.phantom.anatomy import AbdomenAnatomy
from quant.phantom.labels import Label
from quant.phantom.layers import Layer, Variation
from quant.phantom.shapes import All, AnyOf, Below, Ellipsoid, Loft, Ribs, Shape, Without
from quant.phantom.spine import build_back, build_spine

WALL_MM = 10.0
SKIN_MM = 2.0


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The solids that the organs are cut against."""

    torso: Loft
    wall: Loft
    cavity: Loft
    lining: Loft
    diaphragm: Below
    layers: tuple[Layer, ...]


def _torso_knots(width: float, depth: float) -> tuple[tuple[float, float, float, float, float], ...]:
    return (
        (-260.0, 0.0, 0.0, width * 1.04, depth * 0.98),
        (-140.0, 0.0, 0.0, width * 0.98, depth * 0.97),
        (-60.0, 0.0, 0.0, width * 0.97, depth * 0.98),
        (0.0, 0.0, 0.0, width, depth),
        (60.0, 0.0, 0.0, width, depth * 1.01),
        (220.0, 0.0, 2.0, width * 0.93, depth * 0.98),
    )


def build_frame(anatomy: AbdomenAnatomy, vary: Variation) -> Frame:
    """Skin, fat, wall, cavity, lungs and spine; the organs come on top of ``layers``."""
    fat = anatomy.subcutaneous_fat_mm * vary.number(1.0, 0.25)
    width, depth = vary.number(148.0, 0.04) + fat, vary.number(93.0, 0.04) + 0.85 * fat
    knots = _torso_knots(width, depth)
    torso, skin_inside = (Loft(knots=knots, exponent=2.35, margin_mm=m) for m in (0.0, SKIN_MM))
    wall = Loft(knots=_torso_knots(width - fat, depth - 0.85 * fat), exponent=2.45)
    middle = Loft(knots=wall.knots, exponent=2.45, margin_mm=WALL_MM / 2)
    cavity = Loft(knots=wall.knots, exponent=2.45, margin_mm=WALL_MM)
    lining = Loft(knots=wall.knots, exponent=2.45, margin_mm=WALL_MM + 1.5 + anatomy.ascites_mm)
    diaphragm = _diaphragm(vary)
    layers = (
        Layer(label=Label.SKIN, shape=torso),
        Layer(label=Label.SUBCUTANEOUS_FAT, shape=skin_inside),
        Layer(label=Label.MUSCLE, shape=wall),
        Layer(label=Label.VISCERAL_FAT, shape=cavity),
        *_ribs(middle, vary),
        *_chest(cavity, diaphragm, vary),
        *build_back(vary),
        *build_spine(vary),
    )
    return Frame(torso=torso, wall=wall, cavity=cavity, lining=lining, diaphragm=diaphragm, layers=layers)


def _ribs(middle: Loft, vary: Variation) -> tuple[Layer, Layer]:
    """Cortical bone and marrow of the ribs, in the middle of the body wall."""
    bone = Ribs(
        wall=middle,
        pitch_mm=vary.number(31.0, 0.05),
        fall_mm=vary.number(105.0, 0.08),
        half_height_mm=6.5,
        half_thickness_mm=3.9,
        lowest_mm=15.0,
    )
    marrow = replace(bone, half_height_mm=5.0, half_thickness_mm=2.6)
    return Layer(label=Label.CORTICAL_BONE, shape=bone), Layer(label=Label.MARROW, shape=marrow)


def _diaphragm(vary: Variation) -> Below:
    right, left = vary.number(92.0, 0.06), vary.number(78.0, 0.07)
    centre = 62.0
    return Below(
        domes=(
            (-72.0, -12.0, right, 0.0052, 0.0080),
            (70.0, -4.0, left, 0.0060, 0.0085),
            (0.0, -40.0, centre, 0.0030, 0.0070),
        )
    )


def _chest(cavity: Loft, diaphragm: Below, vary: Variation) -> tuple[Layer, ...]:
    """Lungs, heart and the muscle of the diaphragm, all above it."""
    above = Without(solid=cavity, minus=[diaphragm])
    muscle = Without(solid=cavity, minus=[Below(domes=diaphragm.domes, shift_mm=-3.0)])
    lungs = Without(
        solid=Loft(knots=cavity.knots, exponent=cavity.exponent, margin_mm=cavity.margin_mm + 2.0), minus=[diaphragm]
    )
    mediastinum = AnyOf(
        parts=[
            Ellipsoid(centre=(0.0, 38.0, 120.0), half_axes=(36.0, 34.0, 200.0)),
            Ellipsoid(centre=(6.0, -40.0, 130.0), half_axes=(34.0, 52.0, 62.0)),
        ]
    )
    heart, chambers = _heart(vary)
    over = frozenset({Label.LUNG, Label.VISCERAL_FAT})
    return (
        Layer(label=Label.MUSCLE, shape=muscle),
        Layer(label=Label.LUNG, shape=lungs),
        Layer(label=Label.VISCERAL_FAT, shape=All(parts=[mediastinum, above]), over=frozenset({Label.LUNG})),
        Layer(label=Label.HEART, shape=All(parts=[heart, above]), over=over),
        Layer(label=Label.BLOOD_POOL, shape=All(parts=[chambers, above]), over=frozenset({Label.HEART})),
    )


def _heart(vary: Variation) -> tuple[Shape, Shape]:
    """The heart's muscle (full) and its chambers."""
    heart = vary.ellipsoid((26.0, -38.0, 116.0), (58.0, 44.0, 46.0), turn_deg=25.0)
    x, y, z = heart.centre
    chambers = AnyOf(
        parts=[
            Ellipsoid(centre=(x + 18, y + 6, z + 4), half_axes=(26.0, 22.0, 30.0), turn_deg=25.0),
            Ellipsoid(centre=(x - 26, y - 6, z + 4), half_axes=(22.0, 28.0, 30.0), turn_deg=25.0),
        ]
    )
    return heart, chambers
