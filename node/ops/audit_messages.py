"""Audit messages in XML (PS3.15 A.5) of entries of the audit trail.

Codes are those of CID 400 and CID 401 of PS3.16, coding scheme DCM. A message holds the Patient ID where the Standard
asks for it (instances transferred): it goes to the site's audit record repository alone, never to the log.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from node.ops.audit import AuditEntry
from node.ops.events import Event

_DCM = "DCM"
_SUCCESS, _MINOR_FAILURE = "0", "4"  # RFC 3881 5.1.4
_BY_ADDRESS = "2"  # RFC 3881 5.3.2


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Whom a job is about: one patient, one study, and the AE title that sent its images."""

    study_instance_uid: str
    patient_id: str
    sender: str


SubjectOf = Callable[[str], Subject | None]
"""What is known of a job; ``None`` when it is gone."""


def audit_messages(entry: AuditEntry, source_id: str, ae_title: str, subject_of: SubjectOf) -> Iterator[bytes]:
    """The messages of one entry, UTF-8; none for what PS3.15 A.5 has no message for."""
    fields = entry.fields
    if entry.event in (Event.NODE_STARTED, Event.NODE_STOPPED):
        started = entry.event == Event.NODE_STARTED
        kind = ("110120", "Application Start") if started else ("110121", "Application Stop")
        message = _Message(entry, ("110100", "Application Activity"), "E", _SUCCESS, kind)
        message.participant(source_id, role=("110150", "Application"))
        yield message.encoded(source_id)
    elif entry.event in (Event.WEB_LOGIN, Event.WEB_LOGIN_FAILED, Event.WEB_LOGOUT):
        outcome = _MINOR_FAILURE if entry.event == Event.WEB_LOGIN_FAILED else _SUCCESS
        kind = ("110123", "Logout") if entry.event == Event.WEB_LOGOUT else ("110122", "Login")
        message = _Message(entry, ("110114", "User Authentication"), "E", outcome, kind)
        user, address = str(fields.get("user", "unknown")), str(fields.get("address", ""))
        message.participant(user, requestor=True, address=address)
        message.participant(source_id)
        yield message.encoded(source_id)
    elif entry.event in (Event.ASSOCIATION_REJECTED, Event.TLS_FAILED):
        yield _alert(entry, source_id, ("110126", "Node Authentication"), _with_number(fields))
    elif entry.event in (Event.CERTIFICATE_RENEWED, Event.CERTIFICATE_UNUSABLE):
        text = str(fields.get("certificate", fields.get("error", "")))
        yield _alert(entry, source_id, ("110129", "Security Configuration"), text)
    elif entry.event == Event.JOB_ACCEPTED:
        subject = subject_of(str(fields["job_id"]))
        if subject is not None:
            yield _transferred(entry, source_id, "C", subject.sender, ae_title, subject)
    elif entry.event == Event.FILES_REMOVED:
        subject = subject_of(str(fields["job_id"]))
        if subject is not None:
            yield _deleted(entry, source_id, subject)
    elif entry.event == Event.DELIVERY_SENT:
        for job_id in fields["job_ids"]:
            subject = subject_of(str(job_id))
            if subject is not None:
                yield _transferred(entry, source_id, "R", ae_title, str(fields["destination"]), subject)


def _with_number(fields: Mapping[str, Any]) -> str:
    """The text of an event, and of how many it stands for."""
    count = int(fields.get("count", 1))
    return str(fields.get("text", "")) + (f" ({count} times)" if count > 1 else "")


def _transferred(entry: AuditEntry, source_id: str, action: str, sender: str, receiver: str, subject: Subject) -> bytes:
    """DICOM Instances Transferred (A.5.3.7): one patient a message."""
    message = _Message(entry, ("110104", "DICOM Instances Transferred"), action, _SUCCESS, None)
    message.participant(sender, ae_title=sender, role=("110153", "Source Role ID"), requestor=action == "C")
    message.participant(receiver, ae_title=receiver, role=("110152", "Destination Role ID"))
    message.about(subject)
    return message.encoded(source_id)


