"""Senders: messages prepared beforehand, DCMTK's dcmsend, our own and pynetdicom's.

``python -m bench.net.senders PORT SERIES ASSOCIATIONS`` sends prepared messages and prints instances per second.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE

from bench.net.receivers import AE_TITLE
from node.dimse.command import STATUS, CommandSet, data_pdu_head, encode_store_request
from node.dimse.requestor import Context, Requestor
from node.dimse.scu import Peer, send
from node.intake.file_meta import decode_file_meta, head_bytes
from node.model import StoreStatus

_MR_EXPLICIT = Context(sop_class_uid="1.2.840.10008.5.1.4.1.1.4", transfer_syntax_uid="1.2.840.10008.1.2.1")
_LARGEST_PDU_BYTES = 131072
_PDV_HEAD_BYTES = 6


def prepared_rate(port: int, series: Path, associations: int) -> float:
    """Instances per second with the messages of each association encoded before the clock starts."""
    command = [sys.executable, "-m", "bench.net.senders", str(port), str(series), str(associations)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def dcmsend_rate(port: int, series: Path) -> float:
    """Instances per second of dcmsend as it is: Nagle's algorithm on, its start and work included."""
    files = sorted(map(str, series.iterdir()))
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    started = time.perf_counter()
    subprocess.run(
        ["/usr/bin/dcmsend", "-aec", AE_TITLE, "127.0.0.1", str(port), *files],
        env=environment, check=True, capture_output=True,
    )  # fmt: skip
    return len(files) / (time.perf_counter() - started)


def our_rate(port: int, files: Sequence[Path]) -> float:
    """Instances per second of the node's own sender."""
    started = time.perf_counter()
    outcomes = send(files, _peer(port), calling_ae_title=AE_TITLE)
    assert all(outcome.status is StoreStatus.SUCCESS for outcome in outcomes), outcomes
    return len(files) / (time.perf_counter() - started)


def pynetdicom_rate(port: int, files: Sequence[Path]) -> float:
    """The same with pynetdicom as its documentation shows it."""
    entity = AE(ae_title=AE_TITLE)
    entity.add_requested_context(_MR_EXPLICIT.sop_class_uid, _MR_EXPLICIT.transfer_syntax_uid)
    started = time.perf_counter()
    association = entity.associate("127.0.0.1", port, ae_title=AE_TITLE)
    for path in files:
        assert association.send_c_store(dcmread(path)).Status == 0
    association.release()
    return len(files) / (time.perf_counter() - started)


def associations_per_s(port: int, count: int) -> float:
    """Associations made and released one after the other, without a message."""
    started = time.perf_counter()
    for _ in range(count):
        _associate(port).release()
    return count / (time.perf_counter() - started)


def idle(port: int, count: int) -> list[Requestor]:
    """So many associations that stay open and say nothing."""
    return [_associate(port) for _ in range(count)]


def _peer(port: int) -> Peer:
    return Peer(ae_title=AE_TITLE, host="127.0.0.1", port=port)


def _associate(port: int) -> Requestor:
    return Requestor(_peer(port), [_MR_EXPLICIT], calling_ae_title=AE_TITLE, timeout_s=60)


def _blast(port: int, files: Sequence[Path], ready: int, go: int) -> None:
    """One association: prepare, say so, wait for the start, send."""
    association = _associate(port)
    context_id, connection = association.accepted[_MR_EXPLICIT], association._socket
    longest = min(association._pdu_bytes, _LARGEST_PDU_BYTES) - _PDV_HEAD_BYTES
    messages = [_message(path, number, context_id, longest) for number, path in enumerate(files)]
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    os.write(ready, b"x")
    os.read(go, 1)
    for message in messages:
        connection.sendall(message)
        pdu = association._reader.read_pdu(_LARGEST_PDU_BYTES)
        assert pdu is not None
        status = CommandSet.decode(bytes(pdu.body[_PDV_HEAD_BYTES:])).number(STATUS)
        assert status == 0, f"{status:04X}"


def _message(path: Path, number: int, context_id: int, longest: int) -> bytes:
    content = path.read_bytes()
    meta, start = decode_file_meta(content[: head_bytes()], path.name)
    command = encode_store_request(number + 1, meta.sop_class_uid, meta.sop_instance_uid)
    pieces = [data_pdu_head(context_id, len(command), command=True, last=True), command]
    while start < len(content):
        piece = content[start : start + longest]
        start += len(piece)
        pieces += [data_pdu_head(context_id, len(piece), command=False, last=start == len(content)), piece]
    return b"".join(pieces)


def _main(port: int, series: Path, associations: int) -> None:
    """One process for each association; the clock runs from the common start to the last answer."""
    files = sorted(series.iterdir())
    (ready_read, ready_write), (go_read, go_write) = os.pipe(), os.pipe()
    children = []
    for number in range(associations):
        child = os.fork()
        if child == 0:
            _blast(port, files[number::associations], ready_write, go_read)
            os._exit(0)
        children.append(child)
    waiting = associations
    while waiting:
        waiting -= len(os.read(ready_read, waiting))
    started = time.perf_counter()
    os.write(go_write, b"x" * associations)
    codes = [os.waitpid(child, 0)[1] for child in children]
    elapsed_s = time.perf_counter() - started
    if any(codes):
        raise SystemExit("a sender failed")
    sys.stdout.write(f"{len(files) / elapsed_s}\n")


if __name__ == "__main__":
    _main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
