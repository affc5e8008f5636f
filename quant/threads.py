"""Threads of the fits: how many, and long lists of voxels worked off in parts side by side.

Within a part every compiled function runs on one thread. That scales better than splitting each function would: there
is nothing to wait for between two of them, and what numpy does in between is threaded too.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numba as nb
from numba.np.ufunc.parallel import threading_layer

_One = TypeVar("_One")
_Other = TypeVar("_Other")


@contextmanager
def thread_limit(threads: int | None) -> Iterator[None]:
    """Let numba use at most ``threads`` threads, and what it used before afterwards."""
    before = nb.get_num_threads()
    nb.set_num_threads(before if threads is None else min(threads, before))
    try:
        yield
    finally:
        nb.set_num_threads(before)


def each_part(size: int, chunk: int, run: Callable[[slice], None]) -> None:
    """Call ``run`` for slices of at most ``chunk`` that together cover ``size``, as many at a time as threads allow.

    What ``run`` does must not depend on other parts. The first error of a part is raised here.
    """
    parts = [slice(start, min(start + chunk, size)) for start in range(0, size, chunk)]
    workers = min(len(parts), nb.get_num_threads()) if _may_be_entered_by_several() else 1
    if workers < 2:
        for part in parts:
            run(part)
        return

    def on_one_thread(part: slice) -> None:
        nb.set_num_threads(1)  # holds for this thread of the pool alone
        run(part)

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(on_one_thread, parts):
            pass


def side_by_side(one: Callable[[], _One], other: Callable[[], _Other]) -> tuple[_One, _Other]:
    """What both give, worked out at the same time where threads allow. Neither may call a compiled function."""
    if nb.get_num_threads() < 2:
        return one(), other()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(one)
        second = other()
        return first.result(), second


def _may_be_entered_by_several() -> bool:
    """Whether compiled functions may run in several threads at once: not with numba's own pool of last resort."""
    layer: Callable[[], str] = threading_layer
    try:
        return layer() != "workqueue"
    except ValueError:  # no threaded function has run yet
        return False
