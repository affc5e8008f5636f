"""A connection as the upper layer uses it: one buffer, a limit on PDU length, a deadline for each whole PDU.

Linux delays acknowledgements by 40 ms, and DCMTK's senders write each PDU in two pieces with Nagle's algorithm on:
each instance then waits for the delayed ACK. Asking for an immediate one (TCP_QUICKACK) before each read removes
the wait for senders we do not control; TCP_NODELAY removes it on our side.
"""

import contextlib
import select
import socket
import ssl
import struct
import time
from typing import NamedTuple

from node.tls import looks_like_tls

PDU_HEAD_BYTES = 6
_SMALLEST_BUFFER_BYTES = 1 << 16
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class Pdu(NamedTuple):
    """One protocol data unit; ``body`` is valid until the next read."""

    kind: int
    body: memoryview


class PduTooLongError(OSError):
    """The peer announced a PDU longer than is accepted."""


class TlsSpokenError(OSError):
    """The peer speaks TLS where we do not."""


def close(connection: socket.socket) -> None:
    """Close a connection, over TLS with our good-bye (RFC 8446 6.1); the peer's is not waited for."""
    if isinstance(connection, ssl.SSLSocket):
        with contextlib.suppress(OSError, ValueError):
            connection.settimeout(0)
            connection.unwrap()
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def wait_in_system(connection: socket.socket, timeout_s: float) -> None:
    """Let the system bound each wait of a plain connection, where Python would ask poll(2) before every call.

    A wait that took too long ends as ``BlockingIOError``, which :class:`PduReader` reports as ``TimeoutError``.
    """
    connection.settimeout(None)
    seconds = int(timeout_s)
    limit = struct.pack("@ll", seconds, int((timeout_s - seconds) * 1e6))
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, limit)


class PduReader:
    """Reads whole PDUs from a connected socket."""

    def __init__(self, connection: socket.socket, *, timeout_s: float) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(timeout_s)
        self._socket = connection
        self._timeout_s = timeout_s
        self._buffer = bytearray(_SMALLEST_BUFFER_BYTES)
        self._start = 0
        self._end = 0

    @property
    def buffered(self) -> bool:
        """Whether bytes are at hand that poll(2) does not see: read and not asked for yet, or decrypted by TLS."""
        return self._end > self._start or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0)

    def wait(self, wait_s: float) -> bool:
        """Wait until there is something to read, or the peer has closed; ``False`` when neither happened in time."""
        if self.buffered:
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(wait_s * 1000))

    def release(self) -> None:
        """Give the buffer back; called when nothing more is read."""
        self._buffer = bytearray()
        self._start = self._end = 0

    def read_pdu(self, longest_bytes: int) -> Pdu | None:
        """The next PDU; None when the peer closed the connection between two.

        Raises:
            TlsSpokenError: it is no PDU but a TLS record.
            PduTooLongError: it is longer than ``longest_bytes``; nothing of it was kept in memory.
            TimeoutError: it did not arrive whole in time.
            OSError: the connection broke, or was closed inside the PDU.
        """
        deadline = time.monotonic() + self._timeout_s
        if not self._fill(PDU_HEAD_BYTES, deadline):
            return None
        kind, _, length = struct.unpack_from(">BBL", self._buffer, self._start)
        if looks_like_tls(self._buffer[self._start : self._start + 2]):
            raise TlsSpokenError("it speaks TLS, and this side does not")
        if length > longest_bytes:
            raise PduTooLongError(f"a PDU of {length} bytes; {longest_bytes} are accepted")
        self._fill(PDU_HEAD_BYTES + length, deadline)
        body_start = self._start + PDU_HEAD_BYTES
        self._start = body_start + length
        return Pdu(kind, memoryview(self._buffer)[body_start : self._start])

    def read_bytes(self, count: int) -> bytearray:
        """So many bytes; fewer when the peer closed the connection."""
        self._fill(count, time.monotonic() + self._timeout_s, closed_is_end=True)
        end = min(self._start + count, self._end)
        taken = self._buffer[self._start : end]
        self._start = end
        return taken

    def _fill(self, count: int, deadline: float, *, closed_is_end: bool = False) -> bool:
        """Have ``count`` bytes in the buffer; False when the connection was closed before the first."""
        if self._start == self._end:
            self._start = self._end = 0
        self._make_room(count)
        while self._end - self._start < count:
            if time.monotonic() > deadline:
                raise TimeoutError("a PDU did not arrive in time")
            if _QUICKACK is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            try:
                got = self._socket.recv_into(memoryview(self._buffer)[self._end :])
            except BlockingIOError as error:
                raise TimeoutError("nothing of a PDU arrived in time") from error
            if got == 0:
                if closed_is_end or self._start == self._end:
                    return False
                raise ConnectionError("the connection was closed inside a PDU")
            self._end += got
        return True

    def _make_room(self, count: int) -> None:
        if self._start + count <= len(self._buffer):
            return
        kept = self._buffer[self._start : self._end]
        if count > len(self._buffer):
            self._buffer = bytearray(count + _SMALLEST_BUFFER_BYTES)  # with room for what the peer sends after it
        self._buffer[: len(kept)] = kept
        self._start, self._end = 0, len(kept)
