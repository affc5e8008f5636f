"""What every result object carries, whatever it shows: patient, study, series, equipment, dates, coding scheme."""

import copy
from dataclasses import dataclass
from datetime import datetime

from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from quant.result import LiverIronResult
from sr_templates import codes, identity
from sr_templates.evidence import SourceSeries
from sr_templates.header import StudyHeader, usable, without_value_warnings
from sr_templates.identity import ResultIdentity, derive_uid

_DOCUMENTS = frozenset({"SR", "KO"})  # their series show no body part
_TEXT_VRS = ("SH", "LO", "ST", "LT", "UC", "UT", "PN")
_UNICODE = "ISO_IR 192"
_ASCII = {
    "µ": "u",
    "μ": "u",
    "×": "x",
    "·": " ",
    "≥": ">=",
    "≤": "<=",
    "±": "+/-",
    "–": "-",
    "—": "-",
    "−": "-",
    "→": "->",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "…": "...",
    "\N{NO-BREAK SPACE}": " ",
    "\N{NARROW NO-BREAK SPACE}": " ",
    "\N{THIN SPACE}": " ",
    "²": "^2",
    "₂": "2",
}
_TRANSLITERATION = str.maketrans(_ASCII)


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """Everything that the objects of one result set are made from."""

    result: LiverIronResult
    source: SourceSeries
    identity: ResultIdentity
    header: StudyHeader
    rows: int
    columns: int

    @property
    def n_slices(self) -> int:
        """Slices of the acquisition."""
        return len(self.source.frames)

    @property
    def local_time(self) -> datetime:
        """The frozen time in the offset that governs the times of the objects (PS3.3 C.12.1.1.8)."""
        return self.identity.accepted_at.astimezone(self.header.utc_offset or self.identity.accepted_at.tzinfo)

    def describe(self, text: str) -> str:
        """A description with the label that the result needs; at most 64 characters (LO) for ``text`` up to 24."""
        label = " - research use only" if self.result.research_use_only else ""
        return f"{text}{label}{self.identity.revision_suffix}"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where one object stands: its role, its place in the role's series (from 0), and how the series is shown."""

    role: str
    series_number: int
    description: str
    modality: str
    index: int = 0

    @property
    def file_name(self) -> str:
        """The object's file in the result folder."""
        return f"{self.role.replace('.', '-')}-{self.index + 1:04d}.dcm"


def ascii_text(text: str) -> str:
    """``text`` with typographic signs written in ASCII where that makes all of it ASCII, so that it fits whatever
    character set the study uses; text in another script stays as it is."""
    plain = text.translate(_TRANSLITERATION)
    return plain if plain.isascii() else text


def stamp(ds: Dataset, context: BuildContext, placement: Placement) -> Dataset:
    """Complete ``ds`` (SOP Class UID and content are set) in place so that it differs between jobs and never
    between two builds of one job. Patient and study come last, over whatever a builder has put there."""
    identify(ds, context, placement)
    if placement.modality not in _DOCUMENTS:
        ds.BodyPartExamined = "LIVER"  # an unpaired part: Laterality is not asked for (PS3.3 C.7.3.1)
        ds.ContentQualification = "RESEARCH" if context.result.research_use_only else "PRODUCT"
    _set_times(ds, context)
    _set_equipment(ds, context)
    if _uses_private_codes(ds):
        ds.CodingSchemeIdentificationSequence = [codes.scheme_identification(context.result.software_version)]
    _set_study(ds, context)
    return ds


def identify(ds: Dataset, context: BuildContext, placement: Placement) -> None:
    """Give ``ds`` (its SOP Class UID is set) the instance and series of its place in the job, and the file meta
    information that goes with them."""
    job_id = context.identity.job_id
    ds.SOPInstanceUID = derive_uid(job_id, placement.role, placement.index)
    ds.SeriesInstanceUID = derive_uid(job_id, f"{placement.role}/series")
    ds.SeriesNumber = placement.series_number
    ds.SeriesDescription = placement.description
    ds.InstanceNumber = placement.index + 1
    ds.Modality = placement.modality
    _set_file_meta(ds)


def frozen_date_time(context: BuildContext) -> tuple[str, str]:
    """The frozen date (DA) and time (TM)."""
    now = context.local_time
    return now.strftime("%Y%m%d"), now.strftime("%H%M%S.%f")


def _set_times(ds: Dataset, context: BuildContext) -> None:
    date, time = frozen_date_time(context)
    ds.InstanceCreationDate = ds.SeriesDate = ds.ContentDate = date
    ds.InstanceCreationTime = ds.SeriesTime = ds.ContentTime = time
    if context.header.utc_offset is not None:
        ds.TimezoneOffsetFromUTC = context.local_time.strftime("%z")


