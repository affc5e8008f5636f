"""What vendors write differently from the Standard, each with where it was learned.

Private elements are found by the name of their block's creator, never by a fixed element number (archives move
blocks), and a missing or clashing block is no error. "Seen" means read from real files of the public repository
named; "reported" means stated in public documentation or issue threads.
"""

import re
import struct
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.values import convert_SQ

from node.intake.tags import ODD_DATA, items, text


@dataclass(frozen=True, kw_only=True)
class PrivateTag:
    """A private element: block creator, group, offset in the block, VR for files that lost it, and its source."""

    creator: str
    group: int
    offset: int
    vr: str
    source: str


class Private(Enum):
    """Every private element that ironnode reads."""

    GE_IMAGE_KIND = PrivateTag(
        creator="GEMS_PARM_01", group=0x0043, offset=0x2F, vr="SS", source="seen: UKRIN-MAPS/ukat; dcm2niix GE notes"
    )
    GE_B_VALUE = PrivateTag(creator="GEMS_PARM_01", group=0x0043, offset=0x39, vr="IS", source="dcm2niix GE notes")
    GE_ECHOES = PrivateTag(
        creator="GEMS_ACQU_01", group=0x0019, offset=0x7E, vr="SS", source="seen: UKRIN-MAPS/ukat (12 for 12 echoes)"
    )
    GE_SLICES = PrivateTag(
        creator="GEMS_RELA_01", group=0x0021, offset=0x4F, vr="SS", source="seen: UKRIN-MAPS/ukat (5 for 5 slices)"
    )
    PHILIPS_KIND = PrivateTag(
        creator="Philips MR Imaging DD 001",
        group=0x2005,
        offset=0x11,
        vr="CS",
        source="seen: neurolabusc/dcm_qa_philips_enh",
    )
    PHILIPS_SCALE_SLOPE = PrivateTag(
        creator="Philips MR Imaging DD 001", group=0x2005, offset=0x0E, vr="FL", source="dcm2niix Philips notes"
    )
    PHILIPS_FRAME = PrivateTag(
        creator="Philips MR Imaging DD 005",
        group=0x2005,
        offset=0x0F,
        vr="SQ",
        source="seen: neurolabusc/dcm_qa_philips_enh (classic attributes of each enhanced frame)",
    )
    PHILIPS_ECHOES = PrivateTag(
        creator="Philips Imaging DD 001",
        group=0x2001,
        offset=0x14,
        vr="SL",
        source="seen: neurolabusc/dcm_qa_philips_enh",
    )
    PHILIPS_SLICES = PrivateTag(
        creator="Philips Imaging DD 001",
        group=0x2001,
        offset=0x18,
        vr="SL",
        source="seen: neurolabusc/dcm_qa_philips_enh",
    )
    PHILIPS_SPIR = PrivateTag(
        creator="Philips Imaging DD 001",
        group=0x2001,
        offset=0x21,
        vr="CS",
        source="seen: neurolabusc/dcm_qa_philips_enh (N); fat suppression",
    )
    PHILIPS_B_VALUE = PrivateTag(
        creator="Philips Imaging DD 001", group=0x2001, offset=0x03, vr="FL", source="dcm2niix Philips notes"
    )
    SIEMENS_B_VALUE = PrivateTag(
        creator="SIEMENS MR HEADER", group=0x0019, offset=0x0C, vr="IS", source="dcm2niix Siemens notes"
    )
    SIEMENS_COIL = PrivateTag(
        creator="SIEMENS MR HEADER",
        group=0x0051,
        offset=0x0F,
        vr="LO",
        source="seen: dcm_qa_fmap; names one element in per-channel images (dcm2niix #631)",
    )
    SIEMENS_PROTOCOL = PrivateTag(
        creator="SIEMENS CSA HEADER",
        group=0x0029,
        offset=0x20,
        vr="OB",
        source="seen: dcm_qa_fmap (the protocol as text: lContrasts, sSliceArray.lSize)",
    )
    SIEMENS_FRAME = PrivateTag(
        creator="SIEMENS MR SDI 02", group=0x0021, offset=0xFE, vr="SQ", source="seen: neurolabusc/dcm_qa_xa30"
    )
    SIEMENS_SERIES = PrivateTag(
        creator="SIEMENS MR SDS 01",
        group=0x0021,
        offset=0xFE,
        vr="SQ",
        source="seen: neurolabusc/dcm_qa_agfa (in the shared groups of enhanced objects)",
    )
    SIEMENS_SCAN_OPTIONS = PrivateTag(
        creator="SIEMENS MR SDS 01",
        group=0x0021,
        offset=0x5C,
        vr="CS",
        source="dcm2niix #606 (XA30, IR\\WE for water excitation; the public Scan Options are empty)",
    )
    SIEMENS_ICE_DIMENSIONS = PrivateTag(
        creator="SIEMENS MR SDI 02", group=0x0021, offset=0x06, vr="LO", source="seen: neurolabusc/dcm_qa_xa30"
    )
    SIEMENS_FULL_TYPE = PrivateTag(
        creator="SIEMENS MR SDI 02",
        group=0x0021,
        offset=0x75,
        vr="CS",
        source="seen: neurolabusc/dcm_qa_xa30 (ND, NORM, DIS2D, which Frame Type does not hold)",
    )


