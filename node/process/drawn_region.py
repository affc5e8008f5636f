"""A region that a reader drew (Segmentation or RT Structure Set), on the voxels of an acquisition."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydicom.dataset import Dataset

from node.errors import DeclinedError, InputError
from node.intake.headers import header_of, quiet_pydicom, read_dataset
from node.intake.regions import same_patient
from node.intake.tags import text, words
from node.model import InstanceHeader
from node.process.drawn_choice import Candidate
from node.process.drawn_contours import choose_contours, contour_mask
from node.process.drawn_planes import resample
from node.process.drawn_seg import choose_segment, segment_planes
from quant.acquisition import BoolArray, Geometry


@dataclass(frozen=True, kw_only=True)
class DrawnRegion:
    """``mask`` (z, y, x) in the voxel order of the acquisition; ``named`` when the object itself says that it is the
    liver; the texts as the object tells them."""

    mask: BoolArray
    kind: Literal["seg", "rtstruct"]
    sop_instance_uid: str
    label: str
    named: bool
    drawn_by: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an acquisition lies, and its names: what a region must have been drawn on. Where the images tell no
    frame of reference, that of the maps is ours, and a region that names one of ``sop_instance_uids`` fits too."""

    geometry: Geometry
    shape: tuple[int, int, int]
    frame_of_reference_uids: frozenset[str]
    sop_instance_uids: frozenset[str]
    patient_id_hashes: tuple[str, str]  # with and without the issuer


def read_region(path: Path, place: Place) -> DrawnRegion:
    """The region of a file.

    Raises:
        DeclinedError: the region cannot be used, with a coded reason (``region_...``).
        StorageError: the system does not give the file.
    """
    try:
        ds = read_dataset(path, with_pixels=True)
        with quiet_pydicom():
            return _region(ds, header_of(ds, path), place)
    except DeclinedError:
        raise
    except InputError as error:
        raise DeclinedError("region_unreadable", "The drawn region cannot be read: its file is damaged.") from error


def _region(ds: Dataset, header: InstanceHeader, place: Place) -> DrawnRegion:
    if header.region is None:
        why = header.declined[1] if header.declined else "It is an image."
        raise DeclinedError("region_unreadable", f"The object is no region drawn on images. {why}")
    _require_same_place(header, place)
    chosen, mask = _drawn(ds, header.region.kind, place)
    if not mask.any():
        raise DeclinedError(
            "region_outside", "The drawn region lies outside the images: it covers none of their voxels."
        )
    return DrawnRegion(
        mask=mask,
        kind=header.region.kind,
        sop_instance_uid=header.sop_instance_uid,
        label=chosen.label,
        named=chosen.is_liver,
        drawn_by=_drawn_by(ds),
    )


def _require_same_place(header: InstanceHeader, place: Place) -> None:
    assert header.region is not None
    if not same_patient(place.patient_id_hashes, (header.patient_id_hash, header.bare_patient_id_hash)):
        raise DeclinedError("region_other_patient", "The drawn region names another patient than the images.")
    same_frame = header.region.frame_of_reference_uid in place.frame_of_reference_uids
    if not (same_frame or place.sop_instance_uids & {*header.region.sop_instance_uids}):
        text = (
            "The drawn region lies in another frame of reference than the images: nobody can tell where it is in them."
        )
        raise DeclinedError("region_other_frame", text)


def _drawn(ds: Dataset, kind: str, place: Place) -> tuple[Candidate, BoolArray]:
    if kind == "rtstruct":
        chosen = choose_contours(ds)
        return chosen, contour_mask(ds, chosen.number, place.geometry, place.shape)
    chosen = choose_segment(ds)
    return chosen, resample(segment_planes(ds, chosen.number), place.geometry, place.shape)


def _drawn_by(ds: Dataset) -> str:
    """The person and the device, as far as the object names them."""
    people = (
        text(ds, name).replace("^", " ").strip() for name in ("ContentCreatorName", "ReviewerName", "OperatorsName")
    )
    person = next((found for found in people if found), "")
    versions = " ".join(words(ds, "SoftwareVersions")[:1])
    device = " ".join(part for part in (text(ds, "Manufacturer"), text(ds, "ManufacturerModelName"), versions) if part)
    return ", ".join(part for part in (person, device) if part)
