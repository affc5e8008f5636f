"""Whether the clock can be believed for what cannot be taken back: retention waits after it jumped.

Within a process the clock is compared with the monotonic one, at its start with the time that the ledger was last
looked at. A node that was off for a while waits too: it cannot tell one from the other.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from node.jobs.removals import ClockNote, RemovalBook
from node.ops.events import Event, emit

_JUMP = timedelta(hours=1)
_HOLD = timedelta(hours=6)  # a clock that a time server sets right is right by then
_NOTE_EVERY = timedelta(minutes=10)


class ClockWatch:
    """One look after another; ``monotonic_s`` is in seconds."""

    def __init__(self, removals: RemovalBook, clock: Callable[[], datetime], monotonic_s: Callable[[], float]) -> None:
        self._removals = removals
        self._clock = clock
        self._monotonic_s = monotonic_s
        self._last: tuple[datetime, float] | None = None

    def held_until(self) -> datetime | None:
        """Until when nothing may be removed because the clock jumped; ``None``: it can be believed.

        Raises:
            StorageError: the ledger refused.
        """
        now, now_s = self._clock(), self._monotonic_s()
        note = self._removals.clock_note()
        seen_at, passed = note.seen_at, timedelta()
        if self._last is not None:
            seen_at, passed = self._last[0], timedelta(seconds=now_s - self._last[1])
        jump = timedelta() if seen_at is None else now - seen_at - passed
        until = note.held_until
        if abs(jump) >= _JUMP:
            until = now + _HOLD
            emit(Event.RETENTION_HELD, jump_s=round(jump.total_seconds()), until=until.isoformat())
        if until != note.held_until or note.seen_at is None or abs(now - note.seen_at) >= _NOTE_EVERY:
            self._removals.note_clock(ClockNote(seen_at=now, held_until=until))
        self._last = (now, now_s)
        return until if until is not None and now < until else None