GE_KINDS = {0: "magnitude", 1: "phase", 2: "real", 3: "imaginary"}
"""Values of GE_IMAGE_KIND."""

UNKNOWN_KIND = "unknown"
"""A kind that is told and means nothing to this reader: to be turned down, never taken for magnitude."""

GE_B_VALUE_FLAG = 1_000_000_000
"""GE adds this to b-values of some releases (dcm2niix GE notes)."""

SIEMENS_PHASE_STEPS = 4096
"""Siemens phase images divide the full turn into this many steps, with or without rescale tags
(dcm_qa_fmap: slope 2, intercept -4096; shimming-toolbox/data-testing: no tags)."""

PHASE_SEEN = ("SIEMENS", "PHILIPS")
"""How Manufacturer begins where phase images were read from real files (dcm_qa_fmap, dcm_qa_xa30, dcm_qa_philips_enh).
GE writes real and imaginary instead; of others no multi-echo file with phase is known."""

NORMALISED = frozenset({"NORM", "NORMALIZED"})
"""ImageType values of an intensity-normalised second copy (seen: dcm_qa_fmap, Siemens)."""

RESHAPED = frozenset({"DIS2D", "DIS3D", "GDC"})
"""ImageType values of images whose pixels were moved to correct distortion (seen: Siemens, Canon)."""

FILTERED = NORMALISED | RESHAPED | {"FIL", "FM"}
"""ImageType values of images that were changed after reconstruction: evened out, distortion corrected, filtered."""

RECONSTRUCTION_WORDS = NORMALISED | {"ND", "DIS2D", "DIS3D", "GDC", "UCA", "IF", "FM", "FIL", "MFSPLIT"}
"""ImageType values that name a step of the reconstruction and not a kind (seen: Siemens, Canon, UIH)."""

_PACKED = {"SS": "<h", "US": "<H", "SL": "<i", "UL": "<I", "FL": "<f", "FD": "<d"}
_SIEMENS_ECHOES = re.compile(rb"\blContrasts\s*=\s*(\d{1,3})")
_SIEMENS_SLICES = re.compile(rb"\bsSliceArray\.lSize\s*=\s*(\d{1,4})")
_SIEMENS_3D = re.compile(rb"\bsKSpace\.ucDimension\s*=\s*(?:0x)?4")


def private_value(ds: Dataset, which: Private) -> Any:
    """The element's value, decoded from bytes where the file lost its VR; ``None`` when absent."""
    tag = which.value
    block = _block(ds, tag)
    if block is None:
        return None
    try:
        found = ds[block + tag.offset].value
        if not isinstance(found, bytes) or tag.vr == "OB":
            return found
        if tag.vr == "SQ":
            return convert_SQ(found, is_implicit_VR=True, is_little_endian=True)
        if tag.vr in _PACKED:
            return struct.unpack_from(_PACKED[tag.vr], found)[0]
        texts = found.decode("ascii", "replace").strip("\x00 ").split("\\")
        return texts if len(texts) > 1 else texts[0]
    except ODD_DATA:
        return None


def _block(ds: Dataset, tag: PrivateTag) -> int | None:
    """First element of the block that the creator reserved (PS3.5 7.8.1)."""
    for element in tuple(ds.keys()):
        reserved = element & 0xFFFF
        if element >> 16 == tag.group and 0x10 <= reserved <= 0xFF and text(ds, element) == tag.creator:
            return tag.group << 16 | reserved << 8
    return None


def private_number(ds: Dataset, which: Private) -> float | None:
    """The element's first value as a number."""
    found = private_value(ds, which)
    if isinstance(found, (list, tuple)) or (hasattr(found, "__getitem__") and not isinstance(found, (str, bytes))):
        found = found[0] if len(found) else None
    try:
        return None if found is None else float(found)
    except ODD_DATA:
        return None


def private_words(ds: Dataset, which: Private) -> tuple[str, ...]:
    """The element's values as stripped texts."""
    found = private_value(ds, which)
    if found is None or isinstance(found, (bytes, Sequence)):
        return ()
    try:
        return tuple(str(word).strip() for word in ([found] if isinstance(found, str) else found))
    except ODD_DATA:
        return ()


def private_text(ds: Dataset, which: Private) -> str:
    """The element's first value as stripped text."""
    return next(iter(private_words(ds, which)), "")


def philips_frame(ds: Dataset) -> Dataset | None:
    """The classic attributes that Philips nests into each frame of an enhanced object."""
    return _first_item(private_value(ds, Private.PHILIPS_FRAME))


def siemens_full_type(ds: Dataset) -> tuple[str, ...]:
    """The whole classic Image Type that Siemens XA nests into each frame of an enhanced object."""
    frame = _first_item(private_value(ds, Private.SIEMENS_FRAME))
    return () if frame is None else private_words(frame, Private.SIEMENS_FULL_TYPE)


