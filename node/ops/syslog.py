"""Syslog over TLS (RFC 5424, RFC 5425), and the part of the audit trail that a server has not got yet.

Syslog has no answers. A batch counts as taken when the server has ended TLS in order (RFC 5425 4.4) after our own end
of it: TLS keeps the order, so it has read everything before. The trail is the spool; a batch that is cut off goes
again.
"""

import contextlib
import json
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from node.config import SyslogConfig
from node.connections import connect
from node.errors import ConfigError, PeerError
from node.jobs.durable import write_durably
from node.ops.audit import DAMAGED, AuditEntry, AuditTrail
from node.ops.events import Event, emit
from node.tls import SYSLOG_KEY, caller_context, tls_fault

_PRIORITY = 10 * 8 + 5  # RFC 5424 6.2.1: security messages, notice
_MESSAGE_ID = "DICOM+RFC3881"  # PS3.15 A.6.2
_BOM = b"\xef\xbb\xbf"  # RFC 5424 6.4: the message is UTF-8
_BATCH = 200
_PIECE = 16384

_Done = TypeVar("_Done")


def syslog_frame(message: bytes, time: str, host: str) -> bytes:
    """One message with its header, and its length before it (RFC 5425 4.3)."""
    head = f"<{_PRIORITY}>1 {time} {host} ironnode - {_MESSAGE_ID} - ".encode()
    whole = head + _BOM + message
    return str(len(whole)).encode() + b" " + whole


def send_frames(settings: SyslogConfig, frames: Sequence[bytes]) -> None:
    """Hand messages to the server, on one connection.

    Raises:
        PeerError: it did not take them all.
    """
    server = f"audit.syslog: {settings.host}:{settings.port}"
    try:
        context = caller_context(settings.tls, SYSLOG_KEY)
        with connect(
            settings.host, settings.port, timeout_s=settings.timeout_s, tls=None, tls_key="", peer=server
        ) as plain:
            session = _Session(plain, context, settings.host)
            session.send(b"".join(frames))
            session.end_in_order()
    except ConfigError as error:
        raise PeerError(str(error)) from error
    except ssl.SSLEOFError as error:
        text = "it closed the connection without ending TLS (RFC 5425 4.4): nobody knows what it has read"
        raise PeerError(f"{server}: {text}") from error
    except (OSError, ValueError) as error:
        text = tls_fault(error) if isinstance(error, OSError) else str(error)
        raise PeerError(f"{server}: {text}") from error


class _Session:
    """TLS over a connected socket, with its records in our own hands.

    ``SSLSocket.unwrap`` will not do: it takes an alert that has come already for the server's end, so that a
    certificate of ours that is refused (TLS 1.3 tells so after the handshake) would pass for success.
    """

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, server: str) -> None:
        self._plain = plain
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_hostname=server)
        self._run(self._tls.do_handshake)

    def send(self, content: bytes) -> None:
        """All of it."""
        self._run(lambda: self._tls.write(content))

    def end_in_order(self) -> None:
        """Say that nothing more comes, then wait for the server's end; an alert, a reset or an end without it is an
        error."""
        with contextlib.suppress(ssl.SSLWantReadError):  # until everything that has come is looked at
            while self._tls.read(_PIECE):
                continue
            raise ValueError("it ended the connection before our end of it: nobody knows what it has read")
        with contextlib.suppress(ssl.SSLWantReadError):  # as nothing is left to read
            self._tls.unwrap()
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while self._run(lambda: self._tls.read(_PIECE)):
                continue

    def _run(self, step: Callable[[], _Done]) -> _Done:
        """Take a step of TLS as often as it wants to hear more of the server."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._plain.sendall(self._to_send.read())
                piece = self._plain.recv(_PIECE)
                if piece:
                    self._received.write(piece)
                else:
                    self._received.write_eof()
            else:
                self._plain.sendall(self._to_send.read())
                return done


class Forwarder:
    """Sends what the server has not got yet; where it stands is kept beside the trail."""

    def __init__(
        self,
        trail: AuditTrail,
        messages_of: Callable[[AuditEntry], Iterable[bytes]],
        send: Callable[[Sequence[bytes]], None],
        host: str,
    ) -> None:
        self._trail = trail
        self._messages_of = messages_of
        self._send = send
        self._host = host

    def step(self) -> bool:
        """Send one batch; whether more is waiting. A line that cannot be read is told in the log and left out.

        Raises:
            PeerError: the server did not take it; the next step sends it again.
            StorageError: where it stands cannot be kept; the batch goes again.
        """
        offset = _sent_up_to(self._trail)
        frames: list[bytes] = []
        entries = 0
        for entry in self._trail.after(offset):
            if entry.event == DAMAGED:
                place = f"{self._trail.path}: the line that ends at byte {entry.end}"
                emit(Event.AUDIT_FAILED, error=f"{place} is damaged, so the audit server does not get it")
            frames += [syslog_frame(message, entry.time, self._host) for message in self._messages_of(entry)]
            offset, entries = entry.end, entries + 1
            if entries == _BATCH:
                break
        if frames:
            self._send(frames)
        if entries:
            write_durably(_state_of(self._trail), json.dumps({"offset": offset}).encode())
        return entries == _BATCH


def unsent_since(trail: AuditTrail) -> datetime | None:
    """Since when the server lacks what the trail holds; ``None``: it has all of it, or the trail cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        unsent = trail.after(_sent_up_to(trail))
        return next((datetime.fromisoformat(entry.time) for entry in unsent if entry.event != DAMAGED), None)
    return None


def _sent_up_to(trail: AuditTrail) -> int:
    """The offset, bytes; 0 where the trail was made anew since: everything goes again."""
    try:
        offset = int(json.loads(_state_of(trail).read_text())["offset"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    if offset <= 0 or not trail.path.exists():
        return 0
    with trail.path.open("rb") as file:
        file.seek(offset - 1)
        return offset if file.read(1) == b"\n" else 0


def _state_of(trail: AuditTrail) -> Path:
    return trail.path.with_name("forwarded.json")
