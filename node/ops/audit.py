"""The audit trail: who sent, what became of it, who acted; append-only lines, each with a digest over all before it.

``audit/trail.jsonl`` holds one JSON object a line; ``hash`` is SHA-256 over the line without it, and the line holds the
hash of the one before. ``audit/head.json`` names the last line, so that a trail that was cut short is noticed too.
Whoever may write the folder can make the whole chain anew: copies elsewhere (``audit.syslog``) and a noted head
(``ironnode audit verify`` prints it) are what such a forger does not have. No patient data but UIDs.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from node.errors import StorageError
from node.ops.events import Event, emit

AUDITED = frozenset(
    {
        *(Event.NODE_STARTED, Event.NODE_STOPPED, Event.LISTENER_OPEN, Event.LEDGER_REBUILT),
        *(Event.ASSOCIATION_ENDED, Event.ASSOCIATION_REJECTED, Event.TLS_FAILED),
        *(Event.CERTIFICATE_RENEWED, Event.CERTIFICATE_UNUSABLE),
        *(Event.INSTANCE_REFUSED, Event.INSTANCE_CONFLICT, Event.INSTANCE_UNREADABLE),
        *(Event.ACQUISITION_DECLINED, Event.JOB_ACCEPTED, Event.JOB_STARTED, Event.JOB_DONE, Event.JOB_FAILED),
        *(Event.JOB_PARKED, Event.IMAGES_REFUSED, Event.RESULT_WITHHELD, Event.RESULT_KEPT),
        *(
            Event.DELIVERY_SENT,
            Event.DELIVERY_UNSUPPORTED,
            Event.DELIVERY_SUPERSEDED,
            Event.COMMITMENT_CONFIRMED,
            Event.COMMITMENT_REFUSED,
        ),
        *(Event.FILES_REMOVED, Event.STRAYS_REMOVED, Event.SET_APART_REMOVED, Event.STUDY_FAILED),
        *(Event.WEB_LOGIN, Event.WEB_LOGIN_FAILED, Event.WEB_LOGOUT, Event.WEB_ACTION),
    }
)
DAMAGED = "audit_damaged"
"""Stands for a line that cannot be read, where the trail is read on behind it."""
_START = "0" * 64  # stands where the first line's predecessor would
_TAIL_BYTES = 1 << 16
_MOST_WAITING = 10_000
_TRY_AGAIN_S = 1.0
_GATHER_S = 0.2


class Noted(NamedTuple):
    """An event to be written down."""

    name: str
    time: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One line of the trail; ``end`` is the offset behind it, bytes."""

    number: int
    time: str
    event: str
    fields: Mapping[str, Any]
    end: int


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a check of the whole trail found; ``broken`` says where it is not as it was written, in words."""

    entries: int
    head: str
    broken: str | None


class AuditTrail:
    """The trail of one storage root; any number of processes may append to it."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "audit"
        self.path = self._folder / "trail.jsonl"
        self._head = self._folder / "head.json"

    def append(self, *events: Noted) -> None:
        """Add a line for each event and have them on the disk.

        Raises:
            OSError: they could not be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        with self._locked(), self.path.open("ab+") as file:
            number, previous, torn_bytes = _last_of(file)
            if torn_bytes:  # a crash inside a line; it was never reported as written
                file.truncate(file.seek(0, os.SEEK_END) - torn_bytes)
                events = (Noted("audit_torn", events[0].time, {"bytes": torn_bytes}), *events)
            noted = self._noted_head()
            if noted is not None and noted[0] > number:  # lines were cut off: the gap must stay visible
                number, previous = noted
            file.seek(0, os.SEEK_END)
            for event in events:
                line, number, previous = _line(event, number + 1, previous)
                file.write(line)
            file.flush()
            os.fdatasync(file.fileno())
            temporary = self._head.with_suffix(".tmp")
            temporary.write_text(json.dumps({"n": number, "hash": previous}))
            temporary.replace(self._head)

    def _noted_head(self) -> tuple[int, str] | None:
        try:
            noted = _parsed(self._head.read_bytes())
            return int(noted["n"]), str(noted["hash"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def after(self, offset: int) -> Iterator[AuditEntry]:
        """The whole lines behind an offset in bytes; one that cannot be read any more comes as ``DAMAGED``.

        Raises:
            OSError: the trail cannot be read.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                yield _entry(line, offset)

    def verify(self) -> Verified:
        """Check every line against the one before it, and the last one against the head.

        Raises:
            StorageError: the trail cannot be read.
        """
        try:
            with self._locked() if self._folder.is_dir() else contextlib.nullcontext():
                return self._verify()
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def holds(self, digest: str) -> bool:
        """Whether some line has this hash."""
        needle = json.dumps({"hash": digest})[1:-1].encode()
        with self.path.open("rb") if self.path.exists() else contextlib.nullcontext(()) as lines:
            return any(needle in line for line in lines)

    def _verify(self) -> Verified:
        number, previous = 0, _START
        hashes = {0: _START}
        with self.path.open("rb") if self.path.exists() else contextlib.nullcontext(()) as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # a crash inside it: it was never reported as written, and the next line takes its place
                fault, digest = _fault(line, number + 1, previous)
                if fault:
                    return Verified(entries=number, head=previous, broken=f"line {number + 1}: {fault}")
                number, previous = number + 1, digest
                hashes[number] = digest
        return Verified(entries=number, head=previous, broken=self._head_fault(hashes, number))

    def _head_fault(self, hashes: Mapping[int, str], last: int) -> str | None:
        if not self._head.exists():
            return "audit/head.json is gone" if last else None
        noted = self._noted_head()
        if noted is None:
            return "audit/head.json is damaged"
        number, digest = noted
        if number > last:
            return f"{number - last} lines are missing at the end"
        if number not in hashes:
            return "audit/head.json is damaged"
        if hashes[number] != digest:  # lines that a crash left ahead of the head are in the chain
            return f"audit/head.json does not name line {number}"
        return None