def siemens_scan_options(ds: Dataset) -> tuple[str, ...]:
    """Scan Options where Siemens XA writes them: at top level, or nested into the shared functional groups."""
    nested = _first_item(private_value(ds, Private.SIEMENS_SERIES))
    return private_words(ds if nested is None else nested, Private.SIEMENS_SCAN_OPTIONS)


def _first_item(found: Any) -> Dataset | None:
    return found[0] if isinstance(found, Sequence) and len(found) else None


def vendor_kind(ds: Dataset) -> str | None:
    """The image kind that only a private element tells."""
    ge = private_number(ds, Private.GE_IMAGE_KIND)
    if ge is not None:
        return GE_KINDS.get(int(ge), UNKNOWN_KIND)
    letter = private_text(ds, Private.PHILIPS_KIND).upper()
    return {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary"}.get(letter)


_MAPS = {
    "r2star": re.compile(r"\bR2 ?(STAR|\*)"),
    "fat_fraction": re.compile(r"\bFAT ?FRAC|\bPDFF\b|\bFF\b"),
    "t2star": re.compile(r"\bT2 ?(STAR|\*)(?= (MAP|UNSPEC))|\bT2STAR\b"),
}
"""Words of the scanner's own maps (seen: Siemens ``R2\\STAR MAP``, UKRIN-MAPS/ukat; T2_STAR alone is a contrast)."""


def map_quantity(image_type: tuple[str, ...]) -> str:
    """Which map an image or frame type names: r2star, t2star, fat_fraction; empty for others."""
    written = " ".join(image_type[2:]).replace("_", " ")
    return next((quantity for quantity, pattern in _MAPS.items() if pattern.search(written)), "")


def b_value(ds: Dataset) -> float:
    """Diffusion weighting in s/mm2; 0 when nothing says so."""
    for which in (Private.SIEMENS_B_VALUE, Private.PHILIPS_B_VALUE, Private.GE_B_VALUE):
        found = private_number(ds, which)
        if found is not None and found > 0:
            return found % GE_B_VALUE_FLAG
    return 0.0


_ONE_ELEMENT = re.compile(r"[A-Z]+\d+")


def one_element(coil: str) -> bool:
    """Whether a Siemens coil string names one receive element (``H1``) and no combination (``BO1-3;SP2-4``)."""
    return _ONE_ELEMENT.fullmatch(coil) is not None


def single_channel(ds: Dataset) -> bool:
    """Whether Siemens' reconstruction dimensions name one receive channel instead of the combined image ("X")."""
    first_frame = items(ds, "PerFrameFunctionalGroupsSequence")[:1]
    nested = (_first_item(private_value(frame, Private.SIEMENS_FRAME)) for frame in first_frame)
    holders = (ds, *(frame for frame in nested if frame is not None))
    told = (private_text(holder, Private.SIEMENS_ICE_DIMENSIONS).split("_") for holder in holders)
    return any(len(dimensions) > 1 and dimensions[0].isdigit() for dimensions in told)


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What a header says about the whole acquisition: echoes, slices, and images of all kinds in the series."""

    echoes: int | None = None
    slices: int | None = None
    images: int | None = None


def promise(ds: Dataset) -> Promise:
    """The vendor's own counts. EchoTrainLength is none of them: it was 0, 1 and 8 for 2, 2 and 3 echoes."""
    ge_echoes = _count(private_number(ds, Private.GE_ECHOES))
    if ge_echoes is not None:
        return Promise(
            echoes=ge_echoes,
            slices=_count(private_number(ds, Private.GE_SLICES)),
            images=_as_count(text(ds, "ImagesInAcquisition")),
        )
    philips = _count(private_number(ds, Private.PHILIPS_ECHOES))
    if philips is not None:
        return Promise(echoes=philips, slices=_count(private_number(ds, Private.PHILIPS_SLICES)))
    return _siemens_promise(private_value(ds, Private.SIEMENS_PROTOCOL))


def _siemens_promise(protocol: Any) -> Promise:
    if not isinstance(protocol, bytes):
        return Promise()
    echoes, slices = _SIEMENS_ECHOES.search(protocol), _SIEMENS_SLICES.search(protocol)
    slabs_not_slices = _SIEMENS_3D.search(protocol) is not None
    return Promise(
        echoes=_count(float(echoes[1])) if echoes else None,
        slices=_count(float(slices[1])) if slices and not slabs_not_slices else None,
    )


def _count(found: float | None) -> int | None:
    return int(found) if found is not None and 0 < found < 100_000 else None


def _as_count(written: str) -> int | None:
    return _count(float(written)) if written.isdigit() else None


def made_by_ironnode(ds: Dataset, *, contributed: bool = True) -> bool:
    """Whether ironnode itself made the object (its maps and reports come back through archives), or ``contributed`` to
    what another device made of it."""
    makers = (ds, *(items(ds, "ContributingEquipmentSequence") if contributed else ()))
    return any(
        text(maker, "Manufacturer").casefold() == "ironnode"
        and text(maker, "ManufacturerModelName").casefold().startswith("ironnode")
        for maker in makers
    )
