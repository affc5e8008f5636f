"""An instance on its way into the spool: received piece by piece, compared, then kept or gone without a trace."""

import contextlib
import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path

from node.errors import InputError, StorageError
from node.intake.dataset_walk import DataSetIdentity, EncodedDataSet, IncompleteIdentityError, walk_data_set
from node.intake.durable_io import DurableIo, storage_error
from node.intake.file_meta import FileMeta, decode_file_meta, encode_file_meta, head_bytes
from node.intake.uids import is_legal_uid

_HELD_BYTES = 1 << 20  # so much waits in memory to be written at once, and a smaller instance is read from there
_CHECK_SPACE_EVERY_BYTES = 16 << 20
_COMPARE_BYTES = 1 << 20


class Kept(Enum):
    """What became of an instance that was handed over."""

    STORED = "stored"  # new, durable
    KNOWN = "known"  # was here already, byte for byte
    CONFLICT = "conflict"  # another data set has this UID; the new one is durable in quarantine


class IncomingInstance:
    """A data set on its way in. It is kept, or it leaves nothing behind: use it as a context manager."""

    def __init__(
        self,
        meta: FileMeta,
        *,
        disk: DurableIo,
        path: Path,
        descriptor: int,
        check_space: Callable[[], None],
        start_write_out: Callable[[int], None],
        keep: Callable[["IncomingInstance"], Kept],
    ) -> None:
        """
        Args:
            path, descriptor: the temporary file, empty and open for writing and reading.
            check_space: raises StorageError when there is too little left to go on.
            start_write_out: sends the content of an open file on its way to the disk, without waiting for it.
            keep: makes the temporary file durable under its UID, unless it is known.
        """
        self.meta = meta
        self.path = path
        self.descriptor = descriptor
        self._disk = disk
        self._check_space = check_space
        self._start_write_out = start_write_out
        self._keep = keep
        self._held = bytearray(encode_file_meta(meta))
        self.head_bytes = len(self._held)
        self._gone_bytes = 0  # written to the file and no longer held
        self._has_arrived = False
        self._space_checked_at = 0
        self._is_published = False

    def __enter__(self) -> "IncomingInstance":
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    @property
    def data_set_bytes(self) -> int:
        """What has arrived of the data set."""
        return self._gone_bytes + len(self._held) - self.head_bytes

    def write(self, data: bytes | memoryview) -> None:
        """Take the next piece of the data set.

        Raises:
            DiskFullError, StorageError: the disk refused; the temporary file is gone then.
        """
        assert not self._has_arrived, "a piece after the last"
        if len(self._held) + len(data) > _HELD_BYTES:
            self._hand_over()
            self._gone_bytes += len(self._held)
            self._held.clear()
        self._held += data
        if self.data_set_bytes - self._space_checked_at >= _CHECK_SPACE_EVERY_BYTES:
            self._space_checked_at = self.data_set_bytes
            try:
                self._check_space()
            except StorageError:
                self.discard()
                raise

    def arrived(self) -> None:
        """The data set is whole: its file is given to the system, and is on its way to the disk while it is checked.

        Raises:
            DiskFullError, StorageError: as in :meth:`write`.
        """
        if not self._has_arrived:
            self._hand_over(self._start_write_out)
            self._has_arrived = True

    def _hand_over(self, then: Callable[[int], None] | None = None) -> None:
        """Give what is held to the system."""
        try:
            self._disk.write(self.descriptor, self._held)
            if then is not None:
                then(self.descriptor)
        except OSError as error:
            self.discard()
            raise storage_error(error, "a received instance cannot be written") from error

    def published(self) -> None:
        """The file has its final name, so nothing is left to remove."""
        self._is_published = True

    def keep(self) -> Kept:
        """Make the instance durable under its SOP Instance UID; when this returns it may be acknowledged.

        The same data set again changes nothing. Another data set under a known UID goes to quarantine, once.

        Raises:
            InputError: the SOP Instance UID is not legal.
            DiskFullError, StorageError: the disk refused. Only a flush of the folder that failed leaves the instance
                behind, whole and not to be acknowledged: another gateway may have vouched for it meanwhile.
        """
        try:
            return self._keep(self)
        finally:
            self.discard()

    def discard(self) -> None:
        """Close and remove the temporary file, unless it has its final name."""
        if self.descriptor < 0:
            return
        os.close(self.descriptor)
        self.descriptor = -1
        if not self._is_published:
            with contextlib.suppress(OSError):
                self.path.unlink()

    @contextlib.contextmanager
    def contents(self) -> Iterator[EncodedDataSet]:
        """The whole file, head included; its data set starts at ``head_bytes``.

        Raises:
            DiskFullError, StorageError: as in :meth:`write`.
        """
        if self._gone_bytes == 0:
            yield self._held
            return
        self.arrived()
        with mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ) as memory:
            yield memory

    def check(self) -> DataSetIdentity:
        """Which instance arrived, whole and under the UIDs that it was announced with.

        Raises:
            MalformedDataSetError: it is cut off, or not encoded in its transfer syntax.
            IncompleteIdentityError: a UID is absent, none, or another than announced.
            DiskFullError, StorageError: as in :meth:`write`.
        """
        self.arrived()
        with self.contents() as memory:
            found = walk_data_set(memory, self.meta.transfer_syntax_uid, start=self.head_bytes)
        if found.sop_class_uid != self.meta.sop_class_uid:
            raise IncompleteIdentityError("(0008,0016) is not the announced SOP class")
        if found.sop_instance_uid != self.meta.sop_instance_uid:
            raise IncompleteIdentityError("(0008,0018) is not the announced SOP instance")
        for tag, uid in (("(0020,000D)", found.study_instance_uid), ("(0020,000E)", found.series_instance_uid)):
            if not is_legal_uid(uid):
                raise IncompleteIdentityError(f"{tag} is not a UID")
        return found

    def digest(self) -> str:
        """SHA-256 (hex) of transfer syntax and data set, without file meta information."""
        with self.contents() as memory:
            return _digest(self.meta.transfer_syntax_uid, memory, self.head_bytes)

    def same_data_set(self, path: Path) -> bool:
        """Whether a stored file holds the same data set bytes in the same transfer syntax."""
        with path.open("rb") as file, self.contents() as ours:
            try:
                meta, start = decode_file_meta(file.read(head_bytes()), path.name)
            except InputError:
                return False
            size = os.fstat(file.fileno()).st_size - start
            if meta.transfer_syntax_uid != self.meta.transfer_syntax_uid or size != self.data_set_bytes:
                return False
            file.seek(start)
            return all(
                file.read(_COMPARE_BYTES) == ours[position : position + _COMPARE_BYTES]
                for position in range(self.head_bytes, len(ours), _COMPARE_BYTES)
            )


def stored_digest(path: Path) -> str:
    """What :meth:`IncomingInstance.digest` was for a stored file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        try:
            meta, start = decode_file_meta(memory[: head_bytes()], path.name)
        except InputError:  # damaged on the disk: then it is like no other
            return _digest("", memory, 0)
        return _digest(meta.transfer_syntax_uid, memory, start)


def _digest(transfer_syntax_uid: str, memory: EncodedDataSet, start: int) -> str:
    state = hashlib.sha256(transfer_syntax_uid.encode())
    for position in range(start, len(memory), _COMPARE_BYTES):
        state.update(memory[position : position + _COMPARE_BYTES])
    return state.hexdigest()
