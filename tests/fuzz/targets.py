"""What is fuzzed: each target takes bytes, and lets through only the errors that its callers expect.

Anything else that escapes is a finding, as are an end of the process, a hang and memory beyond the limit
(``one.py``). Findings that were mended stay as files in ``findings/`` and are replayed by ``test_findings.py``.
"""

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from node.config import AllowedPeer, ReceiveConfig
from node.dimse.acceptor import StoringAssociation
from node.dimse.data_sets import decode_from
from node.dimse.requestor import Context
from node.dimse.scp import Listener
from node.errors import InputError
from node.intake.dataset_walk import IMPLICIT_VR_LITTLE_ENDIAN, walk_file
from node.intake.file_meta import decode_file_meta, head_bytes
from node.intake.headers import patient_pseudonym, read_header
from node.intake.spool import Spool
from node.process.drawn_region import Place, read_region
from node.process.facts import patient_facts
from node.process.frames import read_planes
from node.process.pixels import read_acquisition
from node.process.priors import answer_of
from node.process.signal import read_source
from quant.acquisition import Geometry
from sr_templates.earlier import is_ours

_ASSOCIATION_ENDS_S = 10.0
_FIRST_BYTE = {0: "1.2.840.10008.1.2.1", 1: IMPLICIT_VR_LITTLE_ENDIAN}


@dataclass(frozen=True, kw_only=True)
class Target:
    """``run`` takes an input; ``what`` says in a few words whose bytes these are."""

    name: str
    what: str
    run: Callable[[bytes], None]


