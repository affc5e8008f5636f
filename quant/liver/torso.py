"""The torso, its inner wall, and the frame in which organs have a place."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from quant.acquisition import BoolArray, FloatArray
from quant.liver.arms import without_arms
from quant.liver.images import Stack, WorkingImages
from quant.liver.parameters import FinderParameters
from quant.liver.plane import Plane, fill_holes, keep_largest, keep_touching, median, square
from quant.liver.types import RegionNotFoundError

_FRAME_PERCENTILES = (0.3, 99.7)  # bounds of the torso without stray pixels
_KIDNEY_RIGHT_LEFT, _KIDNEY_FRONT_BACK = (0.30, 0.13), (0.66, 0.17)  # centre and half axis of an ellipse
_SPLEEN_RIGHT_LEFT = 0.62
BEHIND_LEFT_LOBE = 0.42  # of the torso's depth: behind it spleen and spine may be as dark as the liver
_MAX_ROLL_RAD = np.deg2rad(20.0)
_LONG = 0.15  # difference of the torso's two second moments over their sum, below which it has no long axis
_REGROW_MM = 2.0  # beyond the opening radius, so that the torso regains its outline


@dataclass(frozen=True, kw_only=True)
class Torso:
    """Outline and frame of the body on the working grid.

    ``mask`` (z, y, x); ``right_left`` runs from 0 at the patient's right to 1 at the left, ``front_back`` from 0 at
    the front to 1 at the back, both turned with a rolled body, per slice and -1 in slices without torso. ``width_mm``,
    ``depth_mm`` are medians over slices, ``area_mm2`` (z,). ``scale`` is the body scale; ``tissue_level`` separates
    tissue from air in the early signal. ``x_range_mm`` (z, 2) bounds the torso in patient coordinates.
    """

    mask: BoolArray
    right_left: Stack
    front_back: Stack
    x_range_mm: npt.NDArray[np.float64]
    width_mm: float
    depth_mm: float
    area_mm2: npt.NDArray[np.float64]
    scale: float
    tissue_level: float

    @property
    def slices(self) -> npt.NDArray[np.intp]:
        """Slices that show a torso."""
        return np.flatnonzero(self.area_mm2 > 0)

    def box(self, margin: int) -> tuple[slice, slice]:
        """Rows and columns that hold the torso, with ``margin`` pixels around where the image has them."""
        rows, columns = np.flatnonzero(self.mask.any((0, 2))), np.flatnonzero(self.mask.any((0, 1)))
        return (
            slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
            slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
        )

    def cropped(self, rows: slice, columns: slice) -> "Torso":
        """The same torso within a box of working pixels."""
        box = (slice(None), rows, columns)
        return replace(self, mask=self.mask[box], right_left=self.right_left[box], front_back=self.front_back[box])


def find_torso(images: WorkingImages, parameters: FinderParameters) -> Torso:
    """Outline of the torso from the early signal; refuses what cannot be an abdomen by size or shape."""
    early = images.early
    level = max(
        parameters.air_noise_factor * images.sigma,
        parameters.air_signal_fraction * float(np.percentile(early, 97)),
    )
    mask = _outline(early > level, images.plane, parameters.arm_opening_mm)
    area = mask.sum((1, 2)) * images.plane.pixel_mm2
    mask[area < parameters.min_torso_area_mm2] = False
    area[area < parameters.min_torso_area_mm2] = 0
    if not area.any():
        raise RegionNotFoundError("roi_no_torso", "No slice shows the outline of a torso.")
    x_range = _along(images.x_mm, mask)[1]
    across_mm, back_mm = _rolled(images.x_mm, images.y_mm, mask)
    right_left, width_range = _along(across_mm, mask)
    front_back, depth_range = _along(back_mm, mask)
    width, depth = (float(np.median(np.diff(r)[area > 0])) for r in (width_range, depth_range))
    _require_torso_shape(width, depth, parameters)
    return Torso(
        mask=mask,
        right_left=right_left,
        front_back=front_back,
        x_range_mm=x_range,
        width_mm=width,
        depth_mm=depth,
        area_mm2=area,
        scale=float(np.clip(np.sqrt(width * depth) / parameters.reference_size_mm, *parameters.body_scale)),
        tissue_level=level,
    )


def _outline(tissue: BoolArray, plane: Plane, opening_mm: float) -> BoolArray:
    filled = fill_holes(plane.close(tissue, 3.0))
    trunk = keep_largest(plane.erode(filled, opening_mm))
    body = fill_holes((plane.distance_from(trunk) <= opening_mm + _REGROW_MM) & filled)
    return without_arms(body, plane, 2 * opening_mm)


def _rolled(x_mm: Stack, y_mm: Stack, mask: BoolArray) -> tuple[Stack, Stack]:
    """Coordinates along the width and the depth of a body that lies rolled on the table: its long axis is its width."""
    x, y = x_mm[mask] - x_mm[mask].mean(), y_mm[mask] - y_mm[mask].mean()
    spread, both = float(np.mean(x * x) - np.mean(y * y)), float(np.mean(x * y))
    angle = 0.5 * np.arctan2(2 * both, spread)
    if spread <= 0 or np.hypot(spread, 2 * both) < _LONG * float(np.mean(x * x + y * y)):
        return x_mm, y_mm
    angle = float(np.clip(angle, -_MAX_ROLL_RAD, _MAX_ROLL_RAD))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * x_mm + sin * y_mm, cos * y_mm - sin * x_mm


def _along(coordinate_mm: Stack, mask: BoolArray) -> tuple[Stack, npt.NDArray[np.float64]]:
    """Coordinate in units of the torso's extent per slice, and that extent (z, 2)."""
    place = np.full(mask.shape, -1, np.float32)
    extent = np.zeros((len(mask), 2))
    for z in np.flatnonzero(mask.any((1, 2))):
        low, high = np.percentile(coordinate_mm[z][mask[z]], _FRAME_PERCENTILES)
        place[z] = (coordinate_mm[z] - low) / (high - low)
        extent[z] = low, high
    return place, extent


