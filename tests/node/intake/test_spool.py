"""The spool: durable before acknowledged, one instance per UID, nothing half written."""

import contextlib
import errno
import os
import threading
import time
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import DiskFullError, InputError, StorageError
from node.intake.arrivals import arrivals, described
from node.intake.durable_io import DurableIo
from node.intake.file_meta import decode_file_meta
from node.intake.incoming import IncomingInstance, Kept
from node.intake.spool import Spool
from node.intake.uids import is_legal_uid
from tests.node.intake.encoded_images import arrive, encoded, everything_under, image, meta

DATA = encoded(image())
OTHER = encoded(image(rows=4))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


def test_a_kept_instance_is_whole_and_findable(spool: Spool, tmp_path: Path) -> None:
    assert arrive(spool, DATA).keep() is Kept.STORED
    assert everything_under(tmp_path) == ["spool/inbox/1.2.3.4.dcm"]
    (found,) = spool.inbox()
    assert found.path == spool.find("1.2.3.4")
    assert (found.sop_instance_uid, found.calling_ae_title) == ("1.2.3.4", "MR1")
    assert found.size_bytes == found.path.stat().st_size
    assert found.path.read_bytes().endswith(DATA)
    assert pydicom.dcmread(found.path).PatientName == "Test^Only"


def test_an_instance_that_is_not_kept_leaves_nothing(spool: Spool, tmp_path: Path) -> None:
    with arrive(spool, DATA):
        assert len(everything_under(tmp_path)) == 1
    assert everything_under(tmp_path) == []


def test_the_same_again_changes_nothing(spool: Spool, tmp_path: Path) -> None:
    arrive(spool, DATA).keep()
    before = spool.inbox()
    assert arrive(spool, DATA).keep() is Kept.KNOWN
    assert spool.inbox() == before
    admitted = spool.admit("1.2.3.4")
    os.utime(admitted, (1000, 1000))
    assert arrive(spool, DATA).keep() is Kept.KNOWN
    assert admitted.stat().st_mtime > 1000, "retention counts from when it last came"
    assert everything_under(tmp_path) == [str(spool.find("1.2.3.4").relative_to(tmp_path))]


