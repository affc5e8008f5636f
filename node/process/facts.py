"""What the header says beside the pixels: scanner, patient, study, order, contrast agent.

Patient facts are for the report that goes back into the patient's study; they never reach logs.
"""

from dataclasses import dataclass
from datetime import date

from pydicom.dataset import Dataset

from node.errors import DeclinedError
from node.intake.headers import patient_id_hash
from node.intake.planes import Layers, first_number
from node.intake.tags import day_of, items, text
from quant.result import QcLine
from sr_templates.evidence import SourceSeries

PROTON_MHZ_PER_T = 42.577478518
"""Gyromagnetic ratio of the proton over 2 pi (CODATA 2018)."""

_PLAUSIBLE_FIELD_T = (0.1, 12.0)
_FIELD_AGREEMENT = 0.05  # 2.89 T scanners are written as 3 T
_NO_AGENT = frozenset({"", "NONE", "NO", "NO CONTRAST", "NONE GIVEN", "N", "0"})


@dataclass(frozen=True, kw_only=True)
class PatientFacts:
    """What a reader needs to know whose page it is; empty strings where the study does not say."""

    name: str
    patient_id: str
    birth_date: date | None
    sex: str
    study_description: str
    accession_number: str


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """Whose images they are, and how result objects refer to them: all that a refusal needs."""

    source: SourceSeries
    study_instance_uid: str
    series_instance_uids: tuple[str, ...]
    study_date: date | None
    patient_id_hash: str
    patient: PatientFacts


@dataclass(frozen=True, kw_only=True)
class IndicationFacts:
    """Why the scan was ordered, as received: free texts, and codes as (value, scheme, meaning)."""

    texts: tuple[str, ...]
    codes: tuple[tuple[str, str, str], ...]


_REASON_TEXTS = (
    "ReasonForTheRequestedProcedure",
    "ReasonForVisit",
    "ReasonForStudy",
    "AdmittingDiagnosesDescription",
)
_REASON_CODES = (
    "ReasonForRequestedProcedureCodeSequence",
    "ReasonForVisitCodeSequence",
    "AdmittingDiagnosesCodeSequence",
)


def study_facts(source: SourceSeries) -> StudyFacts:
    """The study as the header of the first plane names it."""
    header = source.datasets[source.frames[0][0].dataset_index]
    return StudyFacts(
        source=source,
        study_instance_uid=text(header, "StudyInstanceUID"),
        series_instance_uids=tuple(sorted({text(ds, "SeriesInstanceUID") for ds in source.datasets})),
        study_date=day_of(text(header, "StudyDate")),
        patient_id_hash=patient_id_hash(header),
        patient=patient_facts(header),
    )


def patient_facts(ds: Dataset) -> PatientFacts:
    """Patient and study as the header names them."""
    return PatientFacts(
        name=text(ds, "PatientName"),
        patient_id=text(ds, "PatientID"),
        birth_date=day_of(text(ds, "PatientBirthDate")),
        sex=text(ds, "PatientSex"),
        study_description=text(ds, "StudyDescription"),
        accession_number=text(ds, "AccessionNumber"),
    )


def indication_facts(ds: Dataset) -> IndicationFacts:
    """The order's reasons, from the instance and its Request Attributes Sequence."""
    holders = (ds, *items(ds, "RequestAttributesSequence"))
    texts = (text(holder, name) for holder in holders for name in _REASON_TEXTS)
    codes = (code for holder in holders for name in _REASON_CODES for code in items(holder, name))
    triples = ((text(c, "CodeValue"), text(c, "CodingSchemeDesignator"), text(c, "CodeMeaning")) for c in codes)
    return IndicationFacts(
        texts=tuple(dict.fromkeys(found for found in texts if found)),
        codes=tuple(dict.fromkeys(triple for triple in triples if any(triple))),
    )


def field_strength_t(layers: Layers) -> tuple[float, tuple[QcLine, ...]]:
    """Field strength, from Magnetic Field Strength or else from the imaging frequency of the proton."""
    told = first_number(layers, "MagneticFieldStrength")
    frequency = first_number(layers, "ImagingFrequency") or first_number(layers, "TransmitterFrequency")
    derived = frequency / PROTON_MHZ_PER_T if frequency else None
    low, high = _PLAUSIBLE_FIELD_T
    if told is not None and low <= told <= high:
        if derived is None or abs(derived / told - 1) <= _FIELD_AGREEMENT:
            return told, ()
        text = (
            f"Magnetic Field Strength (0018,0087) says {told:g} T, the Imaging Frequency (0018,0084) {derived:.2f} T: "
            "which calibration applies cannot be told."
        )
        raise DeclinedError("field_strength_contradicts", text)
    if derived is None or not low <= derived <= high:
        text = "Neither Magnetic Field Strength (0018,0087) nor Imaging Frequency (0018,0084) tells the field strength."
        raise DeclinedError("no_field_strength", text)
    text = f"Field strength {derived:.2f} T was taken from the imaging frequency."
    return derived, (QcLine(code="field_from_frequency", severity="info", text=text, value=derived),)


def contrast_given(ds: Dataset) -> str | None:
    """Name of a contrast agent that the header says was given, which changes R2* (reference: clinical, section 5)."""
    agent = text(ds, "ContrastBolusAgent")
    if agent.upper() not in _NO_AGENT:
        return agent
    coded = items(ds, "ContrastBolusAgentSequence")
    return text(coded[0], "CodeMeaning") or "an agent without name" if coded else None
