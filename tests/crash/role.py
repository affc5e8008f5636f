"""The node's roles as they are, with three additions that the harness needs: ``python role.py worker ...``.

A clock that the harness moves (``clock`` in the folder ``IRONNODE_CRASH_FOLDER`` holds seconds to add), the stack of
every process on SIGUSR2 (so that the harness knows in which step a kill landed), and for the acquisitions of
``tests.nodekit.small_study`` a measurement that takes a fraction of a second; all others are measured.
"""

import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from node.intake.durable_io import DurableIo
from node.roles.stage import run_role

if TYPE_CHECKING:  # each role imports what it needs and no more: their starts are most of what the harness waits for
    from node.config import Config
    from node.jobs.work import Pipeline
    from node.model import JobInput, PipelineOutput

FOLDER = "IRONNODE_CRASH_FOLDER"
QUICK_ROOT = "1.2.826.0.1.3680043.10.999"  # of tests.nodekit.small_study
LONGEST_QUICK_RUN_S = 0.4
EVERY_QUICK_RUN_S = "IRONNODE_CRASH_EVERY_RUN_S"  # environment: all of them take so long instead
_WITHOUT_CLOCK = frozenset({"broker", "listener"})  # the modules with the wall clock are heavy, and they need none


def show_stacks_on_signal(folder: Path) -> None:
    """SIGUSR2 writes every thread's stack to ``stacks/<process id>``."""

    def register() -> None:
        faulthandler.register(signal.SIGUSR2, file=(folder / "stacks" / str(os.getpid())).open("w"), all_threads=True)

    register()
    os.register_at_fork(after_in_child=register)


def move_clock(folder: Path, role: str) -> None:
    """Every reading of the wall clock, and every arrival's time on disk, is off by what the harness wants."""

    def offset_s() -> float:
        return float((folder / "clock").read_text() or 0)

    def moved_clock() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=offset_s())

    rename: Callable[[DurableIo, Path, Path], None] = DurableIo.rename_new

    def rename_as_of_moved_clock(disk: DurableIo, source: Path, target: Path) -> None:
        if source.parent.name == "tmp" and offset_s():
            moved_s = time.time() + offset_s()
            os.utime(source, (moved_s, moved_s))
        rename(disk, source, target)

    if role not in _WITHOUT_CLOCK:
        from node import app

        app.wall_clock = moved_clock
    patch.object(DurableIo, "rename_new", rename_as_of_moved_clock).start()


def load_mixed() -> "Pipeline":
    """The measurement, and beside it the quick one."""
    from pydicom import dcmread

    from node.roles.worker import load_measurement
    from tests.nodekit.fast_node import make_result

    measurement: list[Pipeline] = []  # loaded when it is needed: that takes longer than most workers live here

    def run(job: "JobInput", config: "Config") -> "PipelineOutput":
        study = str(dcmread(job.files[0], stop_before_pixels=True).StudyInstanceUID)
        if not study.startswith(f"{QUICK_ROOT}."):
            if not measurement:
                measurement.append(load_measurement())
            return measurement[0](job, config)
        drawn_s = LONGEST_QUICK_RUN_S * int(job.job_id[:4], 16) / 0xFFFF
        time.sleep(float(os.environ.get(EVERY_QUICK_RUN_S, drawn_s)))  # stands for a computation
        return make_result(job)

    return run


def main() -> None:
    """Be one role."""
    folder = Path(os.environ[FOLDER])
    show_stacks_on_signal(folder)
    move_clock(folder, sys.argv[1])
    play = None
    if sys.argv[1] == "worker":
        from node.roles import worker

        play = partial(worker.play, load_pipeline=load_mixed)
    run_role(sys.argv[1:], play)


if __name__ == "__main__":
    main()
