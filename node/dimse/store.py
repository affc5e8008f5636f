"""C-STORE as provider: from presentation data values to a durable instance and the bytes of the answer.

Knows messages, not sockets: it is fed presentation data values in order of arrival. A data set goes to its
temporary file piece by piece; memory does not grow with it. An instance that is refused is still received to its
end (the protocol has no other place for the answer), without being written.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from node.dimse.command import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    C_STORE_RQ,
    COMMAND_FIELD,
    LARGEST_COMMAND_BYTES,
    MESSAGE_ID,
    CommandSet,
    ProtocolError,
    command_pdu,
    encode_store_response,
)
from node.dimse.contexts import STORED_SOP_CLASSES
from node.dimse.status import Refusal, Status, refusal_for
from node.errors import IronnodeError
from node.intake.file_meta import FileMeta
from node.intake.incoming import IncomingInstance, Kept
from node.intake.spool import Spool
from node.intake.uids import is_legal_uid
from node.ops.events import Event, emit

_DRAINED_MULTIPLE = 2  # of the size limit: so much of a refused data set is received before the association is aborted


@dataclass(frozen=True, kw_only=True)
class Negotiated:
    """An accepted presentation context."""

    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The two ends of an association."""

    calling_ae_title: str
    called_ae_title: str
    address: str


@dataclass(frozen=True, kw_only=True)
class Received:
    """Counts of a listener or of one association."""

    stored: int = 0
    known: int = 0
    conflicts: int = 0
    refused: int = 0
    data_set_bytes: int = 0