def test_one_that_is_admitted_while_arrivals_are_listed_is_not_among_them(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive(spool, DATA).keep()

    def admitted_meanwhile(path: Path) -> object:
        found = described(path)
        spool.admit("1.2.3.4")
        return found

    monkeypatch.setattr("node.intake.arrivals.described", admitted_meanwhile)
    assert arrivals(spool.inbox_folder) == []


@pytest.mark.parametrize("admitted", [False, True])
def test_another_data_set_under_a_known_uid_is_kept_apart_once(spool: Spool, admitted: bool) -> None:
    arrive(spool, DATA).keep()
    if admitted:
        spool.admit("1.2.3.4")
    assert arrive(spool, OTHER).keep() is Kept.CONFLICT
    assert arrive(spool, OTHER).keep() is Kept.CONFLICT
    (kept_apart,) = spool.quarantine_folder.iterdir()
    assert kept_apart.read_bytes().endswith(OTHER)
    assert spool.find("1.2.3.4").read_bytes().endswith(DATA)
    assert list(spool.temporary_folder.iterdir()) == []


def test_the_same_bytes_in_another_syntax_are_another_data_set(spool: Spool) -> None:
    arrive(spool, DATA).keep()
    other = spool.begin(meta(transfer_syntax_uid="1.2.840.10008.1.2.4.80"))
    other.write(DATA)
    assert other.keep() is Kept.CONFLICT


def test_two_senders_of_one_uid_cannot_both_be_first(spool: Spool) -> None:
    arriving = [arrive(spool, data) for data in (DATA, OTHER, DATA, OTHER, DATA, OTHER)]
    outcomes: list[Kept] = []
    start = threading.Barrier(len(arriving))

    def keep(n: int) -> None:
        start.wait()
        outcomes.append(arriving[n].keep())

    threads = [threading.Thread(target=keep, args=(n,)) for n in range(len(arriving))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome.value for outcome in outcomes) == ["conflict"] * 3 + ["known"] * 2 + ["stored"]
    assert len(list(spool.quarantine_folder.iterdir())) == 1


def test_arrivals_while_the_assembler_moves_files_are_never_doubled(spool: Spool, tmp_path: Path) -> None:
    arrive(spool, DATA).keep()
    done = threading.Event()

    def shuttle() -> None:
        target = spool.admit("1.2.3.4")
        while not done.is_set():
            target.rename(spool.inbox_folder / "1.2.3.4.dcm")
            spool.admit("1.2.3.4")

    mover = threading.Thread(target=shuttle)
    mover.start()
    try:
        # The shuttle also moves back, which the assembler never does; a miss in both places is then possible and
        # stores the instance anew, so only conflicts and strays would be wrong.
        outcomes = {arrive(spool, DATA).keep() for _ in range(100)}
    finally:
        done.set()
        mover.join()
    assert Kept.CONFLICT not in outcomes
    assert len(everything_under(tmp_path)) == 1


def test_admitting_twice_is_the_same_as_once(spool: Spool) -> None:
    arrive(spool, DATA).keep()
    path = spool.admit("1.2.3.4")
    assert spool.admit("1.2.3.4") == path == spool.find("1.2.3.4")
    assert path.parent.parent == spool.instances_folder
    assert len(path.parent.name) == 2
    assert spool.inbox() == []
    assert [found.path for found in spool.instances()] == [path]


def test_what_is_not_there_cannot_be_admitted(spool: Spool) -> None:
    with pytest.raises(StorageError, match="not in the spool"):
        spool.admit("1.2.3.4")
    with pytest.raises(StorageError, match="not in the spool"):
        spool.admit("../../etc/passwd")
    assert spool.find("../inbox/1.2.3.4") is None


def test_an_unreadable_instance_is_set_aside(spool: Spool, tmp_path: Path) -> None:
    arrive(spool, DATA).keep()
    path = spool.reject_unreadable("1.2.3.4")
    assert path.parent == spool.unreadable_folder
    assert path.read_bytes().endswith(DATA)
    assert spool.find("1.2.3.4") is None
    assert len(everything_under(tmp_path)) == 1


def test_the_inbox_is_in_order_of_arrival(spool: Spool) -> None:
    for number, uid in enumerate(("1.9", "1.5", "1.7")):
        arrive(spool, DATA, uid).keep()
        os.utime(spool.find(uid), (1000 + number, 1000 + number))
    assert [found.sop_instance_uid for found in spool.inbox()] == ["1.9", "1.5", "1.7"]


def test_the_sweep_removes_what_a_killed_listener_left(spool: Spool, tmp_path: Path) -> None:
    arrive(spool, DATA, "1.1").keep()
    unfinished = arrive(spool, DATA, "1.2")
    assert Spool(tmp_path).sweep() == 1
    assert everything_under(tmp_path) == ["spool/inbox/1.1.dcm"]
    unfinished.discard()


def test_the_sweep_leaves_what_another_gateway_is_receiving_until_it_is_a_day_old(spool: Spool) -> None:
    theirs = spool.temporary_folder / "gw2-17-0.part"
    theirs.write_bytes(b"arriving")
    assert spool.sweep(shared=True) == 0
    a_day_ago = time.time() - 86_500
    os.utime(theirs, (a_day_ago, a_day_ago))
    assert spool.sweep(shared=True) == 1


def test_alone_the_sweep_removes_what_was_left_under_another_host_name(spool: Spool) -> None:
    (spool.temporary_folder / "container1-1-0.part").write_bytes(b"half")
    assert spool.sweep() == 1


@pytest.mark.parametrize(
    "uid", ["", "../../x", "/abs", "1.2\x00", "1" * 65, "1..2", ".1", "1.", "1.2/3", "1.2 ", "१.२"]
)
def test_illegal_uids_never_become_names(spool: Spool, tmp_path: Path, uid: str) -> None:
    assert not is_legal_uid(uid)
    incoming = spool.begin(meta("1.2.3.4"))
    object.__setattr__(incoming.meta, "sop_instance_uid", uid)
    with pytest.raises(InputError):
        incoming.keep()
    assert everything_under(tmp_path) == []


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=8).map(lambda parts: ".".join(map(str, parts))))
def test_uids_are_legal_up_to_64_characters(uid: str) -> None:
    assert is_legal_uid(uid) == (len(uid) <= 64)  # PS3.5 9.1


