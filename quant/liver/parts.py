"""R2* of the region's parts: slice by slice, lobe by lobe, and in discs placed as a reader would place them.

Guidelines ask for three or more regions away from vessels and edges, in the right lobe. The discs lie inside the
region, which keeps away from both, so they show how much the answer depends on the choice of voxels: a consistency line
beside the median of the whole region, never the reported value.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from quant.acquisition import BoolArray, FloatArray, Geometry
from quant.fit import R2StarMap
from quant.flags import FitFlag
from quant.result import QcLine

DISC_RADII_MM = (12.0, 10.0, 8.0, 6.5)  # the largest of which enough fit: areas of 4.5 down to 1.3 cm2
FEWEST_DISCS, MOST_DISCS = 3, 6
_GAP_MM = 2.0  # between discs of one slice
_INCONSISTENT = 0.10  # of the region's median; the spread of discs by noise and texture is far below
_LEAST_LOBE_MM2 = 500.0  # of a lobe's share of the region, summed over slices: as the region as a whole needs


@dataclass(frozen=True, kw_only=True)
class Part:
    """R2* (1/s) of some voxels: median and quartiles, infinite where that share lies beyond the measurable limit.

    ``volume_ml`` includes slice gaps.
    """

    n_voxels: int
    volume_ml: float
    median_per_s: float
    q1_per_s: float
    q3_per_s: float


@dataclass(frozen=True, kw_only=True)
class SlicePart(Part):
    """The part in one slice; ``slice_index`` counts in stored order."""

    slice_index: int


@dataclass(frozen=True, kw_only=True)
class Disc:
    """A round part; ``row`` and ``column`` are its centre in stored order."""

    part: SlicePart
    row: int
    column: int
    radius_mm: float


@dataclass(frozen=True, kw_only=True)
class RegionParts:
    """Slices and lobes of the region, and its discs (fewer than three where they do not fit).

    A lobe is ``None`` where the region holds too little of it for a value of its own.
    """

    slices: tuple[SlicePart, ...]
    right_lobe: Part | None
    left_lobe: Part | None
    discs: tuple[Disc, ...]
    median_per_s: float

    @property
    def disc_mean_per_s(self) -> float | None:
        """Mean of the discs' medians; ``None`` with fewer than three discs."""
        if len(self.discs) < FEWEST_DISCS:
            return None
        return float(np.mean([disc.part.median_per_s for disc in self.discs]))

    def line(self) -> QcLine:
        """The consistency line: discs against the whole region."""
        mean = self.disc_mean_per_s
        if mean is None:
            text = f"The region has no room for {FEWEST_DISCS} round regions: no comparison with them."
            return QcLine(code="roi_discs", severity="info", text=text)
        if not np.isfinite(mean) or not np.isfinite(self.median_per_s):
            text = "Round regions in the right lobe reach beyond what single voxels can measure, as the region does."
            return QcLine(code="roi_discs", severity="info", text=text)
        apart = abs(mean / self.median_per_s - 1)
        return QcLine(
            code="roi_discs",
            severity="warning" if apart > _INCONSISTENT else "info",
            text=f"Mean of R2* in {len(self.discs)} round regions of {2 * self.discs[0].radius_mm:.0f} mm: "
            f"{mean:.1f} /s, beside {self.median_per_s:.1f} /s of the whole region.",
            value=mean,
            limit=self.median_per_s * (1 + _INCONSISTENT),
        )


def measure_parts(mask: BoolArray, right: BoolArray, fit: R2StarMap, geometry: Geometry) -> RegionParts:
    """Parts of the region ``mask``; discs lie where ``right`` (the side of the right lobe) holds, all (z, y, x)."""
    rates = _ranked_rates(fit)
    spacing = geometry.spacing_mm[1:]

    def lobe(where: BoolArray) -> Part | None:
        values = rates[where & ~np.isnan(rates)]
        enough = len(values) * spacing[0] * spacing[1] >= _LEAST_LOBE_MM2
        return Part(**_values(values, geometry)) if enough else None

    discs = []
    for z, y, x, radius in place_discs(mask & right, spacing):
        part = _in_slice(z, disc_mask(mask.shape[1:], (y, x), radius, spacing), rates, geometry)
        discs.append(Disc(part=part, row=y, column=x, radius_mm=radius))
    return RegionParts(
        slices=slice_parts(mask, fit, geometry),
        right_lobe=lobe(mask & right),
        left_lobe=lobe(mask & ~right),
        discs=tuple(discs),
        median_per_s=_quantile(rates[mask & ~np.isnan(rates)], 0.5),
    )


