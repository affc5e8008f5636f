"""Instances come in byte for byte, are durable, and are answered by what they are."""

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from node.dimse.command import command_pdu, data_pdu_head, encode_store_request
from node.dimse.contexts import STORED_SOP_CLASSES, STORED_TRANSFER_SYNTAXES
from node.dimse.requestor import Requestor
from node.dimse.scp import Listener
from node.dimse.scu import Peer, echo, send
from node.dimse.status import Status
from node.intake.durable_io import DurableIo
from node.intake.file_meta import decode_file_meta, head_bytes
from node.intake.spool import Spool
from node.model import StoreStatus
from tests.loopback.callers import MR_IMAGE, begin_store, eventually, store
from tests.node.intake.encoded_images import DEFLATED, EXPLICIT_LITTLE, IMPLICIT_LITTLE, encoded, image, written

Associate = Callable[..., Requestor]


def data_set_of(path: Path) -> bytes:
    whole = path.read_bytes()
    _, start = decode_file_meta(whole[: head_bytes()], path.name)
    return whole[start:]


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def test_echo(listener: Listener, peer: Callable[[str], Path]) -> None:
    echo(Peer(ae_title="IRONNODE", host="127.0.0.1", port=listener.port), calling_ae_title="MR1")
    assert run(peer("echoscu"), "-aec", "IRONNODE", "127.0.0.1", listener.port).returncode == 0


@pytest.mark.parametrize("syntax", sorted(STORED_TRANSFER_SYNTAXES))
def test_every_syntax_is_kept_as_it_came(listener: Listener, spool: Spool, associate: Associate, syntax: str) -> None:
    encoding = syntax if syntax in (IMPLICIT_LITTLE, DEFLATED, "1.2.840.10008.1.2.2") else EXPLICIT_LITTLE
    data = encoded(image(), encoding)
    with associate(listener, (MR_IMAGE, syntax)) as association:
        assert store(association, data).status == Status.SUCCESS
    (found,) = spool.inbox()
    assert data_set_of(found.path) == data
    assert pydicom.dcmread(found.path, stop_before_pixels=True).file_meta.TransferSyntaxUID == syntax
    assert found.calling_ae_title == "MR1"


def test_every_class_is_taken(listener: Listener, spool: Spool, associate: Associate) -> None:
    with associate(listener, *((sop_class, EXPLICIT_LITTLE) for sop_class in STORED_SOP_CLASSES)) as association:
        for number, (context, context_id) in enumerate(association.accepted.items()):
            data_set = image(f"1.2.{number}")
            data_set.SOPClassUID = context.sop_class_uid
            answer = store(
                association,
                encoded(data_set),
                sop_class_uid=context.sop_class_uid,
                sop_instance_uid=f"1.2.{number}",
                context_id=context_id,
            )
            assert answer.status == Status.SUCCESS
    assert len(spool.inbox()) == len(STORED_SOP_CLASSES)


@pytest.mark.parametrize(
    "number", [1, 4, 5, 6, 7, 8, 9]
)  # 2 and 3 are uncompressed: dcmsend converts them to explicit VR
def test_dcmtk_sends_a_real_image_in_every_encoding(
    listener: Listener, spool: Spool, peer: Callable[[str], Path], shared_data: Callable[[str], Path], number: int
) -> None:
    path = shared_data("transfer-syntaxes") / f"{number}.dcm"
    original = pydicom.dcmread(path)
    options = ("-aec", "IRONNODE", "--decompress-never", "--max-send-pdu", 4096 if number % 2 else 131072)
    sent = run(peer("dcmsend"), *options, "127.0.0.1", listener.port, path)
    assert sent.returncode == 0, sent.stderr
    (found,) = spool.inbox()
    stored = pydicom.dcmread(found.path)
    assert stored.PixelData == original.PixelData
    assert stored.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    original.remove_private_tags()
    stored.remove_private_tags()
    assert [e for e in stored if e.tag.element] == [e for e in original if e.tag.element]  # dcmsend drops group lengths


def test_the_same_instance_again_is_success(listener: Listener, spool: Spool, associate: Associate) -> None:
    with associate(listener) as association:
        assert store(association).status == Status.SUCCESS
        spool.admit("1.2.3.4")
        assert store(association).status == Status.SUCCESS
    assert spool.inbox() == []
    assert listener.counts.received.known == 1


