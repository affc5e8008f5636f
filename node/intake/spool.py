"""The spool: every received instance as one durable file.

``tmp/`` holds files still arriving; ``inbox/`` whole, durable instances that the assembler has not looked at;
``instances/<xx>/`` those it has taken over; ``quarantine/`` data sets that came under the UID of another;
``unreadable/`` instances whose header cannot be used. The listener of each gateway writes, one assembler moves, any
process reads.

An instance lies in the inbox or in ``instances``, and moves between them by one rename; who looks for it in that
order cannot miss it. No rename here replaces a file: listeners of several gateways may name instances of one UID at the
same time, and only one of them is the first. Where both places hold one, the one in ``instances`` was.
"""

import contextlib
import hashlib
import itertools
import os
import socket
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from node.errors import DiskFullError, InputError, StorageError
from node.intake.again import note_again, remove_unless_again
from node.intake.arrivals import described
from node.intake.durable_io import DurableIo, storage_error
from node.intake.file_meta import FileMeta, decode_file_meta, head_bytes
from node.intake.group_commit import GroupCommitter
from node.intake.incoming import IncomingInstance, Kept, stored_digest
from node.intake.uids import UidReservations, is_legal_uid
from node.model import SpooledInstance

_HOST = socket.gethostname()
_ABANDONED_AFTER_S = 86400.0  # no association takes a day
_LOOKS = 10  # a name that another gateway takes after our look has a file at the next one, over NFS at a later one


def _is_abandoned(path: Path) -> bool:
    """Whether a file of a storage root that several machines share is this machine's, or a day old."""
    try:
        age_s = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    return path.name.startswith(f"{_HOST}-") or age_s > _ABANDONED_AFTER_S