def slice_parts(mask: BoolArray, fit: R2StarMap, geometry: Geometry) -> tuple[SlicePart, ...]:
    """The slices that ``mask`` (z, y, x) reaches, in stored order."""
    rates = _ranked_rates(fit)
    return tuple(_in_slice(int(z), mask[z], rates, geometry) for z in np.flatnonzero(mask.any((1, 2))))


def _ranked_rates(fit: R2StarMap) -> FloatArray:
    """R2* with voxels beyond the measurable limit as infinite."""
    beyond = (fit.flags & FitFlag.AT_LIMIT != 0) & ~np.isfinite(fit.r2star_per_s)
    return np.where(beyond, np.inf, fit.r2star_per_s)


def _in_slice(z: int, chosen: BoolArray, rates: FloatArray, geometry: Geometry) -> SlicePart:
    return SlicePart(slice_index=z, **_values(rates[z][chosen & ~np.isnan(rates[z])], geometry))


def _values(values: FloatArray, geometry: Geometry) -> dict[str, Any]:
    """Fields of a part that holds ``values`` (n,)."""
    return {
        "n_voxels": len(values),
        "volume_ml": len(values) * geometry.voxel_volume_ml,
        "median_per_s": _quantile(values, 0.5),
        "q1_per_s": _quantile(values, 0.25),
        "q3_per_s": _quantile(values, 0.75),
    }


def _quantile(values: FloatArray, share: float) -> float:
    """Lower quantile, which stays finite until the share itself lies beyond the limit; NaN without values."""
    return float(np.quantile(values, share, method="lower")) if len(values) else float("nan")


def disc_mask(
    shape: tuple[int, ...], centre: tuple[int, int], radius_mm: float, spacing_mm: tuple[float, ...]
) -> BoolArray:
    """Pixels (y, x) whose centre lies within ``radius_mm`` of that of ``centre``."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    dy, dx = (y - centre[0]) * spacing_mm[0], (x - centre[1]) * spacing_mm[1]
    return np.asarray(np.hypot(dy, dx) <= radius_mm)


def place_discs(mask: BoolArray, spacing_mm: tuple[float, ...]) -> list[tuple[int, int, int, float]]:
    """Discs (z, y, x, radius) inside ``mask`` that do not overlap, spread over the slices, the deepest place first."""
    depth = np.stack([_depth(slice_mask, spacing_mm) for slice_mask in mask])
    best: list[tuple[int, int, int, float]] = []
    for radius in DISC_RADII_MM:
        found = _fitting(depth, radius, spacing_mm)
        if len(found) >= FEWEST_DISCS:
            return found
        best = max(best, found, key=len)
    return best


def _depth(mask: BoolArray, spacing_mm: tuple[float, ...]) -> npt.NDArray[np.float32]:
    """Distance to the nearest pixel outside, (y, x)."""
    inside = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing_mm)
    return np.asarray(inside[1:-1, 1:-1], np.float32)


def _fitting(depth: FloatArray, radius: float, spacing_mm: tuple[float, ...]) -> list[tuple[int, int, int, float]]:
    room = np.where(depth > radius, depth, 0)
    used = np.zeros(len(depth))
    found: list[tuple[int, int, int, float]] = []
    while len(found) < MOST_DISCS and room.any():
        deepest = room.max((1, 2)) * np.where(room.any((1, 2)), 0.5**used, 0)  # slices take turns
        z = int(np.argmax(deepest))
        y, x = (int(i) for i in np.unravel_index(int(np.argmax(room[z])), room[z].shape))
        found.append((z, y, x, radius))
        used[z] += 1
        room[z][disc_mask(room[z].shape, (y, x), 2 * radius + _GAP_MM, spacing_mm)] = 0
    return found
