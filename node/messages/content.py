"""What a message says, read from a result set as it stands in the outbox: so a repeat sends the same bytes.

Numbers are those of the record, rounded as the structured report rounds them; the patient is the one of the report.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.errors import StorageError
from node.intake.headers import read_dataset
from node.intake.tags import text
from quant.wording import RESEARCH_ONLY
from sr_templates import codes
from sr_templates.quantities import LIC, PDFF, R2STAR, T2STAR, Quantity, stated

_QUANTITIES = (LIC, R2STAR, T2STAR, PDFF)
_FIELDS = {R2STAR.key: "r2star_per_s", LIC.key: "lic_mg_per_g", T2STAR.key: "t2star_ms", PDFF.key: "pdff_percent"}

_COMPARATORS = {None: None, "at_least": ">=", "at_most": "<="}


@dataclass(frozen=True, kw_only=True)
class Code:
    """A coded concept: value, scheme (DICOM designator) and meaning."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Number:
    """A median of the liver region as decimal text, ``comparator`` (``>=``, ``<=``) where it is a bound only; the end
    of the interval that a bound leaves open is ``None``."""

    concept: Code
    unit: str
    value: str
    comparator: str | None
    low: str | None
    high: str | None
    method: str

    @property
    def interval_text(self) -> str:
        """The 95 % interval in words."""
        if self.low is None or self.high is None:
            return f"95 % limit {self.low or self.high} {self.unit}, open at the other end"
        return f"95 % interval {self.low} to {self.high} {self.unit}"


@dataclass(frozen=True, kw_only=True)
class ResultMessage:
    """One result; dates and times are DICOM text (DA, TM, offset), empty where the study does not say.

    ``lic_missing`` says why there is no LIC; then no number of it stands in any message. ``replaces`` are the reports
    that it takes back, by SOP Instance UID: first the last one that the receiver has, where it is known to have any.
    """

    job_id: str
    report_uid: str
    study_uid: str
    patient_id: str
    issuer: str
    patient_name: str
    birth_date: str
    sex: str
    accession_number: str
    study_date: str
    report_date: str
    report_time: str
    utc_offset: str
    measured: bool
    numbers: tuple[Number, ...]
    lic: Code
    lic_missing: str | None
    grade: str | None
    conclusion: tuple[str, ...]
    replaces: tuple[str, ...]
    report_lines: tuple[str, ...]


def _code(concept: Any) -> Code:
    return Code(value=concept.value, scheme=concept.scheme_designator, meaning=concept.meaning)


GRADE, CONCLUSION = _code(codes.GRADE), _code(codes.CONCLUSION)


def read_message(report: Path, received: str | None = None) -> ResultMessage:
    """What the result set holds to which ``report`` (``dicom/sr-0001.dcm`` in its folder) belongs; ``received`` is the
    last report before it that the receiver has.

    Raises:
        InputError, StorageError: a file of it is missing or cannot be read.
    """
    folder = report.parent.parent
    record = _record(folder / "result.json")
    header = read_dataset(report)
    return ResultMessage(
        job_id=job_of(report),
        report_uid=text(header, "SOPInstanceUID"),
        study_uid=record["study_instance_uid"],
        patient_id=text(header, "PatientID"),
        issuer=text(header, "IssuerOfPatientID"),
        patient_name=text(header, "PatientName"),
        birth_date=_day(text(header, "PatientBirthDate")),
        sex=text(header, "PatientSex"),
        accession_number=text(header, "AccessionNumber"),
        study_date=_day(text(header, "StudyDate")),
        report_date=text(header, "ContentDate"),
        report_time=text(header, "ContentTime").partition(".")[0],
        utc_offset=text(header, "TimezoneOffsetFromUTC"),
        measured=record["status"] == "measured",
        numbers=tuple(_number(record, quantity) for quantity in _QUANTITIES if _is_there(record, quantity)),
        lic=_code(LIC.concept),
        lic_missing=_lic_missing(record),
        grade=_grade(record),
        conclusion=_conclusion(record),
        replaces=_replaces(record, received),
        report_lines=tuple(_read(folder / "report.txt").decode().splitlines()),
    )


def job_of(report: Path) -> str:
    """The job to whose result set a report belongs."""
    return report.parent.parent.name


def _replaces(record: Mapping[str, Any], received: str | None) -> tuple[str, ...]:
    replaced = tuple((record.get("revision") or {}).get("replaces", ()))
    if not replaced or received is None:
        return replaced
    return (received, *(uid for uid in replaced if uid != received))


def _record(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(_read(path))
    except ValueError as error:
        raise StorageError(f"{path}: cannot be read: {error}") from error
    return record


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _is_there(record: Mapping[str, Any], quantity: Quantity) -> bool:
    return record["status"] == "measured" and record[_FIELDS[quantity.key]] is not None


def _number(record: Mapping[str, Any], quantity: Quantity) -> Number:
    found = record[_FIELDS[quantity.key]]
    low, high = found["interval95"]

    def decimal(value: float | None) -> str | None:
        return None if value is None else f"{stated(quantity, value):.{quantity.decimals}f}"

    calibration = record["calibration"] if quantity is LIC else None
    return Number(
        concept=_code(quantity.concept),
        unit=str(quantity.unit.value),
        value=f"{stated(quantity, found['median']):.{quantity.decimals}f}",
        comparator=_COMPARATORS[found["bound"]],
        low=decimal(low),
        high=decimal(high),
        method=f"{calibration['id']} at {calibration['field_t']:g} T ({calibration['doi']})" if calibration else "",
    )


def _day(date: str) -> str:
    return date if len(date) == 8 and date.isdigit() else ""


def _lic_missing(record: Mapping[str, Any]) -> str | None:
    if _is_there(record, LIC):
        return None
    reasons = " ".join(reason["text"] for reason in record["reasons"])
    return reasons or "No liver iron concentration is stated for this measurement; the report says why."


def _grade(record: Mapping[str, Any]) -> str | None:
    grade = record.get("grade")
    if grade is None or not _is_there(record, LIC):
        return None
    labels = [candidate["label"] for candidate in grade["candidates"]] if grade["borderline"] else [grade["label"]]
    return f"{' or '.join(labels)} (scheme {grade['scheme']}{', borderline' if grade['borderline'] else ''})"


def _conclusion(record: Mapping[str, Any]) -> tuple[str, ...]:
    missing, views = _lic_missing(record), record.get("views") or {}
    lines = [RESEARCH_ONLY] if record["research_use_only"] else []
    if record["status"] != "measured":
        lines.append(f"Liver iron could not be measured: {missing}")
    elif missing is not None:
        lines.append(missing)
    lines += [views[name]["text"] for name in ("reference", "clinical") if name in views]
    for part in ("follow_up", "prior_check", "revision"):
        if record.get(part):
            lines.append(record[part]["text"])
    return tuple(lines)
