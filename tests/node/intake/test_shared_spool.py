"""Two gateways on one spool, receiving instances of one UID at the same time: what was acknowledged stays."""

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from node.errors import StorageError
from node.intake import durable_io
from node.intake.durable_io import DurableIo
from node.intake.incoming import Kept
from node.intake.spool import Spool
from tests.node.intake.encoded_images import arrive, encoded, everything_under, image

DATA = encoded(image())
OTHER = encoded(image(rows=4))
UID = "1.2.3.4"


class InterruptedDisk(DurableIo):
    """Lets the other gateway act once, at the last moment before a name is given or after the flush of a folder."""

    def __init__(self) -> None:
        self.before_name: Callable[[], object] | None = None
        self.before_flush: Callable[[], object] | None = None
        self.fail_flush = False

    def rename_new(self, source: Path, target: Path) -> None:
        act, self.before_name = self.before_name, None
        if act is not None:
            act()
        super().rename_new(source, target)

    def flush_folder(self, folder: Path) -> None:
        act, self.before_flush = self.before_flush, None
        if act is not None:
            act()
        if self.fail_flush:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().flush_folder(folder)


@pytest.fixture(params=["renameat2", "link"])
def two(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Spool, Spool]:
    """Two gateways' spools on one root, the second one's disk interruptible; with each way to name a file."""
    if request.param == "link":
        monkeypatch.setattr(durable_io, "_RENAMEAT2", None)
    first, second = Spool(tmp_path), Spool(tmp_path, disk=InterruptedDisk())
    second._numbers = itertools.count(1000)  # their temporary files have the names of their hosts, which is one here
    return first, second


def interruptible(spool: Spool) -> InterruptedDisk:
    assert isinstance(spool._disk, InterruptedDisk)
    return spool._disk


def kept_apart(spool: Spool) -> list[bytes]:
    return [path.read_bytes() for path in spool.quarantine_folder.iterdir()]


@pytest.mark.parametrize("data", [DATA, OTHER])
@pytest.mark.parametrize("admitted", [False, True])
def test_the_later_gateway_replaces_nothing(two: tuple[Spool, Spool], data: bytes, admitted: bool) -> None:
    """The first one's instance is named, acknowledged (and taken over) between the other's look and its naming."""
    first, second = two

    def acknowledge_the_first() -> None:
        assert arrive(first, DATA).keep() is Kept.STORED
        if admitted:
            first.admit(UID)

    interruptible(second).before_name = acknowledge_the_first
    same = data == DATA
    assert arrive(second, data).keep() is (Kept.KNOWN if same else Kept.CONFLICT)
    assert first.find(UID).read_bytes().endswith(DATA)  # before the assembler comes by, and after
    assert arrive(first, data).keep() is (Kept.KNOWN if same else Kept.CONFLICT)
    first.admit(UID)
    assert first.find(UID).read_bytes().endswith(DATA)
    assert arrive(second, DATA).keep() is Kept.KNOWN
    assert first.inbox() == []
    assert [apart.endswith(OTHER) for apart in kept_apart(first)] == ([] if same else [True])
    assert list(first.temporary_folder.iterdir()) == []


def test_an_admitted_instance_is_not_replaced_by_one_that_is_admitted_later(two: tuple[Spool, Spool]) -> None:
    """As over NFS, where the other gateway may see for seconds what was there before, and answer success."""
    first, _ = two
    arrive(first, DATA).keep()
    admitted = first.admit(UID)
    aside = admitted.rename(admitted.with_name("unseen"))
    assert arrive(first, OTHER).keep() is Kept.STORED
    aside.rename(admitted)
    assert first.find(UID) == admitted
    assert first.admit(UID).parent == first.quarantine_folder
    assert admitted.read_bytes().endswith(DATA)
    assert [apart.endswith(OTHER) for apart in kept_apart(first)] == [True]
    assert first.inbox() == []


def test_a_name_that_nothing_can_be_read_under_is_a_failure(two: tuple[Spool, Spool]) -> None:
    first, _ = two
    (first.inbox_folder / f"{UID}.dcm").symlink_to("nowhere")
    with pytest.raises(StorageError, match="its name is taken"):
        arrive(first, DATA).keep()
    assert list(first.temporary_folder.iterdir()) == []


def test_a_failed_flush_takes_nothing_away_that_another_gateway_vouched_for(two: tuple[Spool, Spool]) -> None:
    first, second = two
    disk = interruptible(second)

    def vouch_and_fail() -> None:
        assert arrive(first, DATA).keep() is Kept.KNOWN
        disk.fail_flush = True

    disk.before_flush = vouch_and_fail
    with pytest.raises(StorageError):
        arrive(second, DATA).keep()
    assert first.find(UID).read_bytes().endswith(DATA)
    with pytest.raises(StorageError):  # who says that it is known has flushed it
        arrive(second, DATA).keep()
    disk.fail_flush = False
    assert arrive(second, DATA).keep() is Kept.KNOWN
    assert everything_under(first.folder) == [f"inbox/{UID}.dcm"]


def test_an_unreadable_instance_that_came_again_is_set_aside_once(two: tuple[Spool, Spool]) -> None:
    first, _ = two
    for _ in range(2):
        arrive(first, DATA).keep()
        first.reject_unreadable(UID)
    (name,) = everything_under(first.folder)
    assert name.startswith(f"unreadable/{UID}.")


def test_what_a_crash_between_link_and_unlink_left_is_one_file_again(two: tuple[Spool, Spool]) -> None:
    first, _ = two
    arrive(first, DATA).keep()
    path = first.admit(UID)
    os.link(path, first.inbox_folder / f"{UID}.dcm")
    assert first.admit(UID) == path
    assert everything_under(first.folder) == [str(path.relative_to(first.folder))]
