"""pynetdicom's upper layer as acceptor, with what a hospital's listener needs and its public interface cannot give.

pynetdicom negotiates, serves C-ECHO and runs the state machine (PS3.8 9.2). These subclasses change four things:
P-DATA goes straight from one receive buffer to :class:`StoreProvider`; waiting is poll(2) instead of sleeping a
millisecond at a time; PDUs have a length limit and a deadline; callers are checked against the allow-list before
anything is negotiated (``acceptor``). They override private parts, so the version is pinned, and
``tests/node/dimse/test_pinned_library.py`` checks that every name they rest on still exists.
"""

import contextlib
import os
import select
import socket
import ssl
import time
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import InvalidEventError
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.timer import Timer
from pynetdicom.transport import AssociationSocket

from node.dimse.command import P_DATA_TF, CommandSet, ProtocolError
from node.dimse.store import StoreProvider
from node.dimse.transport import PDU_HEAD_BYTES, PduReader, close, wait_in_system
from node.tls import looks_like_tls

# PS3.8 9.3.2: 128 contexts of 11 transfer syntaxes each come to about 60 kB.
LONGEST_ASSOCIATE_BYTES = 1 << 18
# Some senders leave the head of the presentation data value out of the length they were told.
_PDU_SLACK_BYTES = 16
_LARGEST_OTHER_DATA_BYTES = 4 << 20  # of a data set that is not for storage; they are read into memory
_MOST_UNANSWERED = 16  # without an asynchronous operations window it is 1 (PS3.7 D.3.3.3)
_IDLE_POLL_MS = 500
_PDV_COMMAND, _PDV_LAST = 1, 2
_A_ASSOCIATE_RQ = b"\x01"
_A_ABORT = b"\x07"
_PROVIDER_ABORTS = frozenset((2, reason) for reason in (0, 1, 2, 4, 5, 6))  # source and reason, PS3.8 9.3.8
_BY_PROVIDER, _INVALID_PARAMETER = 2, 6  # source and reason of an A-ABORT (PS3.8 9.3.8)
_CONTEXT_IDS = frozenset(range(1, 256, 2))  # PS3.8 9.3.2.2
_ESTABLISHED, _AWAITING_CLOSE = "Sta6", "Sta13"
_EVT_CLOSED, _EVT_INVALID_PDU = "Evt17", "Evt19"


class MonotonicTimer(Timer):
    """A timer that a change of the wall clock does not touch."""

    @property
    def remaining(self) -> float:
        if self.timeout is None:
            return 1.0
        if self._start_time is None:
            return float(self.timeout)
        end = time.monotonic() if self._end_time is None else self._end_time
        return float(self.timeout - (end - self._start_time))

    def start(self) -> None:
        self._start_time, self._end_time = time.monotonic(), None

    def stop(self) -> None:
        self._end_time = time.monotonic()


