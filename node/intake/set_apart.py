"""What the spool keeps for a person to look at: ``quarantine/`` and ``unreadable/``."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from node.intake.durable_io import DurableIo, storage_error
from node.intake.spool import Spool


@dataclass(frozen=True, kw_only=True)
class SetApart:
    """One such file; ``place`` is the name of its folder, ``came_at`` when it was received."""

    path: Path
    place: str
    came_at: datetime
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class SetApartCounts:
    """How many files a place holds, and how large they are together."""

    files: int
    size_bytes: int


def set_apart(spool: Spool) -> list[SetApart]:
    """Everything that is set apart.

    Raises:
        StorageError: the disk refused.
    """
    found = []
    try:
        for folder in _folders(spool):
            for path in sorted(folder.glob("*.dcm")):
                try:
                    status = path.stat()
                except FileNotFoundError:  # somebody has just looked at it and removed it
                    continue
                came_at = datetime.fromtimestamp(status.st_mtime, UTC)
                found.append(SetApart(path=path, place=folder.name, came_at=came_at, size_bytes=status.st_size))
    except OSError as error:
        raise storage_error(error, "what is set apart cannot be listed") from error
    return found


def by_place(spool: Spool, files: Iterable[SetApart]) -> Mapping[str, SetApartCounts]:
    """Counts by place, of every place."""
    sizes: dict[str, list[int]] = {folder.name: [] for folder in _folders(spool)}
    for file in files:
        sizes[file.place].append(file.size_bytes)
    return {place: SetApartCounts(files=len(some), size_bytes=sum(some)) for place, some in sizes.items()}


def remove_set_apart(files: Collection[SetApart]) -> None:
    """Remove files for ever; those that somebody removed meanwhile are passed over.

    Raises:
        StorageError: the disk refused; some may be gone.
    """
    try:
        for file in files:
            file.path.unlink(missing_ok=True)
        for folder in {file.path.parent for file in files}:
            DurableIo().flush_folder(folder)
    except OSError as error:
        raise storage_error(error, "what is set apart cannot be removed") from error


def _folders(spool: Spool) -> tuple[Path, Path]:
    return spool.quarantine_folder, spool.unreadable_folder
