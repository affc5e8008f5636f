"""The few disk operations that durability rests on, in one place so that tests can record and break them.

Every method raises ``OSError`` as the system gave it; :func:`storage_error` turns that into the node's errors.
"""

import ctypes
import errno
import fcntl
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from node.errors import DiskFullError, StorageError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MANY = 3  # from this many files on, one flush of the whole file system costs less than one flush each


def storage_error(error: OSError, doing: str) -> StorageError:
    """The node's error for a system error; a full disk or quota is told apart from every other fault."""
    kind = DiskFullError if error.errno in _FULL else StorageError
    return kind(f"{doing}: {error.strerror or error}")


class DurableIo:
    """The real disk."""

    def create(self, path: Path) -> int:
        """A new file, open for writing and reading; it must not exist."""
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o640)

    def write(self, descriptor: int, data: bytes | bytearray | memoryview) -> None:
        """Append all of ``data``."""
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def flush_file(self, descriptor: int) -> None:
        """Content and size of one file are on stable storage when this returns."""
        if sys.platform == "darwin":
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(descriptor)

    def flush_files(self, descriptors: Sequence[int]) -> None:
        """The same for several files of one file system, with one flush for all where the system can (syncfs(2))."""
        if len(descriptors) >= _MANY and _SYNCFS is not None:
            if _SYNCFS(descriptors[0]) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            return
        for descriptor in descriptors:
            self.flush_file(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file its final name."""
        source.rename(target)

    def flush_folder(self, folder: Path) -> None:
        """Names in this folder are on stable storage when this returns."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self, folder: Path) -> int:
        """Space left for an unprivileged process."""
        status = os.statvfs(folder)
        return status.f_bavail * status.f_frsize


def _load_syncfs() -> "ctypes._NamedFuncPointer | None":
    """The C library's syncfs, which reports write errors since Linux 5.8; None where there is none."""
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if function is not None:
        function.argtypes = [ctypes.c_int]
        function.restype = ctypes.c_int
    return function


_SYNCFS = _load_syncfs()
