"""What the node knows of an instance from its header: identity, acquisition, planes, or why it is not input."""

import errno
import hashlib
import logging
import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import Tag

from node.errors import InputError, StorageError
from node.intake.admission import decline_object, decline_plane, decline_planes
from node.intake.durable_io import storage_error
from node.intake.planes import Layers, Plane, Vector, acquired_s, first_number, first_numbers, layers_of, planes_of
from node.intake.regions import region_reference
from node.intake.tags import ODD_DATA, text, whole, words
from node.intake.vendors import RECONSTRUCTION_WORDS, Private, map_quantity, private_text, promise
from node.model import GroupFacts, InstanceHeader, ObjectPart, PlaneHeader

_IDENTITY = {
    "SOPClassUID": "SOP Class UID (0008,0016)",
    "SOPInstanceUID": "SOP Instance UID (0008,0018)",
    "StudyInstanceUID": "Study Instance UID (0020,000D)",
    "SeriesInstanceUID": "Series Instance UID (0020,000E)",
}

_PIXEL_DATA = Tag("PixelData")

_MIXED_ACQUISITION = (
    "mixed_acquisition",
    "Frames of one object differ in pixel spacing, field strength, repetition time, flip angle or inversion time.",
)

_SEVERAL_REPETITIONS = (
    "several_repetitions",
    "One object holds the same slices and echoes of several repetitions (Temporal Position Index (0020,9128) or Frame "
    "Acquisition Number (0020,9156)), none of them whole; repetitions are neither mixed nor averaged.",
)


def read_header(path: Path) -> InstanceHeader:
    """The header of one DICOM file; pixel data are not read.

    Raises:
        InputError: it cannot be read, or holds no usable header; the text names the file.
    """
    try:
        return stored_header(path)
    except StorageError as error:
        raise InputError(str(error)) from error


def stored_header(path: Path) -> InstanceHeader:
    """The header of a file of the spool, whose content is not to blame when the system does not give it.

    Raises:
        InputError: it holds no usable header; the text names the file.
        StorageError: the system does not give the file; another time it may.
    """
    ds = read_dataset(path)
    with quiet_pydicom():
        return header_of(ds, path)


def read_dataset(path: Path, *, with_pixels: bool = False) -> Dataset:
    """The parsed data set of one DICOM file up to its pixel data, with them if asked for; what lies behind is not read.

    Raises:
        InputError: what the file holds cannot be read; the text names it.
        StorageError: the system does not give the file.
    """
    try:
        with quiet_pydicom():
            if not with_pixels:
                return dcmread(path, stop_before_pixels=True)
            with path.open("rb") as file:
                return read_partial(file, lambda tag, _vr, _length: tag > _PIXEL_DATA)
    except InvalidDicomError as error:
        raise InputError(f"{path.name} is not a DICOM file (no Part 10 preamble)") from error
    except OSError as error:
        if refused_by_system(error):
            raise storage_error(error, f"{path.name} cannot be read") from error
        raise InputError(f"{path.name} cannot be read: end of file inside the data set") from error
    except ODD_DATA as error:
        raise InputError(f"{path.name} is not a readable DICOM file: {type(error).__name__} while parsing") from error


def refused_by_system(error: OSError) -> bool:
    """Whether the disk or its rights stood in the way. Parsers raise ``OSError`` for bad content too: without a number,
    or ``EINVAL`` for a length or offset that points nowhere."""
    return error.errno not in (None, errno.EINVAL)


def header_of(ds: Dataset, path: Path) -> InstanceHeader:
    """The header from a parsed data set; ``path`` only names the file in errors."""
    uids = {keyword: text(ds, keyword) for keyword in _IDENTITY}
    for keyword, name in _IDENTITY.items():
        if not uids[keyword]:
            raise InputError(f"{path.name} has no {name}")
    syntax = text(ds.file_meta, "TransferSyntaxUID") if hasattr(ds, "file_meta") else ""
    declined = decline_object(ds, syntax)
    every = planes_of(ds) if declined is None else ()
    declined = declined or decline_planes(every)
    usable = tuple(plane for plane in every if decline_plane(plane) is None) if declined is None else ()
    runs = _repetitions(usable)
    told = _group_facts(ds, usable)
    if len(told) > 1:
        declined, usable = _MIXED_ACQUISITION, ()
    elif runs:
        usable = _first_whole(runs)
        declined = None if usable else _SEVERAL_REPETITIONS
    facts = told.pop() if usable else None
    layers = layers_of(ds)[(usable[0].frame_number or 1) - 1] if usable else (ds,)
    promised = promise(ds)
    return InstanceHeader(
        sop_instance_uid=uids["SOPInstanceUID"],
        sop_class_uid=uids["SOPClassUID"],
        study_instance_uid=uids["StudyInstanceUID"],
        series_instance_uid=uids["SeriesInstanceUID"],
        patient_id_hash=patient_id_hash(ds),
        group_key="" if facts is None else _group_key(facts),
        planes=tuple(_plane_header(plane) for plane in usable),
        expected_echoes=promised.echoes,
        expected_slices=promised.slices,
        expected_images=promised.images,
        variant="\\".join(sorted(RECONSTRUCTION_WORDS.intersection(every[0].image_type))) if every else "",
        repeat=_repeat(ds, usable),
        coil=private_text(ds, Private.SIEMENS_COIL),
        acquired_s=acquired_s(layers, "AcquisitionDateTime", "FrameAcquisitionDateTime"),
        declined=declined,
        map_of=_map_of(ds, declined),
        told_echo_times_s=_told_echo_times_s(ds, declined),
        frame_of_reference_uid=text(ds, "FrameOfReferenceUID"),
        bare_patient_id_hash=patient_id_hash(ds, with_issuer=False),
        region=region_reference(ds) if declined is not None and declined[0] == "region_object" else None,
        kind_assumed=any(not plane.kind_told for plane in usable),
        group_facts=facts,
        names_patient=bool(text(ds, "PatientID")),
        part=_part_of(ds),
        repetitions=max(len(runs), 1),
    )


