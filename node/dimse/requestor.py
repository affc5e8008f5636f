"""One association as requestor: synchronous, on one socket, in the caller's thread.

pynetdicom encodes and decodes the association PDUs; data transfer is written here, because its requestor hands every
PDU through two threads and a millisecond's sleep. TCP_NODELAY and TCP_QUICKACK make the difference of a factor 6 to
16 against untouched DCMTK and Orthanc peers (``transport``).
"""

import contextlib
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

from pydicom.uid import UID
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, A_RELEASE_RQ
from pynetdicom.pdu_primitives import (
    A_ABORT,
    A_ASSOCIATE,
    A_RELEASE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from node.config import ArchiveConfig, CallerTls, DestinationConfig
from node.connections import connect
from node.dimse.command import (
    COMMAND_FIELD,
    ERROR_COMMENT,
    LARGEST_COMMAND_BYTES,
    MESSAGE_ID_RESPONDED_TO,
    RESPONSE_BIT,
    STATUS,
    CommandSet,
    ProtocolError,
    command_pdu,
    data_pdu_head,
)
from node.dimse.transport import Pdu, PduReader, TlsSpokenError, close
from node.errors import PeerError
from node.intake.dataset_walk import EncodedDataSet
from node.intake.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.tls import tls_fault

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
MOST_CONTEXTS = 128  # PS3.8 9.3.2.2: odd identifiers from 1 to 255
_OFFERED_PDU_BYTES = 65536  # answers are short
_LARGEST_SENT_PDU_BYTES = 131072  # larger ones gain nothing
_PDV_HEAD_BYTES = 6
_ASSOCIATE_AC, _ASSOCIATE_RJ, _P_DATA, _RELEASE_RQ, _ABORT = 0x02, 0x03, 0x04, 0x05, 0x07
_PDV_COMMAND, _PDV_LAST = 1, 2
_PENDING = frozenset({0xFF00, 0xFF01})  # of C-FIND (PS3.4 table C.4-1)
_MOST_REQUESTS = 16  # of the peer, before it answers ours
_LARGEST_RECEIVED_DATA_BYTES = 4 << 20  # of a data set that a peer sends us; it is read into memory


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another DICOM system."""

    ae_title: str
    host: str
    port: int
    tls: CallerTls | None = None
    tls_key: str = "--tls-"  # what stands before the names of the keys of ``tls``, for errors

    @classmethod
    def of(cls, settings: DestinationConfig | ArchiveConfig) -> "Peer":
        """The peer that a section of the configuration names."""
        return cls(
            ae_title=settings.ae_title,
            host=settings.host,
            port=settings.port,
            tls=settings.tls,
            tls_key=settings.tls_key,
        )

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Context:
    """A presentation context to propose: one SOP class in one transfer syntax, so that the choice stays ours."""

    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, kw_only=True)
class Response:
    """A peer's answer to one request; its comment may quote the patient, so nothing that is kept or shown holds it."""

    status: int
    comment: str


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message of the peer: command and, where one follows, its encoded data set."""

    context_id: int
    command: CommandSet
    data: bytes

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return bool(self.command.number(COMMAND_FIELD) & RESPONSE_BIT)


class Requestor:
    """An established association; a context manager that releases it, or aborts it after an error."""

    def __init__(
        self,
        peer: Peer,
        contexts: Sequence[Context],
        *,
        calling_ae_title: str,
        timeout_s: float,
        provider_of: str | None = None,
    ) -> None:
        """Connect and negotiate; ``provider_of`` names a SOP class of which we are to be the provider.

        Raises:
            PeerError: no connection, no answer, or a rejection; the text says which and what to look at.
        """
        self.peer = peer
        self.accepted: dict[Context, int] = {}
        self._message_id = 0
        self._timeout_s = timeout_s
        self._requests: list[Message] = []  # of the peer, that came while an answer was awaited
        self._pdu_bytes = _LARGEST_SENT_PDU_BYTES
        self._socket = connect(
            peer.host, peer.port, timeout_s=timeout_s, tls=peer.tls, tls_key=peer.tls_key, peer=str(peer)
        )
        self._reader = PduReader(self._socket, timeout_s=timeout_s)
        try:
            with self._errors_named("while negotiating"):
                self._negotiate(contexts, calling_ae_title, provider_of)
        except PeerError:
            self._socket.close()
            raise

    def __enter__(self) -> "Requestor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()

    def request(self, context_id: int, command: bytes, data: EncodedDataSet | None, *, start: int = 0) -> Response:
        """Send one request (its data set from ``start`` on) and wait for the answer.

        Raises:
            PeerError: the association is over.
        """
        self._send(context_id, command, data, start)
        return self._next_response()[0]

    def query(self, context_id: int, command: bytes, identifier: bytes) -> Iterator[tuple[Response, bytes]]:
        """Send a C-FIND request and give its answers with their identifiers, the final one last.

        Raises:
            PeerError: the association is over.
        """
        self._send(context_id, command, identifier, 0)
        pending = True
        while pending:
            response, found = self._next_response()
            pending = response.status in _PENDING
            yield response, found

    def _send(self, context_id: int, command: bytes, data: EncodedDataSet | None, start: int) -> None:
        with self._errors_named("while sending"):
            head = command_pdu(context_id, command)
            if data is None:
                self._socket.sendall(head)
            else:
                self._send_data(context_id, head, data, start)

    def next_request(self, wait_s: float) -> Message | None:
        """A request that the peer makes on this association; ``None`` when it makes none in time, or ended it.

        Raises:
            PeerError: the association broke.
        """
        if self._requests:
            return self._requests.pop(0)
        with self._errors_named("while waiting for a request"):
            if not self._reader.wait(wait_s):
                return None
            message = self._read_message()
            if message.is_response:
                raise ProtocolError("it answered twice")
            return message

    def answer(self, request: Message, command: bytes) -> None:
        """Answer a request of the peer.

        Raises:
            PeerError: the association is over.
        """
        with self._errors_named("while answering"):
            self._socket.sendall(command_pdu(request.context_id, command))

    def next_message_id(self) -> int:
        """A number for the next request (PS3.7 9.3: US)."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def release(self) -> None:
        """End in order (PS3.8 7.2); a peer that does not answer is left."""
        deadline = time.monotonic() + self._timeout_s
        with contextlib.suppress(OSError, ProtocolError):
            self._socket.sendall(A_RELEASE_RQ(A_RELEASE()).encode())
            while (pdu := self._reader.read_pdu(_OFFERED_PDU_BYTES)) is not None and pdu.kind == _P_DATA:
                if time.monotonic() > deadline:
                    break  # answers without end
        close(self._socket)

    def abort(self) -> None:
        """End at once (PS3.8 7.3)."""
        primitive = A_ABORT()
        primitive.abort_source = 0
        with contextlib.suppress(OSError):
            self._socket.sendall(A_ABORT_RQ(primitive).encode())
        close(self._socket)

    def _negotiate(self, contexts: Sequence[Context], calling_ae_title: str, provider_of: str | None) -> None:
        numbered = {2 * index + 1: context for index, context in enumerate(contexts)}
        self._socket.sendall(_encode_request(self.peer, numbered, calling_ae_title, provider_of))
        pdu = self._reader.read_pdu(_OFFERED_PDU_BYTES)
        if pdu is None:
            hint = "; a port for TLS does that to callers without" if self.peer.tls is None else ""
            raise PeerError(f"{self.peer}: closed the connection instead of answering the association request{hint}")
        encoded = bytes((pdu.kind, 0)) + len(pdu.body).to_bytes(4, "big") + bytes(pdu.body)
        if pdu.kind == _ASSOCIATE_RJ:
            raise PeerError(f"{self.peer}: association rejected: {_rejection(encoded, self.peer, calling_ae_title)}")
        if pdu.kind != _ASSOCIATE_AC:
            raise PeerError(f"{self.peer}: aborted the association instead of answering the request")
        answer = A_ASSOCIATE_AC()
        try:
            answer.decode(encoded)
            primitive = answer.to_primitive()
        except Exception as error:  # the library's decoder of a foreign system's bytes
            raise PeerError(f"{self.peer}: its answer to the association request cannot be decoded") from error
        for result in primitive.presentation_context_definition_results_list:
            if result.result == 0 and result.context_id in numbered:
                self.accepted[numbered[result.context_id]] = result.context_id
        if primitive.maximum_length_received:
            self._pdu_bytes = min(_LARGEST_SENT_PDU_BYTES, primitive.maximum_length_received)

    def _send_data(self, context_id: int, head: bytes, data: EncodedDataSet, start: int) -> None:
        """Send a command and its data set; the command goes out with the first piece."""
        piece_bytes = max(_PDV_HEAD_BYTES, self._pdu_bytes - _PDV_HEAD_BYTES)
        position = start
        while True:
            piece = bytes(data[position : position + piece_bytes])
            position += len(piece)
            last = position >= len(data)
            self._socket.sendall(head + data_pdu_head(context_id, len(piece), command=False, last=last) + piece)
            if last:
                return
            head = b""

    def _next_response(self) -> tuple[Response, bytes]:
        with self._errors_named("while waiting for an answer"):
            while not (message := self._read_message()).is_response:
                if len(self._requests) >= _MOST_REQUESTS:
                    raise ProtocolError("it makes requests instead of answering")
                self._requests.append(message)
            command = message.command
            if command.number(MESSAGE_ID_RESPONDED_TO) != self._message_id:
                raise ProtocolError("it answered another request")
            response = Response(status=command.number(STATUS), comment=command.text(ERROR_COMMENT))
            return response, message.data

    def _read_message(self) -> Message:
        """The next message, whole: its command, and its data set where one follows."""
        command: CommandSet | None = None
        encoded, data = bytearray(), bytearray()
        deadline: float | None = None
        while True:
            pdu = self._read_data_pdu()
            now = time.monotonic()
            deadline = deadline or now + self._timeout_s  # from its first piece on
            if now > deadline:
                raise TimeoutError
            for context_id, control, piece in _values(pdu):
                is_command = bool(control & _PDV_COMMAND)
                if is_command != (command is None):
                    raise ProtocolError("command and data set come in the wrong order")
                (encoded if is_command else data).extend(piece)
                if len(encoded) > LARGEST_COMMAND_BYTES or len(data) > _LARGEST_RECEIVED_DATA_BYTES:
                    raise ProtocolError("a message is too long")
                if not control & _PDV_LAST:
                    continue
                if command is None:
                    command = CommandSet.decode(bytes(encoded))
                if not (is_command and command.has_data_set):
                    return Message(context_id=context_id, command=command, data=bytes(data))

    def _read_data_pdu(self) -> Pdu:
        pdu = self._reader.read_pdu(_OFFERED_PDU_BYTES)
        if pdu is None:
            raise ConnectionError("it closed the connection")
        if pdu.kind == _ABORT:
            raise ProtocolError("it aborted the association")
        if pdu.kind != _P_DATA:
            raise ProtocolError("it ended the association" if pdu.kind == _RELEASE_RQ else "unexpected PDU")
        return pdu

    def _lost(self, error: OSError) -> str:
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return f"TLS: {tls_fault(error)},"
        eof = isinstance(error, ssl.SSLEOFError)
        words = "it closed the connection" if eof else f"connection lost ({error.strerror or error})"
        if self.peer.tls is None or self.accepted:
            return words
        asked = self.peer.tls.certificate is None  # TLS 1.3 refuses a certificate after the handshake
        return f"{words} (it may {'ask for a certificate of ours' if asked else 'not accept our certificate'})"

    @contextlib.contextmanager
    def _errors_named(self, when: str) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise PeerError(f"{self.peer}: no answer in time {when}") from error
        except TlsSpokenError as error:
            raise PeerError(f"{self.peer}: {error}: give {self.peer.tls_key.rstrip('.')}") from error
        except OSError as error:
            raise PeerError(f"{self.peer}: {self._lost(error)} {when}") from error
        except ProtocolError as error:
            raise PeerError(f"{self.peer}: {error} {when}") from error


def _encode_request(peer: Peer, contexts: dict[int, Context], calling_ae_title: str, provider_of: str | None) -> bytes:
    request = A_ASSOCIATE()
    request.application_context_name = UID(APPLICATION_CONTEXT)
    request.calling_ae_title = calling_ae_title
    request.called_ae_title = peer.ae_title
    request.presentation_context_definition_list = [_proposal(*item) for item in contexts.items()]
    length = MaximumLengthNotification()
    length.maximum_length_received = _OFFERED_PDU_BYTES
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    request.user_information = [length, implementation, version]
    if provider_of is not None:
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = UID(provider_of), False, True
        request.user_information.append(role)
    return A_ASSOCIATE_RQ(request).encode()


def _proposal(number: int, context: Context) -> PresentationContext:
    proposal = PresentationContext()
    proposal.context_id = number
    proposal.abstract_syntax = UID(context.sop_class_uid)
    proposal.transfer_syntax = [UID(context.transfer_syntax_uid)]
    return proposal


def _rejection(encoded: bytes, peer: Peer, calling_ae_title: str) -> str:
    """The reason of an A-ASSOCIATE-RJ in words (PS3.8 table 9-21), with what to look at."""
    answer = A_ASSOCIATE_RJ()
    try:
        answer.decode(encoded)
        reason = str(answer.reason_str).lower()
    except (ValueError, KeyError, IndexError, AttributeError):
        return "no reason that can be decoded"
    if "called" in reason:
        return f"{reason}: it does not call itself {peer.ae_title}"
    if "calling" in reason:
        return f"{reason}: it does not know {calling_ae_title}, or not from this host"
    return reason


def _values(pdu: Pdu) -> Iterator[tuple[int, int, bytes]]:
    """Context, control byte and content of each presentation data value of a P-DATA-TF PDU."""
    position = 0
    while position < len(pdu.body):
        length = int.from_bytes(pdu.body[position : position + 4], "big")
        end = position + 4 + length
        if length < 2 or end > len(pdu.body):
            raise ProtocolError("the length of a presentation data value is wrong")
        yield pdu.body[position + 4], pdu.body[position + 5], bytes(pdu.body[position + 6 : end])
        position = end