class ReceivedCounter:
    """Counts that several associations add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(vars(Received()), 0)

    def add(self, more: Mapping[str, int]) -> None:
        """Add to counts, by their names in :class:`Received`."""
        with self._lock:
            for name, count in more.items():
                self._counts[name] += count

    @property
    def counts(self) -> Received:
        """The counts now."""
        with self._lock:
            return Received(**self._counts)


@dataclass(kw_only=True)
class _Arriving:
    """The C-STORE whose data set is arriving; ``refusal`` is set once its answer cannot be success any more."""

    context_id: int
    context: Negotiated
    command: CommandSet
    received_bytes: int = 0
    incoming: IncomingInstance | None = None
    refusal: Refusal | None = None

    def refuse(self, refusal: Refusal) -> None:
        self.refusal = refusal
        if self.incoming is not None:
            self.incoming.discard()
            self.incoming = None


class StoreProvider:
    """Serves the C-STORE requests of one association."""

    def __init__(self, spool: Spool, *, max_instance_bytes: int, counter: ReceivedCounter) -> None:
        self._spool = spool
        self._max_instance_bytes = max_instance_bytes
        self._counters = (counter, ReceivedCounter())
        self._contexts: Mapping[int, Negotiated] = {}
        self._caller = Caller(calling_ae_title="", called_ae_title="", address="")
        self._command = bytearray()
        self._arriving: _Arriving | None = None

    def open(self, caller: Caller, contexts: Mapping[int, Negotiated]) -> None:
        """The association is established."""
        self._caller = caller
        self._contexts = contexts

    @property
    def busy(self) -> bool:
        """Whether a data set is arriving."""
        return self._arriving is not None

    @property
    def counts(self) -> Received:
        """What this association has sent."""
        return self._counters[1].counts

    def command_fragment(self, context_id: int, data: memoryview, *, last: bool) -> bytes | None:
        """Take a piece of a command set; returns the whole command when it is not a C-STORE request.

        Raises:
            ProtocolError: the association must be aborted.
        """
        if self._arriving is not None:
            raise ProtocolError("a command inside a data set")
        if len(self._command) + len(data) > LARGEST_COMMAND_BYTES:
            raise ProtocolError(f"a command set of more than {LARGEST_COMMAND_BYTES} bytes")
        self._command += data
        if not last:
            return None
        encoded = bytes(self._command)
        self._command.clear()
        command = CommandSet.decode(encoded)
        if command.number(COMMAND_FIELD) != C_STORE_RQ:
            return encoded
        self._begin(context_id, command)
        return None

    def data_fragment(self, context_id: int, data: memoryview, *, last: bool) -> bytes | None:
        """Take a piece of a data set; returns the response to send (a PDU) when it was the last.

        Raises:
            ProtocolError: the association must be aborted.
        """
        arriving = self._arriving
        if arriving is None or context_id != arriving.context_id:
            raise ProtocolError("a data set without its command")
        arriving.received_bytes += len(data)
        if arriving.received_bytes > self._max_instance_bytes:
            self._too_large(arriving)
        if arriving.incoming is not None:
            try:
                arriving.incoming.write(data)
            except IronnodeError as error:
                arriving.refuse(refusal_for(error))
        if not last:
            return None
        self._arriving = None
        return self._answer(arriving)

    def drop(self) -> None:
        """The association ended; what was still arriving leaves nothing behind."""
        if self._arriving is not None and self._arriving.incoming is not None:
            self._arriving.incoming.discard()
        self._arriving = None
        self._command.clear()

    def _begin(self, context_id: int, command: CommandSet) -> None:
        context = self._contexts.get(context_id)
        if context is None:
            raise ProtocolError(f"presentation context {context_id} was not accepted")
        if not command.has_data_set:
            raise ProtocolError("a C-STORE request without a data set")
        command.number(MESSAGE_ID)
        arriving = _Arriving(context_id=context_id, context=context, command=command)
        self._arriving = arriving
        try:
            arriving.incoming = self._spool.begin(self._checked_meta(command, context))
        except Refusal as refusal:
            arriving.refuse(refusal)
        except IronnodeError as error:
            arriving.refuse(refusal_for(error))

    def _checked_meta(self, command: CommandSet, context: Negotiated) -> FileMeta:
        sop_class_uid = command.text(AFFECTED_SOP_CLASS_UID)
        sop_instance_uid = command.text(AFFECTED_SOP_INSTANCE_UID)
        if sop_class_uid != context.sop_class_uid:
            if sop_class_uid not in STORED_SOP_CLASSES:
                raise Refusal(Status.SOP_CLASS_NOT_SUPPORTED, "the command's SOP class is not supported")
            raise Refusal(Status.DATA_SET_DOES_NOT_MATCH, "the command's SOP class is not that of its context")
        if not is_legal_uid(sop_instance_uid):
            raise Refusal(Status.INVALID_SOP_INSTANCE, "the SOP Instance UID is not a legal UID")
        return FileMeta(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=context.transfer_syntax_uid,
            calling_ae_title=self._caller.calling_ae_title,
            called_ae_title=self._caller.called_ae_title,
        )

    def _too_large(self, arriving: _Arriving) -> None:
        limit = self._max_instance_bytes
        if arriving.received_bytes > _DRAINED_MULTIPLE * limit:
            raise ProtocolError(f"a data set of more than {_DRAINED_MULTIPLE * limit} bytes")
        if arriving.refusal is None:
            arriving.refuse(Refusal(Status.RESOURCE_LIMITATION, f"larger than {limit >> 20} MiB"))

    def _answer(self, arriving: _Arriving) -> bytes:
        try:
            if arriving.refusal is not None:
                raise arriving.refusal
            assert arriving.incoming is not None
            self._check_and_keep(arriving.incoming)
        except Refusal as refusal:
            self._report_refusal(arriving, refusal)
            response = encode_store_response(arriving.command, refusal.status, refusal.comment)
        else:
            response = encode_store_response(arriving.command, Status.SUCCESS)
        return command_pdu(arriving.context_id, response)

    def _check_and_keep(self, incoming: IncomingInstance) -> None:
        meta = incoming.meta
        with incoming:
            try:
                incoming.check()
                kept = incoming.keep()
            except IronnodeError as error:
                raise refusal_for(error) from error
        self._report_kept(meta, kept, incoming.data_set_bytes)
        if kept is Kept.CONFLICT:
            raise Refusal(Status.DUPLICATE_SOP_INSTANCE, "another data set has this SOP Instance UID; kept apart")

    def _report_kept(self, meta: FileMeta, kept: Kept, size_bytes: int) -> None:
        if kept is Kept.STORED:
            self._count(stored=1, data_set_bytes=size_bytes)
        elif kept is Kept.KNOWN:
            self._count(known=1)
        else:
            self._count(conflicts=1)
        level = logging.WARNING if kept is Kept.CONFLICT else logging.DEBUG
        emit(
            Event.INSTANCE_CONFLICT if kept is Kept.CONFLICT else Event.INSTANCE_STORED,
            level,
            sop_instance_uid=meta.sop_instance_uid,
            calling_ae_title=meta.calling_ae_title,
            known=kept is Kept.KNOWN,
        )

    def _report_refusal(self, arriving: _Arriving, refusal: Refusal) -> None:
        if refusal.status is Status.DUPLICATE_SOP_INSTANCE:
            return  # reported as a conflict
        self._count(refused=1)
        sop_instance_uid = arriving.command.text(AFFECTED_SOP_INSTANCE_UID)
        emit(
            Event.INSTANCE_REFUSED,
            logging.WARNING,
            sop_instance_uid=sop_instance_uid if is_legal_uid(sop_instance_uid) else None,
            calling_ae_title=self._caller.calling_ae_title,
            address=self._caller.address,
            status=f"{refusal.status:04X}",
            text=refusal.comment,
        )

    def _count(self, **more: int) -> None:
        for counter in self._counters:
            counter.add(more)
