"""The patient and study of the source, as every result object repeats them.

Attributes are copied unchanged where they are legal. What real scanners and routers get wrong is put right on the
copy only: required attributes that are absent become empty, dates in old formats are rewritten, values that no reader
could use become empty. Every such change is listed by attribute name, never by value.
"""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pydicom.config
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from sr_templates import identity
from sr_templates.evidence import SourceSeries
from sr_templates.tree import UNDECODABLE

# Type 1 and 2 attributes of the Patient (PS3.3 C.7.1.1) and General Study (C.7.2.1) modules
_REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)
# The rest of Patient, General Study, Patient Study (C.7.2.2) and Clinical Trial (C.7.1.3, C.7.2.3) modules that
# identify or describe the patient; without them archives report a conflict within the study.
_OPTIONAL = (
    "StudyInstanceUID",
    "IssuerOfPatientID",
    "TypeOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthTime",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "EthnicGroup",
    "PatientComments",
    "PatientSpeciesDescription",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
    "StudyDescription",
    "IssuerOfAccessionNumberSequence",
    "ProcedureCodeSequence",
    "ReferencedStudySequence",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "ConsultingPhysicianName",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "MedicalAlerts",
    "Allergies",
    "SmokingStatus",
    "PregnancyStatus",
    "LastMenstrualDate",
    "PatientState",
    "Occupation",
    "AdditionalPatientHistory",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "ServiceEpisodeID",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
)
_SEXES = ("M", "F", "O")  # enumerated values of Patient's Sex, PS3.3 C.7.1.1
_TEXT_VRS = ("SH", "LO", "ST", "LT", "UC", "UT", "PN")  # affected by Specific Character Set, PS3.5 6.1.2.3
_DATE = re.compile(r"(\d{4})[-./]?(\d{2})[-./]?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(?:(\d{2}):?(?:(\d{2})(\.\d{1,6})?)?)?")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")


class SourceHeaderError(ValueError):
    """The source lacks an attribute without which no result object can be filed; the text names it."""


@dataclass(frozen=True, kw_only=True)
class StudyHeader:
    """What the result objects inherit.

    ``attributes`` are the patient and study modules in ``character_set`` (empty: the default repertoire, ASCII);
    ``utc_offset`` governs every date and time of an object that carries Timezone Offset From UTC (0008,0201);
    ``defects`` names the attributes that had to be changed or were missing.
    """

    attributes: Dataset
    character_set: tuple[str, ...]
    utc_offset: timezone | None
    frame_of_reference_uid: str
    position_reference: str
    defects: tuple[str, ...]

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID (0020,000D)."""
        return str(self.attributes.StudyInstanceUID)


@contextmanager
def without_value_warnings() -> Iterator[None]:
    """No warnings of pydicom about values of the source inside the block: their texts quote patient data."""
    with pydicom.config.disable_value_validation():
        yield


def usable(ds: Dataset, keyword: str) -> DataElement | None:
    """The attribute, or ``None`` where it is absent, empty, cannot be decoded or has another value representation than
    the dictionary's: what is optional is then left out. No message, for it would quote the value."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    try:
        element = ds.get(tag)
    except UNDECODABLE:
        return None
    fits = element is not None and not element.is_empty and str(element.VR) == dictionary_VR(tag)
    return element if fits else None


def value_of(ds: Dataset, keyword: str) -> Any:
    """The value of ``usable``, or an empty text."""
    element = usable(ds, keyword)
    return "" if element is None else element.value


def read_header(source: SourceSeries) -> StudyHeader:
    """The header of the first plane of the source, normalised.

    Raises:
        SourceHeaderError: Study or Series Instance UID is missing.
    """
    first = source.datasets[source.frames[0][0].dataset_index]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        if not first.get(keyword):
            raise SourceHeaderError(f"the source has no {keyword}")
    defects: list[str] = []
    with without_value_warnings():
        character_set = _character_set(first, defects)
        attributes = _copy(first, character_set, defects)
        _require(attributes, defects)
        _repair(attributes, defects)
        offset = _utc_offset(first, defects)
    frame_of_reference = str(value_of(first, "FrameOfReferenceUID"))
    if not frame_of_reference:
        defects.append("FrameOfReferenceUID")
        frame_of_reference = identity.frame_of_reference_uid(str(first.SeriesInstanceUID))
    return StudyHeader(
        attributes=attributes,
        character_set=character_set,
        utc_offset=offset,
        frame_of_reference_uid=frame_of_reference,
        position_reference=str(value_of(first, "PositionReferenceIndicator")),
        defects=tuple(defects),
    )


