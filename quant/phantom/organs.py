"""The other organs of the digital abdomen, and the bodies without a liver: pelvis, thighs, head, bottle."""

import numpy as np

from quant.phantom.anatomy import AbdomenAnatomy
from quant.phantom.body import Frame, build_frame
from quant.phantom.labels import Label
from quant.phantom.layers import Layer, Variation, Vector
from quant.phantom.liver_shape import build_liver
from quant.phantom.shapes import All, Below, Ellipsoid, HalfSpace, Loft, Shape, Tube, Without

_FAT = frozenset({Label.VISCERAL_FAT})


def build_layers(anatomy: AbdomenAnatomy, generator: np.random.Generator, up: Vector) -> tuple[Layer, ...]:
    """The whole body in painting order; ``up`` points against gravity in body coordinates (gas collects there)."""
    vary = Variation(generator=generator, strength=anatomy.variation)
    if anatomy.region == "head":
        return _head(vary)
    if anatomy.region == "bottle":
        return _bottle()
    if anatomy.region == "thighs":
        return _thighs(anatomy, vary)
    frame = build_frame(anatomy, vary)
    arms = _arms(frame) if anatomy.arms else ()
    if anatomy.region == "pelvis":
        return (*arms, *frame.layers, *_bowel(anatomy, frame, vary, up), *_pelvic_bones(vary))
    return (
        *arms,
        *frame.layers,
        *_kidneys(vary),
        *_bowel(anatomy, frame, vary, up),
        *_great_vessels(vary),
        *_spleen(anatomy, frame, vary),
        *_stomach(anatomy, frame, vary, up),
        *_pancreas(vary),
        *build_liver(anatomy, frame, vary),
        *_cava(vary),
    )


def _kidneys(vary: Variation) -> tuple[Layer, ...]:
    """Cortex, medulla and sinus fat, in perirenal fat; the right one sits lower than the left."""
    layers = []
    for side, level in ((-1.0, -58.0), (1.0, -42.0)):
        size = vary.number(1.0, 0.07)
        x, y, z = vary.point((side * 61.0, 46.0, level), 4.0)
        for label, (a, b, c), shift in (
            (Label.VISCERAL_FAT, (34.0, 31.0, 63.0), 0.0),
            (Label.KIDNEY_CORTEX, (25.0, 27.0, 54.0), 0.0),
            (Label.KIDNEY_MEDULLA, (18.5, 20.0, 45.0), -3.0),
            (Label.VISCERAL_FAT, (13.0, 11.0, 28.0), -13.0),
        ):
            half_axes = (a * size, b * size, c * size)
            shape = Ellipsoid(
                centre=(x + side * shift, y + shift * 0.25, z),
                half_axes=half_axes,
                turn_deg=-side * 28.0,
                lean_deg=-side * 12.0,
            )
            layers.append(Layer(label=label, shape=shape))
    return tuple(layers)


def _great_vessels(vary: Variation) -> tuple[Layer, ...]:
    aorta = vary.tube(
        [(9.0, 16.0, -250.0), (11.0, 15.0, -60.0), (12.0, 16.0, 20.0), (16.0, 24.0, 75.0), (20.0, 34.0, 220.0)],
        (8.5, 9.5, 10.5, 11.5, 12.5),
        sd_mm=1.5,
    )
    splenic = vary.tube(
        [(76.0, 34.0, 14.0), (44.0, 8.0, 2.0), (12.0, -8.0, -14.0), (-8.0, -5.0, -34.0)],
        (3.6, 4.4, 4.8, 5.5),
        sd_mm=2.0,
    )
    mesenteric = vary.tube([(-6.0, -6.0, -36.0), (-2.0, -18.0, -100.0)], (5.4, 4.6))
    artery = vary.tube([(11.0, 6.0, -20.0), (8.0, -8.0, -40.0), (6.0, -14.0, -110.0)], (3.6, 3.6, 3.0), sd_mm=1.0)
    renal = [vary.tube([(8.0, 10.0, -46.0), (side * 46.0, 38.0, -52.0)], (3.8, 3.4)) for side in (-1.0, 1.0)]
    veins = [Layer(label=Label.SPLANCHNIC_VEIN, shape=shape) for shape in (splenic, mesenteric)]
    arteries = [Layer(label=Label.AORTA, shape=shape) for shape in (artery, aorta)]
    return (*(Layer(label=Label.VENA_CAVA, shape=shape, over=_FAT) for shape in renal), *veins, *arteries)


