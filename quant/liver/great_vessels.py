"""The side of the patient by the great vessels: before the spine the aorta lies left of the vena cava.

A landmark that depends on neither liver nor spleen. Blood holds its signal longer than what lies around it (T2* in the
body 199 ms in arteries and 108 ms in veins, 10.1002/mrm.1910390503), so that both vessels show as compact spots of low
R2* before the vertebra, and the spinal canal behind it as a third one, which gives the midline. The aorta is 17 to 19
mm wide at the level of the liver (10.4103/0022-3859.128813), the vena cava 16 by 26 mm (10.7759/cureus.31845) and
further to the side and to the front. The limits were chosen on simulated abdomens. Where anything like a vena cava lies
on both sides, or on none, there is no evidence.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant.acquisition import BoolArray
from quant.liver.plane import Plane, label, median, square
from quant.liver.tissue import FittedBody
from quant.liver.torso import Torso

Values = npt.NDArray[np.float64]

# R2* below which a spot is looked for, at 1.5 T, and its growth per tesla: venous blood darkens with the field
_BLOOD_R2STAR_PER_S, _GROWTH_PER_T = (9.0, 13.0, 18.0), 0.3
_BLOOD_FAT_FRACTION, _BLOOD_DENSITY = 0.25, 0.45
_VESSEL_OPENING_MM, _CANAL_OPENING_MM = 3.0, 1.5
_ACROSS, _FRONT_BACK = 0.25, (0.20, 0.95)  # where spots are looked for: of the width from the midline, of the depth
_CANAL_ACROSS, _CANAL_BEHIND = 0.045, 0.60
_CANAL_MM, _CANAL_ASPECT, _CANAL_SOLIDITY = (7.0, 28.0), 2.4, 0.75
_CANAL_SPREAD = 0.025  # of the torso's width, between the canal of a slice and that of the others
# Of vessels, from the canal: to the side and to the front, in mm of the body scale
_VESSEL_MM, _VESSEL_ASPECT, _VESSEL_SOLIDITY = (9.0, 40.0), 2.3, 0.78
_ASIDE_SCALED_MM, _BEFORE_SCALED_MM = 50.0, (25.0, 105.0)
_AORTA_MM, _AORTA_ASPECT, _AORTA_DENSITY = 34.0, 1.7, 0.8
_AORTA_ASIDE_SCALED_MM, _AORTA_BEFORE_SCALED_MM = 20.0, (32.0, 75.0)
_AORTA_SOUGHT_ASIDE_SCALED_MM = 28.0  # one that lies further aside than an aorta shows that the frame is wrong
_CAVA_ASIDE_SCALED_MM = (8.0, 45.0)
_LEAST_SLICES, _FEW_SLICES = 0.34, 3  # share of the slices that must show an aorta; with fewer more is asked for
_CLEAR, _CLEAR_IN_FEW, _OPPOSITE = 0.4, 0.5, 0.3


def vessel_side(body: FittedBody, torso: Torso, plane: Plane, field_t: float) -> float:
    """How clearly the vena cava lies right of the aorta, 0.4 to 1; negative where it lies left of it, as in mirrored
    images and situs inversus; 0 where that cannot be told.

    ``body`` and ``torso`` on the same working grid, whose pixels are those of ``plane``.
    """
    vessels, canals = _spots(body, torso, plane, field_t)
    scale = torso.scale
    evidence = [
        found
        for z, canal in _midline(canals).items()
        if (found := _in_slice([spot.seen_from(canal, scale) for spot in vessels if spot.z == z])) is not None
    ]
    if len(evidence) < max(1.0, _LEAST_SLICES * len(torso.slices)):
        return 0.0
    right, left, any_right, any_left = (float(np.mean(values)) for values in zip(*evidence, strict=True))
    clear = _CLEAR_IN_FEW if len(evidence) < _FEW_SLICES else _CLEAR
    if right >= clear and any_left <= _OPPOSITE * right:
        return right
    if left >= clear and any_right <= _OPPOSITE * left:
        return -left
    return 0.0


@dataclass(frozen=True, kw_only=True)
class _Spot:
    """A compact spot of low R2* in slice ``z``: its middle, width (of the disc of equal area), aspect and solidity.

    ``left_mm`` and ``back_mm`` count from the right and the front of the torso, ``right_left`` is its place in the
    torso's frame.
    """

    z: int
    right_left: float
    left_mm: float
    back_mm: float
    width_mm: float
    aspect: float
    solidity: float
    r2star_per_s: float
    density: float

    def seen_from(self, canal: "_Spot", scale: float) -> "_Vessel":
        return _Vessel(
            spot=self,
            left=(self.left_mm - canal.left_mm) / scale,
            front=(canal.back_mm - self.back_mm) / scale,
            radius=self.width_mm / 2 / scale,
        )


@dataclass(frozen=True, kw_only=True)
class _Vessel:
    """A spot that may be a vessel: how far it lies left of and before the canal, and its radius, mm over the scale."""

    spot: _Spot
    left: float
    front: float
    radius: float

    def overlaps(self, other: "_Vessel") -> bool:
        distance = float(np.hypot(self.left - other.left, self.front - other.front))
        return distance < max(self.radius, other.radius)


def _spots(body: FittedBody, torso: Torso, plane: Plane, field_t: float) -> tuple[list[_Spot], list[_Spot]]:
    """Spots that may be vessels, and those that may be the canal; the same spot may be found at several thresholds."""
    across, along = torso.right_left, torso.front_back
    window = torso.mask & (abs(across - 0.5) < _ACROSS) & (along > _FRONT_BACK[0]) & (along < _FRONT_BACK[1])
    rows, columns = np.flatnonzero(window.any((0, 2))), np.flatnonzero(window.any((0, 1)))
    if len(rows) == 0:
        return [], []
    box = (slice(None), slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    r2star = median(body.r2star_per_s[box], square(3))
    blood = window[box] & (body.fat_fraction[box] < _BLOOD_FAT_FRACTION) & (body.density[box] > _BLOOD_DENSITY)
    maps = np.stack([across[box], along[box], r2star, body.density[box]]).astype(float)
    behind = (along[box] > _CANAL_BEHIND) & (abs(across[box] - 0.5) < 2 * _CANAL_ACROSS)
    vessels: list[_Spot] = []
    canals: list[_Spot] = []
    for limit in _BLOOD_R2STAR_PER_S:
        slow = blood & (r2star < limit * (1 + _GROWTH_PER_T * (field_t - 1.5)))
        vessels += _described(plane.open(slow, _VESSEL_OPENING_MM), maps, torso, plane)
        canals += _described(plane.open(slow & behind, _CANAL_OPENING_MM), maps, torso, plane)
    return [spot for spot in vessels if _may_be_vessel(spot)], [spot for spot in canals if _may_be_canal(spot)]


def _described(mask: BoolArray, maps: Values, torso: Torso, plane: Plane) -> list[_Spot]:
    """The components of ``mask`` (z, y, x); ``maps`` are place across and along, R2* and density."""
    labels, count = label(mask)
    where = np.flatnonzero(labels)
    if count == 0:
        return []
    index = labels.ravel()[where] - 1
    pixels = np.bincount(index, minlength=count).astype(float)

    def mean(values: Values) -> Values:
        return np.asarray(np.bincount(index, values, minlength=count) / pixels)

    across, along, r2star, density = (values.ravel()[where] for values in maps)
    left, back = across * torso.width_mm, along * torso.depth_mm
    mean_left, mean_back = mean(left), mean(back)
    own = plane.pixel_mm2 / 12  # what a pixel's extent adds to the second moments
    var_left, var_back = mean(left**2) - mean_left**2 + own, mean(back**2) - mean_back**2 + own
    middle = (var_left + var_back) / 2
    half = np.hypot((var_left - var_back) / 2, mean(left * back) - mean_left * mean_back)
    long_sd, short_sd = np.sqrt(middle + half), np.sqrt(np.maximum(middle - half, own))
    area = pixels * plane.pixel_mm2
    columns = np.stack(
        [
            mean(across),
            mean_left,
            mean_back,
            2 * np.sqrt(area / np.pi),
            long_sd / short_sd,
            area / (4 * np.pi * long_sd * short_sd),  # 1 for an ellipse
            mean(r2star),
            mean(density),
        ],
        axis=1,
    )
    names = ("right_left", "left_mm", "back_mm", "width_mm", "aspect", "solidity", "r2star_per_s", "density")
    slices = np.zeros(count, int)
    slices[index] = where // (mask.shape[1] * mask.shape[2])
    return [
        _Spot(z=int(z), **dict(zip(names, map(float, row), strict=True)))
        for z, row in zip(slices, columns, strict=True)
    ]


def _may_be_vessel(spot: _Spot) -> bool:
    shape = spot.aspect < _VESSEL_ASPECT and spot.solidity > _VESSEL_SOLIDITY
    return shape and _VESSEL_MM[0] < spot.width_mm < _VESSEL_MM[1]


def _may_be_canal(spot: _Spot) -> bool:
    shape = spot.aspect < _CANAL_ASPECT and spot.solidity > _CANAL_SOLIDITY
    return shape and abs(spot.right_left - 0.5) < _CANAL_ACROSS and _CANAL_MM[0] < spot.width_mm < _CANAL_MM[1]


def _midline(canals: list[_Spot]) -> dict[int, _Spot]:
    """The canal of each slice in which it lies where it does in the others."""
    found: dict[int, _Spot] = {}
    for spot in canals:
        if spot.z not in found or _unlike_canal(spot) < _unlike_canal(found[spot.z]):
            found[spot.z] = spot
    if not found:
        return {}
    midline = float(np.median([spot.right_left for spot in found.values()]))
    return {z: spot for z, spot in found.items() if abs(spot.right_left - midline) < _CANAL_SPREAD}


def _unlike_canal(spot: _Spot) -> float:
    return spot.r2star_per_s / 10 + abs(spot.right_left - 0.5) / 0.02 + spot.aspect


def _in_slice(seen: list[_Vessel]) -> tuple[float, float, float, float] | None:
    """Evidence 0..1 of a vena cava right and left of the aorta, and of anything like one at the right and at the left.

    ``None`` where no aorta shows, or none near the midline.
    """
    vessels = _one_each(seen)
    aortas = [vessel for vessel in vessels if _may_be_aorta(vessel)]
    if not aortas:
        return None
    aorta = min(aortas, key=_unlike_aorta)
    if abs(aorta.left) > _AORTA_ASIDE_SCALED_MM:
        return None
    caval, like = {1: 0.0, -1: 0.0}, {1: 0.0, -1: 0.0}
    for vessel in vessels:
        if vessel is aorta or not _CAVA_ASIDE_SCALED_MM[0] < abs(vessel.left) < _CAVA_ASIDE_SCALED_MM[1]:
            continue
        side = -1 if vessel.left > 0 else 1
        alike = _like_cava(vessel, aorta, side)
        like[side] = max(like[side], alike)
        caval[side] = max(caval[side], alike * _as_the_pair_lies(vessel, aorta, side))
    return caval[1], caval[-1], like[1], like[-1]


def _one_each(seen: list[_Vessel]) -> list[_Vessel]:
    """Before the spine, each spot once: of those found at several thresholds the most solid."""
    kept: list[_Vessel] = []
    near, far = _BEFORE_SCALED_MM
    for vessel in sorted(seen, key=lambda vessel: -vessel.spot.solidity):
        before_spine = abs(vessel.left) < _ASIDE_SCALED_MM and near < vessel.front < far
        if before_spine and not any(vessel.overlaps(other) for other in kept):
            kept.append(vessel)
    return kept


def _may_be_aorta(vessel: _Vessel) -> bool:
    spot, (near, far) = vessel.spot, _AORTA_BEFORE_SCALED_MM
    shape = spot.aspect < _AORTA_ASPECT and spot.width_mm < _AORTA_MM and spot.density > _AORTA_DENSITY
    return shape and abs(vessel.left) < _AORTA_SOUGHT_ASIDE_SCALED_MM and near < vessel.front < far


def _unlike_aorta(vessel: _Vessel) -> float:
    spot = vessel.spot
    place = abs(vessel.left) / 30 + vessel.front / 20
    return place + spot.r2star_per_s / 10 + spot.aspect - 2 * spot.density


def _like_cava(vessel: _Vessel, aorta: _Vessel, side: int) -> float:
    """Whether the spot has the shape and the place of a vena cava on ``side`` (1 right, -1 left), 0..1."""
    spot, before = vessel.spot, vessel.front - aorta.front
    shape = _ramp(spot.width_mm, 9, 14) * (1 - _ramp(spot.aspect, 1.7, 2.2)) * _ramp(spot.solidity, 0.8, 0.9)
    place = _ramp(side * (aorta.left - vessel.left), 12, 18) * _ramp(before, -8, -2) * (1 - _ramp(before, 28, 36))
    return shape * place * _ramp(spot.density, 0.65, 0.85)


def _as_the_pair_lies(cava: _Vessel, aorta: _Vessel, side: int) -> float:
    """Whether the two can be vena cava and aorta rather than the other way round, 0..1: the cava lies further to the
    side and to the front, its blood is not brighter (it holds less oxygen), and the aorta lies on the other side of the
    midline: where the cava is not seen, bowel or a vein beside the aorta may look like one."""
    further = abs(cava.left) - abs(aorta.left) + cava.front - aorta.front
    darker = cava.spot.r2star_per_s - aorta.spot.r2star_per_s
    return _ramp(further, 2, 8) * _ramp(darker, -5, -2) * _ramp(side * aorta.left, -2, 4)


def _ramp(value: float, low: float, high: float) -> float:
    """0 below ``low``, 1 above ``high``, linear between."""
    return min(max((value - low) / (high - low), 0.0), 1.0)
