"""Durable publication of files under their final names, with flushes shared by those who wait at the same time.

Order for each file, which makes a name in the inbox a promise:

1. the temporary file's content is written out, so that no name given later is durable before it,
2. it is renamed, never in place of a file that has the name,
3. its folder is flushed,
4. the caller may answer success.

A power cut before 3 leaves a whole file or no file under the final name, never a part of one; after 3 it leaves the
whole file. When the flush of 3 fails, the answer is a failure and the name stays: another gateway on the same folder
may have found it, flushed and vouched for it. Where the file system is not known to keep that order
(``DurableIo.keeps_order``), 1 flushes the content.

One flush costs 0.3 to 10 ms and a disk serves one at a time. The callers that arrive while a flush runs share the next
one, which the first of them does; no thread of its own, so a single sender pays no hand-over.
"""

import errno
import threading
from collections.abc import Callable
from pathlib import Path

from node.intake.durable_io import DurableIo, storage_error


class _Waiter:
    """One caller who waits for a flush, or for his turn to do it for all."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = folders
        self.error: OSError | None = OSError(errno.EIO, "the flush was not finished")
        self.is_done = False
        self.turn = threading.Lock()
        self.turn.acquire()


class GroupCommitter:
    """Makes files of one file system durable; safe to call from any number of threads."""

    def __init__(self, disk: DurableIo, folder: Path) -> None:
        """
        Raises:
            OSError: the file system of ``folder`` cannot be looked at.
        """
        self._disk = disk
        self._ordered = disk.keeps_order(folder)
        self._lock = threading.Lock()
        self._waiting: list[_Waiter] = []
        self._flushing = False

    def publish(self, descriptor: int, temporary: Path, final: Path) -> None:
        """Make ``temporary`` durable under the name ``final``.

        Raises:
            FileExistsError: the name is taken; nothing was changed.
            StorageError: the disk refused; whichever of the names the file has, it keeps.
        """
        try:
            self.write_out(descriptor)
            self._disk.rename_new(temporary, final)
            self.flush(final.parent)
        except FileExistsError:
            raise
        except OSError as error:
            raise storage_error(error, f"{final.name} cannot be made durable") from error

    def start_write_out(self, descriptor: int) -> None:
        """The content of one file need not wait in memory for :meth:`write_out`.

        Raises:
            OSError: the disk refused.
        """
        if self._ordered:
            self._disk.start_write_out(descriptor)

    def write_out(self, descriptor: int) -> None:
        """The content of one file comes before its name; it is durable after the next :meth:`flush`."""
        if self._ordered:
            self._disk.write_out(descriptor)
        else:
            self._disk.flush_file(descriptor)

    def flush(self, *folders: Path) -> None:
        """The names that these folders hold now, and what was written out before, are durable when this returns.

        Raises:
            OSError: the disk refused.
        """
        waiter = _Waiter(folders)
        with self._lock:
            self._waiting.append(waiter)
            must_wait, self._flushing = self._flushing, True
        if must_wait:
            waiter.turn.acquire()
        if not waiter.is_done:
            self._flush_for_all()
        if waiter.error is not None:
            raise waiter.error

    def _flush_for_all(self) -> None:
        """Flush for everybody who waits, then let the first of those who came meanwhile do the next."""
        with self._lock:
            served, self._waiting = self._waiting, []
        try:
            self._flush(served)
        finally:
            with self._lock:
                self._flushing = bool(self._waiting)
                following = self._waiting[:1]
            for waiter in served:
                waiter.is_done = True
            for waiter in (*following, *served):
                waiter.turn.release()

    def _flush(self, served: list[_Waiter]) -> None:
        failures = {
            folder: self._failed(self._disk.flush_folder, folder)
            for folder in {folder for waiter in served for folder in waiter.folders}
        }
        for waiter in served:
            waiter.error = next((failures[folder] for folder in waiter.folders if failures[folder] is not None), None)

    @staticmethod
    def _failed(flush: Callable[[Path], None], folder: Path) -> OSError | None:
        try:
            flush(folder)
        except OSError as error:
            return error
        return None
