"""What it costs to make one instance durable, by itself: the part of receiving that no receiver can do without."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from node.intake.durable_io import DurableIo
from node.intake.group_commit import GroupCommitter

_TURNS = 60


def flush_wait_s(folder: Path, content: bytes) -> float:
    """How much longer a file takes that is durable under its name than one that is only written and renamed; seconds.

    Medians of turns taken alternately in ``folder``, which is made.
    """
    folder.mkdir()
    disk = DurableIo()
    committer = GroupCommitter(disk, folder)
    durable, plain = [], []
    for turn in range(_TURNS):
        durable.append(_seconds(disk, folder / f"durable{turn}", content, committer.publish))
        plain.append(_seconds(disk, folder / f"plain{turn}", content, lambda _, old, new: disk.rename_new(old, new)))
    return statistics.median(durable) - statistics.median(plain)


def _seconds(disk: DurableIo, final: Path, content: bytes, name: Callable[[int, Path, Path], None]) -> float:
    temporary = final.with_suffix(".part")
    started = time.perf_counter()
    descriptor = disk.create(temporary)
    disk.write(descriptor, content)
    name(descriptor, temporary, final)
    elapsed_s = time.perf_counter() - started
    os.close(descriptor)
    return elapsed_s
