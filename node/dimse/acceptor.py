"""Associations as acceptor: admitted before they are negotiated, served without waiting in small steps."""

import queue
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

from pynetdicom import evt
from pynetdicom.acse import ACSE
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation

from node.config import ReceiveConfig
from node.dimse.contexts import COMMITMENT_SOP_CLASS, COMMITMENT_SOP_INSTANCE
from node.dimse.status import Status
from node.dimse.store import Caller, Negotiated, StoreProvider
from node.dimse.upper_layer import PromptSocket, StreamingProvider
from node.tls import tls_fault

_IDLE_WAIT_S = 0.5


@dataclass(kw_only=True)
class Report:
    """A storage commitment report to send to the caller, in the transfer syntax of its context; ``elsewhere`` is done
    when it was not taken here."""

    encoded: bytes
    event_type: int
    context_id: int
    elsewhere: Callable[[], None]
    message_id: int | None = None


Services = Mapping[Any, Callable[[evt.Event], Any]]
"""What answers requests beside C-ECHO and C-STORE, by pynetdicom's event."""


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """Result, source and diagnostic of an A-ASSOCIATE-RJ (PS3.8 table 9-21), and the reason in words."""

    result: int
    source: int
    diagnostic: int
    text: str


class Admission(Protocol):
    """Decides about associations and keeps count of them."""

    def enter(self, association: "StoringAssociation", caller: Caller) -> Rejection | None:
        """Why this association is rejected; None admits it."""

    def tls_failed(self, address: str, text: str) -> None:
        """A caller and this port did not come together over TLS."""

    def leave(self, association: "StoringAssociation", caller: Caller | None) -> None:
        """The connection is gone; ``caller`` is None when no association was ever requested on it."""


class _NotifyingQueue(queue.Queue[Any]):
    """A queue whose reader may wait for several of them at once."""

    def __init__(self, notice: threading.Event) -> None:
        super().__init__()
        self._notice = notice

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._notice.set()


class AdmittingAcse(ACSE):
    """Association control that asks for admission before it negotiates."""

    def __init__(self, association: "StoringAssociation") -> None:
        super().__init__(association)
        self._storing = association

    def _negotiate_as_acceptor(self) -> None:
        request = self.requestor.primitive
        assert request is not None
        self.requestor.ae_title = request.calling_ae_title
        rejection = self._storing.ask_admission(request.calling_ae_title, request.called_ae_title)
        if rejection is None:
            super()._negotiate_as_acceptor()
            return
        self.send_reject(rejection.result, rejection.source, rejection.diagnostic)
        self._storing.kill()

    def send_accept(self) -> None:
        """Accept, after the store provider knows what was accepted: data may follow at once."""
        self._storing.open_store()
        super().send_accept()


