"""The listener: who may associate, how many at a time, from start to an orderly stop."""

import logging
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.transport import AddressInformation, RequestHandler, ThreadedAssociationServer

from node.config import ReceiveConfig
from node.dimse.acceptor import Rejection, Services, StoringAssociation
from node.dimse.access import AllowList
from node.dimse.commitment import KeepReport, take_report
from node.dimse.commitment_provider import CommitmentProvider
from node.dimse.contexts import supported_contexts
from node.dimse.repeats import Repeats
from node.dimse.store import Caller, Received, ReceivedCounter, StoreProvider
from node.errors import DiskFullError, PeerError
from node.intake.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.intake.spool import Spool
from node.ops.events import Event, emit
from node.tls import RECEIVE_KEY, FollowedContext

# PS3.8 table 9-21: result, source, diagnostic.
_UNKNOWN_CALLER = Rejection(result=1, source=1, diagnostic=3, text="calling AE title not recognised")
_UNKNOWN_HOST = Rejection(result=1, source=1, diagnostic=3, text="this calling AE title is not allowed from this host")
_UNKNOWN_CALLED = Rejection(result=1, source=1, diagnostic=7, text="called AE title not recognised")
_NO_SPACE = Rejection(result=2, source=3, diagnostic=2, text="the disk has less free space than storage.min_free_mib")
_TOO_MANY = Rejection(result=2, source=3, diagnostic=2, text="the limit of associations is reached")
_TOO_MANY_OF_HOST = Rejection(
    result=2, source=3, diagnostic=2, text="this host has as many associations as receive.max_associations_per_host"
)

_WAITING_CONNECTIONS = 128  # in the system's queue, and beyond the association limit before they have said anything
_WAITING_PER_HOST = 32  # of these
_SILENT_S = 1.0  # one that has said nothing for so long makes room for another
_ENDED = "it said nothing, and was ended to make room for another connection"
_NO_ROOM = "too many connections at once that have said nothing"
_ACCEPT_POLL_S = 0.1


@dataclass(frozen=True, kw_only=True)
class ListenerCounts:
    """What a listener has done since its start; ``open`` is now."""

    open: int
    accepted: int
    rejected: int
    received: Received


class Listener:
    """C-ECHO and C-STORE provider that writes to a spool (which may be ``shared`` with listeners of other machines);
    with ``keep_report`` storage commitment too."""

    def __init__(
        self, config: ReceiveConfig, spool: Spool, keep_report: KeepReport | None = None, *, shared: bool = False
    ) -> None:
        self._shared = shared
        self._config = config
        self._keep_report = keep_report
        self._spool = spool
        self._received = ReceivedCounter()
        self._desk = _AdmissionDesk(config, spool)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Sweep the spool, then listen.

        Raises:
            PeerError: the address cannot be listened on.
            ConfigError: a file of ``receive.tls`` cannot be used.
            StorageError: the spool cannot be used.
        """
        tls = None if self._config.tls is None else FollowedContext(self._config.tls, RECEIVE_KEY)
        self._spool.sweep(shared=self._shared)
        # The node logs events of its own; the library's lines would repeat every PDU and every scanned port.
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
        if self._desk.allow.open_to_all:
            emit(Event.LISTENER_OPEN, logging.WARNING, text='receive.allow holds "*" at "*": anybody may store')
        try:
            self._server = _Server(
                self._application_entity(), self._config, self._new_store, self._desk, tls, self._services()
            )
        except OSError as error:
            text = f"cannot listen on {self._config.host} port {self._config.port}: {error.strerror or error}"
            raise PeerError(text) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_ACCEPT_POLL_S,), name="listener", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port listened on; tells which one was free when 0 was configured."""
        if self._server is None:
            raise PeerError("the listener has not been started")
        return int(self._server.server_address[1])

    @property
    def counts(self) -> ListenerCounts:
        """What the listener has done."""
        return self._desk.counts(self._received.counts)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop accepting, let instances that are arriving finish until the timeout, then end every association."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server = None
        self._desk.close(timeout_s)

    def _application_entity(self) -> ApplicationEntity:
        entity = ApplicationEntity(ae_title=self._config.ae_title)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        # The library's own limit counts connections that have not said anything yet; the admission desk does not.
        entity.maximum_associations = self._config.max_associations + _WAITING_CONNECTIONS + 1
        entity.maximum_pdu_size = self._config.max_pdu_bytes
        entity.acse_timeout = self._config.pdu_timeout_s
        entity.network_timeout = self._config.idle_timeout_s
        return entity

    def _services(self) -> Services:
        keep = self._keep_report
        if keep is None:
            return {}
        provider = CommitmentProvider(self._config, self._spool)
        return {evt.EVT_N_EVENT_REPORT: lambda event: take_report(event, keep), evt.EVT_N_ACTION: provider.serve}

    def _new_store(self) -> StoreProvider:
        limit = self._config.max_instance_mib << 20
        return StoreProvider(self._spool, max_instance_bytes=limit, counter=self._received)