def _cava(vary: Variation) -> tuple[Layer, ...]:
    cava = vary.tube(
        [(-20.0, 16.0, -250.0), (-21.0, 15.0, -60.0), (-24.0, 10.0, 0.0), (-22.0, 4.0, 60.0), (-14.0, -6.0, 100.0)],
        (9.5, 10.5, 11.0, 12.0, 12.5),
        sd_mm=1.5,
    )
    return (Layer(label=Label.VENA_CAVA, shape=cava),)


def _spleen(anatomy: AbdomenAnatomy, frame: Frame, vary: Variation) -> tuple[Layer, ...]:
    if anatomy.spleen == "absent":
        return ()
    size = vary.number(1.0, 0.10) * (1.5 if anatomy.spleen == "large" else 1.0)
    x, y, z = vary.point((102.0, 36.0, 24.0 - 34.0 * (size - 1)), 4.0)
    whole = Ellipsoid(centre=(x, y, z), half_axes=(34.0 * size, 50.0 * size, 50.0 * size), turn_deg=24.0)
    hollow = Ellipsoid(centre=(x - 47.0 * size, y - 22.0, z), half_axes=(30.0, 50.0, 80.0), turn_deg=16.0)
    under = Below(domes=frame.diaphragm.domes, shift_mm=-4.0)
    solid = Without(solid=All(parts=[whole, frame.lining, under]), minus=[hollow])
    return (Layer(label=Label.SPLEEN, shape=solid),)


def _filled(
    shape: Shape, inner: Shape, labels: tuple[Label, Label], up: Vector, level_mm: float, over: frozenset[Label] | None
) -> tuple[Layer, ...]:
    """A hollow organ: wall, content, and gas above the fluid level."""
    gas = All(parts=[inner, HalfSpace(normal=(-up[0], -up[1], -up[2]), limit_mm=-level_mm)])
    wall, content = labels
    own = frozenset({wall})
    return (
        Layer(label=wall, shape=shape, over=over),
        Layer(label=content, shape=inner, over=own),
        Layer(label=Label.GAS, shape=gas, over=own | {content}),
    )


def _gas_level(path: tuple[Vector, ...], radius_mm: float, up: Vector, share: float) -> float:
    heights = np.asarray(path) @ np.asarray(up)
    low, high = float(heights.min()) - radius_mm, float(heights.max()) + radius_mm
    return high - share * (high - low)


def _gut(path: tuple[Vector, ...], radii_mm: tuple[float, ...], wall_mm: float) -> tuple[Tube, Tube]:
    return Tube(path=path, radii_mm=radii_mm), Tube(path=path, radii_mm=tuple(max(r - wall_mm, 1.0) for r in radii_mm))


def _stomach(anatomy: AbdomenAnatomy, frame: Frame, vary: Variation, up: Vector) -> tuple[Layer, ...]:
    size = vary.number(1.0, 0.12)
    path = tuple(
        vary.point(p, 4.0)
        for p in (
            (56.0, 18.0, 48.0),
            (64.0, -4.0, 30.0),
            (56.0, -34.0, 2.0),
            (28.0, -50.0, -24.0),
            (-10.0, -46.0, -30.0),
            (-26.0, -30.0, -30.0),
        )
    )
    radii = tuple(size * r for r in (24.0, 29.0, 27.0, 20.0, 14.0, 10.0))
    outer, inner = _gut(path, radii, 3.5)
    cut: list[Shape] = [frame.lining, Below(domes=frame.diaphragm.domes, shift_mm=-5.0)]
    level = _gas_level(path, 24.0, up, anatomy.gas)
    labels = (Label.STOMACH_WALL, Label.STOMACH_CONTENT)
    return _filled(All(parts=[outer, *cut]), All(parts=[inner, *cut]), labels, up, level, None)