class StoringAssociation(Association):
    """An association as acceptor whose reactor waits for work instead of looking every millisecond."""

    def __init__(
        self,
        ae: ApplicationEntity,
        *,
        store: StoreProvider,
        connection: socket.socket,
        remote: AddressInformation,
        admission: Admission,
        limits: ReceiveConfig,
        tls: ssl.SSLContext | None,
        services: Services,
    ) -> None:
        super().__init__(ae, "acceptor")
        self._tls = tls
        self._notice = threading.Event()
        self._admission = admission
        self._caller: Caller | None = None
        self.store = store
        self.acse = AdmittingAcse(self)
        provider = StreamingProvider(self, store, ae.maximum_pdu_size, limits.association_timeout_s)
        self._provider = self.dul = provider
        self.dul.to_user_queue = _NotifyingQueue(self._notice)
        self.dimse.msg_queue = _NotifyingQueue(self._notice)
        self.acse_timeout = ae.acse_timeout
        self.network_timeout = ae.network_timeout
        self.connection = provider.connection = PromptSocket(self, provider, connection, limits.pdu_timeout_s)
        self.set_socket(self.connection)
        self.requestor.address_info = remote
        self.address = remote.address
        self.reports: list[Report] = []
        self._next_report_id = 0
        self._handlers.update({event: (serve, None) for event, serve in services.items()})

    def _bind_defaults(self) -> None:
        """Bind what answers requests; none of the handlers that format each PDU for a log."""
        for event in evt._INTERVENTION_EVENTS:
            self._handlers[event] = (evt.get_default_handler(event), None)

    def ask_admission(self, calling_ae_title: str, called_ae_title: str) -> Rejection | None:
        """Why this association is rejected, or None."""
        self._caller = Caller(
            calling_ae_title=calling_ae_title.strip(),
            called_ae_title=called_ae_title.strip(),
            address=self.address,
        )
        return self._admission.enter(self, self._caller)

    def open_store(self) -> None:
        """Tell the store provider who calls and which presentation contexts are accepted."""
        assert self._caller is not None
        accepted: dict[int, PresentationContext] = self._accepted_cx
        contexts = {
            number: Negotiated(
                sop_class_uid=str(context.abstract_syntax), transfer_syntax_uid=str(context.transfer_syntax[0])
            )
            for number, context in accepted.items()
        }
        self.store.open(self._caller, contexts)

    def run_reactor(self) -> None:
        """Serve the connection to its end."""
        try:
            if self._secure():
                self._serve_to_the_end()
        finally:
            self.connection.close()  # an error on the way leaves it open
            self.connection.release()
            for report in self.reports:
                report.elsewhere()
            self._admission.leave(self, self._caller)

    def _secure(self) -> bool:
        """The TLS handshake, here rather than in the accepting thread: a silent caller must hold up nobody."""
        if self._tls is None:
            return True
        try:
            self.connection.secure(self._tls)
        except OSError as error:
            self._tell_tls(tls_fault(error))
            return False
        return True

    def _serve_to_the_end(self) -> None:
        try:
            super().run_reactor()
        finally:
            self.dul.kill_dul()
            self.dul.join()
        if self.connection.spoke_tls and self._tls is None:
            self._tell_tls("it speaks TLS, and this port does not (receive.tls)")

    def _tell_tls(self, text: str) -> None:
        self._admission.tls_failed(self.address, text)

    def end(self) -> None:
        """Abort, once the TLS handshake is over or cut off."""
        self.abort(block=False)

    def cut_handshake(self) -> None:
        """End a handshake that is under way. One that is just beginning may not notice: repeat it."""
        if self.connection.securing:
            self.connection.cut()

    def _run_reactor(self) -> None:
        while not self._kill:
            self._notice.wait(_IDLE_WAIT_S)
            self._notice.clear()
            self._serve_waiting()
            if self._is_over():
                self.kill()

    def _serve_waiting(self) -> None:
        while True:
            context_id, message = self.dimse.get_msg(block=False)
            if message is None or context_id is None:
                return
            if isinstance(message, N_EVENT_REPORT) and not message.is_valid_request:
                self._note_answer(message)
                continue
            self._serve_request(message, context_id)
            self._send_reports()

    def _send_reports(self) -> None:
        """Send the reports of requests that were just answered."""
        for report in [r for r in self.reports if r.message_id is None and self.is_established]:
            report.message_id = self._next_report_id = self._next_report_id % 0xFFFF + 1
            message = N_EVENT_REPORT()
            message.MessageID, message.EventTypeID = report.message_id, report.event_type
            message.AffectedSOPClassUID = COMMITMENT_SOP_CLASS
            message.AffectedSOPInstanceUID = COMMITMENT_SOP_INSTANCE
            message.EventInformation = BytesIO(report.encoded)
            self.dimse.send_msg(message, report.context_id)

    def _note_answer(self, answer: N_EVENT_REPORT) -> None:
        """The caller has a report when it answers it with success."""
        if answer.Status == Status.SUCCESS:
            self.reports = [r for r in self.reports if r.message_id != answer.MessageIDBeingRespondedTo]

    def _is_over(self) -> bool:
        """React to the end of the association, by whomever."""
        if self.is_established and self.acse.is_release_requested():
            self.acse.send_release(is_response=True)
            self.is_released, self.is_established = True, False
            return True
        if self.acse.is_aborted():
            self.is_aborted, self.is_established = True, False
            return True
        if not self.dul.is_alive():
            return True
        if self.dul.idle_timer_expired() or self._provider.out_of_time:
            self.abort()
            return True
        return False
