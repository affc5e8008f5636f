"""What is wrong gets its own answer, and leaves nothing behind."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.dimse.requestor import Requestor
from node.dimse.scp import Listener
from node.dimse.status import Status
from node.errors import PeerError
from node.intake.durable_io import DurableIo
from node.intake.spool import Spool
from tests.loopback.callers import MR_IMAGE, begin_store, eventually, store
from tests.node.intake.encoded_images import (
    DEFLATED,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    encoded,
    everything_under,
    image,
)

Associate = Callable[..., Requestor]
StartListener = Callable[..., Listener]
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


# ------------------------------------------------------------------ who may associate


def test_another_called_title_is_rejected(listener: Listener, associate: Associate) -> None:
    with pytest.raises(PeerError, match="called ae title not recognised"):
        associate(listener, called="ELSEWHERE")
    assert listener.counts.rejected == 1


def test_an_unknown_calling_title_is_rejected(start_listener: StartListener, associate: Associate) -> None:
    listener = start_listener(allow=(("MR1", "127.0.0.1"),))
    with pytest.raises(PeerError, match="calling ae title not recognised"):
        associate(listener, calling="MR2")
    assert associate(listener, calling="MR1").accepted


def test_a_known_title_from_another_host_is_rejected(start_listener: StartListener, associate: Associate) -> None:
    with pytest.raises(PeerError, match="calling ae title not recognised"):
        associate(start_listener(allow=(("MR1", "10.1.2.3"),)))


def test_an_empty_list_lets_nobody_in(start_listener: StartListener, associate: Associate) -> None:
    with pytest.raises(PeerError, match="calling ae title not recognised"):
        associate(start_listener(allow=()))


def test_dcmtk_reads_the_rejection(start_listener: StartListener, peer: Callable[[str], Path]) -> None:
    listener = start_listener(allow=(("MR1", "127.0.0.1"),))
    arguments = ["-aet", "MR9", "-aec", "IRONNODE", "127.0.0.1", str(listener.port)]
    found = subprocess.run([peer("echoscu"), *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert found.returncode != 0
    assert "Calling AE Title Not Recognized" in found.stderr


def test_a_name_may_stand_for_the_host(start_listener: StartListener, associate: Associate) -> None:
    assert associate(start_listener(allow=(("MR1", "localhost"),))).accepted


def test_ipv4_callers_of_an_ipv6_listener_are_known_by_their_ipv4_address(
    start_listener: StartListener, associate: Associate
) -> None:
    try:
        listener = start_listener(host="::", allow=(("MR1", "127.0.0.1"),))
    except PeerError:
        pytest.skip("no IPv6 on this machine")
    assert associate(listener).accepted


def test_unknown_classes_and_syntaxes_are_not_accepted(listener: Listener, associate: Associate) -> None:
    association = associate(
        listener, (CT_IMAGE, EXPLICIT_LITTLE), (MR_IMAGE, "1.2.840.10008.1.2.4.100"), (MR_IMAGE, IMPLICIT_LITTLE)
    )
    assert [(c.sop_class_uid, c.transfer_syntax_uid) for c in association.accepted] == [(MR_IMAGE, IMPLICIT_LITTLE)]


# ------------------------------------------------------------------ what is refused


@pytest.fixture
def refused(listener: Listener, spool: Spool, associate: Associate) -> Iterator[Requestor]:
    """An association on which everything is refused: afterwards the spool is empty and a good instance still goes."""
    association = associate(listener, (MR_IMAGE, EXPLICIT_LITTLE), (MR_IMAGE, DEFLATED))
    yield association
    assert everything_under(spool.folder) == []
    assert store(association).status == Status.SUCCESS


def test_a_class_other_than_the_context_s(refused: Requestor) -> None:
    assert store(refused, sop_class_uid=ENHANCED_MR).status == Status.DATA_SET_DOES_NOT_MATCH
    assert store(refused, sop_class_uid=CT_IMAGE).status == Status.SOP_CLASS_NOT_SUPPORTED


def test_a_data_set_of_another_class(refused: Requestor) -> None:
    data_set = image()
    data_set.SOPClassUID = ENHANCED_MR
    answer = store(refused, encoded(data_set))
    assert answer.status == Status.DATA_SET_DOES_NOT_MATCH
    assert "(0008,0016)" in answer.comment


def test_a_data_set_of_another_instance(refused: Requestor) -> None:
    answer = store(refused, encoded(image("1.2.3.99")))
    assert answer.status == Status.DATA_SET_DOES_NOT_MATCH
    assert "(0008,0018)" in answer.comment


def test_a_data_set_without_its_study(refused: Requestor) -> None:
    data_set = image()
    del data_set.StudyInstanceUID
    answer = store(refused, encoded(data_set))
    assert answer.status == Status.DATA_SET_DOES_NOT_MATCH
    assert "(0020,000D)" in answer.comment


@pytest.mark.parametrize("lost", [1, 2, 100])
def test_a_data_set_that_is_cut_off(refused: Requestor, lost: int) -> None:
    answer = store(refused, encoded(image())[:-lost])
    assert answer.status == Status.CANNOT_UNDERSTAND
    assert "(7FE0,0010)" in answer.comment


@pytest.mark.parametrize("junk", [b"\x00" * 500, b"\xff" * 500, b"GET / HTTP/1.1\r\n\r\n", os.urandom(4000)])
def test_junk(refused: Requestor, junk: bytes) -> None:
    assert store(refused, junk).status in (Status.CANNOT_UNDERSTAND, Status.DATA_SET_DOES_NOT_MATCH)


def test_another_encoding_than_negotiated(refused: Requestor) -> None:
    assert store(refused, encoded(image(), IMPLICIT_LITTLE)).status == Status.CANNOT_UNDERSTAND


def test_a_deflated_data_set_that_is_cut_off(refused: Requestor) -> None:
    context_id = next(i for c, i in refused.accepted.items() if c.transfer_syntax_uid == DEFLATED)
    answer = store(refused, encoded(image(), DEFLATED)[:-4], context_id=context_id)
    assert answer.status == Status.CANNOT_UNDERSTAND


@pytest.mark.parametrize("uid", ["../../x", "/abs", "1.2\x003", "", "1" * 66, "1..2"])
def test_uids_that_are_none(refused: Requestor, uid: str) -> None:
    assert store(refused, sop_instance_uid=uid).status == Status.INVALID_SOP_INSTANCE


def test_an_instance_over_the_size_limit(start_listener: StartListener, spool: Spool, associate: Associate) -> None:
    association = associate(start_listener(max_instance_mib=1))
    answer = store(association, encoded(image(rows=800)))
    assert answer.status == Status.RESOURCE_LIMITATION
    assert everything_under(spool.folder) == []
    assert store(association).status == Status.SUCCESS
    with pytest.raises(PeerError):
        store(association, encoded(image(rows=2000)))
    eventually(lambda: len(everything_under(spool.folder)) == 1)


# ------------------------------------------------------------------ our own faults


class BrokenDisk(DurableIo):
    """Answers every write with an error, after half of it."""

    def __init__(self, number: int) -> None:
        self.number: int | None = number

    def write(self, descriptor: int, data: bytes | bytearray | memoryview) -> None:
        if self.number is None:
            super().write(descriptor, data)
            return
        os.write(descriptor, memoryview(data)[: len(data) // 2])
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.ENOSPC, Status.OUT_OF_RESOURCES),
        (errno.EDQUOT, Status.OUT_OF_RESOURCES),
        (errno.EROFS, Status.PROCESSING_FAILURE),
        (errno.EIO, Status.PROCESSING_FAILURE),
    ],
)
def test_a_disk_that_refuses_is_answered_by_its_cause_and_recovers(
    start_listener: StartListener, associate: Associate, tmp_path: Path, number: int, status: Status
) -> None:
    disk = BrokenDisk(number)
    association = associate(start_listener(into=Spool(tmp_path / "broken", disk=disk)))
    assert store(association).status == status
    assert everything_under(tmp_path / "broken") == []
    disk.number = None
    assert store(association).status == Status.SUCCESS


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(start_listener: StartListener, associate: Associate, small_disk: Path) -> None:
    spool = Spool(small_disk)
    listener = start_listener(into=spool)
    association = associate(listener)
    statuses = [
        store(association, encoded(image(f"1.2.{n}", rows=400)), sop_instance_uid=f"1.2.{n}").status for n in range(10)
    ]
    stored = statuses.count(Status.SUCCESS)
    assert 1 <= stored < 10
    assert set(statuses) == {Status.SUCCESS, Status.OUT_OF_RESOURCES}
    assert len(everything_under(spool.folder)) == stored == len(spool.inbox())
    for found in spool.inbox():
        uid = found.sop_instance_uid
        assert found.path.read_bytes().endswith(encoded(image(uid, rows=400)))
        found.path.unlink()
    assert store(association).status == Status.SUCCESS


class FillingDisk(DurableIo):
    """A disk whose free space the test sets."""

    free = 1 << 40

    def free_bytes(self, folder: Path) -> int:
        return self.free


def test_the_watermark_refuses_before_the_disk_is_full_and_recovers(
    start_listener: StartListener, associate: Associate, peer: Callable[[str], Path], tmp_path: Path
) -> None:
    disk = FillingDisk()
    listener = start_listener(into=Spool(tmp_path / "reserve", 512 << 20, disk=disk))
    association = associate(listener)
    disk.free = (512 << 20) - 1
    answer = store(association)
    assert answer.status == Status.OUT_OF_RESOURCES
    assert "kept in reserve" in answer.comment
    ask = [peer("echoscu"), "-aet", "MR1", "-aec", "IRONNODE", "127.0.0.1", str(listener.port)]
    refused = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=False)
    assert refused.returncode != 0
    assert "Rejected Transient" in refused.stderr
    assert "Local Limit Exceeded" in refused.stderr
    disk.free = 512 << 20
    assert store(association).status == Status.SUCCESS
    assert store(associate(listener), encoded(image("1.2.9")), sop_instance_uid="1.2.9").status == Status.SUCCESS


def test_a_spool_that_was_taken_away(start_listener: StartListener, associate: Associate, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "gone")
    association = associate(start_listener(into=spool))
    spool.temporary_folder.rmdir()
    assert store(association).status == Status.PROCESSING_FAILURE
    spool.temporary_folder.mkdir()
    assert store(association).status == Status.SUCCESS


def test_hostile_files_are_stored_or_refused_and_nothing_else(
    listener: Listener, spool: Spool, associate: Associate, shared_data: Callable[[str], Path]
) -> None:
    paths = sorted(shared_data("hostile-part1").rglob("*.dcm"))
    association = associate(listener)
    statuses = []
    for path in paths:
        whole = path.read_bytes()
        body = whole[max(0, whole.find(b"\x08\x00")) :]  # from the first element of group 0008 on
        uid = f"1.2.{len(statuses)}"
        statuses.append(store(association, body, sop_instance_uid=uid).status)
    # CT images under an MR context: none may be stored.
    assert set(statuses) <= {Status.CANNOT_UNDERSTAND, Status.DATA_SET_DOES_NOT_MATCH}
    assert len(statuses) > 50
    assert everything_under(spool.folder) == []
    assert store(association).status == Status.SUCCESS


def test_an_abort_in_the_middle_leaves_nothing(listener: Listener, spool: Spool, associate: Associate) -> None:
    association = associate(listener)
    begin_store(association, encoded(image())[:200])
    eventually(lambda: bool(everything_under(spool.folder)))
    association.abort()
    eventually(lambda: not everything_under(spool.folder))
    eventually(lambda: listener.counts.open == 0)