def _set_equipment(ds: Dataset, context: BuildContext) -> None:
    result = context.result
    ds.Manufacturer = identity.MANUFACTURER
    ds.ManufacturerModelName = identity.MODEL_NAME
    ds.SoftwareVersions = [result.software_version, f"method {result.method_version}"]
    ds.DeviceSerialNumber = f"software {result.software_version}"
    ds.DeviceUID = identity.device_uid(result.software_version, result.method_version)
    if context.identity.institution:
        ds.InstitutionName = ascii_text(context.identity.institution)
    else:
        ds.pop("InstitutionName", None)
    ds.ContributingEquipmentSequence = _processing_equipment(context)


def _processing_equipment(context: BuildContext) -> list[Dataset]:
    """Each algorithm (IHE AI Results: one item per algorithm with a Device UID of its own)."""
    result = context.result
    items = []
    drawn = result.roi is not None and result.roi.source != "automatic"
    algorithms = ["R2* fit", *([] if drawn else ["liver region"])]
    if result.calibration is not None:
        algorithms.append(f"calibration {result.calibration.id}")
    for algorithm in algorithms:
        item = Dataset()
        item.PurposeOfReferenceCodeSequence = [codes.PROCESSING_EQUIPMENT]
        item.Manufacturer = identity.MANUFACTURER
        item.ManufacturerModelName = f"{identity.MODEL_NAME}: {algorithm}"
        item.SoftwareVersions = [result.software_version, f"method {result.method_version}"]
        item.DeviceUID = identity.device_uid(result.software_version, result.method_version, algorithm)
        item.ContributionDateTime = "".join(frozen_date_time(context))
        items.append(item)
    return items


def _acquisition_equipment(context: BuildContext) -> list[Dataset]:
    first = context.source.datasets[context.source.frames[0][0].dataset_index]
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [codes.ACQUISITION_EQUIPMENT]
    with without_value_warnings():
        if usable(first, "Manufacturer") is None:  # type 1 within the sequence (PS3.3 C.12.1)
            return []
        for keyword in (
            "Manufacturer",
            "InstitutionName",
            "StationName",
            "ManufacturerModelName",
            "DeviceSerialNumber",
            "SoftwareVersions",
        ):
            if (element := usable(first, keyword)) is not None:
                item.add(element)
    return [item]


def _uses_private_codes(ds: Dataset) -> bool:
    return any(
        element.keyword == "CodingSchemeDesignator" and element.value == codes.SCHEME for element in ds.iterall()
    )


def _set_study(ds: Dataset, context: BuildContext) -> None:
    character_set = list(context.header.character_set)
    if not _fits(ds, character_set):
        character_set = [_UNICODE]
    for element in _attributes(context.header, in_unicode=character_set == [_UNICODE]):
        ds.add(element)
    ds.ContributingEquipmentSequence = [*_acquisition_equipment(context), *ds.ContributingEquipmentSequence]
    if character_set:
        ds.SpecificCharacterSet = character_set if len(character_set) > 1 else character_set[0]
    else:
        ds.pop("SpecificCharacterSet", None)


def _attributes(header: StudyHeader, *, in_unicode: bool) -> Dataset:
    """A copy of the patient and study. A name keeps the bytes that it came with (an archive may compare them) unless
    the object is written in another character set than the source."""
    attributes = copy.deepcopy(header.attributes)
    if in_unicode and header.character_set != (_UNICODE,):
        for element in attributes.iterall():
            if element.VR == "PN" and element.value:
                names = element.value if element.VM > 1 else [element.value]
                element.value = [str(name) for name in names]
    return attributes


def _fits(ds: Dataset, character_set: list[str]) -> bool:
    """Whether every text of ``ds`` can be written in the study's character set. Text beyond ASCII is not tried in
    sets with code extensions (ISO 2022): support for them differs between readers."""
    if character_set == [_UNICODE]:
        return True
    foreign = [text for text in _texts(ds) if not text.isascii()]
    if not foreign:
        return True
    if len(character_set) != 1 or not character_set[0]:
        return False
    encoding = convert_encodings(character_set)[0]
    return all(_encodes(text, encoding) for text in foreign)


def _texts(ds: Dataset) -> list[str]:
    texts: list[str] = []
    for element in ds.iterall():
        if element.VR in _TEXT_VRS and element.value:
            values = element.value if element.VM > 1 else [element.value]
            texts.extend(str(value) for value in values)
    return texts


def _encodes(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _set_file_meta(ds: Dataset) -> None:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(identity.implementation_class_uid())
    meta.ImplementationVersionName = identity.IMPLEMENTATION_VERSION_NAME
    ds.file_meta = meta
