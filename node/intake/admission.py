"""Is one instance of a kind that a measurement can use? From its header alone; declining is a normal outcome.

Every check names what it found in one plain sentence. What only the whole acquisition can tell (too few echoes,
repeated planes) is decided in ``assembly``.
"""

from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRColorImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MRImageStorage,
    RLELossless,
    RTStructureSetStorage,
    SegmentationStorage,
)

from node.intake.planes import CONTRADICTORY_KIND, MULTI_FRAME, Plane, is_multi_frame
from node.intake.tags import items, number, text, whole, words
from node.intake.vendors import UNKNOWN_KIND, b_value, made_by_ironnode, map_quantity, single_channel

Reason = tuple[str, str]

DECODABLE = frozenset(
    str(syntax)
    for syntax in (
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGBaseline8Bit,
        JPEGExtended12Bit,
        JPEGLossless,
        JPEGLosslessSV1,
        JPEGLSLossless,
        JPEGLSNearLossless,
        JPEG2000Lossless,
        JPEG2000,
    )
)
"""Transfer syntaxes that pydicom, GDCM and CharLS decode."""

_MR_IMAGES = frozenset({str(MRImageStorage)}) | MULTI_FRAME
_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"  # Label Map Segmentation Storage (PS3.4 B.5), not in pydicom 3.0
REGIONS = frozenset({str(SegmentationStorage), _LABEL_MAP, str(RTStructureSetStorage)})
"""SOP classes of regions drawn on images."""

_MAP_WORDS = frozenset(
    {
        *("STAR MAP", "R2 MAP", "R2_MAP", "R2STAR", "R2_STAR_MAP", "T2 MAP", "T2_MAP", "T2STAR", "T2_STAR_MAP"),
        *("T1 MAP", "T1_MAP", "B0 MAP", "B0", "B1 MAP", "ADC", "FA", "FAT_FRACTION", "FAT FRACTION", "FF", "QUANT"),
        *("FIELD_MAP", "FIELD MAP", "FIELDMAP", "R1 MAP", "R1_MAP", "R1MAP", "R2MAP", "T1MAP", "T2MAP", "RHO MAP"),
        *("WATER", "FAT", "IN_PHASE", "OUT_PHASE", "OPP_PHASE", "OPPOSED_PHASE", "IP", "OP", "W", "F", "DIXON"),
    }
)
"""Image and frame type words of maps and separated images (seen: Siemens, Philips; PS3.3 C.8.13.3.1.1)."""

_QUANTITIES = frozenset({"R1", "R2", "T1", "T2", "RHO"})
"""Philips' fourth value of a map's type (``R2_UNSPECIFIED\\R2``, ``T2 MAP\\T2``); as a third one, it is a contrast."""

_FIELD_MAP_WORDS = frozenset({"FIELD_MAP", "FIELD MAP", "FIELDMAP", "B0 MAP", "B0"})
_MAP_UNITS = frozenset(
    {"ms", "s", "hz", "1/s", "/s", "s-1", "s^-1", "1/ms", "/ms", "%", "pct", "percent", "ppm", "hu", "mm2/s"}
)
"""Rescale Types, in small letters, of values with a physical unit that no signal has (Philips writes ms and Hz)."""
_LARGEST_MATRIX = 4096  # no MR image is larger; above it the number is damage, and memory is not to be filled with it
RIDES_ALONG = frozenset(
    {
        *(
            "derived_map",
            "derived_image",
            "field_map",
            "mean_echo",
            "diffusion",
            "localiser",
            "own_result",
            "single_channel",
        ),
        *("second_reconstruction", "phase_difference", "region_object", "not_an_image"),
    }
)
"""Reasons of images that may lie beside an acquisition, even in its series, and are missed by nobody."""

SEVERAL_PATIENTS = "several_patients"
"""Code of images that name different patients: nothing may then be filed under either."""

_FIELD_MAP_ECHOES = 3  # a field map is made of one or two echoes; with more it rides along
_DIFFUSION_WORDS = frozenset({"DIFFUSION", "ADC", "TRACEW", "DWI"})
_MEAN_WORDS = frozenset({"MEAN", "RMS", "SUM", "SOS"})
_PROJECTION_WORDS = frozenset(
    {"MIP", "MINIP", "MNIP", "SWI", "PROJECTION IMAGE", "SUBTRACTION", "STD_DEVIATION", "MPR"}
)


