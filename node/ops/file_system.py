"""Whether a file system keeps the promises that ``storage.root`` rests on, tried from this machine.

Tried here is what one machine can see. Whether another machine is held off by a lock, and whether a flush reaches a
disk, only the file server knows (docs/scaling.md).
"""

import fcntl
import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from node.intake.durable_io import DurableIo, storage_error
from node.jobs.durable import write_durably

_RENAMES = 50  # one name is replaced so often while another thread reads it


def broken_promises(folder: Path) -> list[str]:
    """What the file system of ``folder`` does not keep, in words; empty where all is kept.

    Raises:
        StorageError: it refused an ordinary write.
    """
    try:
        with TemporaryDirectory(prefix=".check-", dir=folder) as name:
            place = Path(name)
            tried = {
                "a new file can take the place of one that exists (O_EXCL)": _creates_only_new(place / "new"),
                "a file cannot get a name, or takes one that is taken": _names_only_new(place / "named"),
                "rename leaves a moment without the name, or with half a file": _replaces_at_once(place / "name"),
                "locks (flock) do not hold others off": _locks(place / "lock"),
            }
    except OSError as error:
        raise storage_error(error, f"{folder} cannot be tried") from error
    return [words for words, kept in tried.items() if not kept]


def _creates_only_new(path: Path) -> bool:
    os.close(DurableIo().create(path))
    try:
        os.close(DurableIo().create(path))
    except FileExistsError:
        return True
    return False


def _names_only_new(path: Path) -> bool:
    other = path.with_name("unnamed")
    try:
        for content in (b"first", b"second"):
            other.write_bytes(content)
            DurableIo().rename_new(other, path)
    except FileExistsError:
        return path.read_bytes() == b"first" and other.read_bytes() == b"second"
    except OSError:  # neither a rename that does not replace, nor links
        return False
    return False


def _replaces_at_once(path: Path) -> bool:
    versions = (b"a" * 8192, b"b" * 8192)
    write_durably(path, versions[0])
    whole = True
    done = threading.Event()

    def read() -> None:
        nonlocal whole
        while whole and not done.is_set():
            try:
                whole = path.read_bytes() in versions
            except OSError:  # not there, or a stale handle
                whole = False

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(_RENAMES):
            other = path.with_name("other")
            other.write_bytes(versions[number % 2])
            DurableIo().rename(other, path)
    finally:
        done.set()
        reader.join()
    return whole


def _locks(path: Path) -> bool:
    with path.open("wb") as first, path.open("wb") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