class _AdmissionDesk:
    """Who is connected, who is associated, and who may be."""

    def __init__(self, config: ReceiveConfig, spool: Spool) -> None:
        self._spool = spool
        self.allow = AllowList(config.allow)
        self.repeats = Repeats()
        self._config = config
        self._change = threading.Condition()
        self._coming: Counter[str] = Counter()  # admitted by address, their threads not yet there
        self._connected: dict[StoringAssociation, float] = {}  # since when, monotonic seconds
        self._open: set[StoringAssociation] = set()
        self._accepted = 0
        self._rejected = 0
        self._closing = False

    def counts(self, received: Received) -> ListenerCounts:
        with self._change:
            return ListenerCounts(
                open=len(self._open), accepted=self._accepted, rejected=self._rejected, received=received
            )

    def admit(self, address: str) -> bool:
        """Whether one more connection from this address may speak at all; ``connect`` or ``dismiss`` must follow.

        Where there are too many, it replaces one that has been silent for a while.
        """
        with self._change:
            silent = None if self._has_room(address) else self._longest_silent(address)
            if silent is not None:
                del self._connected[silent]
            admitted = self._has_room(address)
            self._coming[address] += admitted
        if silent is not None:
            silent.connection.cut()
            self._tell_silence(silent.address, _ENDED)
        if not admitted:
            self._tell_silence(address, _NO_ROOM)
        return admitted

    def _has_room(self, address: str) -> bool:
        everywhere = len(self._connected) + self._coming.total()
        return everywhere < self._config.max_associations + _WAITING_CONNECTIONS and not self._is_crowded(address)

    def _is_crowded(self, address: str) -> bool:
        of_host = sum(association.address == address for association in self._connected) + self._coming[address]
        return of_host >= self._config.max_associations_per_host + _WAITING_PER_HOST

    def _longest_silent(self, address: str) -> StoringAssociation | None:
        """Of this address, where it has too many, else of the one with most."""
        before_s = time.monotonic() - _SILENT_S
        own = self._is_crowded(address)
        silent = [
            association
            for association, since_s in self._connected.items()
            if association not in self._open and since_s <= before_s and (association.address == address or not own)
        ]
        number = Counter(association.address for association in silent)
        return max(silent, key=lambda each: (number[each.address], -self._connected[each]), default=None)

    def _tell_silence(self, address: str, text: str) -> None:
        self.repeats.tell(
            Event.ASSOCIATION_REJECTED, calling_ae_title="", called_ae_title="", address=address, text=text
        )

    def connect(self, association: StoringAssociation) -> None:
        with self._change:
            self._coming[association.address] -= 1
            self._connected[association] = time.monotonic()

    def dismiss(self, address: str) -> None:
        """An admitted connection that came to nothing."""
        with self._change:
            self._coming[address] -= 1

    def enter(self, association: StoringAssociation, caller: Caller) -> Rejection | None:
        rejection = self._judge(caller)
        with self._change:
            rejection = rejection or self._full_for(caller.address)
            if rejection is None:
                self._open.add(association)
                self._accepted += 1
                return None
            self._rejected += 1
        self.repeats.tell(
            Event.ASSOCIATION_REJECTED,
            calling_ae_title=caller.calling_ae_title,
            called_ae_title=caller.called_ae_title,
            address=caller.address,
            text=rejection.text,
            told_apart="" if rejection is _UNKNOWN_CALLER else caller.calling_ae_title,  # a stranger invents titles
        )
        return rejection

    def tls_failed(self, address: str, text: str) -> None:
        self.repeats.tell(Event.TLS_FAILED, address=address, text=text)

    def _full_for(self, address: str) -> Rejection | None:
        if len(self._open) >= self._config.max_associations:
            return _TOO_MANY
        of_host = sum(association.address == address for association in self._open)
        return _TOO_MANY_OF_HOST if of_host >= self._config.max_associations_per_host else None

    def _judge(self, caller: Caller) -> Rejection | None:
        """The caller first: who is not allowed learns nothing about our own title."""
        if not self.allow.knows_title(caller.calling_ae_title):
            return _UNKNOWN_CALLER
        if not self.allow.admits(caller.calling_ae_title, caller.address):
            return _UNKNOWN_HOST
        if caller.called_ae_title != self._config.ae_title.strip():
            return _UNKNOWN_CALLED
        try:
            self._spool.check_space()
        except DiskFullError:
            return _NO_SPACE
        except OSError:  # each instance is answered by what it meets
            return None
        return None

    def leave(self, association: StoringAssociation, caller: Caller | None) -> None:
        with self._change:
            self._connected.pop(association, None)
            was_open = association in self._open
            self._open.discard(association)
            self._change.notify_all()
        if was_open and caller is not None:
            counts = association.store.counts
            emit(
                Event.ASSOCIATION_ENDED,
                calling_ae_title=caller.calling_ae_title,
                address=caller.address,
                released=bool(association.is_released),
                **vars(counts),
            )

    def close(self, timeout_s: float) -> None:
        """End every association: idle ones at once, those in the middle of an instance at the timeout."""
        deadline = time.monotonic() + timeout_s
        aborted: set[StoringAssociation] = set()
        with self._change:
            while self._connected:
                late = time.monotonic() >= deadline
                for association in self._connected.keys() - aborted:
                    if late or not association.store.busy:
                        association.end()
                        aborted.add(association)
                for association in aborted:
                    association.cut_handshake()
                if late:
                    break
                self._change.wait(min(0.05, max(0.0, deadline - time.monotonic())))
            stuck = list(self._connected)
        for association in stuck:
            association.connection.cut()
            association.join(timeout_s)
        self.repeats.tell_due(all_of_them=True)