def decline_object(ds: Dataset, transfer_syntax: str) -> Reason | None:
    """Why the object as a whole is not input, before its planes are looked at."""
    checks = (_own_result, _not_an_image, _object_type, _scan_technique, _diffusion, _pixel_format)
    found = next((reason for check in checks if (reason := check(ds)) is not None), None)
    return found or _transfer_syntax(transfer_syntax) or _functional_groups(ds)


def decline_planes(planes: tuple[Plane, ...]) -> Reason | None:
    """Why none of the planes can serve: the reason of the first, for they are normally alike.

    An object with the scanner's field map and one or two echoes beside it is a field-map product as a whole.
    """
    reasons = [decline_plane(plane) for plane in planes]
    usable = {plane.echo_time_s for plane, reason in zip(planes, reasons, strict=True) if reason is None}
    mapped = next((reason for reason in reasons if reason is not None and reason[0] == "field_map"), None)
    if not usable:
        return reasons[0] if reasons else ("no_geometry", "The object has no image plane.")
    if mapped is not None and len(usable) < _FIELD_MAP_ECHOES:
        return "field_map", f"{mapped[1][:-1]}, with {len(usable)} echo time(s) beside it; R2* needs at least 3."
    return None


def decline_plane(plane: Plane) -> Reason | None:
    """Why the plane cannot be an echo of an acquisition; ``None`` when it can."""
    found = _type_words(plane.image_type, lossy=plane.lossy)
    if found is not None:
        return found
    if plane.units not in ("", "1", "mrad", "rad", "[arb'U]") and plane.units.lower() != "no units":
        return "derived_map", f"Its values are in {plane.units}; this is a map, not a signal."
    if plane.rescale_type.lower() in _MAP_UNITS:
        return "derived_map", f"Rescale Type (0028,1054) is {plane.rescale_type}; this is a map, not a signal."
    if plane.kind == CONTRADICTORY_KIND:
        written = "\\".join(plane.image_type)
        words = "Complex Image Component (0008,9208) and the image or frame type name different kinds of image"
        return "unknown_kind", f"{words} ({written})."
    if plane.kind == UNKNOWN_KIND:
        return "unknown_kind", "A private element names a kind of image that is not known."
    if plane.echo_time_s is None:
        told = "no number" if plane.echo_time_told_ms is None else f"{plane.echo_time_told_ms:g}"
        text = (
            f"The echo time is {told} in Echo Time (0018,0081) or Effective Echo Time (0018,9082); an echo has a "
            "number of ms above 0, and seconds or microseconds are not read as ms."
        )
        return "no_echo_time", text
    missing = [
        name
        for name, fact in (
            ("Image Position (0020,0032)", plane.position_mm),
            ("Image Orientation (0020,0037)", plane.orientation),
            ("Pixel Spacing (0028,0030)", plane.pixel_spacing_mm),
        )
        if fact is None
    ]
    return ("no_geometry", f"{' and '.join(missing)} missing or impossible.") if missing else None


def _object_type(ds: Dataset) -> Reason | None:
    """By the Image Type of a classic image; a multi-frame object's frames speak for themselves."""
    if is_multi_frame(ds):
        return None
    image_type = tuple(word.upper() for word in words(ds, "ImageType"))
    return _type_words(image_type, lossy=text(ds, "LossyImageCompression") == "01")


def _type_words(image_type: tuple[str, ...], *, lossy: bool) -> Reason | None:
    """What the words of an image or frame type rule out. Lossy compression alone may make an image DERIVED
    (PS3.3 C.7.6.1.1.2), so that word then proves nothing."""
    written = "\\".join(image_type)
    told = frozenset(image_type[2:]) | (frozenset() if lossy else frozenset(image_type[:1]))
    for code, listed, meaning in (
        ("localiser", frozenset({"LOCALIZER", "LOCALISER", "SCOUT"}), "a localiser"),
        ("diffusion", _DIFFUSION_WORDS, "a diffusion image"),
        ("epi_mosaic", frozenset({"MOSAIC", "VFRAME"}), "a mosaic of echo-planar images"),
        ("field_map", _FIELD_MAP_WORDS, "the scanner's field map"),
        ("derived_map", _MAP_WORDS, "a map or separated image that the scanner computed"),
        ("mean_echo", _MEAN_WORDS, "a combination of echoes"),
        ("derived_map", _PROJECTION_WORDS, "a projection or other computed image"),
        ("derived_image", frozenset({"DERIVED"}), "an image that was computed from others"),
    ):
        if told & listed or (listed is _MAP_WORDS and _names_map(image_type)):
            return code, f"Image type {written} is {meaning}, not a measured echo."
    return None


def _names_map(image_type: tuple[str, ...]) -> bool:
    return bool(map_quantity(image_type)) or not _QUANTITIES.isdisjoint(image_type[3:])