def _pancreas(vary: Variation) -> tuple[Layer, ...]:
    gland = vary.tube(
        [(-26.0, -14.0, -44.0), (-12.0, -20.0, -30.0), (10.0, -16.0, -14.0), (36.0, -2.0, -4.0), (64.0, 20.0, 4.0)],
        (12.0, 11.0, 8.5, 9.0, 8.0),
        sd_mm=2.5,
    )
    duodenum = vary.tube([(-30.0, -28.0, -32.0), (-42.0, -12.0, -44.0), (-42.0, -4.0, -80.0)], (11.0, 11.0, 10.0))
    content = Tube(path=duodenum.path, radii_mm=tuple(r - 2.5 for r in duodenum.radii_mm))
    over = frozenset({Label.VISCERAL_FAT})
    return (
        Layer(label=Label.PANCREAS, shape=gland, over=over),
        Layer(label=Label.BOWEL_WALL, shape=duodenum, over=over),
        Layer(label=Label.BOWEL_CONTENT, shape=content, over=frozenset({Label.BOWEL_WALL})),
    )


def _bowel(anatomy: AbdomenAnatomy, frame: Frame, vary: Variation, up: Vector) -> tuple[Layer, ...]:
    """Colon as a frame around coiled small bowel, below the stomach."""
    labels = (Label.BOWEL_WALL, Label.BOWEL_CONTENT)
    bed = frozenset({Label.VISCERAL_FAT, Label.BOWEL_WALL})
    layers: list[Layer] = []
    for _ in range(110):
        start = vary.generator.uniform((-95.0, -66.0, -230.0), (95.0, 12.0, -48.0))
        step = vary.generator.uniform((-34.0, -16.0, -14.0), (34.0, 16.0, 14.0))
        path: tuple[Vector, ...] = tuple(_vector(start + share * step) for share in (0.0, 1.0))
        outer, inner = _gut(path, (vary.number(13.5, 0.15),) * 2, 2.0)
        cut_outer, cut_inner = (All(parts=[part, frame.lining]) for part in (outer, inner))
        level = _gas_level(path, 12.0, up, 0.3 * anatomy.gas * float(vary.generator.uniform() < 0.4))
        layers += _filled(cut_outer, cut_inner, labels, up, level, bed)
    for nodes, radii in _COLON:
        path = tuple(vary.point(p, 5.0) for p in nodes)
        outer, inner = _gut(path, tuple(vary.number(r, 0.1) for r in radii), 2.5)
        cut_outer, cut_inner = (All(parts=[part, frame.lining]) for part in (outer, inner))
        level = _gas_level(path, radii[0], up, anatomy.gas)
        layers += _filled(cut_outer, cut_inner, labels, up, level, bed)
    return tuple(layers)


_COLON: tuple[tuple[tuple[Vector, ...], tuple[float, ...]], ...] = (
    (((-98.0, 22.0, -190.0), (-98.0, 18.0, -130.0), (-92.0, 4.0, -96.0)), (25.0, 24.0, 22.0)),
    (
        (
            (-92.0, 2.0, -96.0),
            (-62.0, -46.0, -84.0),
            (-20.0, -62.0, -72.0),
            (30.0, -64.0, -62.0),
            (70.0, -50.0, -44.0),
            (96.0, -10.0, -22.0),
        ),
        (21.0, 20.0, 18.0, 18.0, 19.0, 19.0),
    ),
    (((98.0, -4.0, -22.0), (106.0, 24.0, -60.0), (104.0, 30.0, -200.0)), (18.0, 16.0, 14.0)),
)


