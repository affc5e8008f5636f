"""What a stranger can cause as often as he likes is told once, then once a minute with the number: log, audit trail and
the disk below them stay small."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from node.ops.events import Event, emit

_PERIOD_S = 60.0
_MOST_APART = 64  # of a minute; what comes from still more callers is told together
_OTHERS = "others"

_Key = tuple[Event, str, str, str]


@dataclass(kw_only=True)
class _Repeated:
    fields: dict[str, Any]
    due_s: float
    count: int = 0


class Repeats:
    """Emits events with ``count``, the number of times since the line before; any thread may tell."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds that only grow."""
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[_Key, _Repeated] = {}

    def tell(self, event: Event, *, address: str, text: str, told_apart: str = "", **fields: str) -> None:
        """The first of an address and reason (and ``told_apart``) is emitted now, others with :meth:`tell_due`."""
        key = (event, address, text, told_apart)
        with self._lock:
            if key not in self._open and len(self._open) >= _MOST_APART:
                address, fields = _OTHERS, {}
                key = (event, address, text, "")
            shown: dict[str, Any] = {**fields, "address": address, "text": text}
            known = self._open.get(key)
            if known is not None:
                known.count, known.fields = known.count + 1, shown
                return
            self._open[key] = _Repeated(fields=shown, due_s=self._clock() + _PERIOD_S)
        emit(event, logging.WARNING, **shown, count=1)

    def tell_due(self, *, all_of_them: bool = False) -> None:
        """Emit what has repeated for a minute, or at the end whatever has."""
        now = self._clock()
        told: list[tuple[Event, dict[str, Any], int]] = []
        with self._lock:
            for key, known in list(self._open.items()):
                if known.due_s > now and not all_of_them:
                    continue
                if known.count:
                    told.append((key[0], known.fields, known.count))
                    known.count, known.due_s = 0, now + _PERIOD_S
                else:
                    del self._open[key]
        for event, fields, count in told:
            emit(event, logging.WARNING, **fields, count=count)
