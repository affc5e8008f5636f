"""Storage commitment, push model (PS3.4 annex J): requests as user, and the reports that answer them.

A report may come on the association of its request, or later on one that the provider opens to our listener; both end
in the same ``keep``.
"""

from collections.abc import Callable, Sequence
from functools import partial

from pydicom.dataset import Dataset
from pynetdicom import evt

from node.dimse.command import (
    COMMAND_FIELD,
    EVENT_TYPE_ID,
    N_EVENT_REPORT_RQ,
    ProtocolError,
    encode_action_request,
    encode_event_report_response,
)
from node.dimse.contexts import COMMITMENT_SOP_CLASS, COMMITMENT_SOP_INSTANCE
from node.dimse.data_sets import contexts_for, decode_from, encode_for, reference_item, reference_of, understood
from node.dimse.requestor import Peer, Requestor
from node.dimse.status import Status, describe, is_success
from node.errors import InputError, PeerError, StorageError
from node.model import CommitmentReport, SopReference
from node.ops.events import Event, emit

REPORT_WAIT_S = 10.0  # on the association of a request; some providers report there or never
_REQUEST_COMMITMENT = 1  # action type (PS3.4 J.3.2.1)
_EVENT_TYPES = frozenset({1, 2})  # all committed; failures exist (PS3.4 J.3.3.1)

KeepReport = Callable[[CommitmentReport], None]
"""Makes a report durable; raises ``InputError`` for one that answers no request, ``StorageError`` for disk trouble."""


def ask(
    peer: Peer,
    transaction_uid: str,
    references: Sequence[SopReference],
    keep: KeepReport,
    *,
    calling_ae_title: str,
    timeout_s: float,
    report_wait_s: float,
) -> None:
    """Ask a peer to commit to keeping instances (N-ACTION), and wait a moment for its report.

    ``keep`` gets a report that comes on the same association. That none comes there is the normal case.

    Raises:
        PeerError: the peer did not take the request.
    """
    contexts = contexts_for(COMMITMENT_SOP_CLASS)
    with Requestor(peer, contexts, calling_ae_title=calling_ae_title, timeout_s=timeout_s) as association:
        context = next((c for c in contexts if c in association.accepted), None)
        if context is None:
            raise PeerError(f"{peer}: does not accept storage commitment")
        command = encode_action_request(
            association.next_message_id(), COMMITMENT_SOP_CLASS, COMMITMENT_SOP_INSTANCE, _REQUEST_COMMITMENT
        )
        information = encode_for(context, _request(transaction_uid, references))
        response = association.request(association.accepted[context], command, information)
        if not is_success(response.status):
            raise PeerError(f"{peer}: answered the request with {describe(response.status)}")
        _wait_for_report(association, keep, report_wait_s)


def take_report(event: evt.Event, keep: KeepReport) -> tuple[Status, None]:
    """Serve an N-EVENT-REPORT on an association that a provider opened; the status to answer."""
    calling_ae_title = str(event.assoc.requestor.ae_title).strip()
    return _keep(int(event.event_type or 0), lambda: event.event_information, calling_ae_title, keep), None


def _wait_for_report(association: Requestor, keep: KeepReport, wait_s: float) -> None:
    try:
        request = association.next_request(wait_s)
        if request is None or request.command.number(COMMAND_FIELD) != N_EVENT_REPORT_RQ:
            return
        context = next((c for c, number in association.accepted.items() if number == request.context_id), None)
        if context is None:
            return
        read = partial(decode_from, context, request.data)
        status = _keep(request.command.number(EVENT_TYPE_ID), read, association.peer.ae_title.strip(), keep)
        association.answer(request, encode_event_report_response(request.command, status))
    except (PeerError, ProtocolError):
        association.abort()  # the request stands: the peer took it, and can report on an association of its own


def _keep(event_type: int, read: Callable[[], Dataset], ae_title: str, keep: KeepReport) -> Status:
    """Hand a report over; the status that tells the provider whether it is kept."""
    if event_type not in _EVENT_TYPES:
        return Status.NO_SUCH_EVENT_TYPE
    try:
        keep(_report(read, ae_title))
    except InputError as error:
        emit(Event.REPORT_NOT_TAKEN, calling_ae_title=ae_title, text=str(error))
        return Status.INVALID_ARGUMENT_VALUE
    except StorageError as error:
        emit(Event.STORAGE_TROUBLE, error=str(error))
        return Status.PROCESSING_FAILURE
    return Status.SUCCESS


def _request(transaction_uid: str, references: Sequence[SopReference]) -> Dataset:
    """The action information (PS3.4 table J.3-1)."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [reference_item(reference) for reference in references]
    return information


def _report(read: Callable[[], Dataset], ae_title: str) -> CommitmentReport:
    """The event information (PS3.4 table J.3-2)."""

    def understand() -> CommitmentReport:
        information = read()
        failed = {reference_of(item): int(item.FailureReason) for item in information.get("FailedSOPSequence") or ()}
        return CommitmentReport(
            transaction_uid=str(information.TransactionUID),
            ae_title=ae_title,
            committed=frozenset(reference_of(item) for item in information.get("ReferencedSOPSequence") or ()),
            failed=failed,
        )

    return understood(understand, "storage commitment report")
