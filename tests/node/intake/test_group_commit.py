"""The order of disk operations before an acknowledgement, and flushes shared by those who wait together."""

import errno
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from node.errors import DiskFullError, StorageError
from node.intake.durable_io import DurableIo
from node.intake.group_commit import GroupCommitter
from node.intake.incoming import Kept
from node.intake.spool import Spool
from tests.node.intake.encoded_images import arrive, encoded, everything_under, image

DATA = encoded(image())


class RecordingDisk(DurableIo):
    """Notes the operations that durability rests on, by file name; keeps order or not, as it is told."""

    def __init__(self, *, ordered: bool) -> None:
        self.log: list[str] = []
        self.names: dict[int, str] = {}
        self.ordered = ordered

    def keeps_order(self, folder: Path) -> bool:
        return self.ordered

    def create(self, path: Path) -> int:
        descriptor = super().create(path)
        self.names[descriptor] = path.name
        return descriptor

    def start_write_out(self, descriptor: int) -> None:
        super().start_write_out(descriptor)
        self.log.append("start")

    def write_out(self, descriptor: int) -> None:
        super().write_out(descriptor)
        self.log.append(f"write out {self.names[descriptor]}")

    def flush_file(self, descriptor: int) -> None:
        super().flush_file(descriptor)
        self.log.append(f"flush {self.names[descriptor]}")

    def rename_new(self, source: Path, target: Path) -> None:
        super().rename_new(source, target)
        self.log.append(f"rename {source.name} {target.name}")

    def flush_folder(self, folder: Path) -> None:
        super().flush_folder(folder)
        self.log.append(f"flush {folder.name}/")


class HeldDisk(RecordingDisk):
    """Holds up its first flush until it may proceed."""

    def __init__(self, *, ordered: bool) -> None:
        super().__init__(ordered=ordered)
        self.entered, self.proceed = threading.Event(), threading.Event()

    def _hold(self) -> None:
        if not self.entered.is_set():
            self.entered.set()
            assert self.proceed.wait(10)

    def flush_folder(self, folder: Path) -> None:
        self._hold()
        super().flush_folder(folder)


def temporary(disk: DurableIo, folder: Path, name: str) -> tuple[int, Path]:
    path = folder / name
    descriptor = disk.create(path)
    disk.write(descriptor, name.encode())
    return descriptor, path


def publish_while_the_first_is_held(disk: HeldDisk, folder: Path, count: int) -> list[int]:
    """Publish part0 to part<count - 1>; all others arrive while the flush of the first is held up. Who failed?"""
    committer = GroupCommitter(disk, folder)
    parts = [temporary(disk, folder, f"part{n}") for n in range(count)]
    failed: list[int] = []

    def publish(n: int) -> None:
        try:
            committer.publish(*parts[n], folder / f"final{n}")
        except StorageError:
            failed.append(n)

    threads = [threading.Thread(target=publish, args=(n,)) for n in range(count)]
    threads[0].start()
    assert disk.entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(committer._waiting) + len(failed) < count - 1:
        threading.Event().wait(0.001)
    disk.proceed.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    for descriptor, _ in parts:
        os.close(descriptor)
    return failed


@pytest.mark.parametrize(
    ("ordered", "order"),
    [
        (True, ["write out part", "rename part final", "flush FOLDER/"]),
        (False, ["flush part", "rename part final", "flush FOLDER/"]),
    ],
)
def test_content_then_name_then_flush(tmp_path: Path, ordered: bool, order: list[str]) -> None:
    disk = RecordingDisk(ordered=ordered)
    descriptor, path = temporary(disk, tmp_path, "part")
    GroupCommitter(disk, tmp_path).publish(descriptor, path, tmp_path / "final")
    os.close(descriptor)
    assert disk.log == [line.replace("FOLDER", tmp_path.name) for line in order]
    assert (tmp_path / "final").read_bytes() == b"part"


@pytest.mark.parametrize(
    ("ordered", "started", "order"),
    [
        (True, ["start"], ["write out PART", "rename PART 1.2.3.4.dcm", "flush inbox/"]),
        (False, [], ["flush PART", "rename PART 1.2.3.4.dcm", "flush inbox/"]),
    ],
)
def test_an_instance_is_on_its_way_to_the_disk_while_it_is_checked_and_waited_for_before_its_name(
    tmp_path: Path, ordered: bool, started: list[str], order: list[str]
) -> None:
    disk = RecordingDisk(ordered=ordered)
    incoming = arrive(Spool(tmp_path, disk=disk), DATA)
    disk.log.clear()
    incoming.check()
    assert disk.log == started
    assert incoming.path.read_bytes().endswith(DATA)
    assert incoming.keep() is Kept.STORED
    assert disk.log == [*started, *(line.replace("PART", incoming.path.name) for line in order)]


@pytest.mark.parametrize("refused", ["start_write_out", "write_out", "rename_new"])
def test_an_instance_that_the_disk_refuses_on_its_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    disk = RecordingDisk(ordered=True)
    incoming = arrive(Spool(tmp_path, disk=disk), DATA)

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def check_and_keep() -> None:
        with incoming:
            incoming.check()
            incoming.keep()

    monkeypatch.setattr(disk, refused, refuse)
    with pytest.raises(StorageError, match="Input/output error"):
        check_and_keep()
    assert everything_under(tmp_path) == []


