"""Log events: every line the node logs is one JSON object with a stable ``event`` name and plain fields.

No field may hold a patient's name, identifier or birth date; UIDs, AE titles, codes and counts are enough to
find a study. The names are listed for operators in ``docs/operations.md``; a test keeps the two equal.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from node.errors import IronnodeError

_LOGGER = logging.getLogger("ironnode")


class Event(StrEnum):
    """Name of a log event; each is a sentence's worth of meaning."""

    NODE_STARTED = "node_started"  # every role is ready
    CONFIG_RELOADED = "config_reloaded"  # a changed configuration is in force (SIGHUP)
    CONFIG_REFUSED = "config_refused"  # it is not: it is wrong, or needs a restart
    NODE_STOPPED = "node_stopped"  # an orderly end
    ROLE_STARTED = "role_started"  # one process of the node is ready
    DUTY_TAKEN = "duty_taken"  # several gateways share the ledger, and this process plays the role now
    DUTY_LOST = "duty_lost"  # it cannot know any more that it alone does; it ends, and waits for its turn again
    ROLE_DIED = "role_died"  # a process ended by itself; it is started again
    ROLE_FAULT = "role_fault"  # a step of a role fails by a fault of the software; it is tried again
    ROLE_FAULT_OVER = "role_fault_over"  # it works again
    LISTENER_OPEN = "listener_open"  # the allow-list lets anybody store
    ASSOCIATION_ENDED = "association_ended"  # a sender is gone; what it stored, in numbers
    ASSOCIATION_REJECTED = "association_rejected"  # a caller was not let in; the reason says why
    TLS_FAILED = "tls_failed"  # a caller and this node did not come together over TLS; the text says why
    CERTIFICATE_RENEWED = "certificate_renewed"  # changed certificate files are in use
    CERTIFICATE_UNUSABLE = "certificate_unusable"  # changed certificate files cannot be used; the earlier stay in use
    INSTANCE_STORED = "instance_stored"  # an instance is durable and was acknowledged
    INSTANCE_REFUSED = "instance_refused"  # an instance was answered with a failure status
    INSTANCE_CONFLICT = "instance_conflict"  # known UID, other bytes: kept in quarantine
    INSTANCE_UNREADABLE = "instance_unreadable"  # stored, but its header cannot be used
    ACQUISITION_DECLINED = "acquisition_declined"  # not ours, with the coded reason
    STUDY_FAILED = "study_failed"  # the software failed over a study: report it; the others go on
    JOB_ACCEPTED = "job_accepted"  # a job exists now
    JOB_STARTED = "job_started"  # a worker took the lease
    IMAGES_REFUSED = "images_refused"  # images that were to be measured cannot be used; the study gets a refusal
    RESULT_WITHHELD = "result_withheld"  # a result failed the own final check; the study gets a refusal
    PRIORS_NOT_CHECKED = "priors_not_checked"  # the archive gave no complete answer; the report says so
    JOB_DONE = "job_done"  # the result set is in the outbox
    JOB_FAILED = "job_failed"  # a run failed; it is tried again later
    JOB_PARKED = "job_parked"  # failed too often; an operator must look
    JOB_RUNG_AGAIN = "job_rung_again"  # the reconciler announced a job anew
    SETTINGS_DIFFER = "settings_differ"  # a job's settings are not this worker's; it is measured with the job's own
    SETTINGS_DAMAGED = "settings_damaged"  # a kept file of settings was changed or cut off; a start or reload mends it
    RESULT_KEPT = "result_kept"  # a repeated run made other bytes; the result set that stood first stays
    HEARTBEAT_MISSED = "heartbeat_missed"  # a worker could not renew its lease; it tries again
    WORKER_DEAF = "worker_deaf"  # a worker took no message although some waited; it is started afresh
    LEASE_EXPIRED = "lease_expired"  # a worker went silent; its job is queued again
    RECEIVERS_GONE = "receivers_gone"  # a rule sent a job also to somebody whom the configuration no longer names
    DELIVERY_SENT = "delivery_sent"  # a destination has objects of a job
    DELIVERY_UNSUPPORTED = "delivery_unsupported"  # a destination does not take a SOP class; the rest is delivered
    DELIVERY_SUPERSEDED = "delivery_superseded"  # a later result replaces it, or it takes back what was never sent
    DELIVERY_FAILED = "delivery_failed"  # a destination did not take objects; tried again later
    COMMITMENT_ASKED = "commitment_asked"  # a destination was asked to keep objects for good
    COMMITMENT_CONFIRMED = "commitment_confirmed"  # it keeps them
    COMMITMENT_REFUSED = "commitment_refused"  # it does not; they are sent again, or wait for an operator
    COMMITMENT_FAILED = "commitment_failed"  # the request was not taken, or not answered; asked again later
    COMMITMENT_GIVEN = "commitment_given"  # a sender asked whether its images are kept for good; the numbers
    REPORT_FAILED = "report_failed"  # a sender could not be told the answer
    REPORT_NOT_TAKEN = "report_not_taken"  # a storage commitment report that answers no request of ours
    FILES_REMOVED = "files_removed"  # retention removed images and result objects of a delivered job
    FILES_KEPT = "files_kept"  # retention may not remove a job's files: what is missing to prove its delivery
    STRAYS_REMOVED = "strays_removed"  # retention removed images that belong to no job
    RETENTION_HELD = "retention_held"  # the clock jumped: nothing is removed until a while after
    SET_APART_REMOVED = "set_apart_removed"  # retention removes files from quarantine/ and unreadable/; the numbers
    DISK_LOW = "disk_low"  # free space fell below a watermark; the text says what follows
    DISK_RECOVERED = "disk_recovered"  # there is enough space again
    BROKER_AWAY = "broker_away"  # the queue's broker does not answer
    BROKER_BACK = "broker_back"  # it answers again
    BROKER_EMPTIED = "broker_emptied"  # the private broker's data could not be used; it starts without them
    CLOCK_WAS_AHEAD = "clock_was_ahead"  # the clock was set back; what it had put off is done now
    STORAGE_TROUBLE = "storage_trouble"  # disk or ledger refused; the step is repeated
    WEB_REQUEST = "web_request"  # (debug) somebody asked for the status
    WEB_CROWDED = "web_crowded"  # the page has too many connections; those that keep it waiting are ended
    WEB_LOGIN_FAILED = "web_login_failed"  # somebody gave a wrong name or password
    WEB_LOGIN = "web_login"  # somebody logged in; who
    WEB_LOGOUT = "web_logout"  # somebody logged out; who
    WEB_ACTION = "web_action"  # somebody did something on a page; who and what
    SELF_TEST_PASSED = "self_test_passed"  # the node measured its own phantom rightly
    SELF_TEST_FAILED = "self_test_failed"  # it did not, or not as before: look before the next patient
    NOTICE_SENT = "notice_sent"  # a channel took a notice
    NOTICE_FAILED = "notice_failed"  # a channel did not take it; tried again later
    AUDIT_FAILED = "audit_failed"  # the audit trail could not be written, or is damaged
    AUDIT_SERVER_AWAY = "audit_server_away"  # the audit server took no messages; they are sent later
    AUDIT_SERVER_BACK = "audit_server_back"  # it takes them again
    LEDGER_REBUILT = "ledger_rebuilt"  # the ledger was made anew from the disk


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "message"),
        }
        fields = getattr(record, "fields", None)
        entry.update(fields if fields is not None else {"text": record.getMessage()})
        if record.exc_info:
            entry["error"] = _where(record.exc_info[1])
        return json.dumps(entry, default=str)