class AuditHandler(logging.Handler):
    """Hands the audited events of this process to the trail, from a thread of its own: nobody waits for its disk.

    What the disk refuses is kept and tried again. A process that is killed loses what it emitted in the last 0.2 s.
    """

    def __init__(self, trail: AuditTrail) -> None:
        super().__init__()
        self._trail = trail
        self._begin()
        os.register_at_fork(after_in_child=self._begin)  # a child has neither the thread nor the parent's events

    def _begin(self) -> None:
        self._waiting: list[Noted] = []
        self._lost = 0  # events that were too many to wait, and are not yet told
        self._change = threading.Condition()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._over = self._away = False

    def emit(self, record: logging.LogRecord) -> None:
        """Take one log event."""
        name = getattr(record, "event", "")
        if name not in AUDITED:
            return
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        with self._change:
            self._waiting.append(Noted(name, time, getattr(record, "fields", {})))
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_on, name="audit", daemon=True)
                self._thread.start()
            self._change.notify_all()

    def flush(self) -> None:
        """Write what waits, once."""
        with self._writing:
            with self._change:
                self._lost += max(len(self._waiting) - _MOST_WAITING, 0)
                del self._waiting[:-_MOST_WAITING]
                batch, lost = tuple(self._waiting), self._lost
            if not batch:
                return
            told = (Noted("audit_lost", batch[0].time, {"events": lost}),) if lost else ()
            try:
                self._trail.append(*told, *batch)
            except OSError as error:
                if not self._away:
                    emit(Event.AUDIT_FAILED, error=str(error), waiting=len(batch))
                self._away = True
                return
            self._away = False
            with self._change:
                self._lost -= lost
                del self._waiting[: len(batch)]

    def close(self) -> None:
        """Write what waits and stop."""
        with self._change:
            self._over = True
            self._change.notify_all()
        self.flush()
        super().close()

    def _write_on(self) -> None:
        while not self._over:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._over)
                self._change.wait_for(lambda: self._over, _GATHER_S)  # one flush of the disk for many events
            self.flush()
            if self._away:
                with self._change:
                    self._change.wait_for(lambda: self._over, _TRY_AGAIN_S)


def audit_events(root: Path) -> None:
    """Have the audited events of this process written to the trail of a storage root from now on."""
    logging.getLogger("ironnode").addHandler(AuditHandler(AuditTrail(root)))


def _parsed(line: bytes) -> dict[str, Any]:
    """The object of a line.

    Raises:
        ValueError: it holds none.
    """
    try:
        found = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _entry(line: bytes, end: int) -> AuditEntry:
    try:
        found = _parsed(line)
        return AuditEntry(
            number=int(found["n"]), time=str(found["time"]), event=str(found["event"]), fields=dict(found["fields"]),
            end=end,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        return AuditEntry(number=0, time="", event=DAMAGED, fields={}, end=end)


def _last_of(file: IO[bytes]) -> tuple[int, str, int]:
    """Number and hash of the last whole line, and how many bytes of a torn one follow it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    lines = file.read().split(b"\n")
    torn = len(lines.pop())
    if not lines:
        return 0, _START, torn
    try:
        found = _parsed(lines[-1])
        return int(found["n"]), str(found["hash"]), torn
    except (ValueError, KeyError, TypeError) as error:
        # The chain goes on, visibly broken: an edit must not stop what comes after from being written down.
        emit(Event.AUDIT_FAILED, error=f"the last line of the trail is damaged: {type(error).__name__}")
        return 0, _START, torn


def _line(event: Noted, number: int, previous: str) -> tuple[bytes, int, str]:
    """The line of an event, its number and its hash."""
    body = {"n": number, "time": event.time, "event": event.name, "fields": dict(event.fields), "previous": previous}
    digest = _digest(body)
    return _written({**body, "hash": digest}), number, digest


def _fault(line: bytes, number: int, previous: str) -> tuple[str | None, str]:
    try:
        found = _parsed(line)
        digest = str(found.pop("hash"))
        if found["n"] != number or found["previous"] != previous:
            return "it does not follow the one before: lines were taken out, put in or exchanged", ""
    except (ValueError, KeyError):
        return "it is no line of the trail", ""
    as_written = _written({**found, "hash": digest}) == line  # not so with blanks, or with a key that stands twice
    return (None, digest) if as_written and _digest(found) == digest else ("its content was changed", "")


def _written(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, default=str).encode() + b"\n"


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()
