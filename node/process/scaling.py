"""From stored values to signal: each plane's own rescale, and phase in radians whatever unit it was written in."""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from node.intake.grid import POSITION_TOLERANCE_MM, cluster, nearest
from node.intake.planes import Cosines, Plane, Vector
from node.intake.tags import number, text
from node.intake.vendors import SIEMENS_PHASE_STEPS

Float32Plane = npt.NDArray[np.float32]

SCALE_TOLERANCE = 1e-3
"""Relative differences below it are the rounding of written slopes."""

_FULL_SCALE_TOLERANCE = 1e-3


def modality_values(stored: npt.NDArray[Any], plane: Plane) -> Float32Plane:
    """Stored value x slope + intercept of this very plane (PS3.3 C.11.1.1.2; Philips' slopes can differ)."""
    slope = 1.0 if plane.slope is None else plane.slope
    intercept = 0.0 if plane.intercept is None else plane.intercept
    values = stored.astype(np.float32)
    if slope != 1.0:
        values *= np.float32(slope)
    if intercept != 0.0:
        values += np.float32(intercept)
    return values


def phase_unit_rad(ds: Dataset, plane: Plane) -> tuple[float, float] | None:
    """Factor and offset that make radians of modality values; ``None`` when the header does not tell the unit.

    Milliradian by unit (Philips); a symmetric full scale stands for a full turn (Siemens: slope 2, intercept -4096);
    unsigned twelve bits without rescale are Siemens' 4096 steps.
    """
    unit = (plane.units or plane.rescale_type).lower()
    if unit == "mrad":
        return 0.001, 0.0
    if unit in ("rad", "radian", "radians"):
        return 1.0, 0.0
    bits = number(ds, "BitsStored") or 16.0
    slope, intercept = plane.slope or 1.0, plane.intercept or 0.0
    if intercept < 0 and abs(slope * 2 ** (bits - 1) / -intercept - 1) < _FULL_SCALE_TOLERANCE:
        return math.pi / -intercept, 0.0
    unsigned = number(ds, "PixelRepresentation") == 0
    siemens = text(ds, "Manufacturer").upper().startswith("SIEMENS")
    if siemens and unsigned and intercept == 0 and slope == 1 and 2**bits == SIEMENS_PHASE_STEPS:
        return 2 * math.pi / SIEMENS_PHASE_STEPS, -math.pi
    return None


def scales_disagree(planes: list[Plane]) -> float:
    """How far the scalings that headers publish beside the rescale change a decay: the largest relative difference
    between two echoes of one slice. A factor that all echoes of a slice share changes no decay.

    Philips' scale slope agrees when rescale slope x scale slope is equal in all planes (dcm2niix Philips notes), a real
    world value mapping when the ratio of the slopes is (seen: equal slopes, dcm_qa_philips_enh).
    """
    apart = 0.0
    for echoes in _by_slice(planes):
        products = [plane.slope * plane.scale_slope for plane in echoes if plane.slope and plane.scale_slope]
        ratios = [plane.slope / plane.real_world_slope for plane in echoes if plane.slope and plane.real_world_slope]
        apart = max(apart, _spread(products), _spread(ratios))
    return apart


def _by_slice(planes: list[Plane]) -> Iterable[list[Plane]]:
    located = [(plane, plane.position_mm, plane.orientation) for plane in planes]
    heights = [_height_mm(position, cosines) for _, position, cosines in located if position and cosines]
    centres = cluster(heights, POSITION_TOLERANCE_MM)
    slices: defaultdict[int, list[Plane]] = defaultdict(list)
    for plane, position, cosines in located:
        if position and cosines:
            slices[nearest(centres, _height_mm(position, cosines))].append(plane)
    return slices.values()


def _height_mm(position_mm: Vector, cosines: Cosines) -> float:
    """Along the slice normal."""
    return float(np.dot(position_mm, np.cross(cosines[:3], cosines[3:])))


def scale_untold(planes: list[Plane]) -> bool:
    """Whether there is no rescale although something else says that the images are scaled differently."""
    if any(plane.slope is not None for plane in planes):
        return False
    told = ([plane.scale_slope for plane in planes], [plane.real_world_slope for plane in planes])
    return any(_differ([scale or 0.0 for scale in scales]) for scales in told)


def _differ(values: list[float]) -> bool:
    return _spread(values) > SCALE_TOLERANCE


def _spread(values: list[float]) -> float:
    """Range over the largest; 0 without values. Slopes of other signs are refused elsewhere."""
    return (max(values) - min(values)) / max(values) if values and max(values) > 0 else 0.0
