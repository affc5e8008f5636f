"""Reading PDUs: split anywhere, capped, with a deadline."""

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from node.dimse.transport import PduReader, PduTooLongError, wait_in_system


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with near, far:
        yield near, far


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBL", kind, 0, len(body)) + body


@pytest.mark.parametrize("piece", [1, 7, 4096, 1 << 20])
def test_pdus_come_out_whole_however_they_are_cut(ends: tuple[socket.socket, socket.socket], piece: int) -> None:
    near, far = ends
    bodies = [bytes([n]) * size for n, size in enumerate((0, 5, 3000, 70000 if piece > 7 else 100, 1))]
    stream = b"".join(pdu(4, body) for body in bodies)
    sender = threading.Thread(target=lambda: [far.sendall(stream[i : i + piece]) for i in range(0, len(stream), piece)])
    sender.start()
    reader = PduReader(near, timeout_s=10)
    found = []
    for _ in bodies:
        read = reader.read_pdu(1 << 20)
        assert read is not None
        found.append(bytes(read.body))
    sender.join()
    assert found == bodies
    assert not reader.buffered


def test_a_length_over_the_limit_is_refused_before_it_is_read(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    far.sendall(struct.pack(">BBL", 4, 0, 0xFFFFFFFF))
    with pytest.raises(PduTooLongError, match="4294967295"):
        PduReader(near, timeout_s=5).read_pdu(1000)


def test_the_end_between_two_pdus_is_none_and_inside_one_an_error(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    far.sendall(pdu(4, b"x") + pdu(4, b"abc")[:-1])
    far.shutdown(socket.SHUT_WR)
    reader = PduReader(near, timeout_s=5)
    assert reader.read_pdu(10) is not None
    with pytest.raises(ConnectionError):
        reader.read_pdu(10)
    assert PduReader(near, timeout_s=5).read_pdu(10) is None


def test_the_system_bounds_a_wait_as_well(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    reader = PduReader(near, timeout_s=0.05)
    wait_in_system(near, 0.05)
    far.sendall(pdu(4, b"whole"))
    whole = reader.read_pdu(2000)
    assert whole is not None
    assert bytes(whole.body) == b"whole"
    far.sendall(pdu(4, bytes(10))[:8])
    with pytest.raises(TimeoutError):
        reader.read_pdu(2000)
    with pytest.raises(BlockingIOError):  # a peer that takes nothing holds up a sender no longer
        near.sendall(bytes(64 << 20))


def test_a_drip_does_not_extend_the_deadline(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    stop = threading.Event()

    def drip() -> None:
        for byte in pdu(4, bytes(1000)):
            if stop.wait(0.02):
                return
            far.sendall(bytes((byte,)))

    sender = threading.Thread(target=drip)
    sender.start()
    try:
        with pytest.raises(TimeoutError):
            PduReader(near, timeout_s=0.3).read_pdu(2000)
    finally:
        stop.set()
        sender.join()