class _Server(ThreadedAssociationServer):
    """The accepting socket."""

    request_queue_size = _WAITING_CONNECTIONS
    daemon_threads = True

    def __init__(
        self,
        entity: ApplicationEntity,
        config: ReceiveConfig,
        new_store: Callable[[], StoreProvider],
        desk: _AdmissionDesk,
        tls: FollowedContext | None,
        services: Services,
    ) -> None:
        self.desk = desk
        self.services = services
        self.new_store = new_store
        self.tls = tls
        self.config = config
        address = (config.host, config.port)
        contexts = supported_contexts(commitment=bool(services))
        super().__init__(entity, address, config.ae_title, contexts, request_handler=_Handler)

    def verify_request(self, _request: Any, client_address: Any) -> bool:
        """Refuse a connection when far more than the allowed associations are waiting to speak."""
        return self.desk.admit(client_address[0])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start the connection's thread."""
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started: it would count as admitted for ever
            self.desk.dismiss(client_address[0])
            raise

    def service_actions(self) -> None:
        """What is due between two connections; pynetdicom would collect garbage here, at a fixed rate."""
        self.desk.repeats.tell_due()

    def shutdown(self) -> None:
        """Stop accepting."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()


class _Handler(RequestHandler):
    """Makes the association for an accepted connection."""

    server: _Server

    def _create_association(self) -> StoringAssociation:
        try:
            association = self._new_association()
        except BaseException:  # it would count as admitted for ever
            self.server.desk.dismiss(self.client_address[0])
            raise
        self.server.desk.connect(association)
        return association

    def _new_association(self) -> StoringAssociation:
        association = StoringAssociation(
            self.ae,
            store=self.server.new_store(),
            connection=self.request,
            remote=AddressInformation.from_tuple(self.client_address),
            admission=self.server.desk,
            limits=self.server.config,
            tls=None if self.server.tls is None else self.server.tls.current(),
            services=self.server.services,
        )
        association._server = self.server
        acceptor = association.acceptor
        acceptor.maximum_length = self.ae.maximum_pdu_size
        acceptor.ae_title = self.server.ae_title
        acceptor.address_info = self.local
        acceptor.implementation_class_uid = self.ae.implementation_class_uid
        acceptor.implementation_version_name = self.ae.implementation_version_name
        acceptor.supported_contexts = self.server.contexts
        return association
