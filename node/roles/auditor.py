"""The auditor role: sends the audit trail's entries as DICOM audit messages to a syslog server."""

import logging
import socket
from functools import partial

from node.app import Node, open_node
from node.errors import InputError, IronnodeError, PeerError
from node.intake.sender import sender_of
from node.ops.audit import AuditTrail
from node.ops.audit_messages import Subject, audit_messages
from node.ops.events import Event, emit
from node.ops.syslog import Forwarder, send_frames
from node.roles.stage import Stage

_LOOK_EVERY_S = 2.0
_AFTER_TROUBLE_S = 15.0


def play(stage: Stage) -> None:
    """Send what is new until told to stop."""
    settings = stage.config.audit.syslog
    assert settings is not None, "the supervisor starts this role only where audit.syslog is given"
    with open_node(stage.config, stage.fence) as node:
        messages_of = partial(
            audit_messages,
            source_id=settings.source_id,
            ae_title=stage.config.receive.ae_title,
            subject_of=partial(subject_of, node),
        )
        trail = AuditTrail(stage.config.storage.root)
        forwarder = Forwarder(trail, messages_of, partial(send_frames, settings), socket.gethostname())
        stage.ready()
        away = ""
        while not stage.stop.is_set():
            away = _step(stage, forwarder, away)


def _step(stage: Stage, forwarder: Forwarder, away: str) -> str:
    """One batch; why the server is away now, empty when it is not. Each reason is told once."""
    try:
        more = forwarder.step()
    except PeerError as error:
        if str(error) != away:
            emit(Event.AUDIT_SERVER_AWAY, error=str(error))
        stage.stop.wait(_AFTER_TROUBLE_S)
        return str(error)
    except (IronnodeError, OSError, ValueError, KeyError) as error:
        emit(Event.STORAGE_TROUBLE, logging.ERROR, role=stage.role, error=str(error))
        stage.stop.wait(_AFTER_TROUBLE_S)
        return away
    if away:
        emit(Event.AUDIT_SERVER_BACK)
    if not more:
        stage.stop.wait(_LOOK_EVERY_S)
    return ""


def subject_of(node: Node, job_id: str) -> Subject | None:
    """Whom a job is about, from its first image that is still there."""
    try:
        job = node.show(job_id).job
    except InputError:
        return None
    for uid in sorted(job.sop_instance_uids):
        path = node.spool.find(uid)
        if path is not None:
            sender, patient_id = sender_of(path)
            return Subject(study_instance_uid=job.study_instance_uid, patient_id=patient_id, sender=sender)
    return Subject(study_instance_uid=job.study_instance_uid, patient_id="unknown", sender="unknown")
