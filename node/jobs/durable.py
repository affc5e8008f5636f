"""Files that are whole or absent, also after a power cut: temporary file, flush, rename, flush of the folder."""

import contextlib
import os
import uuid
from pathlib import Path

from node.intake.durable_io import PRIVATE_TO_GROUP, DurableIo, storage_error

_DISK = DurableIo()


def write_durably(path: Path, data: bytes, *, mode: int = PRIVATE_TO_GROUP) -> None:
    """Make ``path`` hold ``data``; another content of it is replaced in one step.

    Raises:
        StorageError: the disk refused.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        write_flushed(temporary, data, mode=mode)
        _DISK.rename(temporary, path)
        flush_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # the first error counts
            temporary.unlink()
        raise storage_error(error, f"{path} cannot be written") from error


def write_flushed(path: Path, data: bytes, *, mode: int = PRIVATE_TO_GROUP) -> None:
    """Write a new file and wait until its content is on the disk (its folder entry may not be)."""
    descriptor = _DISK.create(path, mode)
    try:
        _DISK.write(descriptor, data)
        _DISK.flush_file(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Wait until the entries of a folder are on the disk."""
    _DISK.flush_folder(folder)
