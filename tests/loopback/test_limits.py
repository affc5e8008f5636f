"""Limits that keep one sender, hostile or only stuck, from being everybody's trouble."""

import contextlib
import functools
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from node.app import wall_clock
from node.config import AssembleConfig
from node.dimse.command import command_pdu, data_pdu_head, encode_command, encode_echo_request, uid, us
from node.dimse.requestor import Peer, Requestor
from node.dimse.scp import Listener
from node.dimse.scu import echo, send
from node.dimse.status import Status
from node.errors import PeerError
from node.intake.spool import Spool
from node.jobs.assemble import Assembler
from node.jobs.ledger import Ledger
from node.jobs.manifest import ManifestStore
from tests.loopback.callers import EXPLICIT_LITTLE, RawCaller, begin_store, eventually, store
from tests.node.intake.encoded_images import encoded, everything_under, image
from tests.nodekit.small_study import write_study

Associate = Callable[..., Requestor]
StartListener = Callable[..., Listener]
VERIFICATION = "1.2.840.10008.1.1"
BOTH_HOSTS = (("*", "127.0.0.1"), ("*", "127.0.0.2"))


@contextlib.contextmanager
def calling_from(address: str, monkeypatch: pytest.MonkeyPatch) -> contextlib.AbstractContextManager[None]:
    """Connections leave from another address of this machine meanwhile."""
    with monkeypatch.context() as patched:
        bound = functools.partial(socket.create_connection, source_address=(address, 0))
        patched.setattr("node.connections.socket.create_connection", bound)
        yield


def test_one_host_cannot_take_every_association(
    start_listener: StartListener, associate: Associate, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = start_listener(max_associations=3, max_associations_per_host=2, allow=BOTH_HOSTS)
    first, _second = associate(listener), associate(listener)
    with pytest.raises(PeerError, match="local limit exceeded"):
        associate(listener)
    with calling_from("127.0.0.2", monkeypatch):
        other = associate(listener)
        assert store(other).status == Status.SUCCESS
        with pytest.raises(PeerError, match="local limit exceeded"):
            associate(listener)  # now the limit of all
    other.release()
    first.release()
    eventually(lambda: listener.counts.open == 1)
    associate(listener).release()


def test_silent_connections_of_one_host_leave_room_for_another(
    start_listener: StartListener, associate: Associate, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = start_listener(max_associations=1, max_associations_per_host=1, allow=BOTH_HOSTS)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(RawCaller(listener)) for _ in range(40)]
        eventually(lambda: sum(caller.is_closed() for caller in silent) == 7)  # 1 and 32 may wait to speak
        with calling_from("127.0.0.2", monkeypatch):
            assert store(associate(listener)).status == Status.SUCCESS


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")])
def test_connections_that_stay_silent_make_room_whoever_holds_them(
    addresses: tuple[str, ...], start_listener: StartListener, associate: Associate,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """All that may wait to speak of one host, and of all hosts."""
    monkeypatch.setattr("node.dimse.scp._SILENT_S", 60.0)
    listener = start_listener()
    place = ("127.0.0.1", listener.port)
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(place, source_address=(address, 0)))
            for address in addresses
            for _ in range(48)
        ]
        full = len(silent) if len(addresses) == 1 else 160
        eventually(lambda: len(listener._desk._connected) == full)
        with pytest.raises(PeerError, match="closed the connection"):
            associate(listener)  # none counts as silent yet
        monkeypatch.setattr("node.dimse.scp._SILENT_S", 0.0)
        assert store(associate(listener)).status == Status.SUCCESS
        eventually(lambda: len(listener._desk._connected) == full)
        associate(listener)
    told = [r.fields["text"] for r in caplog.records if getattr(r, "event", "") == "association_rejected"]
    assert any("ended to make room" in text for text in told)
    assert any("too many connections" in text for text in told)