@pytest.mark.parametrize("ordered", [True, False])
def test_those_who_wait_together_share_the_flush(tmp_path: Path, ordered: bool) -> None:
    """While the first flush is held up, seven more arrive: two are enough for all eight."""
    disk = HeldDisk(ordered=ordered)
    assert publish_while_the_first_is_held(disk, tmp_path, 8) == []
    assert disk.log.count(f"flush {tmp_path.name}/") == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"final{n}" for n in range(8)]
    for n in range(8):
        content = f"write out part{n}" if ordered else f"flush part{n}"
        assert disk.log.index(content) < disk.log.index(f"rename part{n} final{n}")


OPERATIONS = [
    (True, "write_out", "part"),
    (True, "rename_new", "part"),
    (True, "flush_folder", "final"),
    (False, "flush_file", "part"),
    (False, "rename_new", "part"),
    (False, "flush_folder", "final"),
]


@pytest.mark.parametrize(("ordered", "operation", "left"), OPERATIONS)
@pytest.mark.parametrize(("number", "kind"), [(errno.EIO, StorageError), (errno.ENOSPC, DiskFullError)])
def test_a_disk_that_refuses_takes_no_name_away(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ordered: bool,
    operation: str,
    left: str,
    number: int,
    kind: type[StorageError],
) -> None:
    """The temporary one is its maker's to remove; the final one may have been vouched for by another gateway."""
    disk = RecordingDisk(ordered=ordered)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(disk, operation, refuse)
    descriptor, path = temporary(disk, tmp_path, "part")
    with pytest.raises(kind) as caught:
        GroupCommitter(disk, tmp_path).publish(descriptor, path, tmp_path / "final")
    os.close(descriptor)
    assert type(caught.value) is kind
    assert [p.name for p in tmp_path.iterdir()] == [left]


def test_a_taken_name_is_not_taken_away(tmp_path: Path) -> None:
    disk = RecordingDisk(ordered=True)
    (tmp_path / "final").write_bytes(b"the first")
    descriptor, path = temporary(disk, tmp_path, "part")
    with pytest.raises(FileExistsError):
        GroupCommitter(disk, tmp_path).publish(descriptor, path, tmp_path / "final")
    os.close(descriptor)
    assert (tmp_path / "final").read_bytes() == b"the first"
    assert path.exists()


def test_one_refusal_does_not_fail_the_others(tmp_path: Path) -> None:
    class PickyDisk(HeldDisk):
        def rename_new(self, source: Path, target: Path) -> None:
            if source.name == "part2":
                raise OSError(errno.EACCES, "not today")
            super().rename_new(source, target)

    assert publish_while_the_first_is_held(PickyDisk(ordered=True), tmp_path, 4) == [2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["final0", "final1", "final3", "part2"]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_failed_flush_fails_everybody_who_shared_it_and_nobody_later(tmp_path: Path, ordered: bool) -> None:
    class FailingSecond(HeldDisk):
        flushes = 0

        def _hold(self) -> None:
            super()._hold()
            self.flushes += 1
            if self.flushes == 2:
                raise OSError(errno.EIO, "not today")

    disk = FailingSecond(ordered=ordered)
    assert sorted(publish_while_the_first_is_held(disk, tmp_path, 5)) == [1, 2, 3, 4]
    descriptor, path = temporary(disk, tmp_path, "part")
    GroupCommitter(disk, tmp_path).publish(descriptor, path, tmp_path / "final5")
    os.close(descriptor)
    assert (tmp_path / "final5").exists()


def test_a_flush_that_is_broken_off_counts_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends a flush but its return, those who shared it are not told that they are safe."""
    disk = HeldDisk(ordered=True)

    def broken(_: Path) -> None:
        disk._hold()
        raise RuntimeError("a defect")

    monkeypatch.setattr(disk, "flush_folder", broken)
    committer = GroupCommitter(disk, tmp_path)
    outcomes: list[type[Exception]] = []

    def flush() -> None:
        with pytest.raises((RuntimeError, OSError)) as caught:
            committer.flush(tmp_path)
        outcomes.append(caught.type)

    threads = [threading.Thread(target=flush) for _ in range(2)]
    for thread in threads:
        thread.start()
    disk.proceed.set()
    for thread in threads:
        thread.join(10)
    assert len(outcomes) == 2


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="sync_file_range and statfs are calls of Linux")


@linux_only
def test_the_system_calls_report_what_they_cannot_do(tmp_path: Path) -> None:
    real_disk = DurableIo()
    calls: list[Callable[[], object]] = [
        lambda: real_disk.start_write_out(-1),
        lambda: real_disk.write_out(-1),
        lambda: real_disk.flush_folder(tmp_path / "absent"),
        lambda: real_disk.keeps_order(tmp_path / "absent"),
    ]
    for call in calls:
        with pytest.raises(OSError, match=r"Bad file descriptor|No such file"):
            call()


@linux_only
def test_file_systems_of_the_kernel_itself_are_told_from_others() -> None:
    assert not DurableIo().keeps_order(Path("/proc"))
