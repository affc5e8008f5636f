"""Files of the spool, told by their file meta and age: who sent them, and when they came."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from node.errors import InputError
from node.intake.file_meta import decode_file_meta, head_bytes
from node.model import SpooledInstance

_SENDERS_LOOKED_UP = 500  # files that are opened for the live list


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """How many instances of one sender lie in the inbox, and since when."""

    calling_ae_title: str
    n_instances: int
    oldest_at: datetime


def arrivals(inbox: Path) -> list[Arrivals]:
    """What lies in the spool's inbox, by sender, the longest waiting first; of a long backlog not every file is opened,
    and the rest counts for the sender ``""``."""
    by_sender: dict[str, list[float]] = {}
    with os.scandir(inbox) as entries:
        for number, entry in enumerate(entries):
            try:
                found = described(Path(entry.path)) if number < _SENDERS_LOOKED_UP else None
                sender = found.calling_ae_title if found else ""
                came_s = entry.stat().st_mtime
            except FileNotFoundError:
                continue  # it has just been admitted
            by_sender.setdefault(sender, []).append(came_s)
    lines = [
        Arrivals(calling_ae_title=title, n_instances=len(times), oldest_at=datetime.fromtimestamp(min(times), UTC))
        for title, times in by_sender.items()
    ]
    return sorted(lines, key=lambda line: line.oldest_at)


def described(path: Path) -> SpooledInstance | None:
    """One file of the spool; None when it has just been moved on or carries no readable file meta."""
    try:
        with path.open("rb") as file:
            meta, _ = decode_file_meta(file.read(head_bytes()), path.name)
            status = os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    except (InputError, OSError):  # who reads the header says which; one bad file must not hide the others
        meta, status = None, path.stat()
    return SpooledInstance(
        sop_instance_uid=path.name.removesuffix(".dcm"),
        path=path,
        received_at=datetime.fromtimestamp(status.st_mtime, UTC),
        calling_ae_title=meta.calling_ae_title if meta else "",
        size_bytes=status.st_size,
    )
