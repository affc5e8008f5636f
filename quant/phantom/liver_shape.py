"""The liver of the digital abdomen: lobes, fissures, portal and hepatic veins, gall bladder, lesions.

Couinaud's picture: the portal vein enters at the hilum and branches towards the segments, three hepatic veins run
between them and meet at the vena cava below the dome.
"""

from collections.abc import Sequence

import numpy as np

from quant.phantom.anatomy import AbdomenAnatomy
from quant.phantom.body import Frame
from quant.phantom.labels import Label
from quant.phantom.layers import Layer, Variation, Vector
from quant.phantom.shapes import All, AnyOf, Below, Ellipsoid, Loft, Shape, Tube, Without

Knots = tuple[tuple[float, float, float, float, float], ...]

_RIGHT_LOBE: Knots = (
    (-98.0, -112.0, 10.0, 4.0, 6.0),
    (-88.0, -108.0, 10.0, 17.0, 30.0),
    (-60.0, -101.0, 6.0, 36.0, 56.0),
    (-30.0, -91.0, 2.0, 53.0, 72.0),
    (0.0, -82.0, 0.0, 66.0, 80.0),
    (30.0, -76.0, -2.0, 74.0, 82.0),
    (60.0, -72.0, -4.0, 76.0, 78.0),
    (110.0, -70.0, -8.0, 70.0, 70.0),
)
_LEFT_LOBE: Knots = (
    (-36.0, -8.0, -62.0, 8.0, 6.0),
    (-22.0, -4.0, -60.0, 28.0, 14.0),
    (0.0, 6.0, -56.0, 48.0, 24.0),
    (30.0, 10.0, -46.0, 62.0, 33.0),
    (60.0, 4.0, -34.0, 64.0, 40.0),
    (100.0, 0.0, -28.0, 50.0, 36.0),
)
_LIVER = frozenset({Label.LIVER})


def _scaled(knots: Knots, about: Vector, scale: float) -> Knots:
    ax, ay, az = about
    return tuple(
        (az + (z - az) * scale, ax + (x - ax) * scale, ay + (y - ay) * scale, a * scale, b * scale)
        for z, x, y, a, b in knots
    )


def _lobes(anatomy: AbdomenAnatomy, vary: Variation) -> list[Shape]:
    size = {"small": 0.72, "large": 1.1}.get(anatomy.liver, 0.93) * vary.number(1.0, 0.05)
    left_size = vary.number(1.0, 0.12) * {"left_only": 1.35, "cirrhotic": 1.2, "small": 0.9}.get(anatomy.liver, 1.0)
    right_size = size * (0.84 if anatomy.liver == "cirrhotic" else 1.0)
    right = Loft(knots=_scaled(_RIGHT_LOBE, (-125.0, 10.0, 80.0), right_size), exponent=2.2)
    left = Loft(knots=_scaled(_LEFT_LOBE, (-20.0, -60.0, 60.0), left_size), exponent=2.0, turn_deg=-14.0)
    caudate_size = 1.35 if anatomy.liver == "cirrhotic" else 1.0
    caudate = vary.ellipsoid((-20.0, -8.0, 26.0), (18.0 * caudate_size, 14.0 * caudate_size, 26.0))
    return [left] if anatomy.liver == "left_only" else [right, left, caudate]


def build_liver(anatomy: AbdomenAnatomy, frame: Frame, vary: Variation) -> tuple[Layer, ...]:
    """Parenchyma, its vessels and ducts, lesions and the gall bladder in painting order."""
    bladder = vary.ellipsoid((-46.0, -44.0, -34.0), (13.0, 17.0, 27.0), sd_mm=4.0, turn_deg=20.0, lean_deg=12.0)
    fossa = Ellipsoid(
        centre=bladder.centre,
        half_axes=_grown(bladder.half_axes, 1.5),
        turn_deg=bladder.turn_deg,
        lean_deg=bladder.lean_deg,
    )
    bed = Ellipsoid(centre=(4.0, 46.0, -20.0), half_axes=(48.0, 44.0, 220.0))
    ligament = vary.ellipsoid((6.0, -58.0, -8.0), (2.2, 30.0, 40.0), sd_mm=1.5, turn_deg=-10.0)
    venosum = vary.ellipsoid((2.0, -22.0, 22.0), (22.0, 1.8, 24.0), sd_mm=1.5, turn_deg=-32.0)
    under = Below(domes=frame.diaphragm.domes, shift_mm=-4.0)
    solid = Without(
        solid=All(parts=[AnyOf(parts=_lobes(anatomy, vary)), frame.lining, under]),
        minus=[bed, fossa, ligament, venosum],
    )
    trees = (*_portal_tree(vary), *_hepatic_veins(vary), *_lesions(anatomy, vary))
    if anatomy.liver == "absent":
        return ()
    ascites: tuple[Layer, ...] = ()
    if anatomy.ascites_mm:
        fluid = All(parts=[frame.cavity, under, Ellipsoid(centre=(0.0, -20.0, -10.0), half_axes=(190.0, 105.0, 130.0))])
        ascites = (Layer(label=Label.ASCITES, shape=Without(solid=fluid, minus=[frame.lining, bed])),)
    gall = () if anatomy.liver == "left_only" else (Layer(label=Label.GALL_BLADDER, shape=bladder),)
    return (*ascites, Layer(label=Label.LIVER, shape=solid), *trees, *gall)


