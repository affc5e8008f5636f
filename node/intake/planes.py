"""The facts of every image plane of a data set, whatever object it comes in.

A classic MR image is one plane. Enhanced and Legacy Converted MR objects (PS3.3 A.36, A.71) are one plane per
frame, and an attribute is looked for in the frame's functional groups, then in the shared ones, then at top level.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage

from node.intake.tags import items, number, numbers, seconds_of, text, words
from node.intake.vendors import Private, philips_frame, private_number, siemens_full_type, vendor_kind

MULTI_FRAME = frozenset({str(EnhancedMRImageStorage), str(LegacyConvertedEnhancedMRImageStorage)})

Vector = tuple[float, float, float]
Cosines = tuple[float, float, float, float, float, float]
Layers = tuple[Dataset, ...]

_LETTERS = {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary"}
_KIND_WORDS = {
    **_LETTERS,
    "MAGNITUDE": "magnitude",
    "PHASE": "phase",
    "PHASE MAP": "phase",
    "REAL": "real",
    "IMAGINARY": "imaginary",
    **{f"{letter}_{sequence}": kind for letter, kind in _LETTERS.items() for sequence in ("FFE", "SE", "IR")},
}
"""Words of Complex Image Component (PS3.3 C.8.13.3.1.2), Frame Type and Image Type that name a kind; the
``_FFE`` forms are Philips' (reference: dcm_qa_philips_enh, dcm2niix #194)."""

CONTRADICTORY_KIND = "contradictory"
"""Two elements name different kinds: to be turned down."""

_MAX_ECHO_TIME_MS = 1000.0  # no gradient echo is read out later; larger values are another unit or nonsense
_MIN_ECHO_TIME_MS = 0.025  # no read-out begins earlier; smaller values are seconds
_MAX_COORDINATE_MM = 1e5  # no scanner table reaches further
_PIXEL_SPACING_MM = (0.1, 50.0)  # of images of a body; others are in another unit, or nonsense
_COSINE_TOLERANCE = 1e-2  # direction cosines are written with as few as four digits


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One image plane; ``None`` is what the data set does not say or says impossibly.

    ``kind_told`` is false when nothing names the kind and magnitude is assumed (to be refused when pixels are
    negative). ``slope`` and ``intercept`` make the modality value of a stored value; ``units`` is the UCUM code of
    the real world value, ``real_world_slope`` its slope; ``scale_slope`` is Philips' private second scale.
    ``echo_time_told_ms`` is what the header says, also where no echo can have it.
    ``run`` names the repetition that the plane was acquired in, ``acquired_s`` when that began on the scanner's clock.
    """

    frame_number: int | None
    kind: str
    kind_told: bool
    image_type: tuple[str, ...]
    lossy: bool
    echo_time_s: float | None
    echo_time_told_ms: float | None
    position_mm: Vector | None
    orientation: Cosines | None
    pixel_spacing_mm: tuple[float, float] | None
    slice_thickness_mm: float | None
    slope: float | None
    intercept: float | None
    rescale_type: str
    units: str
    real_world_slope: float | None
    scale_slope: float | None
    temporal_position: str
    run: str
    acquired_s: float | None


def is_multi_frame(ds: Dataset) -> bool:
    """Whether the object keeps its plane facts in functional groups."""
    return text(ds, "SOPClassUID") in MULTI_FRAME


def layers_of(ds: Dataset) -> tuple[Layers, ...]:
    """For every plane the data sets to look an attribute up in, nearest first; empty without functional groups."""
    if not is_multi_frame(ds):
        return ((ds,),)
    shared = tuple(layer for item in items(ds, "SharedFunctionalGroupsSequence") for layer in _groups(item))
    frames = items(ds, "PerFrameFunctionalGroupsSequence")
    return tuple((*_groups(frame), *shared, ds) for frame in frames)


def planes_of(ds: Dataset) -> tuple[Plane, ...]:
    """Every plane in frame order."""
    every = layers_of(ds)
    if not is_multi_frame(ds):
        return tuple(_plane(layers, None) for layers in every)
    return tuple(_plane(layers, index) for index, layers in enumerate(every, 1))


def first_number(layers: Layers, keyword: str) -> float | None:
    """The nearest layer's finite value."""
    return next((found for layer in layers if (found := number(layer, keyword)) is not None), None)


def first_numbers(layers: Layers, keyword: str, count: int) -> tuple[float, ...] | None:
    """The nearest layer's values, if they are ``count`` finite numbers."""
    found = next((found for layer in layers if (found := numbers(layer, keyword))), ())
    return found if len(found) == count else None


def first_text(layers: Layers, keyword: str) -> str:
    """The nearest layer's text; empty when no layer has it."""
    return next((found for layer in layers if (found := text(layer, keyword))), "")


def _groups(item: Dataset) -> Layers:
    """The first item of every public functional group, then the item itself (vendors' blocks lie in it)."""
    found = [items(item, tag)[:1] for tag in tuple(item.keys()) if not tag.is_private]
    return (*(group[0] for group in found if group), item)


