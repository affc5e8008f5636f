"""What a hostile or broken DICOM peer does, one row each, against any listener on this machine.

Used by the gate (our listener, the quick rows) and by ``python -m bench.hostile`` (every row, other listeners beside).
"""

import contextlib
import os
import re
import socket
import struct
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset

from node.dimse.command import command_pdu, data_pdu_head, encode_echo_request, encode_store_request
from node.dimse.requestor import Context, Peer, Requestor
from node.dimse.scu import echo
from node.errors import PeerError
from tests.fuzz.targets import associate_request, context_item
from tests.loopback.callers import store
from tests.node.intake.encoded_images import DEFLATED, EXPLICIT_LITTLE, IMPLICIT_LITTLE, MR_IMAGE, encoded, image

VERIFICATION = "1.2.840.10008.1.1"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
_ASSOCIATE_RQ, _P_DATA, _ABORT = 1, 4, 7
_CROWD = 12
_FLOODED_S = 30.0
_SERVED_WITHIN_S, _WATCHED_S = 5.0, 75.0
_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Target:
    """A listener on this machine."""

    port: int
    called: str = "IRONNODE"
    calling: str = "MR1"

    @property
    def peer(self) -> Peer:
        return Peer(ae_title=self.called, host="127.0.0.1", port=self.port)

    def associate(self, *contexts: tuple[str, str], called: str | None = None, timeout_s: float = 20) -> Requestor:
        """An association; PeerError when it is refused."""
        proposed = [
            Context(sop_class_uid=sop_class, transfer_syntax_uid=syntax)
            for sop_class, syntax in contexts or ((MR_IMAGE, EXPLICIT_LITTLE),)
        ]
        peer = Peer(ae_title=called or self.called, host="127.0.0.1", port=self.port)
        return Requestor(peer, proposed, calling_ae_title=self.calling, timeout_s=timeout_s)

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def serves(self, timeout_s: float = _SERVED_WITHIN_S) -> bool:
        """Whether another caller is answered."""
        try:
            echo(self.peer, calling_ae_title=self.calling, timeout_s=timeout_s)
        except PeerError:
            return False
        return True


Attack = Callable[[Target], str]
"""Does its worst; says what the listener made of it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One attack; ``slow`` ones watch for a minute."""

    name: str
    attack: Attack
    slow: bool = False


# ------------------------------------------------------------------ outcomes in words


def outcome(error: PeerError) -> str:
    """What a listener did, from the error that it gave us."""
    text = str(error)
    if "rejected" in text:
        return "rejected: " + text.rpartition("rejected: ")[2].partition(":")[0]
    for part, word in (("abort", "A-ABORT"), ("in time", "no answer"), ("answered another", "odd answer")):
        if part in text:
            return word
    return "closed"


def answer(
    target: Target,
    *,
    context: tuple[str, str] = (MR_IMAGE, EXPLICIT_LITTLE),
    data: bytes | None = None,
    sop_class_uid: str = MR_IMAGE,
    sop_instance_uid: str = "1.2.3.4",
) -> str:
    """The status of one C-STORE, or what came instead."""
    try:
        with target.associate(context) as association:
            if not association.accepted:
                return "context refused"
            response = store(association, data, sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid)
            return f"{response.status:04X}"
    except PeerError as error:
        return outcome(error)


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


# ------------------------------------------------------------------ instances


def with_uid(uid: str) -> Attack:
    """A SOP Instance UID that is none, in the command and in the data set."""

    def attack(target: Target) -> str:
        raw = uid.encode() + b"\x00" * (len(uid) % 2)
        whole = encoded(image("1.2.3.4"))
        head = b"\x08\x00\x18\x00UI"
        start = whole.index(head)
        length = int.from_bytes(whole[start + 6 : start + 8], "little")
        data = whole[: start + 6] + struct.pack("<H", len(raw)) + raw + whole[start + 8 + length :]
        return answer(target, data=data, sop_instance_uid=uid)

    return attack


def deep_sequences(depth: int) -> bytes:
    """An image whose sequences are nested so deep."""
    begin, end = encoded(image()).split(b"\xe0\x7f\x10\x00", 1)
    item = b"\x08\x00\x15\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    close = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    at = begin.index(b"\x08\x00\x40\x11") if b"\x08\x00\x40\x11" in begin else len(begin)
    return begin[:at] + item * depth + close * depth + begin[at:] + b"\xe0\x7f\x10\x00" + end


