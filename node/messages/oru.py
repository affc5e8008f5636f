"""The result as HL7 v2.5.1 ORU^R01, and the answer to it. The only user of hl7apy, which checks every message.

Medians are NM, or SN with ``>=`` or ``<=`` for a bound; units are UCUM; every line is preliminary (P), because nobody
has signed it. A result that could not be had is an OBX without a value and with status X.
"""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from node.config import Hl7Receiver
from node.errors import InputError, PeerError
from node.messages.content import CONCLUSION, GRADE, Code, Number, ResultMessage
from sr_templates.envelope import ascii_text

_VERSION = "2.5.1"
_CONTROL_ID_LENGTH = 20  # MSH-10
_NAMESPACE_LENGTH = 20
_LINE_LENGTH = 88  # hl7apy takes 199 characters, escapes counted
_IMAGING_STUDY = "18748-4^Diagnostic imaging study^LN"
_NARRATIVE = "18782-3^Radiology Study observation (narrative)^LN"
_REPLACES = "REPLACES^Replaces report (SOP Instance UID)^L"
_STUDY = "110180^Study Instance UID^DCM"
_CODES = frozenset({"AA", "AE", "AR", "CA", "CE", "CR"})  # HL7 table 0008
_ERRORS = {  # HL7 table 0357
    "100": "segment sequence error",
    "101": "required field missing",
    "102": "data type error",
    "103": "table value not found",
    "200": "unsupported message type",
    "201": "unsupported event code",
    "202": "unsupported processing id",
    "203": "unsupported version id",
    "204": "unknown key identifier",
    "205": "duplicate key identifier",
    "206": "application record locked",
    "207": "application internal error",
}
_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """MSA of an acknowledgement: its code (AA, AE, AR, CA, CE, CR, else empty), the control ID it answers, and in
    ``text`` what its error codes mean. Its own words are left out: they may quote the patient."""

    code: str
    control_id: str
    text: str

    @property
    def accepted(self) -> bool:
        """Whether the receiver has the message."""
        return self.code in ("AA", "CA")


def control_id(result: ResultMessage) -> str:
    """MSH-10: the same for each repeat of a result, so that a receiver can tell a repeat."""
    return result.job_id[:_CONTROL_ID_LENGTH]


def build_oru(result: ResultMessage, receiver: Hl7Receiver) -> str:
    """The message as ER7 text, segments ended by CR.

    Raises:
        InputError: the study's header holds what HL7 cannot say.
    """
    try:
        return _built(result, receiver)
    except (HL7apyException, ValueError) as error:  # its words may quote the patient
        raise InputError(f"no valid HL7 message can be made of it ({type(error).__name__})") from error


def _built(result: ResultMessage, receiver: Hl7Receiver) -> str:
    message = Message("ORU_R01", version=_VERSION)
    _fill(
        message.msh,
        {
            3: receiver.sending_application, 4: receiver.sending_facility,
            5: receiver.receiving_application, 6: receiver.receiving_facility,
            7: _moment(result), 9: "ORU^R01^ORU_R01", 10: control_id(result), 11: "P", 12: _VERSION,
            18: "UNICODE UTF-8",
        },
    )  # fmt: skip
    group = message.add_group("ORU_R01_PATIENT_RESULT")
    _fill(group.add_group("ORU_R01_PATIENT").add_segment("PID"), _patient(result))
    order = group.add_group("ORU_R01_ORDER_OBSERVATION")
    _fill(
        order.add_segment("OBR"),
        {
            1: "1", 3: f"{result.job_id}^IRONNODE", 4: _IMAGING_STUDY, 7: result.study_date,
            18: _escaped(result.accession_number), 22: _moment(result), 25: "P",
        },
    )  # fmt: skip
    for number, (fields, note) in enumerate(_observations(result), 1):
        observation = order.add_group("ORU_R01_OBSERVATION")
        _fill(observation.add_segment("OBX"), {1: str(number), 11: "P", **fields})
        if note:
            _fill(observation.add_segment("NTE"), {1: "1", 3: _escaped(note)})
    er7 = str(message.to_er7()) + "\r"
    # read back: only the reader takes the type of OBX-5 from OBX-2
    parse_message(er7, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True).validate()
    return er7