class _Scratch:
    """A file in memory where the system has that, for readers that want a path."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        self._folder = tempfile.TemporaryDirectory(prefix="ironnode-fuzz-", dir=memory if memory.is_dir() else None)
        self.folder = Path(self._folder.name)

    def file(self, data: bytes) -> Path:
        path = self.folder / "input.dcm"
        path.write_bytes(data)
        return path


@cache
def _scratch() -> _Scratch:
    return _Scratch()


# ------------------------------------------------------------ files


def header(data: bytes) -> None:
    """What the assembler reads of a file, and what the listener walks."""
    path = _scratch().file(data)
    with suppress(InputError):
        meta, offset = decode_file_meta(data[: head_bytes()], path.name)
        walk_file(path, offset, meta.transfer_syntax_uid)
    with suppress(InputError):
        read_header(path)


def pixels(data: bytes) -> None:
    """What the worker reads of an image: every plane by itself, and the acquisition that it makes alone."""
    path = _scratch().file(data)
    with suppress(InputError):
        source = read_source(path)
        for _ in read_planes(path, source.header, sorted(source.planes)[:4]):
            pass
    with suppress(InputError):
        read_acquisition([path])


def structured_report(data: bytes) -> None:
    """What an archive answers when it is asked for earlier reports; the first byte chooses the transfer syntax."""
    context = Context(sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", transfer_syntax_uid=_FIRST_BYTE[data[:1] == b"\1"])
    with suppress(InputError):
        report = decode_from(context, data[1:])
        if is_ours(report):
            answer_of([report], patient_facts(report), "")


def region(data: bytes) -> None:
    """A Segmentation or RT Structure Set that somebody sends for an acquisition of ours."""
    with suppress(InputError):
        read_region(_scratch().file(data), place())


FRAME_OF_REFERENCE, PATIENT_ID = "1.2.826.0.1.3680043.10.996.1", "FUZZ"


def place() -> Place:
    """The acquisition for which regions come: four slices of 12 x 12."""
    geometry = Geometry(
        positions_mm=np.array([(0.0, 0.0, 8.0 * z) for z in range(4)]),
        row_direction=np.array((1.0, 0.0, 0.0)),
        column_direction=np.array((0.0, 1.0, 0.0)),
        spacing_mm=(8.0, 2.0, 2.0),
        slice_thickness_mm=8.0,
    )
    return Place(
        geometry=geometry,
        shape=(4, 12, 12),
        frame_of_reference_uids=frozenset({FRAME_OF_REFERENCE}),
        sop_instance_uids=frozenset(),
        patient_id_hashes=(patient_pseudonym("", PATIENT_ID),) * 2,
    )


# ------------------------------------------------------------ the network


class _Served:
    """A listener of ours in this process; whatever ends one of its threads is kept."""

    def __init__(self) -> None:
        self.folder = _scratch().folder / "node"
        self.folder.mkdir()
        self.failures: list[threading.ExceptHookArgs] = []
        threading.excepthook = self.failures.append
        config = ReceiveConfig(
            host="127.0.0.1", port=0, allow=(AllowedPeer(ae_title="FUZZ", host="127.0.0.1"),), pdu_timeout_s=5
        )
        self.spool = Spool(self.folder)
        self.listener = Listener(config, self.spool, lambda report: None)
        self.listener.start()

    def talk(self, pieces: Iterator[bytes]) -> None:
        """Say it, say no more, and wait for the end that must come."""
        address = ("127.0.0.1", self.listener.port)
        try:
            with (
                socket.create_connection(address, timeout=_ASSOCIATION_ENDS_S) as connection,
                suppress(ConnectionError),  # it may hang up before everything was said
            ):
                for piece in pieces:
                    connection.sendall(piece)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass
        finally:
            self._raise_failure()
        for path in self.spool.inbox_folder.iterdir():
            path.unlink()

    def _raise_failure(self) -> None:
        """What ended a thread that served this input, and no later one."""
        for thread in threading.enumerate():
            if isinstance(thread, StoringAssociation):
                thread.join(_ASSOCIATION_ENDS_S)
        if self.failures:
            raise self.failures.pop().exc_value or AssertionError("a thread ended")


@cache
def _served() -> _Served:
    return _Served()


def association(data: bytes) -> None:
    """The first bytes on a connection."""
    _served().talk(iter((data,)))


def p_data(data: bytes) -> None:
    """What follows an association that was accepted."""
    _served().talk(iter((ASSOCIATE, data)))


def _item(kind: int, body: bytes) -> bytes:
    return bytes((kind, 0)) + len(body).to_bytes(2, "big") + body


def context_item(number: int, abstract: str, *transfer: str) -> bytes:
    """A presentation context item of an A-ASSOCIATE-RQ (PS3.8 9.3.2.2)."""
    syntaxes = b"".join(_item(0x40, syntax.encode()) for syntax in transfer)
    return _item(0x20, bytes((number, 0, 0, 0)) + _item(0x30, abstract.encode()) + syntaxes)


def associate_request(*contexts: bytes, called: bytes = b"IRONNODE", calling: bytes = b"FUZZ") -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2) with these presentation context items."""
    user = _item(0x51, (1 << 16).to_bytes(4, "big")) + _item(0x52, b"1.2.3") + _item(0x55, b"FUZZ")
    body = (
        b"\x00\x01\x00\x00" + called.ljust(16) + calling.ljust(16) + bytes(32)
        + _item(0x10, b"1.2.840.10008.3.1.1.1")
        + b"".join(contexts)
        + _item(0x50, user)
    )  # fmt: skip
    return b"\x01\x00" + len(body).to_bytes(4, "big") + body


ASSOCIATE = associate_request(
    context_item(1, "1.2.840.10008.1.1", "1.2.840.10008.1.2.1"),
    context_item(3, "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"),
    context_item(5, "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1.99"),
    context_item(7, "1.2.840.10008.1.20.1", IMPLICIT_VR_LITTLE_ENDIAN),
)

TARGETS = {
    target.name: target
    for target in (
        Target(name="association", what="the first bytes on a connection to the listener", run=association),
        Target(name="p-data", what="what follows an accepted association", run=p_data),
        Target(name="header", what="a file of the spool: walk, header, admission", run=header),
        Target(name="pixels", what="an image's pixels, and the acquisition that it makes", run=pixels),
        Target(name="structured-report", what="an archive's answer: an earlier report", run=structured_report),
        Target(name="region", what="a Segmentation or RT Structure Set", run=region),
    )
}
