"""What a report shows as pictures: one representative slice, the decay of the region, and who the patient is."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from quant.acquisition import BoolArray, Geometry, MultiEcho
from quant.region import PooledDecay

MapQuantity = Literal["lic_mg_per_g", "r2star_per_s"]

NO_IMAGE = "No image could be shown. This report was made from the image headers alone."


@dataclass(frozen=True, kw_only=True)
class PatientLines:
    """Identification as it is printed; empty where the study does not give it. It goes nowhere but the page."""

    name: str = ""
    patient_id: str = ""
    birth_date: str = ""
    sex: str = ""
    study_date: str = ""
    accession_number: str = ""
    study_description: str = ""
    institution: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The name in each representation that is given (alphabetic, ideographic, phonetic; PS3.5 6.2.1.2)."""
        return tuple(name for name in map(_family_first, self.name.split("=")) if name)

    @property
    def display_name(self) -> str:
        """The name's first representation that is not empty."""
        return next(iter(self.names), "")


def _family_first(group: str) -> str:
    """A component group as "Family, Given"."""
    family, *given = group.split("^")
    return ", ".join(part for part in (family.strip(), " ".join(" ".join(given).split())) if part)


@dataclass(frozen=True, kw_only=True)
class ShownSlice:
    """One slice: ``anatomy`` is the first echo's magnitude, (y, x); ``map_values`` (y, x) is NaN where unmeasured.

    ``region`` (y, x) is what was measured, or with ``region_rejected`` the candidate that was refused;
    ``slice_thickness_mm`` is NaN where no header states it;
    ``edges`` are the patient directions at the left, right, top and bottom of the picture (one letter each).
    """

    anatomy: npt.NDArray[np.floating[Any]]
    map_values: npt.NDArray[np.floating[Any]] | None
    map_quantity: MapQuantity
    region: BoolArray | None
    region_rejected: bool
    pixel_spacing_mm: tuple[float, float]
    slice_thickness_mm: float
    slice_number: int
    n_slices: int
    edges: tuple[str, str, str, str]


@dataclass(frozen=True, kw_only=True)
class PagePictures:
    """``shown`` is ``None`` when no image could be read; ``decay`` when nothing was measured.

    ``lic_of_voxels_mg_per_g`` (n,) holds the region's voxels that have a value; ``None`` without a LIC.
    """

    shown: ShownSlice | None
    decay: PooledDecay | None
    patient: PatientLines
    lic_of_voxels_mg_per_g: npt.NDArray[np.floating[Any]] | None = None


def make_pictures(
    acquisition: MultiEcho,
    *,
    map_values: npt.NDArray[np.floating[Any]] | None,
    map_quantity: MapQuantity,
    region: BoolArray | None,
    region_rejected: bool,
    decay: PooledDecay | None,
    patient: PatientLines,
) -> PagePictures:
    """The pictures of the slice that holds most of ``region`` (z, y, x), or the middle slice without one."""
    z = representative_slice(region, acquisition.signal.shape[0])
    shown = ShownSlice(
        anatomy=acquisition.magnitude[z, :, :, 0],
        map_values=None if map_values is None else map_values[z],
        map_quantity=map_quantity,
        region=None if region is None else region[z],
        region_rejected=region_rejected,
        pixel_spacing_mm=(acquisition.geometry.spacing_mm[1], acquisition.geometry.spacing_mm[2]),
        slice_thickness_mm=acquisition.geometry.slice_thickness_mm,
        slice_number=z + 1,
        n_slices=acquisition.signal.shape[0],
        edges=edge_letters(acquisition.geometry),
    )
    voxels = None
    if map_values is not None and map_quantity == "lic_mg_per_g" and region is not None and not region_rejected:
        voxels = map_values[region & np.isfinite(map_values)]
    return PagePictures(shown=shown, decay=decay, patient=patient, lic_of_voxels_mg_per_g=voxels)


def representative_slice(region: BoolArray | None, n_slices: int) -> int:
    """Index of the slice with most voxels of ``region`` (z, y, x); of equals the one nearest to the middle."""
    middle = n_slices // 2
    if region is None or not region.any():
        return middle
    areas = region.sum(axis=(1, 2))
    return int(min(np.flatnonzero(areas == areas.max()), key=lambda z: abs(int(z) - middle)))


def edge_letters(geometry: Geometry) -> tuple[str, str, str, str]:
    """Patient directions at the left, right, top and bottom edge (LPS axes; R/L, A/P, F/H)."""
    right, bottom = _letter(geometry.row_direction), _letter(geometry.column_direction)
    return _letter(-geometry.row_direction), right, _letter(-geometry.column_direction), bottom


def _letter(direction: npt.NDArray[np.float64]) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return ("RL", "AP", "FH")[axis][int(direction[axis] > 0)]