SELF_TEST_PATIENT_ID = "IRONNODE-SELFTEST"
"""The patient of the node's own test images; a result of them is sent to nobody."""


def is_self_test(headers: Iterable[InstanceHeader]) -> bool:
    """Whether every image is one of the self-test's own."""
    own = patient_pseudonym("", SELF_TEST_PATIENT_ID)
    return all(header.patient_id_hash == own for header in headers)


def patient_id_hash(ds: Dataset, *, with_issuer: bool = True) -> str:
    """Pseudonym of the patient: 16 hexadecimal digits of SHA-256 over issuer and patient identifier, or over the
    identifier as if nobody had issued it.

    It lets records of one patient be recognised without showing the identifier. It is no anonymisation: who can
    list a site's identifiers can compute it.
    """
    return patient_pseudonym(text(ds, "IssuerOfPatientID") if with_issuer else "", text(ds, "PatientID"))


def patient_pseudonym(issuer: str, patient_id: str) -> str:
    """As ``patient_id_hash``, of the two values themselves."""
    parts = ("ironnode", issuer, patient_id)
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:16]


def group_facts(ds: Dataset, layers: Layers) -> GroupFacts:
    """Equal for images that may belong to one acquisition, whatever series they came in; orientation and position are
    compared with tolerance later."""
    spacing = first_numbers(layers, "PixelSpacing", 2) or ()
    return GroupFacts(
        study_instance_uid=text(ds, "StudyInstanceUID"),
        frame_of_reference_uid=text(ds, "FrameOfReferenceUID"),
        matrix=f"{text(ds, 'Rows')}x{text(ds, 'Columns')}",
        pixel_spacing_mm="x".join(f"{millimetres:.3f}" for millimetres in spacing),
        field_t=_rounded(first_number(layers, "MagneticFieldStrength")),
        repetition_time_ms=_rounded(first_number(layers, "RepetitionTime")),
        flip_angle_deg=_rounded(first_number(layers, "FlipAngle")),
        inversion_time_ms=_rounded(first_number(layers, "InversionTime") or first_number(layers, "InversionTimes")),
    )


def _group_key(facts: GroupFacts) -> str:
    return hashlib.sha256("|".join(astuple(facts)).encode()).hexdigest()[:16]


def _map_of(ds: Dataset, declined: tuple[str, str] | None) -> str:
    if declined is None or declined[0] != "derived_map":
        return ""
    return map_quantity(tuple(word.upper() for word in words(ds, "ImageType")))


def _told_echo_times_s(ds: Dataset, declined: tuple[str, str] | None) -> tuple[float, ...]:
    if declined is None or declined[0] != "derived_image":
        return ()
    return tuple(sorted({plane.echo_time_s for plane in planes_of(ds) if plane.echo_time_s is not None}))


def _group_facts(ds: Dataset, planes: tuple[Plane, ...]) -> set[GroupFacts]:
    every = layers_of(ds)
    return {group_facts(ds, every[(plane.frame_number or 1) - 1]) for plane in planes}


def _repetitions(planes: tuple[Plane, ...]) -> list[tuple[Plane, ...]]:
    """The planes of each repetition, the earliest first, where they say themselves that they are several repetitions of
    the same cells; else nothing."""
    runs: defaultdict[str, list[Plane]] = defaultdict(list)
    for plane in planes:
        runs[plane.run].append(plane)
    if len(runs) < 2 or len({_cell(plane) for plane in planes}) == len(planes):
        return []
    ordered = sorted(runs.items(), key=lambda run: (_began_s(run[1]), [part.zfill(12) for part in run[0].split("/")]))
    return [tuple(run) for _, run in ordered]


def _first_whole(runs: list[tuple[Plane, ...]]) -> tuple[Plane, ...]:
    """The first repetition with every cell of the object once; empty when there is none."""
    cells = {_cell(plane) for run in runs for plane in run}
    return next((run for run in runs if len(run) == len(cells) and {_cell(plane) for plane in run} == cells), ())


def _cell(plane: Plane) -> tuple[str, float | None, Vector | None]:
    return plane.kind, plane.echo_time_s, plane.position_mm


def _began_s(run: Iterable[Plane]) -> float:
    return min((plane.acquired_s for plane in run if plane.acquired_s is not None), default=math.inf)


def _part_of(ds: Dataset) -> ObjectPart | None:
    uid, number_of_part = text(ds, "ConcatenationUID"), whole(ds, "InConcatenationNumber")
    if not uid or number_of_part is None or number_of_part < 1:
        return None
    return ObjectPart(concatenation_uid=uid, number=number_of_part, total=whole(ds, "InConcatenationTotalNumber") or 0)


def _rounded(found: float | None) -> str:
    return "" if found is None else f"{found:.1f}"


def _plane_header(plane: Plane) -> PlaneHeader:
    assert plane.echo_time_s is not None
    assert plane.position_mm is not None
    assert plane.orientation is not None
    return PlaneHeader(
        frame_number=plane.frame_number,
        kind=plane.kind,
        echo_time_s=plane.echo_time_s,
        position_mm=plane.position_mm,
        orientation=plane.orientation,
    )


def _repeat(ds: Dataset, planes: tuple[Plane, ...]) -> str:
    temporal = {plane.temporal_position for plane in planes}
    number = text(ds, "AcquisitionNumber")
    return f"{number}/{temporal.pop()}" if len(temporal) == 1 else number


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Parse without pydicom's warnings, raised or logged: they quote values, and values may name a patient."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
