"""The region as the record tells it: as a whole, slice by slice and lobe by lobe."""

from math import isfinite
from typing import Any

from node.process.measured import Measured
from quant.fit import R2StarMap
from quant.liver.parts import Part, RegionParts, slice_parts
from quant.region import RegionMeasurement
from quant.result import LobesSummary, PartSummary, RoiSummary, SliceSummary


def roi_summary(measured: Measured, fit: R2StarMap, measurement: RegionMeasurement) -> RoiSummary:
    """Of a region that was measured by ``fit``."""
    assert measured.region is not None  # there is a measurement
    mask = measured.region.mask
    assert mask is not None
    geometry = measured.loaded.acquisition.geometry
    return RoiSummary(
        source="automatic" if measured.drawn is None else measured.drawn.kind,
        n_voxels=measurement.n_voxels,
        volume_ml=measurement.n_voxels * geometry.voxel_volume_ml,
        n_slices=int(mask.any(axis=(1, 2)).sum()),
        excluded=dict(measured.region.excluded),
        slices=tuple(
            SliceSummary(slice_index=part.slice_index, **_fields(part)) for part in slice_parts(mask, fit, geometry)
        ),
        lobes=_lobes(measured.region.parts),
    )


def _lobes(parts: RegionParts | None) -> LobesSummary | None:
    if parts is None:
        return None
    right, left = (
        None if lobe is None else PartSummary(**_fields(lobe)) for lobe in (parts.right_lobe, parts.left_lobe)
    )
    return LobesSummary(right=right, left=left)


def _fields(part: Part) -> dict[str, Any]:
    def closed(rate: float) -> float | None:
        return rate if isfinite(rate) else None

    return {
        "n_voxels": part.n_voxels,
        "volume_ml": part.volume_ml,
        "r2star_median_per_s": closed(part.median_per_s),
        "r2star_q1_per_s": closed(part.q1_per_s),
        "r2star_q3_per_s": closed(part.q3_per_s),
    }