class PromptSocket(AssociationSocket):
    """Waits with poll(2), reads through a :class:`PduReader`, and can be woken from another thread."""

    def __init__(
        self,
        association: Association,
        provider: "StreamingProvider",
        connection: socket.socket,
        pdu_timeout_s: float,
    ) -> None:
        super().__init__(association, client_socket=connection)
        self._provider = provider
        self._pdu_timeout_s = pdu_timeout_s
        self.securing = False
        self.spoke_tls = False  # the first bytes began a TLS record where none was expected
        self._wake_read, self._wake_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)
        self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        self.socket = connection
        self.reader = PduReader(connection, timeout_s=self._pdu_timeout_s)
        if not isinstance(connection, ssl.SSLSocket):
            wait_in_system(connection, self._pdu_timeout_s)
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)

    def secure(self, context: ssl.SSLContext) -> None:
        """Do the server's part of a TLS handshake, in the time that a PDU may take.

        Raises:
            OSError: it failed; the connection is closed.
        """
        assert self.socket is not None
        self.securing = True
        try:
            secured = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
            self._begin(secured)
            secured.do_handshake()
        except OSError:
            self.close()
            raise
        finally:
            self.securing = False

    @property
    def ready(self) -> bool:
        """Whether there is something to read; waits for it unless the upper layer has something else to do."""
        over = self._provider.state_machine.current_state == _AWAITING_CLOSE
        if over or self.socket is None or not self._is_connected:
            return False
        if self.reader.buffered:
            return True
        wait_ms = 0 if self._provider.has_work else _IDLE_POLL_MS
        try:
            found = dict(self._poll.poll(wait_ms))
        except (OSError, ValueError):
            self.event_queue.put(_EVT_CLOSED)
            return False
        if found.pop(self._wake_read, 0):
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        return bool(found)

    def recv(self, nr_bytes: int) -> bytearray:
        """Bytes of a PDU outside data transfer, where only short ones are expected."""
        if nr_bytes > LONGEST_ASSOCIATE_BYTES:
            raise OSError(f"a PDU of {nr_bytes} bytes before data transfer")
        read = self.reader.read_bytes(nr_bytes)
        if nr_bytes == PDU_HEAD_BYTES and looks_like_tls(read):
            self.spoke_tls = True
        return read

    def send_all(self, data: bytes) -> None:
        """Send bytes now, past the state machine."""
        if self.socket is None:
            raise ConnectionError("the connection is closed")
        self.socket.sendall(data)

    def _shutdown_socket(self) -> None:
        """Close in any case; pynetdicom leaves the descriptor open when the peer was first."""
        if self.socket is not None:
            close(self.socket)

    def cut(self) -> None:
        """Close the connection without a word, to free a thread that waits for the peer."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def wake(self) -> None:
        """End a wait in :attr:`ready`."""
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"\x00")

    def release(self) -> None:
        """Give the wake-up pipe and the buffer back; called when no thread uses the socket any more."""
        self.reader.release()
        descriptors, self._wake_read, self._wake_write = (self._wake_read, self._wake_write), -1, -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)


class StreamingProvider(DULServiceProvider):
    """The upper layer provider; while established it hands P-DATA to the store provider without detours."""

    def __init__(
        self, association: Association, store: StoreProvider, max_pdu_bytes: int, total_timeout_s: float
    ) -> None:
        super().__init__(association)
        self._ends_at = time.monotonic() + total_timeout_s
        self._run_loop_delay = 0
        self._idle_timer = MonotonicTimer(None)
        self.artim_timer = MonotonicTimer(None)
        self.connection: PromptSocket | None = None
        self._store = store
        self._longest_pdu_bytes = max_pdu_bytes + _PDU_SLACK_BYTES
        self._request_is_invalid = False
        self._other_data_left = 0  # bytes that may follow for a message other than C-STORE
        self.daemon = True

    @property
    def out_of_time(self) -> bool:
        """Whether the association has lasted as long as it may."""
        return time.monotonic() >= self._ends_at

    @property
    def has_work(self) -> bool:
        """Whether the reactor must not wait for the network."""
        return self._kill_thread or not self.event_queue.empty() or not self.to_provider_queue.empty()

    def run_reactor(self) -> None:
        """Run until the connection ends, then leave nothing half received and wake who waits for us."""
        try:
            super().run_reactor()
        except InvalidEventError:  # a PDU that its state does not know; PS3.8 has no action for it
            self._connected.close()
        finally:
            self._kill_thread = True
            self._store.drop()
            self.to_user_queue.put(None)

    def send_pdu(self, primitive: Any) -> None:
        """Queue a primitive and have it sent now."""
        super().send_pdu(primitive)
        self.wake()

    def kill_dul(self) -> None:
        """Stop the reactor now."""
        super().kill_dul()
        self.wake()

    def wake(self) -> None:
        """End a wait for the network."""
        if self.connection is not None:
            self.connection.wake()

    @property
    def _connected(self) -> PromptSocket:
        assert self.connection is not None, "the association was started without a connection"
        return self.connection

    def _read_pdu_data(self) -> None:
        if self.state_machine.current_state != _ESTABLISHED:
            super()._read_pdu_data()
            return
        while self._read_established():
            self._idle_timer.restart()
            if not self._store.busy and (self.has_work or not self._connected.ready):
                return

    def _decode_pdu(self, bytestream: bytearray) -> tuple[Any, str]:
        """A PDU and its event. A request that cannot be used is found here, where an exception means an invalid PDU;
        in the state machine it would end the thread. So would an abort whose source or reason pynetdicom has no name
        for: it is an abort all the same.

        Raises:
            Exception: the bytes are no valid PDU.
        """
        if bytestream[:1] == _A_ABORT and tuple(bytestream[8:10]) not in _PROVIDER_ABORTS:
            bytestream[8:10] = bytes(2)  # by the service user, whose reason means nothing
        self._request_is_invalid = bytestream[:1] == _A_ASSOCIATE_RQ
        pdu, event = super()._decode_pdu(bytestream)
        if isinstance(pdu, A_ASSOCIATE_RQ):
            _check_request(pdu)
        self._request_is_invalid = False
        return pdu, event

    def _send(self, pdu: Any) -> None:
        """Send a PDU; the abort that answers an invalid request says why."""
        if self._request_is_invalid and isinstance(pdu, A_ABORT_RQ):
            pdu.source, pdu.reason_diagnostic = _BY_PROVIDER, _INVALID_PARAMETER
        super()._send(pdu)

    def _read_established(self) -> bool:
        """Read one PDU; False when it was not P-DATA, or the association is at its end."""
        try:
            pdu = self._connected.reader.read_pdu(self._longest_pdu_bytes)
            if pdu is None:
                self.event_queue.put(_EVT_CLOSED)
            elif pdu.kind == P_DATA_TF:
                if self.out_of_time:
                    raise ProtocolError("the association lasts too long")
                self._take_data(pdu.body)
                return True
            else:
                self._store.drop()
                self._hand_over(pdu.kind, pdu.body)
        except ConnectionError:
            self.event_queue.put(_EVT_CLOSED)
        except (ProtocolError, OSError):  # too long, too late or against the rules: A-ABORT
            self._store.drop()
            self.event_queue.put(_EVT_INVALID_PDU)
        return False

    def _hand_over(self, kind: int, body: memoryview) -> None:
        """Let pynetdicom deal with a PDU that is not P-DATA."""
        head = bytes((kind, 0)) + len(body).to_bytes(4, "big")
        try:
            pdu, event = self._decode_pdu(bytearray(head + body))
        except Exception as error:  # a decoder of hostile bytes: every failure means an invalid PDU
            raise ProtocolError(f"a PDU of kind {kind} cannot be decoded") from error
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)

    def _take_data(self, body: memoryview) -> None:
        """Take the presentation data values of one P-DATA-TF PDU (PS3.8 9.3.5)."""
        position = 0
        while position < len(body):
            length = int.from_bytes(body[position : position + 4], "big")
            end = position + 4 + length
            if length < 2 or end > len(body):
                raise ProtocolError("the length of a presentation data value is wrong")
            self._take_value(body[position + 4], body[position + 5], body[position + 6 : end])
            position = end

    def _take_value(self, context_id: int, control: int, data: memoryview) -> None:
        last = bool(control & _PDV_LAST)
        if control & _PDV_COMMAND:
            command = self._store.command_fragment(context_id, data, last=last)
            if command is not None:
                follows = CommandSet.decode(command).has_data_set
                self._other_data_left = _LARGEST_OTHER_DATA_BYTES if follows else 0
                self._pass_on(context_id, _PDV_COMMAND | _PDV_LAST, command)
        elif self._store.busy:
            response = self._store.data_fragment(context_id, data, last=last)
            if response is not None:
                self._connected.send_all(response)
        else:
            if len(data) >= self._other_data_left:
                raise ProtocolError("a data set without its command, or a long one that is not for storage")
            self._other_data_left = 0 if last else self._other_data_left - len(data)
            self._pass_on(context_id, control, bytes(data))

    def _pass_on(self, context_id: int, control: int, data: bytes) -> None:
        """Give a message other than C-STORE to pynetdicom's DIMSE provider."""
        if self.assoc.dimse.msg_queue.qsize() >= _MOST_UNANSWERED:
            raise ProtocolError("many requests that did not wait for their answers")
        if context_id not in self.assoc._accepted_cx:
            raise ProtocolError(f"presentation context {context_id} was not accepted")
        primitive = P_DATA()
        value = [context_id, bytes((control,)) + data]  # a list: the setter refuses the tuple it is annotated with
        primitive.presentation_data_value_list = [value]  # type: ignore[list-item]
        try:
            self.assoc.dimse.receive_primitive(primitive)
        except Exception as error:  # likewise
            raise ProtocolError("a DIMSE message cannot be decoded") from error


def _check_request(request: A_ASSOCIATE_RQ) -> None:
    """Whether an A-ASSOCIATE-RQ can be turned into an indication, and its contexts are as in PS3.8 9.3.2.

    Raises:
        Exception: not so.
    """
    ids = [context.context_id for context in request.presentation_context]
    if not ids or len(set(ids)) < len(ids) or not _CONTEXT_IDS.issuperset(ids):
        raise ProtocolError("the presentation context IDs are not odd numbers, each used once")
    contexts = request.to_primitive().presentation_context_definition_list
    if not all(context.abstract_syntax and context.transfer_syntax for context in contexts):
        raise ProtocolError("a presentation context without an abstract or a transfer syntax")
