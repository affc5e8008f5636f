"""Callers that break the protocol, say nothing or say too much: they end, the others do not notice."""

import contextlib
import gc
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pynetdicom.acse import ACSE

from node.dimse.command import command_pdu, data_pdu_head, encode_command, encode_store_request, us
from node.dimse.requestor import Requestor
from node.dimse.scp import Listener
from node.dimse.status import Status
from node.dimse.upper_layer import PromptSocket
from node.errors import PeerError
from node.intake.spool import Spool
from tests.fuzz.targets import associate_request, context_item
from tests.loopback.callers import ABORT, MR_IMAGE, P_DATA, RELEASE_RQ, RawCaller, begin_store, eventually, store
from tests.node.intake.encoded_images import EXPLICIT_LITTLE, IMPLICIT_LITTLE, encoded, everything_under, image

Associate = Callable[..., Requestor]
StartListener = Callable[..., Listener]
ASSOCIATE_RQ = 1


def still_serves(listener: Listener, associate: Associate, uid: str = "1.2.3.4") -> None:
    with associate(listener) as association:
        assert store(association, sop_instance_uid=uid).status == Status.SUCCESS


@pytest.mark.parametrize(
    "opening",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        os.urandom(64),
        b"\x00" * 64,
        struct.pack(">BBL", P_DATA, 0, 6) + struct.pack(">LBB", 2, 1, 3),
        struct.pack(">BBL", RELEASE_RQ, 0, 4) + bytes(4),
        struct.pack(">BBL", ABORT, 0, 4) + bytes(4),
        struct.pack(">BBL", 2, 0, 4) + bytes(4),
        struct.pack(">BBL", ASSOCIATE_RQ, 0, 100) + bytes(100),
        struct.pack(">BBL", ASSOCIATE_RQ, 0, 0xFFFFFFFF) + bytes(1000),
        b"",
    ],
    ids=["http", "noise", "zeros", "data", "release", "abort", "accept", "empty-request", "4-gib", "nothing"],
)
def test_an_opening_that_is_no_association_request(listener: Listener, associate: Associate, opening: bytes) -> None:
    with RawCaller(listener) as caller:
        caller.send(opening)
        caller.socket.shutdown(socket.SHUT_WR)
        assert not caller.answer().startswith(b"\x02")
    still_serves(listener, associate)
    eventually(lambda: threading.active_count() < 12)


MR_CONTEXT = context_item(1, MR_IMAGE, EXPLICIT_LITTLE)


