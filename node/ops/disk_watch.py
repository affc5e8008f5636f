"""The free-space watermarks: warn at the first, refuse at the second (the listener does that), say when it is over."""

import logging
from collections.abc import Callable
from enum import StrEnum

from node.config import StorageConfig
from node.ops.events import Event, emit


class DiskLevel(StrEnum):
    """How much space is left under ``storage.root``."""

    OK = "ok"
    LOW = "low"  # below storage.warn_free_mib
    FULL = "full"  # below storage.min_free_mib: nothing is received


def disk_level(free_mib: int, storage: StorageConfig) -> DiskLevel:
    """The level of so much free space."""
    if free_mib < max(1, storage.min_free_mib):
        return DiskLevel.FULL
    return DiskLevel.LOW if free_mib < storage.warn_free_mib else DiskLevel.OK


def disk_words(free_mib: int, storage: StorageConfig) -> str:
    """The free space in words, with what follows from it."""
    level = disk_level(free_mib, storage)
    if level is DiskLevel.FULL:
        return f"{free_mib} MiB free: nothing is received below {max(1, storage.min_free_mib)} MiB"
    if level is DiskLevel.LOW:
        return (
            f"{free_mib} MiB free, less than {storage.warn_free_mib}; below {storage.min_free_mib} nothing is received"
        )
    return f"{free_mib} MiB free"


class DiskWatch:
    """Logs every change of the level, once."""

    def __init__(self, storage: StorageConfig, free_mib: Callable[[], int]) -> None:
        self._storage = storage
        self._free_mib = free_mib
        self._level = DiskLevel.OK

    def look(self) -> DiskLevel:
        """The level now."""
        free_mib = self._free_mib()
        level = disk_level(free_mib, self._storage)
        if level is not self._level:
            name = Event.DISK_RECOVERED if level is DiskLevel.OK else Event.DISK_LOW
            severity = logging.ERROR if level is DiskLevel.FULL else None
            emit(name, severity, level_of_space=level.value, text=disk_words(free_mib, self._storage))
        self._level = level
        return level