def read_answer(er7: str) -> Answer:
    """The MSA of an acknowledgement.

    Raises:
        PeerError: it is none.
    """
    try:
        acknowledgement = parse_message(er7, find_groups=False)
        segment = acknowledgement.msa
        code, answered = str(segment.msa_1.value or ""), str(segment.msa_2.value or "")
        errors = [str(error.err_3.to_er7()).partition("^")[0] for error in acknowledgement.err]
    except (HL7apyException, AttributeError, IndexError, TypeError, ValueError) as error:
        raise PeerError(f"its answer is no HL7 acknowledgement ({type(error).__name__})") from error
    words = [_ERRORS[error] for error in errors if error in _ERRORS]
    return Answer(code=code if code in _CODES else "", control_id=answered, text="; ".join(words))


def _observations(result: ResultMessage) -> list[tuple[dict[int, str], str]]:
    """Fields of OBX, and the words of the NTE below it."""
    lines = [_number_line(number) for number in result.numbers]
    if result.lic_missing is not None:
        lines.insert(0, ({2: "NM", 3: _coded(result.lic), 11: "X"}, result.lic_missing))
    if result.grade is not None:
        lines.append(({2: "ST", 3: _coded(GRADE), 5: _escaped(result.grade)}, ""))
    lines.append(({2: "ST", 3: _STUDY, 5: result.study_uid}, ""))
    conclusion = [part for line in result.conclusion for part in textwrap.wrap(line, _LINE_LENGTH)]
    lines += [_text_line(_coded(CONCLUSION), number, line) for number, line in enumerate(conclusion, 1)]
    lines += [({2: "ST", 3: _REPLACES, 5: uid}, "") for uid in result.replaces]
    lines += [_text_line(_NARRATIVE, number, line) for number, line in enumerate(result.report_lines, 1)]
    return lines


def _text_line(concept: str, number: int, line: str) -> tuple[dict[int, str], str]:
    """In ASCII where that can say it (umol/g): some receivers take nothing else, whatever MSH-18 says."""
    return {2: "TX", 3: concept, 4: str(number), 5: _escaped(ascii_text(line))}, ""


def _number_line(number: Number) -> tuple[dict[int, str], str]:
    value = {2: "SN", 5: f"{number.comparator}^{number.value}"} if number.comparator else {2: "NM", 5: number.value}
    words = [number.interval_text, number.method]
    return {3: _coded(number.concept), 6: f"{number.unit}^^UCUM", **value}, "; ".join(word for word in words if word)


def _patient(result: ResultMessage) -> dict[int, str]:
    issuer = _escaped(result.issuer)
    if issuer:  # HD: a namespace of 20 characters at most, or a universal identifier
        issuer = f"^^^{issuer}" if len(issuer) <= _NAMESPACE_LENGTH else f"^^^&{issuer}&L"
    sex = result.sex if result.sex in ("M", "F", "O") else ""
    return {3: _escaped(result.patient_id) + issuer, 5: _name(result.patient_name), 7: result.birth_date, 8: sex}


def _name(name: str) -> str:
    """XPN of a DICOM person name: HL7 has the suffix before the prefix (PS3.5 6.2.1.1)."""
    group = next((part for part in name.split("=") if part), "")
    parts = [_escaped(part) for part in [*group.split("^"), "", "", "", "", ""][:5]]
    family, given, middle, prefix, suffix = parts
    return "^".join([family, given, middle, suffix, prefix]).rstrip("^")


def _moment(result: ResultMessage) -> str:
    return f"{result.report_date}{result.report_time}{result.utc_offset if result.report_time else ''}"


def _coded(code: Code) -> str:
    return f"{code.value}^{_escaped(code.meaning)}^{code.scheme}"


def _escaped(text: str) -> str:
    """Delimiters as escape sequences (HL7 v2.5.1 2.7.1); control characters become blanks."""
    return "".join(_ESCAPES.get(c, c if c.isprintable() else " ") for c in text)


def _fill(segment: Any, fields: Mapping[int, str]) -> None:
    for number, value in sorted(fields.items()):
        if value:
            setattr(segment, f"{segment.name.lower()}_{number}", value)
