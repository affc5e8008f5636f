"""What the header says beside the pixels: scanner, patient, study, order, contrast agent.

Patient facts are for the report that goes back into the patient's study; they never reach logs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from pydicom.dataset import Dataset

from node.errors import DeclinedError
from node.intake.headers import patient_id_hash
from node.intake.planes import Layers, first_number, first_text, layers_of
from node.intake.tags import day_of, items, text, words
from node.intake.vendors import Private, private_text, siemens_scan_options
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


_FAT_SUPPRESSED = "fat_suppressed"
_FAT_OPTIONS = frozenset({"FS", "WE"})
"""Scan Options of fat saturation (PS3.3 C.8.3.1; seen: UKRIN-MAPS/ukat for GE, a Siemens mosaic) and of water
excitation (reported: Siemens syngo MR E11, ``IR\\WE`` of a Prisma tfl3d1_16ns in a dcm2niix side-car; XA30, dcm2niix
#606)."""


def fat_suppression_line(headers: Iterable[Dataset]) -> QcLine | None:
    """Says that the contrast of fat and water was changed before the first echo, by the first header that tells it: the
    fat that is left is then no measure of it. The decay is measured as ever."""
    told = (_fat_told(layers_of(ds)[0]) for ds in headers)
    why = next((found for found in told if found), "")
    if not why:
        return None
    text = f"Fat and water do not give their full signal ({why}): the fat fraction is not stated."
    return QcLine(code=_FAT_SUPPRESSED, severity="info", text=text)


def fat_suppressed(lines: Iterable[QcLine]) -> bool:
    """Whether one of ``lines`` says so: the fat fraction that the fit has is not stated then."""
    return any(line.code == _FAT_SUPPRESSED for line in lines)


def _fat_told(layers: Layers) -> str:
    """The element that tells of fat suppression, water excitation or an inversion; empty when none does."""
    options = {word.upper() for layer in layers for word in words(layer, "ScanOptions")}
    siemens = {word.upper() for layer in layers for word in siemens_scan_options(layer)}
    sequence = {word.upper() for layer in layers for word in words(layer, "ScanningSequence")}
    suppressed = first_text(layers, "SpectrallySelectedSuppression").upper()
    excited = first_text(layers, "SpectrallySelectedExcitation").upper()
    inverted = first_text(layers, "InversionRecovery").upper()
    spir = next((found for layer in layers if (found := private_text(layer, Private.PHILIPS_SPIR))), "")
    for element, value, tells in (
        ("Scan Options (0018,0022)", ", ".join(sorted(options & _FAT_OPTIONS)), bool(options & _FAT_OPTIONS)),
        ("Siemens (0021,105C) Scan Options", ", ".join(sorted(siemens & _FAT_OPTIONS)), bool(siemens & _FAT_OPTIONS)),
        ("Spectrally Selected Suppression (0018,9025)", suppressed, suppressed.startswith("FAT")),
        ("Spectrally Selected Excitation (0018,9026)", excited, excited in ("WATER", "FAT")),
        ("Philips (2001,1021) SPIR", spir, spir.upper() in ("Y", "YES")),
        ("Scanning Sequence (0018,0020)", "IR", "IR" in sequence),
        ("Inversion Recovery (0018,9009)", inverted, inverted == "YES"),
    ):
        if tells:
            return f"{element} is {value}"
    return ""