def test_other_bytes_under_a_known_uid_are_kept_apart(listener: Listener, spool: Spool, associate: Associate) -> None:
    with associate(listener) as association:
        assert store(association).status == Status.SUCCESS
        answer = store(association, encoded(image(rows=16)))
        assert answer.status == Status.DUPLICATE_SOP_INSTANCE
        assert "kept apart" in answer.comment
        assert store(association, sop_instance_uid="1.2.3.5").status == Status.SUCCESS
    (kept_apart,) = spool.quarantine_folder.iterdir()
    assert data_set_of(kept_apart) == encoded(image(rows=16))


def test_eight_senders_at_once(listener: Listener, spool: Spool, tmp_path: Path) -> None:
    folders = []
    for sender in range(8):
        paths = []
        for number in range(12):
            path = tmp_path / f"{sender}-{number}.dcm"
            path.write_bytes(written(image(f"1.{sender + 1}.{number}", rows=64)))
            paths.append(path)
        folders.append(paths)
    outcomes = []

    def transmit(paths: list[Path]) -> None:
        target = Peer(ae_title="IRONNODE", host="127.0.0.1", port=listener.port)
        outcomes.extend(send(paths, target, calling_ae_title="MR1"))

    threads = [threading.Thread(target=transmit, args=(paths,)) for paths in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcome.status for outcome in outcomes] == [StoreStatus.SUCCESS] * 96
    kept = {found.sop_instance_uid: data_set_of(found.path) for found in spool.inbox()}
    sent = {f"1.{s + 1}.{n}": data_set_of(path) for s, paths in enumerate(folders) for n, path in enumerate(paths)}
    assert kept == sent


def test_a_stop_lets_an_arriving_instance_finish(listener: Listener, spool: Spool, associate: Associate) -> None:
    data = encoded(image(rows=64))
    association = associate(listener)
    idle = associate(listener)
    begin_store(association, data[:1000])
    eventually(lambda: any(spool.temporary_folder.iterdir()))
    stopping = threading.Thread(target=listener.stop, args=(10.0,))
    stopping.start()
    assert idle._reader.read_pdu(1000).kind == 7
    rest = data[1000:]

    association._socket.sendall(data_pdu_head(1, len(rest), command=False, last=True) + rest)
    assert association._next_response()[0].status == Status.SUCCESS
    stopping.join(10)
    assert not stopping.is_alive()
    assert data_set_of(spool.inbox()[0].path) == data


@pytest.mark.parametrize("operation", ["write_out", "rename_new", "flush_folder"])
def test_no_answer_before_the_disk_has_done_its_part(
    start_listener: Callable[..., Listener], associate: Associate, tmp_path: Path, operation: str
) -> None:
    reached, proceed = threading.Event(), threading.Event()
    disk = DurableIo()
    if operation == "write_out" and not disk.keeps_order(tmp_path):
        operation = "flush_file"
    undisturbed = getattr(disk, operation)

    def held(*arguments: object) -> None:
        reached.set()
        assert proceed.wait(10)
        undisturbed(*arguments)

    spool = Spool(tmp_path / "held", disk=disk)
    association = associate(start_listener(into=spool))
    setattr(disk, operation, held)
    association._socket.sendall(
        command_pdu(1, encode_store_request(association.next_message_id(), MR_IMAGE, "1.2.3.4"))
    )
    data = encoded(image())
    association._socket.sendall(data_pdu_head(1, len(data), command=False, last=True) + data)
    assert reached.wait(10)
    association._socket.settimeout(0.1)
    with pytest.raises(TimeoutError):
        association._socket.recv(1)
    association._socket.settimeout(10)
    proceed.set()
    assert association._next_response()[0].status == Status.SUCCESS
    assert len(spool.inbox()) == 1


def test_association_after_association(listener: Listener, spool: Spool, tmp_path: Path) -> None:
    """Scanners that associate for every image are common."""
    target = Peer(ae_title="IRONNODE", host="127.0.0.1", port=listener.port)
    for number in range(30):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(written(image(f"1.2.{number}")))
        assert send([path], target, calling_ae_title="MR1")[0].status is StoreStatus.SUCCESS
    assert len(spool.inbox()) == 30
    eventually(lambda: listener.counts.open == 0)
    assert listener.counts.accepted == 30