def test_a_trickle_ends_with_the_association_s_time(
    start_listener: StartListener, spool: Spool, associate: Associate
) -> None:
    listener = start_listener(association_timeout_s=0.6)
    association = associate(listener)
    started = time.monotonic()
    begin_store(association, encoded(image())[:100])
    piece = data_pdu_head(1, 2, command=False, last=False) + b"ab"
    with contextlib.suppress(OSError):
        while time.monotonic() - started < 10:
            association._socket.sendall(piece)
            threading.Event().wait(0.02)
    assert 0.5 < time.monotonic() - started < 3
    eventually(lambda: listener.counts.open == 0)
    assert everything_under(spool.folder) == []


def test_an_association_that_only_verifies_ends_too(start_listener: StartListener, associate: Associate) -> None:
    listener = start_listener(association_timeout_s=0.6)
    association = associate(listener, (VERIFICATION, EXPLICIT_LITTLE))
    started = time.monotonic()
    with contextlib.suppress(PeerError):
        while time.monotonic() - started < 10:
            association.request(1, encode_echo_request(association.next_message_id(), VERIFICATION), None)
    assert 0.5 < time.monotonic() - started < 3


def test_requests_that_do_not_wait_for_answers_do_not_pile_up(listener: Listener, associate: Associate) -> None:
    association = associate(listener, (VERIFICATION, EXPLICIT_LITTLE))
    flood = b"".join(command_pdu(1, encode_echo_request(n, VERIFICATION)) for n in range(1, 3000))
    with contextlib.suppress(OSError):
        association._socket.sendall(flood)
    eventually(lambda: listener.counts.open == 0)


def test_a_data_set_that_is_not_for_storage_has_an_end(listener: Listener, associate: Associate) -> None:
    association = associate(listener, (VERIFICATION, EXPLICIT_LITTLE))
    find = {0x0002: uid(VERIFICATION), 0x0100: us(0x0020), 0x0110: us(1), 0x0700: us(0), 0x0800: us(1)}
    sent = 0
    with contextlib.suppress(OSError):
        association._socket.sendall(command_pdu(1, encode_command(find)))
        while sent < 64 << 20:
            association._socket.sendall(data_pdu_head(1, 65536, command=False, last=False) + bytes(65536))
            sent += 65536
    assert sent < 32 << 20  # 1 MiB is read; the rest stood in the socket's buffers
    eventually(lambda: listener.counts.open == 0)


def test_an_open_association_does_not_hold_back_what_others_sent(
    listener: Listener, spool: Spool, associate: Associate, tmp_path: Path
) -> None:
    """Completeness is a matter of the study's own quiet time, whoever is still connected."""
    idle = associate(listener)
    stalled = associate(listener)
    begin_store(stalled, encoded(image())[:100])
    peer = Peer(ae_title="IRONNODE", host="127.0.0.1", port=listener.port)
    send(write_study(tmp_path / "study"), peer, calling_ae_title="MR1")
    ledger = Ledger(tmp_path / "storage")
    later = wall_clock() + timedelta(seconds=30)
    assembler = Assembler(
        spool=spool, ledger=ledger, manifests=ManifestStore(tmp_path / "jobs"), config=AssembleConfig(),
        settings_digest="x", method_version="1", clock=lambda: later,
    )  # fmt: skip
    assert assembler.step() == 1
    ledger.close()
    assert listener.counts.open == 2
    assert store(idle).status == Status.SUCCESS


def test_a_stranger_who_knocks_often_has_few_lines(
    start_listener: StartListener, caplog: pytest.LogCaptureFixture
) -> None:
    """Log and audit trail lie on the disk of the images: every attempt is counted, none has a line of its own."""
    listener = start_listener(allow=(("MR1", "127.0.0.1"),))
    peer = Peer(ae_title="IRONNODE", host="127.0.0.1", port=listener.port)
    for number in range(30):
        with pytest.raises(PeerError, match="association rejected"):
            echo(peer, calling_ae_title=f"STRANGER{number}")
    listener.stop(timeout_s=2)
    lines = [r.fields for r in caplog.records if getattr(r, "event", "") == "association_rejected"]
    assert [(line["calling_ae_title"], line["count"]) for line in lines] == [("STRANGER0", 1), ("STRANGER29", 29)]
    assert listener.counts.rejected == 30