def _vector(point: np.ndarray) -> Vector:
    return (float(point[0]), float(point[1]), float(point[2]))


def _arms(frame: Frame) -> tuple[Layer, ...]:
    width = float(frame.torso.box[1][0])
    layers = []
    for side in (-1.0, 1.0):
        for label, radius in (
            (Label.SKIN, 42.0),
            (Label.SUBCUTANEOUS_FAT, 40.0),
            (Label.MUSCLE, 33.0),
            (Label.CORTICAL_BONE, 11.0),
            (Label.MARROW, 6.0),
        ):
            centre = (side * (width + 48.0), 20.0, 0.0)
            layers.append(Layer(label=label, shape=Ellipsoid(centre=centre, half_axes=(radius, radius, 600.0))))
    return tuple(layers)


def _pelvic_bones(vary: Variation) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    for side in (-1.0, 1.0):
        wing = (
            (-260.0, side * 88, 30.0, 22.0, 26.0),
            (-180.0, side * 104, 24.0, 9.0, 46.0),
            (-110.0, side * 112, 20.0, 6.0, 40.0),
        )
        for label, margin in ((Label.CORTICAL_BONE, 0.0), (Label.MARROW, 2.0)):
            layers.append(Layer(label=label, shape=Loft(knots=wing, margin_mm=margin, turn_deg=side * 20.0)))
    bladder = vary.ellipsoid((0.0, -30.0, -225.0), (42.0, 34.0, 36.0))
    return (*layers, Layer(label=Label.ASCITES, shape=bladder))


def _thighs(anatomy: AbdomenAnatomy, vary: Variation) -> tuple[Layer, ...]:
    layers = []
    muscle = vary.number(68.0, 0.06)
    fat = anatomy.subcutaneous_fat_mm
    for side in (-1.0, 1.0):
        for label, radius in (
            (Label.SKIN, muscle + fat + 2),
            (Label.SUBCUTANEOUS_FAT, muscle + fat),
            (Label.MUSCLE, muscle),
            (Label.CORTICAL_BONE, 14.0),
            (Label.MARROW, 8.0),
        ):
            centre = (side * (muscle + fat + 4), 0.0, 0.0)
            layers.append(Layer(label=label, shape=Ellipsoid(centre=centre, half_axes=(radius, radius, 2000.0))))
    return tuple(layers)


def _head(vary: Variation) -> tuple[Layer, ...]:
    size = vary.number(1.0, 0.05)
    shells = (
        (Label.SKIN, 78.0, 98.0, 105.0),
        (Label.SUBCUTANEOUS_FAT, 76.0, 96.0, 103.0),
        (Label.CORTICAL_BONE, 72.0, 92.0, 99.0),
        (Label.MARROW, 70.0, 90.0, 97.0),
        (Label.CORTICAL_BONE, 68.0, 88.0, 95.0),
        (Label.CEREBROSPINAL_FLUID, 66.0, 86.0, 93.0),
        (Label.BRAIN, 63.0, 83.0, 90.0),
    )
    layers = [
        Layer(label=label, shape=Ellipsoid(centre=(0.0, 0.0, 0.0), half_axes=(a * size, b * size, c * size)))
        for label, a, b, c in shells
    ]
    for side in (-1.0, 1.0):
        ventricle = Ellipsoid(centre=(side * 12.0, -4.0, 10.0), half_axes=(6.0, 34.0, 16.0), turn_deg=side * 14.0)
        layers.append(Layer(label=Label.CEREBROSPINAL_FLUID, shape=ventricle))
    return tuple(layers)


def _bottle() -> tuple[Layer, ...]:
    return (Layer(label=Label.WATER, shape=Ellipsoid(centre=(0.0, 0.0, 0.0), half_axes=(95.0, 95.0, 3000.0))),)
