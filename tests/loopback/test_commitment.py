"""Storage commitment as SCU, with pynetdicom's provider and a listener of ours: where the report may come."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode

from node.config import AllowedPeer, ReceiveConfig
from node.dimse.command import encode_action_request
from node.dimse.commitment import ask
from node.dimse.contexts import COMMITMENT_SOP_CLASS as PUSH_MODEL
from node.dimse.contexts import COMMITMENT_SOP_INSTANCE as PUSH_MODEL_INSTANCE
from node.dimse.data_sets import contexts_for, encode_for
from node.dimse.requestor import Peer, Requestor
from node.dimse.scp import Listener
from node.errors import PeerError
from node.intake.spool import Spool
from node.jobs.commitment_files import CommitmentFiles
from node.model import CommitmentReport, SopReference
from tests.loopback.callers import EXPLICIT_LITTLE, MR_IMAGE, eventually, store

TRANSACTION = "2.25.1234567890"
HELD = SopReference(sop_class_uid="1.2.840.10008.5.1.4.1.1.4", sop_instance_uid="1.2.3.1")
LOST = SopReference(sop_class_uid="1.2.840.10008.5.1.4.1.1.4", sop_instance_uid="1.2.3.2")
EXPECTED = CommitmentReport(
    transaction_uid=TRANSACTION, ae_title="PACS", committed=frozenset({HELD}), failed={LOST: 0x0112}
)
Answer = Callable[[evt.Event], tuple[int, Dataset | None]]


def report_on(request: Dataset) -> Dataset:
    """The event information of a provider that holds one of two instances."""
    held, lost = request.ReferencedSOPSequence
    lost.FailureReason = 0x0112
    report = Dataset()
    report.TransactionUID = request.TransactionUID
    report.ReferencedSOPSequence = [held]
    report.FailedSOPSequence = [lost]
    return report


def _item(reference: SopReference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference.sop_class_uid, reference.sop_instance_uid
    return item


@pytest.fixture
def archive() -> Iterator[Callable[[Answer], Peer]]:
    """``archive(answer)``: pynetdicom as commitment provider."""
    servers = []

    def start(answer: Answer) -> Peer:
        entity = AE(ae_title="PACS")
        entity.add_supported_context(PUSH_MODEL)
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_ACTION, answer)])
        servers.append(server)
        return Peer(ae_title="PACS", host="127.0.0.1", port=server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()


def ask_for_both(peer: Peer, keep: Callable[[CommitmentReport], None], report_wait_s: float = 0) -> None:
    ask(peer, TRANSACTION, [HELD, LOST], keep, calling_ae_title="IRONNODE", timeout_s=5, report_wait_s=report_wait_s)


def test_a_report_on_the_same_association(archive) -> None:
    def answer(event: evt.Event) -> tuple[int, Dataset | None]:
        assert event.request.RequestedSOPInstanceUID == PUSH_MODEL_INSTANCE
        report = report_on(event.action_information)
        threading.Timer(0.05, event.assoc.send_n_event_report, (report, 2, PUSH_MODEL, PUSH_MODEL_INSTANCE)).start()
        return 0x0000, None

    kept: list[CommitmentReport] = []
    ask_for_both(archive(answer), kept.append, report_wait_s=10)
    assert kept == [EXPECTED]


def test_a_report_that_comes_before_the_answer(archive) -> None:
    def answer(event: evt.Event) -> tuple[int, Dataset | None]:
        message = N_EVENT_REPORT()
        message.MessageID, message.EventTypeID = 7, 2
        message.AffectedSOPClassUID, message.AffectedSOPInstanceUID = PUSH_MODEL, PUSH_MODEL_INSTANCE
        context = event.context.context_id
        syntax = event.context.transfer_syntax
        message.EventInformation = BytesIO(encode(report_on(event.action_information), syntax.is_implicit_VR, True))
        event.assoc.dimse.send_msg(message, context)
        return 0x0000, None

    kept: list[CommitmentReport] = []
    ask_for_both(archive(answer), kept.append, report_wait_s=10)
    assert kept == [EXPECTED]


def test_a_peer_that_never_answers_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        peer = Peer(ae_title="PACS", host="127.0.0.1", port=silent.getsockname()[1])
        with pytest.raises(PeerError, match="no answer in time while negotiating"):
            ask(peer, TRANSACTION, [HELD], print, calling_ae_title="IRONNODE", timeout_s=0.1, report_wait_s=0)


@pytest.mark.parametrize("sent", [b"\x04\0\0\0\0\0", b"\x04\0\0\0\0\x06\0\0\0\x02\x01\x01"])
def test_a_peer_that_sends_without_end_is_left_in_time(sent: bytes) -> None:
    """P-DATA without content, for ever: no answer is in it."""

    def flood(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(acceptance(connection.recv(65536)))
            while True:
                connection.sendall(sent * 100)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        hostile = threading.Thread(target=flood, args=(listening,))
        hostile.start()
        peer = Peer(ae_title="PACS", host="127.0.0.1", port=listening.getsockname()[1])
        with pytest.raises(PeerError, match="no answer in time while waiting for an answer"):
            ask(peer, TRANSACTION, [HELD], print, calling_ae_title="IRONNODE", timeout_s=0.3, report_wait_s=0)
        hostile.join()


def acceptance(request: bytes) -> bytes:
    """An A-ASSOCIATE-AC (PS3.8 9.3.3) that takes the first presentation context of a request, in Explicit VR."""

    def item(kind: int, body: bytes) -> bytes:
        return struct.pack(">BBH", kind, 0, len(body)) + body

    context = item(0x21, b"\x01\0\0\0" + item(0x40, EXPLICIT_LITTLE.encode()))
    body = request[6:74] + item(0x10, b"1.2.840.10008.3.1.1.1") + context + item(0x50, item(0x51, bytes(4)))
    return struct.pack(">BBL", 2, 0, len(body)) + body


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda event: (0x0110, None), "status 0110 .processing failure."),
        (lambda event: (event.assoc.abort(), None), "aborted the association"),
    ],
)
def test_a_request_that_is_not_taken(archive, answer: Answer, words: str) -> None:
    with pytest.raises(PeerError, match=words):
        ask_for_both(archive(answer), lambda report: None)


def test_a_peer_without_storage_commitment(start_listener, archive) -> None:
    without = start_listener(ae_title="PACS")
    with pytest.raises(PeerError, match="does not accept storage commitment"):
        ask_for_both(Peer(ae_title="PACS", host="127.0.0.1", port=without.port), lambda report: None)
    wrong = Peer(ae_title="OTHER", host="127.0.0.1", port=without.port)
    with pytest.raises(PeerError, match="association rejected: called ae title not recogni"):
        ask_for_both(wrong, lambda report: None)


@pytest.fixture
def reporting(tmp_path: Path) -> Iterator[tuple[Listener, CommitmentFiles]]:
    """A listener that takes reports, and where it keeps them."""
    files = CommitmentFiles(tmp_path)
    allow = (AllowedPeer(ae_title="*", host="127.0.0.1"),)
    listener = Listener(ReceiveConfig(host="127.0.0.1", port=0, allow=allow), Spool(tmp_path), files.keep)
    listener.start()
    yield listener, files
    listener.stop(timeout_s=2)


def send_report(port: int, calling: str, report: Dataset, event_type: int = 2) -> int:
    """The status that a provider gets for its report on an association of its own."""
    entity = AE(ae_title=calling)
    entity.add_requested_context(PUSH_MODEL)
    association = entity.associate(
        "127.0.0.1", port, ae_title="IRONNODE", ext_neg=[build_role(PUSH_MODEL, scp_role=True)]
    )
    assert association.is_established
    status, _ = association.send_n_event_report(report, event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    association.release()
    return int(status.Status)


def test_a_report_on_a_new_association_is_durable_before_it_is_answered(reporting) -> None:
    listener, files = reporting
    request = Dataset()
    request.TransactionUID = TRANSACTION
    request.ReferencedSOPSequence = [_item(HELD), _item(LOST)]
    report = report_on(request)

    assert send_report(listener.port, "PACS", report) == 0x0115  # nobody asked yet
    files.expect(TRANSACTION, "PACS")
    assert send_report(listener.port, "SCANNER", report) == 0x0115  # somebody else was asked
    assert send_report(listener.port, "PACS", report, event_type=7) == 0x0113
    assert send_report(listener.port, "PACS", _item(HELD)) == 0x0115  # without transaction UID
    assert files.answers() == []
    assert send_report(listener.port, "PACS", report) == 0x0000
    assert send_report(listener.port, "PACS", report) == 0x0000  # the answer was lost: the same again
    assert files.answers() == [EXPECTED]


def test_a_report_that_cannot_be_kept_is_not_acknowledged(reporting) -> None:
    listener, files = reporting
    files.expect(TRANSACTION, "PACS")
    files.answers_folder.rmdir()
    report = Dataset()
    report.TransactionUID = TRANSACTION
    assert send_report(listener.port, "PACS", report) == 0x0110


def ask_us(listener: Listener, references: list[SopReference], stay_s: float, *syntaxes: str) -> tuple[int, list]:
    """Ask as a scanner would; the answer, and the reports that come on the same association."""
    reports, answered = [], threading.Event()

    def take(event: evt.Event) -> tuple[int, None]:
        reports.append((event.event_type, event.event_information))
        return 0x0000 if stay_s else 0x0110, None

    def sent(event: evt.Event) -> None:
        if reports:  # so it is the answer to one; a release before it is on the wire would be an error of ours
            answered.set()

    entity = AE(ae_title="SCANNER")
    entity.add_requested_context(PUSH_MODEL, syntaxes or None)
    handlers = [(evt.EVT_N_EVENT_REPORT, take), (evt.EVT_PDU_SENT, sent)]
    association = entity.associate("127.0.0.1", listener.port, ae_title="IRONNODE", evt_handlers=handlers)
    request = Dataset()
    request.TransactionUID = TRANSACTION
    request.ReferencedSOPSequence = [_item(reference) for reference in references]
    status, _ = association.send_n_action(request, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    if stay_s:
        assert answered.wait(stay_s)
        association.release()
    else:
        association.abort()
    return int(status.Status), reports


def check_report(event_type: int, report: Dataset) -> None:
    """PS3.4 table J.3-2, for one instance that is here, one that is not, and one under another SOP class."""
    assert event_type == 2
    assert report.TransactionUID == TRANSACTION
    (held,) = report.ReferencedSOPSequence
    assert (held.ReferencedSOPClassUID, held.ReferencedSOPInstanceUID) == (MR_IMAGE, "1.2.3.4")
    failed = [(i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID, i.FailureReason) for i in report.FailedSOPSequence]
    assert failed == [(MR_IMAGE, "1.2.3.2", 0x0112), ("1.2.840.10008.5.1.4.1.1.7", "1.2.3.4", 0x0112)]


ASKED = [
    SopReference(sop_class_uid=MR_IMAGE, sop_instance_uid="1.2.3.4"), LOST,
    SopReference(sop_class_uid="1.2.840.10008.5.1.4.1.1.7", sop_instance_uid="1.2.3.4"),
]  # fmt: skip


def test_a_sender_is_told_on_its_association_what_is_kept(reporting, associate) -> None:
    listener, _ = reporting
    assert store(associate(listener)).status == 0
    status, ((event_type, report),) = ask_us(listener, ASKED, stay_s=10)
    assert status == 0x0000
    check_report(event_type, report)
    status, ((event_type, report),) = ask_us(listener, ASKED[:1], stay_s=10)
    assert (event_type, "FailedSOPSequence" in report) == (1, False)
    _, ((event_type, report),) = ask_us(listener, ASKED, 10, ExplicitVRBigEndian)
    check_report(event_type, report)


@pytest.mark.parametrize("refused", [0, 2])
def test_a_sender_that_left_is_told_on_a_new_association(tmp_path, associate, refused, monkeypatch) -> None:
    """Also when it refuses twice."""
    monkeypatch.setattr("node.dimse.commitment_provider._AGAIN_AFTER_S", (0.05, 0.05))
    reports, heard, refusals = [], threading.Event(), iter([0x0110] * refused)

    def take(event: evt.Event) -> tuple[int, None]:
        if (refusal := next(refusals, None)) is not None:
            return refusal, None
        reports.append((event.event_type, event.event_information))
        heard.set()
        return 0x0000, None

    scanner = AE(ae_title="SCANNER")
    scanner.add_supported_context(PUSH_MODEL, scu_role=False, scp_role=True)  # as PS3.7 D.3.3.4 has it
    server = scanner.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    allow = (
        AllowedPeer(ae_title="SCANNER", host="127.0.0.1", report_port=server.server_address[1]),
        AllowedPeer(ae_title="MR1", host="127.0.0.1"),
    )
    listener = Listener(ReceiveConfig(host="127.0.0.1", port=0, allow=allow), Spool(tmp_path), print)
    listener.start()
    try:
        assert store(associate(listener)).status == 0
        ask_us(listener, ASKED, stay_s=0)
        assert heard.wait(10)
        check_report(*reports[0])
    finally:
        listener.stop(timeout_s=2)
        server.shutdown()


@contextlib.contextmanager
def unanswering(listener: Listener) -> Iterator[Callable[[], int]]:
    """A sender that answers no report: asks for a commitment on one association, and gives the answer's status."""
    contexts = contexts_for(PUSH_MODEL)
    peer = Peer(ae_title="IRONNODE", host="127.0.0.1", port=listener.port)
    association = Requestor(peer, contexts, calling_ae_title="SCANNER", timeout_s=10)
    request = Dataset()
    request.TransactionUID = TRANSACTION
    request.ReferencedSOPSequence = [_item(reference) for reference in ASKED]
    context = next(c for c in contexts if c in association.accepted)

    def ask_once() -> int:
        command = encode_action_request(association.next_message_id(), PUSH_MODEL, PUSH_MODEL_INSTANCE, 1)
        return association.request(association.accepted[context], command, encode_for(context, request)).status

    yield ask_once
    association.abort()


def test_reports_that_nobody_takes_are_limited(
    tmp_path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They lie in memory: four of an association, and 32 on the way to callers that have left."""
    monkeypatch.setattr("node.dimse.commitment_provider._AGAIN_AFTER_S", ())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        allow = (AllowedPeer(ae_title="SCANNER", host="127.0.0.1", report_port=silent.getsockname()[1]),)
        listener = Listener(ReceiveConfig(host="127.0.0.1", port=0, allow=allow), Spool(tmp_path), print)
        listener.start()
        try:
            for _ in range(9):
                with unanswering(listener) as ask_once:
                    assert [ask_once() for _ in range(6)] == [0x0000] * 4 + [0x0213] * 2
            eventually(lambda: listener.counts.open == 0)
            details = [r.fields["detail"] for r in caplog.records if getattr(r, "event", "") == "report_failed"]
            assert details == ["32 other reports are on the way"] * 4
            assert sum(thread.name == "report-SCANNER" for thread in threading.enumerate()) == 32
        finally:
            listener.stop(timeout_s=2)
    eventually(lambda: not any(thread.name == "report-SCANNER" for thread in threading.enumerate()))
