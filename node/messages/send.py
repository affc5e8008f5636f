"""Sends results as messages, with the outcome of each: what C-STORE is for objects."""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from node.config import FhirReceiver, Hl7Receiver
from node.connections import connect
from node.errors import InputError, PeerError
from node.messages.content import ResultMessage, job_of, read_message
from node.messages.mllp import exchange
from node.model import StoreOutcome, StoreStatus

OnOutcome = Callable[[StoreOutcome], None]
LastReceived = Callable[[str], str | None]
"""The SOP Instance UID of the last report before that of a job that a receiver has."""


def send_messages(
    reports: Sequence[Path],
    receiver: Hl7Receiver | FhirReceiver,
    on_outcome: OnOutcome,
    last_received: LastReceived = lambda _job_id: None,
) -> list[StoreOutcome]:
    """Send the result of each report; stops at the first that the receiver does not answer.

    Raises:
        PeerError: the receiver cannot be reached, or stopped answering.
        StorageError: a result cannot be read.
    """
    outcomes = []
    for report in reports:
        try:
            outcome = _send(report, read_message(report, last_received(job_of(report))), receiver)
        except InputError as error:
            outcome = StoreOutcome(path=report, status=StoreStatus.FAILED, detail=str(error))
        outcomes.append(outcome)
        on_outcome(outcome)
    return outcomes


def try_receiver(receiver: Hl7Receiver | FhirReceiver) -> str:
    """What can be told of a receiver without sending it anything of a patient.

    Raises:
        PeerError: it cannot be reached.
    """
    if isinstance(receiver, Hl7Receiver):
        _connected(receiver).close()
        return "takes connections"
    from node.messages.rest import read_capabilities

    return f"speaks FHIR {read_capabilities(receiver)}"


def _send(report: Path, result: ResultMessage, receiver: Hl7Receiver | FhirReceiver) -> StoreOutcome:
    if isinstance(receiver, Hl7Receiver):
        return _send_hl7(report, result, receiver)
    return _send_fhir(report, result, receiver)


def _connected(receiver: Hl7Receiver) -> socket.socket:
    return connect(
        receiver.host,
        receiver.port,
        timeout_s=receiver.timeout_s,
        tls=receiver.tls,
        tls_key=receiver.tls_key,
        peer=f"{receiver.name} ({receiver.host}:{receiver.port})",
    )


def _send_hl7(report: Path, result: ResultMessage, receiver: Hl7Receiver) -> StoreOutcome:
    from node.messages.oru import build_oru, control_id, read_answer

    message = build_oru(result, receiver)
    with _connected(receiver) as connection:
        answer = read_answer(exchange(connection, message, receiver.timeout_s))
    if answer.control_id != control_id(result):
        raise PeerError(f"{receiver.name}: acknowledged another message")
    if answer.accepted:
        return StoreOutcome(path=report, status=StoreStatus.SUCCESS)
    detail = f"answered {answer.code or 'without a code'}" + (f": {answer.text}" if answer.text else "")
    return StoreOutcome(path=report, status=StoreStatus.FAILED, detail=detail)


def _send_fhir(report: Path, result: ResultMessage, receiver: FhirReceiver) -> StoreOutcome:
    from node.messages.fhir import build_transaction
    from node.messages.rest import RefusedError, post_transaction

    try:
        post_transaction(receiver, build_transaction(result, receiver))
    except RefusedError as error:
        return StoreOutcome(path=report, status=StoreStatus.FAILED, detail=str(error))
    return StoreOutcome(path=report, status=StoreStatus.SUCCESS)