class FailingDisk(DurableIo):
    """Fails one operation after a number of calls."""

    def __init__(self, operation: str, number: int, after: int = 0) -> None:
        self._operation, self._number, self._left = operation, number, after

    def _count(self, operation: str) -> None:
        if operation == self._operation:
            self._left -= 1
            if self._left < 0:
                raise OSError(self._number, os.strerror(self._number))

    def create(self, path: Path) -> int:
        self._count("create")
        return super().create(path)

    def write(self, descriptor: int, data: bytes | bytearray | memoryview) -> None:
        if self._operation == "write" and self._left <= 0:
            super().write(descriptor, data[: len(data) // 2])
        self._count("write")
        super().write(descriptor, data)

    def rename_new(self, source: Path, target: Path) -> None:
        self._count("rename")
        super().rename_new(source, target)

    def flush_folder(self, folder: Path) -> None:
        self._count("flush")
        super().flush_folder(folder)


@pytest.mark.parametrize(
    ("operation", "after", "number", "kind"),
    [
        ("create", 0, errno.ENOSPC, DiskFullError),
        ("write", 0, errno.ENOSPC, DiskFullError),
        ("write", 0, errno.EDQUOT, DiskFullError),
        ("rename", 0, errno.ENOSPC, DiskFullError),
        ("create", 0, errno.EROFS, StorageError),
        ("write", 0, errno.EIO, StorageError),
    ],
)
def test_a_failing_disk_leaves_nothing_behind(
    tmp_path: Path, operation: str, after: int, number: int, kind: type[StorageError]
) -> None:
    spool = Spool(tmp_path, disk=FailingDisk(operation, number, after))
    with pytest.raises(StorageError) as caught:
        arrive(spool, DATA).keep()
    assert type(caught.value) is kind
    assert everything_under(tmp_path) == []


@pytest.mark.parametrize("operation", ["rename", "flush"])
def test_a_disk_that_fails_takes_nothing_out_of_quarantine(tmp_path: Path, operation: str) -> None:
    spool = Spool(tmp_path)
    arrive(spool, DATA).keep()
    assert arrive(spool, OTHER).keep() is Kept.CONFLICT
    before = everything_under(tmp_path)
    failing = Spool(tmp_path, disk=FailingDisk(operation, errno.EIO))
    with contextlib.suppress(StorageError):  # of a flush; nothing is renamed, for the data set is there already
        arrive(failing, OTHER).keep()
    assert everything_under(tmp_path) == before


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_disk_that_fails_in_the_middle_of_a_large_instance_leaves_nothing_behind(tmp_path: Path, after: int) -> None:
    spool = Spool(tmp_path, disk=FailingDisk("write", errno.ENOSPC, after))
    incoming = spool.begin(meta())
    with pytest.raises(DiskFullError):
        store_in_pieces(incoming)
    assert everything_under(tmp_path) == []


def store_in_pieces(incoming: IncomingInstance) -> Kept:
    """2.5 MiB, in pieces that are no divisors of anything."""
    data = os.urandom(5 << 19)
    for start in range(0, len(data), 100_001):
        incoming.write(data[start : start + 100_001])
    return incoming.keep()


def test_large_and_small_instances_are_stored_as_they_were_received(spool: Spool) -> None:
    """Below and above what waits in memory, in one piece and in many."""
    for number, size in enumerate((0, 8, 1 << 19, (1 << 20) - 300, 1 << 20, (1 << 20) + 1, 5 << 19)):
        data = (DATA + os.urandom(size))[:size]
        for pieces in (1, 7):
            uid = f"1.{number}.{pieces}"
            incoming = spool.begin(meta(uid))
            step = size // pieces + 1
            for start in range(0, size, step):
                incoming.write(data[start : start + step])
            assert incoming.data_set_bytes == size
            with incoming.contents() as memory:
                assert bytes(memory[incoming.head_bytes :]) == data
            assert incoming.keep() is Kept.STORED
            assert decode_file_meta(spool.find(uid).read_bytes()[:4096], uid)[1] == incoming.head_bytes
            assert spool.find(uid).read_bytes()[incoming.head_bytes :] == data
            again = spool.begin(meta(uid))
            again.write(data)
            assert again.keep() is Kept.KNOWN


def test_the_watermark_is_kept_free(tmp_path: Path) -> None:
    class AlmostFull(DurableIo):
        def free_bytes(self, folder: Path) -> int:
            return 100 << 20

    with pytest.raises(DiskFullError, match="100 MiB are free, 512 MiB"):
        Spool(tmp_path, 512 << 20, disk=AlmostFull()).begin(meta())
    assert Spool(tmp_path, 64 << 20, disk=AlmostFull()).begin(meta()).discard() is None
    assert everything_under(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    with pytest.raises(StorageError, match="spool cannot be made"):
        Spool(tmp_path)
