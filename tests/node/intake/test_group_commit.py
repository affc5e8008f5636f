"""The order of disk operations before an acknowledgement, and flushes shared by those who wait together."""

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from node.errors import DiskFullError, StorageError
from node.intake.durable_io import DurableIo
from node.intake.group_commit import GroupCommitter


class RecordingDisk(DurableIo):
    """Notes the operations that durability rests on, by file name."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.names: dict[int, str] = {}

    def create(self, path: Path) -> int:
        descriptor = super().create(path)
        self.names[descriptor] = path.name
        return descriptor

    def flush_files(self, descriptors: Sequence[int]) -> None:
        super().flush_files(descriptors)
        self.log.append("flush " + " ".join(self.names[d] for d in descriptors))

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self.log.append(f"rename {source.name} {target.name}")

    def flush_folder(self, folder: Path) -> None:
        super().flush_folder(folder)
        self.log.append(f"flush {folder.name}/")


def temporary(disk: DurableIo, folder: Path, name: str) -> tuple[int, Path]:
    path = folder / name
    descriptor = disk.create(path)
    disk.write(descriptor, name.encode())
    return descriptor, path


def test_content_then_name_then_folder(tmp_path: Path) -> None:
    disk = RecordingDisk()
    descriptor, path = temporary(disk, tmp_path, "part")
    GroupCommitter(disk).publish(descriptor, path, tmp_path / "final")
    os.close(descriptor)
    assert disk.log == ["flush part", "rename part final", f"flush {tmp_path.name}/"]
    assert (tmp_path / "final").read_bytes() == b"part"


def test_those_who_wait_together_share_the_flushes(tmp_path: Path) -> None:
    """While the first flush is held up, seven more arrive: two rounds are enough for all eight."""
    entered, proceed = threading.Event(), threading.Event()

    class HeldDisk(RecordingDisk):
        def flush_files(self, descriptors: Sequence[int]) -> None:
            if not entered.is_set():
                entered.set()
                proceed.wait(10)
            super().flush_files(descriptors)

    disk = HeldDisk()
    committer = GroupCommitter(disk)
    parts = [temporary(disk, tmp_path, f"part{n}") for n in range(8)]

    def publish(n: int) -> None:
        committer.publish(*parts[n], tmp_path / f"final{n}")

    threads = [threading.Thread(target=publish, args=(n,)) for n in range(8)]
    threads[0].start()
    assert entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    with committer._turn:
        pass
    while len(committer._waiting) < 7:
        threading.Event().wait(0.001)
    proceed.set()
    for thread in threads:
        thread.join()
    for descriptor, _ in parts:
        os.close(descriptor)
    assert len([line for line in disk.log if line.startswith("flush part")]) == 2
    assert disk.log.count(f"flush {tmp_path.name}/") == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"final{n}" for n in range(8)]
    for n in range(8):
        flushed = next(i for i, line in enumerate(disk.log) if line.startswith("flush") and f"part{n}" in line)
        assert flushed < disk.log.index(f"rename part{n} final{n}")


@pytest.mark.parametrize("operation", ["flush_files", "rename", "flush_folder"])
@pytest.mark.parametrize(("number", "kind"), [(errno.EIO, StorageError), (errno.ENOSPC, DiskFullError)])
def test_a_disk_that_refuses_leaves_neither_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, number: int, kind: type[StorageError]
) -> None:
    disk = DurableIo()

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(disk, operation, refuse)
    descriptor, path = temporary(disk, tmp_path, "part")
    with pytest.raises(kind) as caught:
        GroupCommitter(disk).publish(descriptor, path, tmp_path / "final")
    os.close(descriptor)
    assert type(caught.value) is kind
    assert list(tmp_path.iterdir()) == []


def test_one_refusal_does_not_fail_the_others(tmp_path: Path) -> None:
    entered, proceed = threading.Event(), threading.Event()

    class PickyDisk(DurableIo):
        def flush_files(self, descriptors: Sequence[int]) -> None:
            if not entered.is_set():
                entered.set()
                proceed.wait(10)
            super().flush_files(descriptors)

        def rename(self, source: Path, target: Path) -> None:
            if source.name == "part2":
                raise OSError(errno.EACCES, "not today")
            super().rename(source, target)

    disk = PickyDisk()
    committer = GroupCommitter(disk)
    parts = [temporary(disk, tmp_path, f"part{n}") for n in range(4)]
    failed: list[int] = []

    def publish(n: int) -> None:
        try:
            committer.publish(*parts[n], tmp_path / f"final{n}")
        except StorageError:
            failed.append(n)

    threads = [threading.Thread(target=publish, args=(n,)) for n in range(4)]
    threads[0].start()
    assert entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(committer._waiting) < 3:
        threading.Event().wait(0.001)
    proceed.set()
    for thread in threads:
        thread.join()
    for descriptor, _ in parts:
        os.close(descriptor)
    assert failed == [2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["final0", "final1", "final3"]
