"""No process of the node outlives its parent, however the parent ends.

Linux sends a child the signal it asked for when its parent dies (prctl(2), PR_SET_PDEATHSIG). Elsewhere a thread
looks whether the parent is still there.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_OOM_SCORE = "500"  # proc(5): -1000 never, 1000 first; raising one's own needs no privilege
_LOOK_EVERY_S = 1.0


def end_with(parent_pid: int) -> None:
    """Kill this process when ``parent_pid``, which must be its parent, ends."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it ended before we asked
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent_pid,), name="lifeline", daemon=True).start()


def end_first_without_memory() -> None:
    """Where memory runs out the system ends this process before others (Linux; elsewhere nothing happens)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)


def end_with_starter() -> Callable[[], None] | None:
    """For ``preexec_fn`` of a program that is not ours: it is killed when the thread that starts it ends.

    ``None`` where the system has no such thing.
    """
    return _ask_from_new_child if _PRCTL is not None else None


def _ask_from_new_child() -> None:
    assert _PRCTL is not None
    _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        threading.Event().wait(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _load_prctl() -> "ctypes._NamedFuncPointer | None":
    # Loaded at import: a child between fork and exec must not load libraries.
    return ctypes.CDLL(None).prctl if sys.platform == "linux" else None


_PRCTL = _load_prctl()
