"""Storage commitment as provider (PS3.4 J.3): senders ask whether what they sent is kept for good.

An instance is committed when it lies in the spool, durable, with the SOP class that was named; every other one has the
failure 0112. The report goes out on the association of the request; when that ends first, on a new one to the caller,
where ``receive.allow`` gives its port. What a caller leaves unanswered is limited: it lies in memory.
"""

import logging
import threading
import time
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pynetdicom import evt

from node.config import ReceiveConfig
from node.dimse.acceptor import Report, StoringAssociation
from node.dimse.command import encode_event_report_request
from node.dimse.contexts import COMMITMENT_SOP_CLASS, COMMITMENT_SOP_INSTANCE
from node.dimse.data_sets import contexts_for, decode_from, encode_for, reference_item, reference_of, understood
from node.dimse.requestor import Context, Peer, Requestor
from node.dimse.status import Status, describe, is_success
from node.errors import InputError, PeerError, StorageError
from node.intake.spool import Spool
from node.model import SopReference
from node.ops.events import Event, emit

_REQUEST_COMMITMENT = 1
_ALL_COMMITTED, _FAILURES_EXIST = 1, 2  # event types (PS3.4 J.3.3.1)
_NO_SUCH_OBJECT = 0x0112
_REPORT_TIMEOUT_S = 30.0
_AGAIN_AFTER_S = (5.0, 30.0)  # a caller that has just left may still be closing, or starting its listener
_MOST_OPEN = 4  # reports of an association that were not taken; each may be as long as a request, 4 MiB
_MOST_ON_THE_WAY = 32  # reports that go out on associations of their own at a time, of all callers


class CommitmentProvider:
    """Answers N-ACTION, and has the report sent."""

    def __init__(self, config: ReceiveConfig, spool: Spool) -> None:
        self._config = config
        self._spool = spool
        self._ways = threading.BoundedSemaphore(_MOST_ON_THE_WAY)

    def serve(self, event: evt.Event) -> tuple[Status, None]:
        """Serve a request; its report follows the answer."""
        if event.action_type != _REQUEST_COMMITMENT:
            return Status.NO_SUCH_ACTION, None
        association = event.assoc
        assert isinstance(association, StoringAssociation)
        if len(association.reports) >= _MOST_OPEN:
            return Status.RESOURCE_LIMITATION, None
        try:
            transaction_uid, wanted = understood(lambda: _request(event), "storage commitment request")
        except InputError:
            return Status.INVALID_ARGUMENT_VALUE, None
        try:
            durable = self._spool.vouch(reference.sop_instance_uid for reference in wanted)
        except StorageError as error:
            emit(Event.STORAGE_TROUBLE, error=str(error))
            return Status.PROCESSING_FAILURE, None
        caller = str(association.requestor.ae_title).strip()
        kept = [each for each in wanted if durable.get(each.sop_instance_uid) == each.sop_class_uid]
        lost = [each for each in wanted if durable.get(each.sop_instance_uid) != each.sop_class_uid]
        emit(Event.COMMITMENT_GIVEN, calling_ae_title=caller, committed=len(kept), refused=len(lost))
        context = Context(sop_class_uid=COMMITMENT_SOP_CLASS, transfer_syntax_uid=str(event.context.transfer_syntax))
        encoded = encode_for(context, _report(transaction_uid, kept, lost))
        event_type = _FAILURES_EXIST if lost else _ALL_COMMITTED
        association.reports.append(
            Report(
                encoded=encoded,
                event_type=event_type,
                context_id=event.context.context_id,
                elsewhere=lambda: self._start(caller, association.address, context, encoded, event_type),
            )
        )
        return Status.SUCCESS, None

    def _start(self, caller: str, address: str, context: Context, encoded: bytes, event_type: int) -> None:
        if not self._ways.acquire(blocking=False):
            detail = f"{_MOST_ON_THE_WAY} other reports are on the way"
            emit(Event.REPORT_FAILED, logging.WARNING, calling_ae_title=caller, detail=detail)
            return
        threading.Thread(
            target=self._report_anew, args=(caller, address, context, encoded, event_type), name=f"report-{caller}",
            daemon=True,
        ).start()  # fmt: skip

    def _report_anew(self, caller: str, address: str, context: Context, encoded: bytes, event_type: int) -> None:
        ports = [p.report_port for p in self._config.allow if p.ae_title.strip() == caller and p.report_port]
        try:
            if not ports:
                raise PeerError(f"{caller} ended the association, and receive.allow gives no report_port for it")
            peer = Peer(ae_title=caller, host=address, port=ports[0])
            _send_in_the_end(peer, decode_from(context, encoded), event_type, self._config.ae_title)
        except PeerError as error:
            emit(Event.REPORT_FAILED, logging.WARNING, calling_ae_title=caller, detail=str(error))
        finally:
            self._ways.release()


def _send_in_the_end(peer: Peer, data: Dataset, event_type: int, calling_ae_title: str) -> None:
    """Send a report; a caller that cannot be told is tried again, so often as ``_AGAIN_AFTER_S`` has waits."""
    for wait_s in _AGAIN_AFTER_S:
        try:
            _send(peer, data, event_type, calling_ae_title)
        except PeerError:
            time.sleep(wait_s)
        else:
            return
    _send(peer, data, event_type, calling_ae_title)


def _send(peer: Peer, data: Dataset, event_type: int, calling_ae_title: str) -> None:
    contexts = contexts_for(COMMITMENT_SOP_CLASS)
    with Requestor(
        peer,
        contexts,
        calling_ae_title=calling_ae_title,
        timeout_s=_REPORT_TIMEOUT_S,
        provider_of=COMMITMENT_SOP_CLASS,
    ) as association:
        context = next((c for c in contexts if c in association.accepted), None)
        if context is None:
            raise PeerError(f"{peer}: takes no storage commitment reports")
        command = encode_event_report_request(
            association.next_message_id(), COMMITMENT_SOP_CLASS, COMMITMENT_SOP_INSTANCE, event_type
        )
        response = association.request(association.accepted[context], command, encode_for(context, data))
        if not is_success(response.status):
            raise PeerError(f"{peer}: answered the report with {describe(response.status)}")


def _request(event: evt.Event) -> tuple[str, list[SopReference]]:
    """The action information (PS3.4 table J.3-1)."""
    information = event.action_information
    return str(information.TransactionUID), [reference_of(item) for item in information.ReferencedSOPSequence]


def _report(transaction_uid: str, kept: Sequence[SopReference], lost: Sequence[SopReference]) -> Dataset:
    """The event information (PS3.4 table J.3-2); a sequence without items is left out."""
    data = Dataset()
    data.TransactionUID = transaction_uid
    if kept:
        data.ReferencedSOPSequence = [reference_item(each) for each in kept]
    if lost:
        data.FailedSOPSequence = [reference_item(each, failure=_NO_SUCH_OBJECT) for each in lost]
    return data
