"""HL7 over a TCP or TLS connection, framed by MLLP (HL7 v2.5.1 appendix C.4): one message, one answer."""

import socket
import time

from node.config import Hl7Receiver
from node.errors import ConfigError, PeerError
from node.tls import caller_context, tls_fault

_START, _END = b"\x0b", b"\x1c\r"
_LONGEST_ANSWER_BYTES = 1 << 20


def connect(receiver: Hl7Receiver) -> socket.socket:
    """A connection.

    Raises:
        PeerError: there is none; the text says why.
    """
    where = f"{receiver.name} ({receiver.host}:{receiver.port})"
    try:
        plain = socket.create_connection((receiver.host, receiver.port), timeout=receiver.timeout_s)
    except OSError as error:
        raise PeerError(f"{where}: no connection: {error.strerror or error}") from error
    if receiver.tls is None:
        return plain
    try:
        return caller_context(receiver.tls, receiver.tls_key).wrap_socket(plain, server_hostname=receiver.host)
    except ConfigError as error:
        plain.close()
        raise PeerError(str(error)) from error
    except OSError as error:
        plain.close()
        raise PeerError(f"{where}: TLS: {tls_fault(error)}") from error


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