def deflate_bomb(unpacked_bytes: int) -> bytes:
    """A deflated data set (RFC 1951) that unpacks to very much."""
    plain = image()
    del plain[0x7FE00010]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = [packer.compress(encoded(plain) + b"\xe0\x7f\x10\x00OW\x00\x00" + struct.pack("<L", unpacked_bytes))]
    zeros = bytes(_MIB)
    parts += [packer.compress(zeros) for _ in range(unpacked_bytes // _MIB)]
    whole = b"".join([*parts, packer.flush()])
    return whole + b"\x00" * (len(whole) % 2)


def bomb(target: Target) -> str:
    """300 MiB of zeros in 300 kB."""
    return answer(target, context=(MR_IMAGE, DEFLATED), data=deflate_bomb(300 * _MIB))


def edited(edit: Callable[[Dataset], None], uid: str) -> Attack:
    """An image with nonsense that the network layer cannot judge."""

    def attack(target: Target) -> str:
        data_set = image(uid)
        with warnings.catch_warnings(action="ignore"):  # pydicom warns of what is written on purpose
            edit(data_set)
            data = encoded(data_set)
        return answer(target, data=data, sop_instance_uid=uid)

    return attack


def no_numbers(data_set: Dataset) -> None:
    """NaN and 0 where geometry stands."""
    data_set.add_new(0x00200032, "DS", ["NaN", "inf", "-inf"])
    data_set.add_new(0x00200037, "DS", ["0"] * 6)
    data_set.add_new(0x00280030, "DS", ["0", "NaN"])


def giant_image(data_set: Dataset) -> None:
    """65535 x 65535 pixels, so says the header."""
    data_set.Rows = data_set.Columns = 65535


def same_uid_twice(target: Target) -> str:
    """Another data set under a known UID."""
    first = answer(target, data=encoded(image("1.2.3.88")), sop_instance_uid="1.2.3.88")
    second = answer(target, data=encoded(image("1.2.3.88", rows=16)), sop_instance_uid="1.2.3.88")
    return f"{first}, then {second}"


def wrong_called(target: Target) -> str:
    """An association for somebody else."""
    try:
        target.associate(called="SOMEONE").release()
    except PeerError as error:
        return outcome(error)
    return "accepted"


def other_class(target: Target) -> str:
    """A C-STORE of another class than its context's."""
    return answer(target, sop_class_uid=ENHANCED_MR)


def _whole() -> bytes:
    return encoded(image())


ROWS: tuple[Row, ...] = (
    Row(name="HTTP request", attack=opening(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
    Row(name="random bytes", attack=opening(os.urandom(200))),
    Row(name="TLS hello to a plain port", attack=opening(bytes.fromhex("160301002f0100002b0303") + bytes(40))),
    Row(name="request with an even context ID", attack=request(mr_context(1), mr_context(2))),
    Row(name="request with a context ID twice", attack=request(mr_context(1), mr_context(1))),
    Row(name="request without a context", attack=request()),
    Row(name="PDU of 4 GiB before the association", attack=giant_pdu(established=False)),
    Row(name="PDU of 4 GiB inside it", attack=giant_pdu(established=True)),
    Row(name="data set without an end, 128 MiB", attack=endless_data_set),
    Row(name="20,000 C-ECHO without reading", attack=echo_flood),
    Row(name="12 silent connections", attack=crowd(silent), slow=True),
    Row(name="12 half association requests", attack=crowd(half_request), slow=True),
    Row(name="12 slow drips (1 byte/s)", attack=crowd(half_request, b"\x00"), slow=True),
    Row(name="12 stalled inside a data set", attack=crowd(stalled_in_data), slow=True),
    Row(name="A-ABORT in every state", attack=end_everywhere(reset=False)),
    Row(name="TCP reset in every state", attack=end_everywhere(reset=True)),
    Row(name="wrong called AE title", attack=wrong_called),
    Row(name="SOP class other than the context's", attack=other_class),
    Row(name="data set of another instance", attack=lambda t: answer(t, data=encoded(image("1.2.3.99")))),
    Row(name="implicit VR in an explicit context", attack=lambda t: answer(t, data=encoded(image(), IMPLICIT_LITTLE))),
    Row(name="data set cut off", attack=lambda t: answer(t, data=_whole()[:-7])),
    Row(name="junk as data set", attack=lambda t: answer(t, data=b"\xff\x00junk" * 100)),
    Row(name="UID ../../escaped", attack=with_uid("../../escaped")),
    Row(name="UID /tmp/escaped", attack=with_uid("/tmp/escaped")),
    Row(name="UID empty", attack=with_uid("")),
    Row(name="UID of 72 characters", attack=with_uid("1." * 36)),
    Row(name="sequences 3,000 deep", attack=lambda t: answer(t, data=deep_sequences(3000))),
    Row(name="deflate bomb, 300 MiB from 300 kB", attack=bomb),
    Row(name="NaN and zero geometry", attack=edited(no_numbers, "1.2.3.77")),
    Row(name="image of 65535 x 65535", attack=edited(giant_image, "1.2.3.78")),
    Row(name="same UID, other content", attack=same_uid_twice),
)

QUICK = tuple(row for row in ROWS if not row.slow)


def names_of(text: str) -> list[str]:
    """Names of the rows of a table in Markdown."""
    return re.findall(r"^\| ([^|]+?) \|", text, re.MULTILINE)[1:]