class Spool:
    """The instance store under ``root``/spool."""

    def __init__(self, root: Path, min_free_bytes: int = 0, *, disk: DurableIo | None = None) -> None:
        """Make the folders where absent.

        Raises:
            StorageError: a folder cannot be made.
        """
        self.folder = root / "spool"
        self.temporary_folder = self.folder / "tmp"
        self.inbox_folder = self.folder / "inbox"
        self.instances_folder = self.folder / "instances"
        self.quarantine_folder = self.folder / "quarantine"
        self.unreadable_folder = self.folder / "unreadable"
        self._min_free_bytes = min_free_bytes
        self._disk = disk or DurableIo()
        self._numbers = itertools.count()
        self._uids = UidReservations()
        self._make_folders()
        self._committer = self._new_committer()

    def _make_folders(self) -> None:
        folders = (self.temporary_folder, self.inbox_folder, self.instances_folder)
        wanted = (*folders, self.quarantine_folder, self.unreadable_folder)
        if all(folder.is_dir() for folder in wanted):
            return
        try:
            for folder in wanted:
                folder.mkdir(parents=True, exist_ok=True)
            self._disk.flush_folder(self.folder)
            self._disk.flush_folder(self.folder.parent)
        except OSError as error:
            raise storage_error(error, f"{self.folder} cannot be made") from error

    def _new_committer(self) -> GroupCommitter:
        try:
            return GroupCommitter(self._disk, self.folder)
        except OSError as error:
            raise storage_error(error, f"the file system of {self.folder} cannot be looked at") from error

    # ------------------------------------------------------------ receiving

    def sweep(self, *, shared: bool = False) -> int:
        """Remove what a killed listener left half written; only the (one) listener of a machine calls this, before it
        listens. ``shared``: others may be receiving into the same folder; theirs go when they are a day old.

        Returns the number of files removed. Names that a killed listener gave but did not flush become durable here.
        """
        try:
            leftovers = [path for path in self.temporary_folder.iterdir() if not shared or _is_abandoned(path)]
            for path in leftovers:
                path.unlink(missing_ok=True)
            self._committer.flush(self.inbox_folder)
        except OSError as error:
            raise storage_error(error, f"{self.temporary_folder} cannot be swept") from error
        return len(leftovers)

    def begin(self, meta: FileMeta) -> IncomingInstance:
        """Open a temporary file for a data set that is about to arrive.

        Raises:
            DiskFullError: less space is left than the watermark.
            StorageError: the file cannot be made.
        """
        path = self.temporary_folder / f"{_HOST}-{os.getpid()}-{next(self._numbers)}.part"
        try:
            self.check_space()
            descriptor = self._disk.create(path)
        except OSError as error:
            raise storage_error(error, "a temporary file cannot be made") from error
        return IncomingInstance(
            meta,
            disk=self._disk,
            path=path,
            descriptor=descriptor,
            check_space=self.check_space,
            start_write_out=self._committer.start_write_out,
            keep=self.keep,
        )

    def check_space(self) -> None:
        """Raise DiskFullError when less space is left than the watermark."""
        free = self._disk.free_bytes(self.temporary_folder)
        if free < self._min_free_bytes:
            raise DiskFullError(f"{free >> 20} MiB are free, {self._min_free_bytes >> 20} MiB are kept in reserve")

    def keep(self, incoming: IncomingInstance) -> Kept:
        """Make an arrived instance durable, unless it is known; see :meth:`IncomingInstance.keep`."""
        uid = incoming.meta.sop_instance_uid
        if not is_legal_uid(uid):
            raise InputError("the SOP Instance UID is not a legal UID")
        self._uids.hold(uid)
        try:
            return self._keep(uid, incoming)
        finally:
            self._uids.release(uid)

    def _keep(self, uid: str, incoming: IncomingInstance) -> Kept:
        inbox, admitted = self._inbox_path(uid), self._instance_path(uid)
        for _ in range(_LOOKS):
            known = self._is_known(inbox, admitted, incoming)
            if known:
                return Kept.KNOWN
            if known is not None:
                self._quarantine(uid, incoming)
                return Kept.CONFLICT
            try:
                self._publish(incoming, inbox)
            except FileExistsError:  # another gateway was faster
                continue
            return self._confirmed(admitted, incoming)
        raise StorageError(f"{inbox.name} cannot be made durable: its name is taken, and nothing can be read there")

    def _publish(self, incoming: IncomingInstance, target: Path) -> None:
        incoming.arrived()
        self._committer.publish(incoming.descriptor, incoming.path, target)
        incoming.published()

    def _confirmed(self, admitted: Path, incoming: IncomingInstance) -> Kept:
        """Whether an instance that is in the inbox now is the first: not when one of another gateway was admitted
        between our look and our naming. Then :meth:`admit` will take ours out of the way."""
        try:
            if os.path.samestat(admitted.stat(), os.fstat(incoming.descriptor)):
                return Kept.STORED
            return Kept.KNOWN if self._holds(admitted, incoming) else Kept.CONFLICT
        except FileNotFoundError:
            return Kept.STORED
        except OSError as error:
            raise storage_error(error, f"{admitted.name} cannot be compared") from error

    def _quarantine(self, uid: str, incoming: IncomingInstance) -> None:
        """Keep another data set under a known UID, once: the file that is there already is not touched."""
        target = self._quarantine_path(uid, incoming.digest())
        try:
            self._publish(incoming, target)
        except FileExistsError:
            try:
                self._committer.flush(target.parent)
            except OSError as error:
                raise storage_error(error, f"{target.name} cannot be made durable") from error

    def _is_known(self, inbox: Path, admitted: Path, incoming: IncomingInstance) -> bool | None:
        """None: a new UID. True: the same data set is here (and now surely durable). False: another one is."""
        known = None
        for path in (inbox, admitted):  # the second, where there are two, was first
            try:
                path.stat()  # nearly always in vain, and cheaper so than by an open
                known = self._holds(path, incoming)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise storage_error(error, f"{path.name} cannot be compared") from error
        return known

    def _holds(self, path: Path, incoming: IncomingInstance) -> bool:
        """Whether a stored file is the same data set; then it is surely durable, whoever stored it, and came now."""
        same = incoming.same_data_set(path)
        if same:
            if path.parent != self.inbox_folder:
                note_again(path)
            self._committer.flush(path.parent)
        return same

    # ------------------------------------------------------------ assembling

    def inbox(self) -> list[SpooledInstance]:
        """Instances not yet admitted, oldest first."""
        found = (described(path) for path in self.inbox_folder.glob("*.dcm"))
        return sorted((f for f in found if f is not None), key=lambda f: (f.received_at, f.sop_instance_uid))

    def admit(self, sop_instance_uid: str) -> Path:
        """Move an instance from the inbox to its lasting place, durably; a second call changes nothing.

        Where the lasting place is taken, by what another gateway stored first, the inbox's goes: to quarantine when it
        is another data set (the path there is returned), for ever when it is the same again.

        Raises:
            StorageError: it is not in the spool, or the disk refused.
        """
        return self._move(sop_instance_uid, self._instance_path(sop_instance_uid))

    def reject_unreadable(self, sop_instance_uid: str) -> Path:
        """Set an instance of the inbox aside whose header cannot be used; the operator finds it in unreadable/."""
        source = self._inbox_path(sop_instance_uid)
        try:
            digest = hashlib.sha256(source.read_bytes()).hexdigest()
        except OSError as error:
            raise storage_error(error, f"{source.name} cannot be set aside") from error
        return self._move(sop_instance_uid, self.unreadable_folder / f"{sop_instance_uid}.{digest[:16]}.dcm")

    def find(self, sop_instance_uid: str) -> Path | None:
        """Where an instance lies now, or None."""
        if not is_legal_uid(sop_instance_uid):
            return None
        waits = self._inbox_path(sop_instance_uid).exists()  # before the other look, or its move could be missed
        admitted = self._instance_path(sop_instance_uid)
        if admitted.exists():
            return admitted
        return self._inbox_path(sop_instance_uid) if waits else None

    def vouch(self, sop_instance_uids: Iterable[str]) -> dict[str, str]:
        """Which of these instances are here, surely durable when this returns: UID -> SOP class UID.

        Raises:
            StorageError: the disk refused.
        """
        found: dict[str, str] = {}
        folders: set[Path] = set()
        try:
            for uid in dict.fromkeys(sop_instance_uids):
                path = self.find(uid)
                with contextlib.suppress(FileNotFoundError, InputError):
                    if path is not None:
                        with path.open("rb") as file:
                            meta, _ = decode_file_meta(file.read(head_bytes()), path.name)
                            self._committer.write_out(file.fileno())
                        found[uid] = meta.sop_class_uid
                        folders.add(path.parent)
            if folders:
                self._committer.flush(*folders)
        except OSError as error:
            raise storage_error(error, "instances cannot be vouched for") from error
        return found

    def remove(self, sop_instance_uids: Iterable[str]) -> int:
        """Remove admitted instances for ever (retention); returns the bytes freed. Those that are gone count nothing.

        Raises:
            StorageError: the disk refused; some may be gone.
        """
        return self.remove_old(sop_instance_uids, datetime.max.replace(tzinfo=UTC))[0]

    def remove_old(self, sop_instance_uids: Iterable[str], before: datetime) -> tuple[int, list[str]]:
        """Remove admitted instances for ever, but those that came (again) after ``before``; the bytes freed, and which
        are gone.

        Raises:
            StorageError: the disk refused; some may be gone.
        """
        freed, gone = 0, []
        touched: set[Path] = set()
        try:
            for uid in sop_instance_uids:
                path = self._instance_path(uid)
                size: int | None = 0
                with contextlib.suppress(FileNotFoundError):
                    size = remove_unless_again(path, before)
                    touched.add(path.parent)
                if size is not None:
                    freed += size
                    gone.append(uid)
            for folder in touched:
                self._disk.flush_folder(folder)
        except OSError as error:
            raise storage_error(error, "an instance cannot be removed") from error
        return freed, gone

    def came_after(self, sop_instance_uids: Iterable[str], moment: datetime) -> bool:
        """Whether one of these instances came (again) after a moment.

        Raises:
            StorageError: the disk refused.
        """
        try:
            for uid in sop_instance_uids:
                for path in (self._inbox_path(uid), self._instance_path(uid)):
                    with contextlib.suppress(FileNotFoundError):
                        if path.stat().st_mtime > moment.timestamp():
                            return True
        except OSError as error:
            raise storage_error(error, "an instance cannot be looked at") from error
        return False

    def instances(self) -> Iterator[SpooledInstance]:
        """Every admitted instance, in order of folder and UID; to rebuild an index from the disk."""
        for path in sorted(self.instances_folder.glob("??/*.dcm")):
            found = described(path)
            if found is not None:
                yield found

    def _move(self, uid: str, target: Path) -> Path:
        if not is_legal_uid(uid):
            raise StorageError("not in the spool: not a legal UID")
        source = self._inbox_path(uid)
        try:
            if not target.parent.is_dir():
                target.parent.mkdir(exist_ok=True)
                self._disk.flush_folder(target.parent.parent)
            with contextlib.suppress(FileNotFoundError):
                target = self._renamed(uid, source, target)
                self._disk.flush_folder(source.parent)
            self._disk.flush_folder(target.parent)
        except OSError as error:
            raise storage_error(error, f"{source.name} cannot be moved to {target.parent.name}/") from error
        if not target.exists():
            raise StorageError(f"{uid} is not in the spool")
        return target

    def _renamed(self, uid: str, source: Path, target: Path) -> Path:
        """Where an instance of the inbox is now: at ``target``, or in quarantine when another data set is there."""
        try:
            self._disk.rename_new(source, target)
            return target
        except FileExistsError:
            seen = source.stat()
            digest = stored_digest(source)
        if digest != stored_digest(target):
            target = self._quarantine_path(uid, digest)
            with contextlib.suppress(FileExistsError):
                self._disk.rename_new(source, target)
                return target
        self._disk.flush_folder(target.parent)  # what stays is durable before its double goes
        if os.path.samestat(source.stat(), seen):
            source.unlink()
        return target

    def _quarantine_path(self, uid: str, digest: str) -> Path:
        return self.quarantine_folder / f"{uid}.{digest[:16]}.dcm"

    def _inbox_path(self, uid: str) -> Path:
        return self.inbox_folder / f"{uid}.dcm"

    def _instance_path(self, uid: str) -> Path:
        # SHA-1 only spreads the files over 256 folders.
        return self.instances_folder / f"{hashlib.sha1(uid.encode(), usedforsecurity=False).hexdigest()[:2]}/{uid}.dcm"