def _where(error: BaseException | None) -> str:
    """Kind and place of an exception and of those that led to it. Words only of the node's own and of the system's:
    those of a library may quote a header, and with it a patient."""
    lines: list[str] = []
    while error is not None:
        words = f": {error}" if isinstance(error, IronnodeError | OSError) else ""
        lines += [*traceback.format_tb(error.__traceback__), f"{type(error).__qualname__}{words}\n"]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "".join(lines)


def configure_logging(level: int = logging.INFO) -> None:
    """Send the node's events (and warnings of libraries) to standard error, one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    _LOGGER.setLevel(level)
    logging.getLogger("pydicom").setLevel(logging.ERROR)  # its warnings quote header values: patient data


_WARNINGS = frozenset(
    {
        *(Event.RECEIVERS_GONE, Event.ROLE_DIED, Event.JOB_FAILED, Event.DELIVERY_FAILED, Event.DELIVERY_UNSUPPORTED),
        Event.DISK_LOW,
        *(Event.COMMITMENT_REFUSED, Event.COMMITMENT_FAILED, Event.REPORT_NOT_TAKEN),
        *(Event.BROKER_AWAY, Event.LEASE_EXPIRED, Event.TLS_FAILED, Event.PRIORS_NOT_CHECKED),
        *(Event.AUDIT_SERVER_AWAY, Event.RETENTION_HELD),
    }
)
_ERRORS = frozenset(
    {
        *(Event.JOB_PARKED, Event.STUDY_FAILED, Event.STORAGE_TROUBLE, Event.CERTIFICATE_UNUSABLE),
        *(Event.AUDIT_FAILED, Event.SELF_TEST_FAILED, Event.ROLE_FAULT),
    }
)


def emit(event: Event, level: int | None = None, *, exc_info: bool = False, **fields: Any) -> None:
    """Log one event; ``fields`` must be plain values without patient data. Its level follows from the event."""
    if level is None:
        level = logging.ERROR if event in _ERRORS else logging.WARNING if event in _WARNINGS else logging.INFO
    _LOGGER.log(level, event.value, extra={"event": event.value, "fields": fields}, exc_info=exc_info)
