"""Callers of a listener: a well-behaved one step by step, and bytes on a bare socket."""

import select
import socket
import struct
import time
from collections.abc import Callable

from node.dimse.command import command_pdu, data_pdu_head, encode_store_request
from node.dimse.requestor import Requestor, Response
from node.dimse.scp import Listener
from node.intake.uids import is_legal_uid
from tests.node.intake.encoded_images import EXPLICIT_LITTLE, MR_IMAGE, encoded, image

__all__ = ["EXPLICIT_LITTLE", "MR_IMAGE", "RawCaller", "begin_store", "eventually", "store"]

P_DATA, RELEASE_RQ, ABORT = 4, 5, 7


def store(
    association: Requestor,
    data: bytes | None = None,
    *,
    sop_class_uid: str = MR_IMAGE,
    sop_instance_uid: str = "1.2.3.4",
    context_id: int = 1,
) -> Response:
    """One C-STORE with freely chosen command and data set."""
    command = encode_store_request(association.next_message_id(), sop_class_uid, sop_instance_uid)
    return association.request(context_id, command, _same_instance(sop_instance_uid) if data is None else data)


def _same_instance(sop_instance_uid: str) -> bytes:
    return encoded(image(sop_instance_uid if is_legal_uid(sop_instance_uid) else "1.2.3.4"))


def begin_store(association: Requestor, data: bytes, *, context_id: int = 1) -> None:
    """Send a C-STORE request and a first piece of its data set, and no more."""
    command = encode_store_request(association.next_message_id(), MR_IMAGE, "1.2.3.4")
    head = data_pdu_head(context_id, len(data), command=False, last=False)
    association._socket.sendall(command_pdu(context_id, command) + head + data)


def eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for something that another thread or process brings about."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come about in time")
        time.sleep(0.005)


class RawCaller:
    """Bytes on a bare connection."""

    def __init__(self, listener: Listener) -> None:
        self.socket = socket.create_connection(("127.0.0.1", listener.port), timeout=15)

    def __enter__(self) -> "RawCaller":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes; a peer that has closed already is no error here."""
        try:
            self.socket.sendall(data)
        except OSError:
            return

    def pdu(self, kind: int, body: bytes, length: int | None = None) -> None:
        """Send a PDU, perhaps with a lie about its length."""
        self.send(struct.pack(">BBL", kind, 0, len(body) if length is None else length) + body)

    def is_closed(self) -> bool:
        """Whether the listener has closed the connection, of a caller that it has told nothing."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def answer(self) -> bytes:
        """Everything the listener still says before it closes."""
        received = b""
        try:
            while piece := self.socket.recv(4096):
                received += piece
        except ConnectionError:
            pass
        return received
