"""What must be true of result objects before they leave. A fault here is ours; it names object and attribute."""

import re
from collections.abc import Iterable, Sequence
from io import BytesIO

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    MRImageStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from sr_templates.header import without_value_warnings

_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")  # PS3.5 9.1

_REFERENCED_SOP_INSTANCE_UID = 0x00081155

_VALUED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "SeriesNumber",
    "SeriesDescription",
    "InstanceNumber",
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "DeviceSerialNumber",
    "ContentDate",
    "ContentTime",
    "InstanceCreationDate",
)
_VALUED_IN_STATES = (
    *(keyword for keyword in _VALUED if keyword not in ("ContentDate", "ContentTime")),
    "PresentationCreationDate",
    "PresentationCreationTime",
)
_PRESENT = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_PIXELS = ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation", "BurnedInAnnotation")
_PLANE = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_FRAMES = (
    "FrameOfReferenceUID",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_REPORT = (
    "CompletionFlag",
    "VerificationFlag",
    "PreliminaryFlag",
    "ConceptNameCodeSequence",
    "ContentSequence",
    "ContentTemplateSequence",
    "CurrentRequestedProcedureEvidenceSequence",
)
_VALUED_BY_CLASS: dict[str, tuple[str, ...]] = {
    MRImageStorage: (
        *_PIXELS,
        *_PLANE,
        "ImageType",
        "ScanningSequence",
        "SequenceVariant",
        "WindowCenter",
        "WindowWidth",
        "RealWorldValueMappingSequence",
        "SourceImageSequence",
        "PixelData",
    ),
    SecondaryCaptureImageStorage: (*_PIXELS, "ConversionType", "PixelData"),
    SegmentationStorage: (
        "Rows",
        "Columns",
        *_FRAMES,
        "SegmentationType",
        "SegmentSequence",
        "ReferencedSeriesSequence",
        "PixelData",
    ),
    ParametricMapStorage: (*_PIXELS, *_FRAMES, "ReferencedSeriesSequence", "FloatPixelData"),
    **dict.fromkeys((Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage), _REPORT),
    KeyObjectSelectionDocumentStorage: (
        "ConceptNameCodeSequence",
        "ContentSequence",
        "ContentTemplateSequence",
        "CurrentRequestedProcedureEvidenceSequence",
    ),
    EncapsulatedPDFStorage: ("MIMETypeOfEncapsulatedDocument", "EncapsulatedDocument", "EncapsulatedDocumentLength"),
    GrayscaleSoftcopyPresentationStateStorage: (
        "ContentLabel",
        "ReferencedSeriesSequence",
        "GraphicAnnotationSequence",
        "DisplayedAreaSelectionSequence",
    ),
}


class ObjectError(ValueError):
    """A result object must not be sent; the text names the object and the attribute."""


def encode(ds: Dataset) -> bytes:
    """The object as a DICOM file (PS3.10)."""
    buffer = BytesIO()
    with without_value_warnings():  # values copied from the source are sent as they came
        dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def decode(content: bytes) -> Dataset:
    """The object that a receiver reads from ``encode``'s bytes."""
    return dcmread(BytesIO(content))


def check_object(content: bytes) -> Dataset:
    """Check one object by itself, from ``encode``'s bytes as a receiver will read them, and return it so read.

    Raises:
        ObjectError: the object is not complete, or changes when it is written and read.
    """
    received = decode(content)
    with without_value_warnings():
        _check_attributes(received)
        if encode(received) != content:
            raise ObjectError(f"{name_of(received)}: another object comes back when it is read and written again")
    _check_pixel_length(received)
    return received


def check_references(objects: Sequence[Dataset], source: Iterable[Dataset], earlier: Iterable[str] = ()) -> None:
    """Every instance that an object refers to is in the set, in the source or among the ``earlier`` UIDs that the set
    replaces or compares with, a document lists as evidence whatever its tree refers to, and no two objects share a UID.

    Raises:
        ObjectError: a reference leads nowhere.
    """
    uids = [str(ds.SOPInstanceUID) for ds in objects]
    if len(set(uids)) != len(uids):
        raise ObjectError("two objects of the result set have the same SOPInstanceUID")
    known = {*uids, *(str(ds.SOPInstanceUID) for ds in source), *earlier}
    with without_value_warnings():
        for ds in objects:
            if unknown := _referenced(ds) - known:
                raise ObjectError(
                    f"{name_of(ds)}: ReferencedSOPInstanceUID {min(unknown)} is nowhere in the result set"
                )
            if "ContentSequence" in ds:
                _check_evidence(ds)


def name_of(ds: Dataset) -> str:
    """How messages call an object: what it shows, without anything of the patient."""
    return f"{ds.get('SeriesDescription') or ds.get('Modality') or 'object'} #{ds.get('InstanceNumber', '?')}"


def _check_attributes(ds: Dataset) -> None:
    name = name_of(ds)
    needed = _VALUED_BY_CLASS.get(str(ds.get("SOPClassUID", "")))
    if needed is None:
        raise ObjectError(f"{name}: SOPClassUID {ds.get('SOPClassUID')} is none of the result set")
    common = _VALUED if "PresentationCreationDate" not in ds else _VALUED_IN_STATES
    for keyword in (*common, *needed):
        if keyword not in ds or ds[keyword].is_empty:
            raise ObjectError(f"{name}: {keyword} has no value")
    for keyword in _PRESENT:
        if keyword not in ds:
            raise ObjectError(f"{name}: {keyword} is absent")
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        uid = str(ds[keyword].value)
        if len(uid) > 64 or not _UID.fullmatch(uid):
            raise ObjectError(f"{name}: {keyword} is not a UID")


def _check_pixel_length(ds: Dataset) -> None:
    keyword = "FloatPixelData" if "FloatPixelData" in ds else "PixelData"
    if keyword not in ds:
        return
    samples = ds.Rows * ds.Columns * int(ds.get("NumberOfFrames", 1)) * ds.SamplesPerPixel
    expected = (samples * ds.BitsAllocated + 7) // 8
    if len(ds[keyword].value) not in (expected, expected + expected % 2):
        raise ObjectError(f"{name_of(ds)}: {keyword} has {len(ds[keyword].value)} bytes, not {expected}")


def _referenced(ds: Dataset) -> set[str]:
    """Every Referenced SOP Instance UID (0008,1155) below ``ds``; looks at nothing else, as objects are large."""
    found: set[str] = set()
    for tag in ds.keys():  # noqa: SIM118 - iterating a data set decodes every element
        if tag == _REFERENCED_SOP_INSTANCE_UID:
            found.add(str(ds[tag].value))
        elif ds.get_item(tag).VR == "SQ":
            found |= set().union(*(_referenced(item) for item in ds[tag].value))
    return found


def _check_evidence(ds: Dataset) -> None:
    evidence: set[str] = set()
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        for study in ds.get(keyword) or []:
            evidence |= _referenced(study)
    for item in ds.ContentSequence:
        if missing := _referenced(item) - evidence:
            raise ObjectError(
                f"{name_of(ds)}: CurrentRequestedProcedureEvidenceSequence lacks {min(missing)}, which the tree names"
            )