def _require_torso_shape(width_mm: float, depth_mm: float, parameters: FinderParameters) -> None:
    narrow, wide = parameters.torso_width_mm
    if not narrow < width_mm < wide:
        raise RegionNotFoundError(
            "roi_no_torso", f"The body is {width_mm:.0f} mm wide, which no abdomen is ({narrow:.0f} to {wide:.0f} mm)."
        )
    flat, round_ = parameters.torso_aspect
    if not flat < depth_mm / width_mm < round_:
        raise RegionNotFoundError(
            "roi_no_torso",
            f"The body is {depth_mm:.0f} mm deep and {width_mm:.0f} mm wide, which is not the shape of an abdomen.",
        )


def distance_to_wall(torso: Torso, fat_fraction: FloatArray, plane: Plane, parameters: FinderParameters) -> Stack:
    """Distance in mm of each pixel inside the subcutaneous fat to its inner border, 0 outside, (z, y, x)."""
    fat = torso.mask & (median(fat_fraction, square(3)) > parameters.wall_fat_fraction)
    rim = torso.mask & ~plane.erode(torso.mask, 5.0)
    skin_fat = keep_touching(fat, rim & fat) & (plane.distance(torso.mask) < parameters.wall_fat_depth_mm)
    lean = plane.open(torso.mask & ~skin_fat, 4.0)
    lean = keep_largest(lean, at_least=0.05)
    inner = fill_holes(plane.close(lean, 12.0)) & torso.mask
    return plane.distance(inner)


def ramp(value: FloatArray, low: float, high: float) -> FloatArray:
    """0 below ``low``, 1 above ``high``, linear between."""
    return np.asarray(np.clip((value - low) / (high - low), 0, 1))


def liver_prior(torso: Torso, parameters: FinderParameters, *, mirrored: bool = False) -> FloatArray:
    """Where in the frame a liver may lie, 0..1, (z, y, x); ``mirrored`` for the place opposite."""
    side = 1 - torso.right_left if mirrored else torso.right_left
    prior = np.ones(torso.mask.shape, np.float32)
    for place, (a, b, c, d) in ((side, parameters.prior_right), (torso.front_back, parameters.prior_front)):
        prior *= ramp(place, a, b) * (1 - ramp(place, c, d))
    return np.asarray(prior * torso.mask)


def spleen_bed(torso: Torso) -> BoolArray:
    """Where nothing but the spleen is as dark as the liver, (z, y, x): at the left, behind."""
    return np.asarray((torso.right_left > _SPLEEN_RIGHT_LEFT) & (torso.front_back > BEHIND_LEFT_LOBE))


def kidney_bed(torso: Torso) -> BoolArray:
    """Where the right kidney may lie behind the liver, (z, y, x): with like R2* nothing else parts the two."""
    (right, half_width), (front, half_depth) = _KIDNEY_RIGHT_LEFT, _KIDNEY_FRONT_BACK
    side, back = (torso.right_left - right) / half_width, (torso.front_back - front) / half_depth
    return np.asarray(side**2 + back**2 < 1)
