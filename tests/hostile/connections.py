"""Attacks on the connection and the association: openings, lengths, crowds, ends (PS3.8)."""

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator

from node.dimse.command import command_pdu, data_pdu_head, encode_echo_request, encode_store_request
from node.errors import PeerError
from tests.fuzz.targets import associate_request, context_item
from tests.hostile.target import Attack, Target, outcome
from tests.node.intake.encoded_images import EXPLICIT_LITTLE, MR_IMAGE, encoded, image

VERIFICATION = "1.2.840.10008.1.1"
_ASSOCIATE_RQ, _P_DATA, _ABORT = 1, 4, 7
_CROWD = 12
_FLOODED_S, _WATCHED_S = 30.0, 75.0
_MIB = 1 << 20


def _end_of(connection: socket.socket) -> str:
    connection.settimeout(10)
    try:
        head = connection.recv(6)
    except TimeoutError:
        return "no answer"
    except OSError:
        return "closed"
    return {_ABORT: "A-ABORT", 3: "rejected", b"": "closed"}.get(head[0] if head else b"", "answered")


def _flood(connection: socket.socket, piece: bytes, total_bytes: int) -> str:
    """Send until it is refused, all is sent or half a minute is over; how it ended."""
    sent, ends_at = 0, time.monotonic() + _FLOODED_S
    with contextlib.suppress(OSError):
        while sent < total_bytes:
            connection.sendall(piece)
            sent += len(piece)
            if time.monotonic() > ends_at:
                return f"takes it slowly ({sent // _MIB} MiB in {_FLOODED_S:.0f} s)"
    return f"takes it ({sent // _MIB} MiB)" if sent >= total_bytes else _end_of(connection)


# ------------------------------------------------------------------ openings and lengths


def mr_context(number: int) -> bytes:
    """A presentation context item for MR images."""
    return context_item(number, MR_IMAGE, EXPLICIT_LITTLE)


def request(*contexts: bytes) -> Attack:
    """An association request with these presentation context items."""

    def attack(target: Target) -> str:
        asked = associate_request(*contexts, called=target.called.encode(), calling=target.calling.encode())
        return opening(asked)(target)

    return attack


def opening(data: bytes) -> Attack:
    """These bytes instead of an association request."""

    def attack(target: Target) -> str:
        with target.connect() as connection:
            connection.sendall(data)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            return _end_of(connection)

    return attack


def giant_pdu(*, established: bool) -> Attack:
    """A PDU that says it is 4 GiB long, and 96 MiB of it."""

    def attack(target: Target) -> str:
        with contextlib.ExitStack() as stack:
            connection = target.associate()._socket if established else target.connect()
            stack.callback(connection.close)
            kind = _P_DATA if established else _ASSOCIATE_RQ
            with contextlib.suppress(OSError):
                connection.sendall(struct.pack(">BBL", kind, 0, 0xFFFFFFF0))
            return _flood(connection, bytes(_MIB), 96 * _MIB)

    return attack


def endless_data_set(target: Target) -> str:
    """A data set of 128 MiB whose last piece never comes."""
    association = target.associate()
    try:
        command = encode_store_request(association.next_message_id(), MR_IMAGE, "1.2.3.4")
        association._socket.sendall(command_pdu(1, command))
        size = association._pdu_bytes - 6
        piece = data_pdu_head(1, size, command=False, last=False) + bytes(size)
        return _flood(association._socket, piece, 128 * _MIB)
    finally:
        association._socket.close()


def echo_flood(target: Target) -> str:
    """20,000 C-ECHO requests without reading an answer."""
    association = target.associate((VERIFICATION, EXPLICIT_LITTLE), timeout_s=10)
    try:
        flood = b"".join(command_pdu(1, encode_echo_request(1 + n % 60000, VERIFICATION)) for n in range(20000))
        try:
            association._socket.sendall(flood)
        except TimeoutError:
            return "stops reading"
        except OSError:
            return "A-ABORT"
        return _end_of(association._socket)
    finally:
        association._socket.close()


# ------------------------------------------------------------------ crowds that say little


def crowd(begin: Callable[[Target], socket.socket], drip: bytes = b"") -> Attack:
    """12 connections that stall (or drip a byte a second); are others served meanwhile, and when are they dropped?"""

    def attack(target: Target) -> str:
        started = time.monotonic()
        stalled: list[socket.socket] = []
        with contextlib.suppress(PeerError, OSError):
            stalled.extend(begin(target) for _ in range(_CROWD))
        served = "others served" if target.serves() else "others NOT served"
        open_ones = list(stalled)
        while open_ones and time.monotonic() - started < _WATCHED_S:
            open_ones = [c for c in open_ones if not _is_closed(c, drip)]
            time.sleep(1.0 if drip else 0.2)
        seconds = time.monotonic() - started
        for connection in stalled:
            connection.close()
        fewer = "" if len(stalled) == _CROWD else f" ({len(stalled)} of {_CROWD} got in)"
        gone = (
            f"dropped after {seconds:.0f} s" if not open_ones else f"{len(open_ones)} not dropped in {_WATCHED_S:.0f} s"
        )
        return f"{served}{fewer}; {gone}"

    return attack


def _is_closed(connection: socket.socket, drip: bytes) -> bool:
    connection.setblocking(False)
    try:
        if drip:
            connection.send(drip)
        return connection.recv(65536) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def silent(target: Target) -> socket.socket:
    """Says nothing."""
    return target.connect()


def half_request(target: Target) -> socket.socket:
    """Begins an association request."""
    connection = target.connect()
    connection.sendall(struct.pack(">BBL", _ASSOCIATE_RQ, 0, 200) + bytes(50))
    return connection


def stalled_in_data(target: Target) -> socket.socket:
    """Stops in the middle of a data set."""
    association = target.associate(timeout_s=5)
    command = encode_store_request(association.next_message_id(), MR_IMAGE, "1.2.3.4")
    piece = encoded(image())[:100]
    association._socket.sendall(
        command_pdu(1, command) + data_pdu_head(1, len(piece), command=False, last=False) + piece
    )
    return association._socket


# ------------------------------------------------------------------ ends in every state


def _steps(target: Target) -> Iterator[tuple[str, socket.socket]]:
    """A connection in each state of an association (PS3.8 9.2) that a caller can bring about."""
    yield "connected", target.connect()
    yield "inside the request", half_request(target)
    association = target.associate()
    yield "established", association._socket
    association = target.associate()
    command = command_pdu(1, encode_store_request(association.next_message_id(), MR_IMAGE, "1.2.3.4"))
    association._socket.sendall(command[: len(command) // 2])
    yield "inside a command", association._socket
    association = target.associate()
    association._socket.sendall(command)
    yield "before the data", association._socket
    yield "inside the data", stalled_in_data(target)
    association = target.associate()
    association._socket.sendall(struct.pack(">BBL", 5, 0, 4) + bytes(4))
    yield "release requested", association._socket


def end_everywhere(*, reset: bool) -> Attack:
    """A-ABORT, or a TCP reset, in every state."""

    def attack(target: Target) -> str:
        bad = []
        for state, connection in _steps(target):
            with contextlib.suppress(OSError):
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    connection.sendall(struct.pack(">BBL", _ABORT, 0, 4) + bytes(4))
            connection.close()
            if not target.serves():
                bad.append(state)
        return "serves on" if not bad else f"does not serve after: {', '.join(bad)}"

    return attack


def wrong_called(target: Target) -> str:
    """An association for somebody else."""
    try:
        target.associate(called="SOMEONE").release()
    except PeerError as error:
        return outcome(error)
    return "accepted"
