"""The few disk operations that durability rests on, in one place so that tests can record and break them.

Every method raises ``OSError`` as the system gave it; :func:`storage_error` turns that into the node's errors.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from node.errors import DiskFullError, StorageError

PRIVATE_TO_GROUP = 0o640
"""The mode of the node's files."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_START = 2  # SYNC_FILE_RANGE_WRITE of sync_file_range(2)
_START_AND_WAIT = 7  # all flags of it: wait for what is being written, start the rest, wait for it
_WRITE_OUT_TELLS = (4, 14)  # the first Linux whose sync_file_range(2) tells every failed write of the file
# statfs(2), f_type: ext4 (and ext2, ext3), XFS, tmpfs: where a name cannot become durable before the content that was
# written out before it. btrfs and F2FS keep no such order, FUSE and NFS have others behind them: single flushes.
_KNOWN_FILE_SYSTEMS = frozenset({0xEF53, 0x58465342, 0x01021994})
_HERE = -100  # AT_FDCWD: paths are taken as they are
_NO_REPLACE = 1  # RENAME_NOREPLACE of renameat2(2)
_NOT_OFFERED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})  # by this file system (NFS) or kernel


def storage_error(error: OSError, doing: str) -> StorageError:
    """The node's error for a system error; a full disk or quota is told apart from every other fault."""
    kind = DiskFullError if error.errno in _FULL else StorageError
    return kind(f"{doing}: {error.strerror or error}")


class DurableIo:
    """The real disk."""

    def create(self, path: Path, mode: int = PRIVATE_TO_GROUP) -> int:
        """A new file, open for writing and reading; it must not exist."""
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, mode)

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

    def start_write_out(self, descriptor: int) -> None:
        """Begin with what :meth:`write_out` will wait for."""
        if _SYNC_FILE_RANGE is not None:
            _checked(_SYNC_FILE_RANGE(descriptor, 0, 0, _START))

    def write_out(self, descriptor: int) -> None:
        """The content of one file has left memory when this returns; it may still be in the disk's own cache.

        Where :meth:`keeps_order`, a name that the file is given afterwards reaches stable storage no earlier than
        its content: size and name stand in one journal in this order, and the disk's cache is flushed before the
        journal's commit.
        """
        if _SYNC_FILE_RANGE is None:
            self.flush_file(descriptor)
        else:
            _checked(_SYNC_FILE_RANGE(descriptor, 0, 0, _START_AND_WAIT))

    def keeps_order(self, folder: Path) -> bool:
        """Whether the file system of this folder is known to make a name durable only with all that was written out
        before it, and :meth:`write_out` to say when it could not: Linux from 4.14 on, with a file system that is not
        served by another process or machine."""
        if _SYNC_FILE_RANGE is None or _STATFS is None or _kernel() < _WRITE_OUT_TELLS:
            return False
        status = (ctypes.c_long * 64)()  # struct statfs, 120 bytes, begins with f_type
        _checked(_STATFS(os.fsencode(folder), status))
        return status[0] in _KNOWN_FILE_SYSTEMS

    def rename(self, source: Path, target: Path) -> None:
        """Give a file its final name, in place of a file that has it."""
        source.rename(target)

    def rename_new(self, source: Path, target: Path) -> None:
        """Give a file a name that nobody has: what stands there is never replaced, whichever machine put it there.

        Where the file system has no such rename, by link(2) and unlink(2); a crash between leaves both names.

        Raises:
            FileExistsError: the name is taken; nothing was changed.
        """
        if not _renamed_without_replacing(source, target):
            _link_and_unlink(source, target)

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


_Function = Callable[..., int]


def _from_c_library(name: str, *arguments: type) -> _Function | None:
    """A function of Linux's C library that returns -1 and sets errno; None where there is none."""
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is not None:
        function.argtypes = list(arguments)
        function.restype = ctypes.c_int
    return function


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _renamed_without_replacing(source: Path, target: Path) -> bool:
    """Whether the system has renameat2(2) with RENAME_NOREPLACE for this file system; then it is done."""
    if _RENAMEAT2 is None:
        return False
    try:
        _checked(_RENAMEAT2(_HERE, os.fsencode(source), _HERE, os.fsencode(target), _NO_REPLACE))
    except OSError as error:
        if error.errno in _NOT_OFFERED:
            return False
        raise
    return True


def _link_and_unlink(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        # An NFS server that is asked twice, its first answer lost, says so too; and so did a crash leave it.
        if not _is_one_file(source, target):
            raise
    source.unlink(missing_ok=True)


def _is_one_file(source: Path, target: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return source.samefile(target)
    return False


def _kernel() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))


_SYNC_FILE_RANGE = _from_c_library("sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_RENAMEAT2 = _from_c_library("renameat2", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_STATFS = _from_c_library("statfs", ctypes.c_char_p, ctypes.c_void_p)
