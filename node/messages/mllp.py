"""HL7 over a connection, framed by MLLP (HL7 v2.5.1 appendix C.4): one message, one answer."""

import socket
import time

from node.errors import PeerError

_START, _END = b"\x0b", b"\x1c\r"
_LONGEST_ANSWER_BYTES = 1 << 20


def exchange(connection: socket.socket, message: str, timeout_s: float) -> str:
    """Send one message and give the answer to it.

    Raises:
        PeerError: no whole answer came in time.
    """
    try:
        connection.sendall(_START + message.encode() + _END)
        return _answer(connection, time.monotonic() + timeout_s)
    except TimeoutError as error:
        raise PeerError(f"no acknowledgement within {timeout_s:g} s") from error
    except OSError as error:
        raise PeerError(f"connection lost: {error.strerror or error}") from error


def _answer(connection: socket.socket, deadline: float) -> str:
    received = b""
    while not received.endswith(_END):
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        piece = connection.recv(65536)
        if not piece:
            raise PeerError("it closed the connection instead of acknowledging")
        received += piece
        if len(received) > _LONGEST_ANSWER_BYTES:
            raise PeerError("its answer does not end")
    if not received.startswith(_START):
        raise PeerError("its answer is not framed by MLLP")
    return received[len(_START) : -len(_END)].decode("utf-8", "replace")
