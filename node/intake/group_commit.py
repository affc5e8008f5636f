"""Durable publication of files under their final names, with flushes shared by those who wait at the same time.

Order for each file, which makes a name in the inbox a promise:

1. the temporary file's content is flushed to stable storage,
2. it is renamed,
3. the folder is flushed,
4. the caller may answer success.

A power cut between 1 and 3 leaves a whole file or no file under the final name, never a part of one; after 3 it
leaves the whole file. One flush costs 0.5 to 10 ms and a disk serves one at a time, so callers that arrive while a
flush runs are committed together by the next leader: one flush of contents and one of the folder for all of them.
No thread of its own: the first who waits does the work, so a single sender pays no hand-over.
"""

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path

from node.errors import StorageError
from node.intake.durable_io import DurableIo, storage_error


@dataclass(kw_only=True, eq=False)
class _Publication:
    descriptor: int
    temporary: Path
    final: Path
    done: bool = False
    error: StorageError | None = None

    def fail(self, error: OSError, doing: str) -> None:
        self.error = storage_error(error, doing)
        for path in (self.temporary, self.final):
            with contextlib.suppress(OSError):
                path.unlink()


class GroupCommitter:
    """Publishes temporary files; safe to call from any number of threads."""

    def __init__(self, disk: DurableIo) -> None:
        self._disk = disk
        self._turn = threading.Condition()
        self._waiting: list[_Publication] = []
        self._leading = False

    def publish(self, descriptor: int, temporary: Path, final: Path) -> None:
        """Make ``temporary`` durable under the name ``final``; both lie in one file system.

        Raises:
            StorageError: the disk refused; then neither name exists.
        """
        publication = _Publication(descriptor=descriptor, temporary=temporary, final=final)
        with self._turn:
            self._waiting.append(publication)
            self._turn.wait_for(lambda: publication.done or not self._leading)
            if publication.done:
                batch = []
            else:
                self._leading = True
                batch, self._waiting = self._waiting, []
        if batch:
            self._lead(batch)
        if publication.error is not None:
            raise publication.error

    def _lead(self, batch: list[_Publication]) -> None:
        try:
            self._commit(batch)
        finally:
            with self._turn:
                self._leading = False
                for publication in batch:
                    publication.done = True
                self._turn.notify_all()

    def _commit(self, batch: list[_Publication]) -> None:
        self._flush_contents(batch)
        for publication in batch:
            if publication.error is None:
                self._rename(publication)
        for folder in {p.final.parent for p in batch if p.error is None}:
            try:
                self._disk.flush_folder(folder)
            except OSError as error:
                for publication in batch:
                    if publication.error is None and publication.final.parent == folder:
                        publication.fail(error, f"{folder.name}/ cannot be flushed")

    def _flush_contents(self, batch: list[_Publication]) -> None:
        try:
            self._disk.flush_files([p.descriptor for p in batch])
        except OSError as error:
            for publication in batch:
                publication.fail(error, f"{publication.temporary.name} cannot be flushed")

    def _rename(self, publication: _Publication) -> None:
        try:
            self._disk.rename(publication.temporary, publication.final)
        except OSError as error:
            publication.fail(error, f"{publication.final.name} cannot be named")
