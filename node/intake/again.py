"""Instances that are known and come again, against their removal: the lock on a file decides which was first."""

import fcntl
import os
from datetime import datetime
from pathlib import Path


def note_again(path: Path) -> None:
    """A stored instance has come again: it is as young as a new one (its modification time).

    Raises:
        FileNotFoundError: it has just been removed.
        OSError: the disk refused.
    """
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        os.utime(file.fileno())
        if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise FileNotFoundError(f"{path.name} was replaced")


def remove_unless_again(path: Path, before: datetime) -> int | None:
    """Remove a stored instance; the bytes freed, or ``None`` where it came (again) after ``before`` and stays.

    Raises:
        OSError: the disk refused.
    """
    with path.open("r+b") as file:  # NFS locks exclusively only what is open for writing
        fcntl.flock(file, fcntl.LOCK_EX)
        status = os.fstat(file.fileno())
        if status.st_mtime > before.timestamp():
            return None
        path.unlink()
        return status.st_size