def _own_result(ds: Dataset) -> Reason | None:
    region = text(ds, "SOPClassUID") in REGIONS  # drawn on our maps, it may name us as contributing equipment
    if made_by_ironnode(ds, contributed=not region):
        return "own_result", "The object was made by ironnode; own results are never measured again."
    return None


def _not_an_image(ds: Dataset) -> Reason | None:
    sop_class, modality = text(ds, "SOPClassUID"), text(ds, "Modality").upper()
    name = UID(sop_class).name
    if sop_class in _MR_IMAGES:
        return None if modality in ("MR", "") else ("not_mr", f"Modality is {modality}, not MR.")
    if sop_class in REGIONS:
        return "region_object", f"{name} describes a region; it is kept and not measured by itself."
    if sop_class == EnhancedMRColorImageStorage:
        return "colour", "A colour image cannot be measured."
    if whole(ds, "Rows") is None:
        return "not_an_image", f"{name} holds no image."
    return "not_mr", f"{name} is not an MR image."


def _scan_technique(ds: Dataset) -> Reason | None:
    """Spin echoes refocus what R2* measures; echo-planar read-outs distort it. GE writes RM for its gradient echo."""
    sequence = words(ds, "ScanningSequence")
    told = {word.upper() for word in sequence}
    pulse, planar = text(ds, "EchoPulseSequence").upper(), text(ds, "EchoPlanarPulseSequence").upper()
    if "EP" in told or planar == "YES":
        return "echo_planar", "An echo-planar sequence; R2* needs separate gradient echoes."
    if ("SE" in told and "GR" not in told) or pulse in ("SPIN", "BOTH"):
        written = "\\".join(sequence) or pulse
        return "spin_echo", f"The sequence is {written}; R2* needs gradient echoes, and spin echoes measure R2."
    suppressed = text(ds, "SpectrallySelectedSuppression").upper()
    if suppressed in ("WATER", "FAT_AND_WATER"):
        written = f"Spectrally Selected Suppression (0018,9025) is {suppressed}"
        return "water_suppressed", f"{written}; the water of the liver, which R2* is of, gives no signal."
    if told == {"IR"} and pulse != "GRADIENT":  # a gradient echo after an inversion is written GR\\IR
        return "spin_echo", "Scanning Sequence (0018,0020) is IR without GR; R2* needs gradient echoes."
    return None


def _diffusion(ds: Dataset) -> Reason | None:
    standard = max(number(layer, "DiffusionBValue") or 0 for layer in (ds, *items(ds, "MRDiffusionSequence")))
    found = standard or b_value(ds)
    return ("diffusion", f"Diffusion weighted with b = {found:g} s/mm2.") if found > 0 else None


def _pixel_format(ds: Dataset) -> Reason | None:
    rows, columns, samples = whole(ds, "Rows"), whole(ds, "Columns"), whole(ds, "SamplesPerPixel")
    if samples not in (None, 1):
        return "colour", f"A colour image ({samples} samples per pixel) cannot be measured."
    photometric = text(ds, "PhotometricInterpretation").upper()
    if photometric == "PALETTE COLOR":
        return "colour", "A palette colour image: its pixels are colour numbers, not signal."
    if max(len(words(ds, "Rows")), len(words(ds, "Columns"))) > 1:
        return "no_geometry", "Rows or Columns hold several values."
    if not rows or not columns or not 1 <= min(rows, columns) <= max(rows, columns) <= _LARGEST_MATRIX:
        return "no_geometry", f"Rows and Columns say {rows} x {columns}."
    if single_channel(ds):
        return "single_channel", "The image of one receive channel, not the combined image."
    if items(ds, "ModalityLUTSequence"):
        return "modality_lut", "The pixels go through a Modality LUT (0028,3000); they are no linear signal."
    return None


def _transfer_syntax(transfer_syntax: str) -> Reason | None:
    if transfer_syntax in DECODABLE:
        return None
    return (
        "unsupported_transfer_syntax",
        f"Transfer syntax {UID(transfer_syntax).name or 'not given'} cannot be decoded.",
    )


def _functional_groups(ds: Dataset) -> Reason | None:
    if not is_multi_frame(ds):
        return None
    groups, frames = len(items(ds, "PerFrameFunctionalGroupsSequence")), whole(ds, "NumberOfFrames")
    if groups == 0:
        return "no_functional_groups", "A multi-frame object without Per-frame Functional Groups (5200,9230)."
    if groups != frames:
        return "no_functional_groups", f"{frames} frames, but functional groups of {groups} frames."
    return None