def _copy(first: Dataset, character_set: tuple[str, ...], defects: list[str]) -> Dataset:
    """The modules' attributes, decoded as ``character_set``; ``first`` is left as it is, even what is not decoded.
    What cannot be decoded at all is left out."""
    copied = Dataset()
    if character_set:
        copied.SpecificCharacterSet = list(character_set)
    for keyword in (*_REQUIRED, *_OPTIONAL):
        element = first.get_item(keyword)
        if element is not None:
            copied[keyword] = copy.deepcopy(element)
            if not _decode_in_place(copied, keyword):
                defects.append(keyword)
                del copied[keyword]
    copied.pop("SpecificCharacterSet", None)
    return copied


def _decode_in_place(ds: Dataset, keyword: str) -> bool:
    """Decode an attribute, nested items too; whether that worked."""
    try:
        element = ds[keyword]
        for item in element.value if element.VR == "SQ" else ():
            for _ in item.iterall():
                pass
    except UNDECODABLE:
        return False
    return True


def _character_set(first: Dataset, defects: list[str]) -> tuple[str, ...]:
    """The character set of the source; Latin-1, which reads any bytes and gives them back, where the declared one is
    unknown or is not the one that the text is written in."""
    value = first.get("SpecificCharacterSet") or ()
    terms = (value,) if isinstance(value, str) else tuple(str(term or "") for term in value)
    if all(term in python_encoding for term in terms) and _decodes(first, terms):
        return terms
    defects.append("SpecificCharacterSet")
    return ("ISO_IR 100",)


def _decodes(first: Dataset, terms: tuple[str, ...]) -> bool:
    if len(terms) != 1:
        return True  # the default repertoire is read as Latin-1; code extensions are left to the reader
    for keyword in (*_REQUIRED, *_OPTIONAL):
        element = first.get_item(keyword)
        if element is not None and element.VR in _TEXT_VRS and isinstance(element.value, bytes):
            try:
                element.value.decode(python_encoding[terms[0]])
            except UnicodeDecodeError:
                return False
    return True


def _require(attributes: Dataset, defects: list[str]) -> None:
    for keyword in _REQUIRED:
        tag = tag_for_keyword(keyword)
        assert tag is not None
        if keyword not in attributes:
            attributes.add(DataElement(tag, dictionary_VR(tag), ""))
            defects.append(keyword)


def _repair(attributes: Dataset, defects: list[str]) -> None:
    if (sex := str(attributes.PatientSex or "")) and sex not in _SEXES:
        attributes.PatientSex = sex.upper() if sex.upper() in _SEXES else ""
        defects.append("PatientSex")
    for element in attributes:
        repair = {"DA": repaired_date, "TM": repaired_time}.get(element.VR)
        if repair is None or not element.value:
            continue
        text = str(element.value)
        if (repaired := repair(text)) != text:
            element.value = repaired
            defects.append(element.keyword)


def repaired_date(text: str) -> str:
    """A legal DA value (PS3.5 6.2) with the same meaning, or empty: a year alone is not a date."""
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return ""
    digits = "".join(match.groups())
    try:
        datetime.strptime(digits, "%Y%m%d")  # noqa: DTZ007 - a calendar date has no zone
    except ValueError:
        return ""
    return digits


def repaired_time(text: str) -> str:
    """A legal TM value (PS3.5 6.2) with the same meaning, or empty."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return ""
    hour, minute, second, fraction = match.groups()
    if int(hour) > 23 or int(minute or 0) > 59 or int(second or 0) > 60:
        return ""
    return hour + (minute or "") + (second or "") + (fraction or "")


def _utc_offset(first: Dataset, defects: list[str]) -> timezone | None:
    text = str(value_of(first, "TimezoneOffsetFromUTC")).strip()
    if not text:
        return None
    match = _OFFSET.fullmatch(text)
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        defects.append("TimezoneOffsetFromUTC")
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)