def _plane(layers: Layers, frame_number: int | None) -> Plane:
    image_type = _image_type(layers)
    kind = _kind(layers, image_type)
    spacing = first_numbers(layers, "PixelSpacing", 2)
    low, high = _PIXEL_SPACING_MM
    thickness = first_number(layers, "SliceThickness")
    echo_time_told_ms = _echo_time_told_ms(layers)
    temporal_position = first_text(layers, "TemporalPositionIndex") or first_text(layers, "TemporalPositionIdentifier")
    number_of_run = first_text(layers, "FrameAcquisitionNumber") or first_text(layers, "AcquisitionNumber")
    return Plane(
        frame_number=frame_number,
        kind=kind or "magnitude",
        kind_told=kind is not None,
        image_type=image_type,
        lossy=first_text(layers, "LossyImageCompression") == "01",
        echo_time_s=_echo_time_s(echo_time_told_ms),
        echo_time_told_ms=echo_time_told_ms,
        position_mm=_position(layers),
        orientation=_orientation(layers),
        pixel_spacing_mm=(spacing[0], spacing[1]) if spacing and low <= min(spacing) <= max(spacing) <= high else None,
        slice_thickness_mm=thickness if thickness is not None and thickness > 0 else None,
        slope=first_number(layers, "RescaleSlope"),
        intercept=first_number(layers, "RescaleIntercept"),
        rescale_type=first_text(layers, "RescaleType"),
        units=_units(layers),
        real_world_slope=_real_world_slope(layers),
        scale_slope=_philips_scale_slope(layers),
        temporal_position=temporal_position,
        run=f"{number_of_run}/{temporal_position}",
        acquired_s=acquired_s(layers, "FrameAcquisitionDateTime", "AcquisitionDateTime"),
    )


def acquired_s(layers: Layers, *keywords: str) -> float | None:
    """Start of the acquisition on the scanner's clock by the first of ``keywords`` that is there, else by the classic
    Acquisition Date and Time."""
    for keyword in keywords:
        written = first_text(layers, keyword)
        if (found := seconds_of(written[:8], written[8:])) is not None:
            return found
    return seconds_of(first_text(layers, "AcquisitionDate"), first_text(layers, "AcquisitionTime"))


def _echo_time_told_ms(layers: Layers) -> float | None:
    """Effective Echo Time (PS3.3 C.8.13.5.4), else Echo Time (C.8.3.1)."""
    effective = first_number(layers, "EffectiveEchoTime")
    return effective if effective is not None else first_number(layers, "EchoTime")


def _echo_time_s(echo_time_ms: float | None) -> float | None:
    """0 is written for planes that are no echo."""
    if echo_time_ms is None or not _MIN_ECHO_TIME_MS <= echo_time_ms <= _MAX_ECHO_TIME_MS:
        return None
    return echo_time_ms / 1000


def _image_type(layers: Layers) -> tuple[str, ...]:
    """Frame Type, else Image Type, in capitals; the classic Image Type that a vendor nests is appended."""
    told = (found for layer in layers for name in ("FrameType", "ImageType") if (found := words(layer, name)))
    nested = (words(frame, "ImageType")[2:] for layer in layers if (frame := philips_frame(layer)) is not None)
    siemens = (found[2:] for layer in layers if (found := siemens_full_type(layer)))
    return tuple(word.upper() for word in chain(next(told, ()), next(nested, ()), next(siemens, ())))


def _kind(layers: Layers, image_type: tuple[str, ...]) -> str | None:
    """Kind by Complex Image Component, then the letters of the type, then the vendors' private elements; of no use when
    the first two contradict each other."""
    component = next((kind for layer in layers if (kind := _component(layer)) is not None), None)
    letter = next((kind for word in image_type[2:] if (kind := _KIND_WORDS.get(word)) is not None), None)
    if component is not None and letter is not None and component != letter:
        return CONTRADICTORY_KIND
    return component or letter or next((kind for layer in layers if (kind := _vendor_kind(layer)) is not None), None)


def _component(layer: Dataset) -> str | None:
    return _KIND_WORDS.get(text(layer, "ComplexImageComponent").upper())


def _vendor_kind(layer: Dataset) -> str | None:
    nested = philips_frame(layer)
    return vendor_kind(layer) or (vendor_kind(nested) if nested is not None else None)


def _philips_scale_slope(layers: Layers) -> float | None:
    nested = (frame for layer in layers if (frame := philips_frame(layer)) is not None)
    found = (private_number(layer, Private.PHILIPS_SCALE_SLOPE) for layer in chain(nested, layers))
    return next((scale for scale in found if scale is not None and scale > 0), None)


def _mappings(layers: Layers) -> Iterator[Dataset]:
    """Items of the real world value mapping (PS3.3 C.7.6.16.2.11), of its own sequence when classic."""
    return (mapping for layer in layers for mapping in (layer, *items(layer, "RealWorldValueMappingSequence")))


def _real_world_slope(layers: Layers) -> float | None:
    slopes = (number(mapping, "RealWorldValueSlope") for mapping in _mappings(layers))
    return next((slope for slope in slopes if slope is not None and slope > 0), None)


def _units(layers: Layers) -> str:
    """UCUM code of the real world value."""
    coded = (code for mapping in _mappings(layers) for code in items(mapping, "MeasurementUnitsCodeSequence"))
    return next((found for code in coded if (found := text(code, "CodeValue"))), "")


def _position(layers: Layers) -> Vector | None:
    found = first_numbers(layers, "ImagePositionPatient", 3)
    if found is None or max(abs(coordinate) for coordinate in found) > _MAX_COORDINATE_MM:
        return None
    return (found[0], found[1], found[2])


def _orientation(layers: Layers) -> Cosines | None:
    found = first_numbers(layers, "ImageOrientationPatient", 6)
    if found is None:
        return None
    row, column = found[:3], found[3:]
    lengths = (math.hypot(*row), math.hypot(*column))
    across = sum(a * b for a, b in zip(row, column, strict=True))
    if max(abs(length - 1) for length in lengths) > _COSINE_TOLERANCE or abs(across) > _COSINE_TOLERANCE:
        return None
    return (found[0], found[1], found[2], found[3], found[4], found[5])
