"""Result sets on disk: one folder a job, whole or absent, never changed once it stands."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from node.config import Receiver
from node.deliver.objects import ALTERNATIVES
from node.errors import StorageError
from node.intake.durable_io import storage_error
from node.jobs.deliveries import PlannedDelivery
from node.jobs.durable import flush_folder, write_durably, write_flushed
from node.model import PipelineOutput

RECORD_FILE = "result.json"
TEXT_FILE = "report.txt"
DIGESTS_FILE = "SHA256SUMS"
"""SHA-256 of every other file of a result folder, as ``sha256sum --check`` reads it."""
_TEMPORARY = ".new-"
_REMOVED_FILE = "removed.txt"
_STAYING = frozenset({RECORD_FILE, TEXT_FILE, _REMOVED_FILE})  # small, and no object


class Outbox:
    """The folder of result folders."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, job_id: str) -> Path:
        """Where the result set of a job stands, or would stand."""
        return self._folder / job_id

    def record(self, job_id: str) -> dict[str, Any] | None:
        """The record of a result set that stands, or ``None``.

        Raises:
            StorageError: the folder stands but its record cannot be read.
        """
        file = self.path(job_id) / RECORD_FILE
        try:
            record: dict[str, Any] = json.loads(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StorageError(f"{file}: cannot be read: {error}") from error
        return record

    def damage(self, job_id: str, file: str) -> str | None:
        """Why an object's file is not to be sent, or ``None``: it is gone, or not what was put here."""
        folder = self.path(job_id)
        try:
            with (folder / file).open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
            digests = (folder / DIGESTS_FILE).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            # A folder of an earlier version has no digests.
            return None if error.filename == str(folder / DIGESTS_FILE) else "its file is gone from the outbox"
        except (OSError, UnicodeDecodeError) as error:
            return f"its file in the outbox cannot be read: {type(error).__name__}"
        return None if _line(found, file) in digests.splitlines() else "its file in the outbox is damaged (SHA-256)"

    def put(self, job_id: str, output: PipelineOutput) -> bool:
        """Make a result set durable; ``False`` when one with other content stands already, which is kept.

        Raises:
            StorageError: the disk refused.
        """
        final = self.path(job_id)
        digests = [_line(hashlib.sha256(data).hexdigest(), name) for name, data in sorted(output.files.items())]
        files = {**output.files, DIGESTS_FILE: "".join(f"{line}\n" for line in digests).encode()}
        if final.is_dir():
            return _same(final, files)
        temporary = self._folder / f"{_TEMPORARY}{job_id}-{uuid.uuid4().hex}"
        try:
            _write_folder(temporary, files)
            temporary.rename(final)
            flush_folder(self._folder)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if final.is_dir():  # another worker, whose lease we lost or took, was first
                return _same(final, files)
            raise storage_error(error, f"{final} cannot be written") from error
        return True

    def strip(self, job_id: str, why: str) -> int:
        """Remove a result set but for its record and report text, for ever; returns the bytes freed.

        ``why`` is made durable first, so that a rebuilt ledger does not look for the objects. Repeating it is harmless.

        Raises:
            StorageError: the disk refused.
        """
        folder = self.path(job_id)
        if not folder.is_dir():
            return 0
        write_durably(folder / _REMOVED_FILE, why.encode())
        freed = 0
        try:
            for entry in sorted(folder.iterdir()):
                if entry.name in _STAYING:
                    continue
                freed += _size(entry)
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            flush_folder(folder)
        except OSError as error:
            raise storage_error(error, f"{folder} cannot be cleared") from error
        return freed

    def removed(self, job_id: str) -> str | None:
        """Why the objects of a result set were removed; ``None`` when they were not."""
        try:
            return (self.path(job_id) / _REMOVED_FILE).read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, f"{self.path(job_id)} cannot be read") from error

    def job_ids(self) -> list[str]:
        """Jobs whose result set stands."""
        if not self._folder.is_dir():
            return []
        return sorted(p.name for p in self._folder.iterdir() if not p.name.startswith(".") and p.is_dir())

    def sweep(self, older_than_s: float, now_s: float) -> None:
        """Remove what a killed worker left half-written; ``now_s`` in seconds since the epoch."""
        if not self._folder.is_dir():
            return
        for leftover in self._folder.glob(f"{_TEMPORARY}*"):
            with suppress(FileNotFoundError):  # it was just finished, and has its name
                if now_s - leftover.stat().st_mtime > older_than_s:
                    shutil.rmtree(leftover, ignore_errors=True)


def plan_deliveries(record: Mapping[str, Any], destinations: Sequence[Receiver]) -> list[PlannedDelivery]:
    """Which objects of a result go where; reports in other SOP classes only take the place of a refused one."""
    return [
        _planned(destination.name, position, item)
        for destination in destinations
        for position, item in enumerate(record["objects"])
        if destination.wants(item["role"]) and item["role"] not in ALTERNATIVES["sr"]
    ]


def plan_alternative(record: Mapping[str, Any], destination: str, refused_role: str) -> PlannedDelivery | None:
    """What goes to a destination in place of an object of a role that it does not take."""
    for role, others in ALTERNATIVES.items():
        order = (role, *others)
        if refused_role in order[:-1]:
            wanted = order[order.index(refused_role) + 1]
            found = (entry for entry in enumerate(record["objects"]) if entry[1]["role"] == wanted)
            return next((_planned(destination, position, item) for position, item in found), None)
    return None


def _planned(destination: str, position: int, item: Mapping[str, Any]) -> PlannedDelivery:
    return PlannedDelivery(
        destination=destination,
        sop_instance_uid=item["sop_instance_uid"],
        role=item["role"],
        file=item["file"],
        position=position,
    )


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    folders = {folder}
    folder.mkdir(parents=True)
    for name, data in files.items():
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"result file {name!r} would lie outside its folder")
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        folders.update(p for p in path.parents if folder in (p, *p.parents))
        write_flushed(path, data)
    for made in sorted(folders, reverse=True):
        flush_folder(made)


def _line(digest: str, name: str) -> str:
    return f"{digest}  {name}"


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def _same(folder: Path, files: Mapping[str, bytes]) -> bool:
    standing = {
        (Path(base) / name).relative_to(folder).as_posix() for base, _, names in os.walk(folder) for name in names
    }
    return standing == set(files) and all((folder / name).read_bytes() == data for name, data in files.items())