def _grown(half_axes: Vector, margin_mm: float) -> Vector:
    return (half_axes[0] + margin_mm, half_axes[1] + margin_mm, half_axes[2] + margin_mm)


def _portal_tree(vary: Variation) -> list[Layer]:
    over = frozenset({Label.LIVER, Label.VISCERAL_FAT})
    hilum, right, left = (-30.0, -13.0, 0.0), (-60.0, -8.0, 4.0), (-6.0, -38.0, 10.0)
    trunk = vary.tube([(-6.0, -4.0, -40.0), (-18.0, -10.0, -16.0), hilum], (6.5, 7.0, 6.5), sd_mm=0.0)
    duct = vary.tube([(-14.0, -2.0, -42.0), (-26.0, -18.0, -14.0), (-36.0, -20.0, 2.0)], (2.8, 2.6, 2.0), sd_mm=1.0)
    main = [
        vary.tube([hilum, right], (6.0, 5.4), sd_mm=0.0),
        vary.tube([hilum, (-20.0, -28.0, 6.0), left], (5.2, 4.8, 4.2), sd_mm=0.0),
    ]
    ends: list[tuple[Vector, float]] = [
        ((-92.0, -36.0, 26.0), 3.4),
        ((-84.0, -40.0, -22.0), 3.2),
        ((-98.0, 24.0, 24.0), 3.2),
        ((-98.0, 26.0, -28.0), 3.2),
    ]
    branches = [_branch(vary, right, end, 4.0, radius) for end, radius in ends]
    branches += [
        _branch(vary, left, end, 3.4, 2.0) for end in ((28.0, -46.0, 24.0), (24.0, -56.0, -4.0), (-24.0, -66.0, 4.0))
    ]
    twigs = [twig for parent in branches for twig in _twigs(vary, parent.path, 2.2)]
    veins = [Layer(label=Label.SPLANCHNIC_VEIN, shape=trunk, over=over)]
    veins += [Layer(label=Label.PORTAL_VEIN, shape=s, over=over) for s in main]
    veins += [Layer(label=Label.PORTAL_VEIN, shape=s, over=_LIVER) for s in (*branches, *twigs)]
    return [*veins, Layer(label=Label.BILE_DUCT, shape=duct, over=over)]


def _hepatic_veins(vary: Variation) -> list[Layer]:
    mouth = (-20.0, 2.0, 70.0)
    paths: list[tuple[Vector, Vector]] = [
        ((-62.0, 10.0, 46.0), (-110.0, 18.0, 4.0)),
        ((-42.0, -28.0, 46.0), (-66.0, -54.0, -6.0)),
        ((-2.0, -26.0, 54.0), (34.0, -46.0, 34.0)),
    ]
    trunks = [vary.tube([mouth, middle, end], (5.6, 4.6, 2.6), sd_mm=3.0) for middle, end in paths]
    twigs = [twig for trunk in trunks for twig in _twigs(vary, trunk.path, 2.4)]
    return [Layer(label=Label.HEPATIC_VEIN, shape=s, over=_LIVER) for s in (*trunks, *twigs)]


def _branch(vary: Variation, start: Vector, end: Vector, from_mm: float, to_mm: float) -> Tube:
    middle = tuple((a + b) / 2 for a, b in zip(start, end, strict=True))
    bent = vary.point((middle[0], middle[1], middle[2]), 5.0)
    return Tube(path=(start, bent, vary.point(end, 6.0)), radii_mm=(from_mm, (from_mm + to_mm) / 2, to_mm))


def _twigs(vary: Variation, path: Sequence[Vector], radius_mm: float) -> list[Tube]:
    """Side branches along a vessel and one further division of each."""
    twigs = []
    points = np.asarray(path)
    for share in (0.35, 0.6, 0.85, 1.0):
        place = share * (len(points) - 1)
        low = min(int(place), len(points) - 2)
        root = points[low] + (place - low) * (points[low + 1] - points[low])
        forward = (points[low + 1] - points[low]) / np.linalg.norm(points[low + 1] - points[low])
        for radius, length in ((radius_mm, 26.0), (radius_mm * 0.7, 20.0)):
            turn = vary.generator.standard_normal(3)
            direction = forward + 1.1 * turn / np.linalg.norm(turn)
            tip = root + direction / np.linalg.norm(direction) * length
            twigs.append(Tube(path=(_vector(root), _vector(tip)), radii_mm=(radius, radius * 0.55)))
            root, forward = tip, direction / np.linalg.norm(direction)
    return twigs


def _vector(point: np.ndarray) -> Vector:
    return (float(point[0]), float(point[1]), float(point[2]))


def _lesions(anatomy: AbdomenAnatomy, vary: Variation) -> list[Layer]:
    layers = []
    for _ in range(anatomy.lesions):
        place = vary.generator.uniform((-125.0, -55.0, -55.0), (10.0, 55.0, 65.0))
        radius = float(vary.generator.uniform(4.0, 16.0))
        shape = Ellipsoid(centre=_vector(place), half_axes=(radius, radius * 0.9, radius))
        layers.append(Layer(label=Label.LIVER_LESION, shape=shape, over=_LIVER))
    return layers