def _deleted(entry: AuditEntry, source_id: str, subject: Subject) -> bytes:
    """DICOM Study Deleted (A.5.3.8), by retention."""
    message = _Message(entry, ("110105", "DICOM Study Deleted"), "D", _SUCCESS, None)
    message.participant(source_id, role=("110150", "Application"), requestor=True)
    message.about(subject)
    return message.encoded(source_id)


def _alert(entry: AuditEntry, source_id: str, kind: tuple[str, str], text: str) -> bytes:
    """Security Alert (A.5.3.11)."""
    failed = entry.event != Event.CERTIFICATE_RENEWED
    outcome = _MINOR_FAILURE if failed else _SUCCESS
    message = _Message(entry, ("110113", "Security Alert"), "E", outcome, kind)
    message.participant(source_id)
    address = str(entry.fields.get("address", ""))
    calling = str(entry.fields.get("calling_ae_title", ""))
    if address:
        message.participant(calling or address, ae_title=calling, address=address, requestor=True)
    message.subject(address or source_id, "2", "13", ("110182", _DCM, "Node ID"), detail=("Alert Description", text))
    return message.encoded(source_id)


class _Message:
    def __init__(
        self, entry: AuditEntry, event: tuple[str, str], action: str, outcome: str, kind: tuple[str, str] | None
    ) -> None:
        self._root = ElementTree.Element("AuditMessage")
        head = ElementTree.SubElement(
            self._root, "EventIdentification", EventActionCode=action, EventDateTime=entry.time,
            EventOutcomeIndicator=outcome,
        )  # fmt: skip
        _code(head, "EventID", event[0], _DCM, event[1])
        if kind is not None:
            _code(head, "EventTypeCode", kind[0], _DCM, kind[1])
        self._subjects: list[ElementTree.Element] = []

    def participant(
        self, user_id: str, *, ae_title: str = "", role: tuple[str, str] | None = None, requestor: bool = False,
        address: str = "",
    ) -> None:  # fmt: skip
        found = ElementTree.SubElement(self._root, "ActiveParticipant", UserID=_clean(user_id))
        if ae_title:
            found.set("AlternativeUserID", f"AETITLES={_clean(ae_title)}")
        found.set("UserIsRequestor", "true" if requestor else "false")
        if address:
            found.set("NetworkAccessPointID", address)
            found.set("NetworkAccessPointTypeCode", _BY_ADDRESS)
        if role is not None:
            _code(found, "RoleIDCode", role[0], _DCM, role[1])

    def about(self, subject: Subject) -> None:
        """The study and its patient."""
        self.subject(subject.study_instance_uid, "2", "3", ("110180", _DCM, "Study Instance UID"))
        self.subject(subject.patient_id, "1", "1", ("2", "RFC-3881", "Patient Number"))

    def subject(
        self, object_id: str, type_code: str, role: str, id_type: tuple[str, str, str],
        *, detail: tuple[str, str] | None = None,
    ) -> None:  # fmt: skip
        found = ElementTree.Element(
            "ParticipantObjectIdentification", ParticipantObjectID=_clean(object_id),
            ParticipantObjectTypeCode=type_code, ParticipantObjectTypeCodeRole=role,
        )  # fmt: skip
        _code(found, "ParticipantObjectIDTypeCode", *id_type)
        if detail is not None:
            value = base64.b64encode(detail[1].encode()).decode()  # xs:base64Binary
            ElementTree.SubElement(found, "ParticipantObjectDetail", type=detail[0], value=value)
        self._subjects.append(found)

    def encoded(self, source_id: str) -> bytes:
        ElementTree.SubElement(self._root, "AuditSourceIdentification", AuditSourceID=source_id)
        self._root.extend(self._subjects)
        encoded: bytes = ElementTree.tostring(self._root, encoding="utf-8", xml_declaration=True)
        return encoded


def _code(parent: ElementTree.Element, name: str, value: str, scheme: str, meaning: str) -> None:
    ElementTree.SubElement(
        parent, name, {"csd-code": value, "codeSystemName": scheme, "originalText": meaning}
    )  # fmt: skip


def _clean(text: str) -> str:
    """Text that XML can hold: an AE title comes from the network as it is."""
    return "".join(c if c.isprintable() else "?" for c in text)
