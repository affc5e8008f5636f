"""Counts of what the ledger does not keep: associations and refusals of each sender, over restarts.

The listener writes one small file a second; the web role reads it. A kill loses the last second.
"""

import json
import logging
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from node.ops.events import Event

UNKNOWN_PEER = "unknown"  # a title that no entry of the allow-list names: anybody may invent such titles
_COUNTED = frozenset({Event.ASSOCIATION_ENDED, Event.ASSOCIATION_REJECTED, Event.INSTANCE_REFUSED})
_WRITE_EVERY_S = 1.0


def counter_file(root: Path, gateway: str | None = None) -> Path:
    """Where the listener of this storage root counts, or of one ``gateway`` among those that share it."""
    return root / "counters" / ("listener.json" if gateway is None else f"listener-{gateway}.json")


def read_counts(root: Path, gateway: str | None = None) -> dict[tuple[str, str], int]:
    """(event name, calling AE title) -> how often; empty when nothing was counted, or the file is damaged."""
    try:
        rows = json.loads(counter_file(root, gateway).read_text())
        return {(str(name), str(peer)): int(number) for name, peer, number in rows}
    except (OSError, ValueError, TypeError):
        return {}


class EventCounter(logging.Handler):
    """Counts the listener's events by calling AE title."""

    def __init__(self, root: Path, known_titles: Iterable[str], gateway: str | None = None) -> None:
        super().__init__()
        self._path = counter_file(root, gateway)
        self._known = frozenset(known_titles)
        self._counts = Counter(read_counts(root, gateway))
        self._stop = threading.Event()
        self._written: Counter[tuple[str, str]] = Counter(self._counts)
        self._thread = threading.Thread(target=self._write_often, name="counters", daemon=True)

    def start(self) -> None:
        """Count from now on."""
        logging.getLogger("ironnode").addHandler(self)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Count one log event, or as many as it stands for."""
        name = getattr(record, "event", "")
        if name in _COUNTED:
            fields = getattr(record, "fields", {})
            title = str(fields.get("calling_ae_title", ""))
            self._counts[name, title if title in self._known else UNKNOWN_PEER] += int(fields.get("count", 1))

    def close(self) -> None:
        """Write what was counted and stop."""
        logging.getLogger("ironnode").removeHandler(self)
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._write()
        super().close()

    def _write_often(self) -> None:
        while not self._stop.wait(_WRITE_EVERY_S):
            self._write()

    def _write(self) -> None:
        with self.lock or threading.RLock():
            counts = Counter(self._counts)
        if counts == self._written:
            return
        temporary = self._path.with_suffix(".tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps([[*key, number] for key, number in sorted(counts.items())]))
            temporary.replace(self._path)
        except OSError:
            return  # the listener says elsewhere that the disk is away; counts stay in memory until it is back
        self._written = counts