@pytest.mark.parametrize(
    "request_sent",
    [
        associate_request(MR_CONTEXT, context_item(4, MR_IMAGE, EXPLICIT_LITTLE)),
        associate_request(context_item(0, MR_IMAGE, EXPLICIT_LITTLE)),
        associate_request(MR_CONTEXT, context_item(1, MR_IMAGE, IMPLICIT_LITTLE)),
        associate_request(),
        associate_request(context_item(1, MR_IMAGE, "1.2.not-a-uid")),
        associate_request(MR_CONTEXT, context_item(3, MR_IMAGE)),
        associate_request(MR_CONTEXT, context_item(3, "", EXPLICIT_LITTLE)),
        associate_request(MR_CONTEXT, context_item(3, MR_IMAGE, "")),
        associate_request(MR_CONTEXT, called=b""),
        associate_request(MR_CONTEXT[:-3]),
    ],
    ids=[
        "even-id", "id-0", "one-id-twice", "no-context", "not-a-uid", "no-transfer-syntax", "no-abstract-syntax",
        "empty-transfer-syntax", "called-nobody", "item-cut-off",
    ],
)  # fmt: skip
def test_a_request_that_breaks_the_standard_is_aborted_with_the_reason(
    listener: Listener, associate: Associate, request_sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[object] = []
    monkeypatch.setattr(threading, "excepthook", ended.append)
    with RawCaller(listener) as caller:
        caller.send(request_sent)
        answer = caller.socket.recv(64)
    assert answer == struct.pack(">BBL", ABORT, 0, 4) + bytes((0, 0, 2, 6))  # provider: invalid parameter (PS3.8 9.3.8)
    eventually(lambda: listener.counts.open == 0)
    assert ended == []
    still_serves(listener, associate)


def test_an_error_in_negotiation_closes_the_connection(
    listener: Listener, associate: Associate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: ACSE) -> None:
        raise RuntimeError("a defect")

    ended: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", ended.append)
    monkeypatch.setattr(ACSE, "_negotiate_as_acceptor", fail)
    with RawCaller(listener) as caller:
        caller.send(associate_request(MR_CONTEXT))
        assert caller.answer() == b""
    eventually(lambda: [args.exc_type for args in ended] == [RuntimeError])  # the thread ends after the connection
    monkeypatch.undo()
    still_serves(listener, associate)


def established(associate: Associate, listener: Listener) -> socket.socket:
    return associate(listener)._socket


def last_pdu_kind(connection: socket.socket) -> int | None:
    """The kind of the PDU that the listener answers with; None when it just closes."""
    with contextlib.suppress(ConnectionError):
        head = connection.recv(6)
        return head[0] if head else None
    return None


STORE = encode_store_request(1, MR_IMAGE, "1.2.3.4")


@pytest.mark.parametrize(
    "bytes_sent",
    [
        struct.pack(">BBL", P_DATA, 0, 0xFFFFFFFF),
        struct.pack(">BBL", P_DATA, 0, 131072 + 1000),
        struct.pack(">BBL", 99, 0, 4) + bytes(4),
        struct.pack(">BBL", P_DATA, 0, 6) + struct.pack(">LBB", 2000, 1, 3),
        struct.pack(">BBL", P_DATA, 0, 4) + bytes(4),
        struct.pack(">BBL", P_DATA, 0, 3) + bytes(3),
        command_pdu(3, STORE),
        command_pdu(1, b"\xff" * 50),
        command_pdu(1, STORE[:-3]),
        command_pdu(1, encode_command({0x0100: us(1), 0x0110: us(1), 0x0800: us(0x0101)})),
        command_pdu(1, encode_command({0x0100: us(1), 0x0800: us(1)})),
        command_pdu(1, STORE) + command_pdu(1, STORE),
        data_pdu_head(1, 4, command=False, last=False) * 2,
        b"".join(data_pdu_head(1, 8000, command=True, last=False) + bytes(8000) for _ in range(4)),
        struct.pack(">BBL", ASSOCIATE_RQ, 0, 68) + bytes(68),
    ],
    ids=[
        "4-gib", "over-the-offered-length", "unknown-kind", "value-longer-than-pdu", "empty-value", "half-a-head",
        "context-not-accepted", "noise-as-command", "command-cut-off", "store-without-data-set",
        "store-without-message-id", "command-inside-a-data-set", "data-without-command", "endless-command",
        "second-request",
    ],
)  # fmt: skip
def test_what_breaks_the_protocol_is_aborted(
    listener: Listener, spool: Spool, associate: Associate, bytes_sent: bytes
) -> None:
    connection = established(associate, listener)
    connection.sendall(bytes_sent)
    assert last_pdu_kind(connection) in (ABORT, None)
    eventually(lambda: listener.counts.open == 0)
    assert everything_under(spool.folder) == []
    still_serves(listener, associate)


@pytest.mark.parametrize("body", [bytes((0, 0, 4, 9)), bytes((0, 0, 2, 3)), bytes(2), bytes((7,) * 9)])
def test_an_abort_of_a_source_or_reason_that_does_not_exist_is_an_abort(
    listener: Listener, associate: Associate, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[object] = []
    monkeypatch.setattr(threading, "excepthook", ended.append)
    abort = struct.pack(">BBL", ABORT, 0, len(body)) + body
    connection = established(associate, listener)
    connection.sendall(abort)
    assert connection.recv(1) == b""

    negotiating, go_on = threading.Event(), threading.Event()

    def negotiate(_: ACSE) -> None:
        negotiating.set()
        go_on.wait(10)

    monkeypatch.setattr(ACSE, "_negotiate_as_acceptor", negotiate)
    with RawCaller(listener) as caller:
        caller.send(associate_request(MR_CONTEXT))
        assert negotiating.wait(10)
        caller.send(abort)
        assert caller.answer() == b""
    go_on.set()
    monkeypatch.undo()
    assert ended == []
    still_serves(listener, associate)


def test_a_huge_length_costs_no_memory(listener: Listener, associate: Associate) -> None:
    def resident_kib() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024

    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is read from /proc")
    before = resident_kib()
    for _ in range(3):
        connection = established(associate, listener)
        with contextlib.suppress(OSError):
            connection.sendall(struct.pack(">BBL", P_DATA, 0, 0xFFFFFFF0))
            for _ in range(64):
                connection.sendall(bytes(1 << 20))
    assert resident_kib() - before < 32_000


def test_a_command_in_pieces_is_put_together(listener: Listener, spool: Spool, associate: Associate) -> None:
    association = associate(listener)
    association.next_message_id()
    data = encoded(image())
    pieces = [STORE[i : i + 10] for i in range(0, len(STORE), 10)]
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        association._socket.sendall(data_pdu_head(1, len(piece), command=True, last=last) + piece)
    for start in range(0, len(data), 50):
        piece = data[start : start + 50]
        last = start + 50 >= len(data)
        association._socket.sendall(data_pdu_head(1, len(piece), command=False, last=last) + piece)
    assert association._next_response()[0].status == Status.SUCCESS
    assert len(spool.inbox()) == 1


def test_several_values_in_one_pdu_and_an_empty_last_one(
    listener: Listener, spool: Spool, associate: Associate
) -> None:
    association = associate(listener)
    association.next_message_id()
    data = encoded(image())
    values = [(3, STORE), (0, data[:100]), (0, data[100:]), (2, b"")]
    body = b"".join(struct.pack(">LBB", len(value) + 2, 1, control) + value for control, value in values)
    association._socket.sendall(struct.pack(">BBL", P_DATA, 0, len(body)) + body)
    assert association._next_response()[0].status == Status.SUCCESS
    assert spool.inbox()[0].path.read_bytes().endswith(data)


@pytest.mark.parametrize("state", ["silent", "half-a-request", "established", "middle-of-an-instance", "half-a-pdu"])
def test_those_who_stall_do_not_hold_up_others_and_are_dropped(
    start_listener: StartListener, spool: Spool, associate: Associate, state: str
) -> None:
    listener = start_listener(pdu_timeout_s=1.5, idle_timeout_s=1.5, max_associations=20)
    stalled: list[socket.socket] = []
    raw: list[RawCaller] = []
    for _ in range(8):
        if state in ("silent", "half-a-request"):
            caller = RawCaller(listener)
            raw.append(caller)
            if state == "half-a-request":
                caller.pdu(ASSOCIATE_RQ, bytes(50), length=200)
            stalled.append(caller.socket)
            continue
        association = associate(listener)
        stalled.append(association._socket)
        if state == "middle-of-an-instance":
            begin_store(association, encoded(image())[:100])
        elif state == "half-a-pdu":
            association._socket.sendall(struct.pack(">BBL", P_DATA, 0, 1000) + bytes(10))
    started = time.monotonic()
    still_serves(listener, associate, "1.2.3.9")
    assert time.monotonic() - started < 1.4  # before any of them was dropped
    for connection in stalled:
        connection.settimeout(10)
        with contextlib.suppress(ConnectionError):
            while connection.recv(1000):
                continue
    assert time.monotonic() - started < 12
    eventually(lambda: listener.counts.open == 0)
    assert everything_under(spool.folder) == ["inbox/1.2.3.9.dcm"]
    for caller in raw:
        caller.socket.close()


def test_the_association_limit(start_listener: StartListener, associate: Associate) -> None:
    listener = start_listener(max_associations=2)
    first, second = associate(listener), associate(listener)
    with pytest.raises(PeerError, match="local limit exceeded"):
        associate(listener)
    assert listener.counts.open == 2
    first.release()
    eventually(lambda: listener.counts.open == 1)
    associate(listener).release()
    assert store(second).status == Status.SUCCESS


def test_silent_connections_do_not_count_as_associations(start_listener: StartListener, associate: Associate) -> None:
    listener = start_listener(max_associations=1)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(RawCaller(listener))
        still_serves(listener, associate)


def test_idle_associations_cost_next_to_nothing(listener: Listener, associate: Associate) -> None:
    for _ in range(8):
        associate(listener)
    before = time.process_time()
    threading.Event().wait(1.0)
    assert time.process_time() - before < 0.16  # 2 % of a core each would be 0.16; measured: 0.01 for all eight


def test_no_descriptors_or_threads_are_left(listener: Listener, associate: Associate) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("descriptors are counted in /proc")

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    still_serves(listener, associate)
    eventually(lambda: listener.counts.open == 0)
    before, threads = descriptors(), threading.active_count()
    for number in range(20):
        if number % 2:
            associate(listener).abort()
        else:
            associate(listener).release()
    eventually(lambda: descriptors() <= before)
    eventually(lambda: threading.active_count() <= threads)


def test_associations_that_ended_hold_no_buffer(listener: Listener, associate: Associate) -> None:
    def held_bytes() -> int:
        return sum(len(found.reader._buffer) for found in gc.get_objects() if isinstance(found, PromptSocket))

    gc.disable()  # their parts refer to each other, and are there until garbage is collected
    try:
        before = held_bytes()
        association = associate(listener)
        assert held_bytes() > before
        association.release()
        eventually(lambda: held_bytes() == before)
    finally:
        gc.enable()


def test_a_stop_does_not_wait_for_those_who_stall(listener: Listener, spool: Spool, associate: Associate) -> None:
    begin_store(associate(listener), encoded(image())[:100])
    eventually(lambda: bool(everything_under(spool.folder)))
    with RawCaller(listener):
        listener.stop(timeout_s=0.2)
    assert everything_under(spool.folder) == []
    assert listener.counts.open == 0
