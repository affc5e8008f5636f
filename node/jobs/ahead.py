"""Times in the ledger that lie further ahead than the node ever sets them: the clock was ahead when they were written.

A clock that is set right after it was hours ahead would leave leases, waits and quiet times that end hours from now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, or_, select, update

from node.jobs import schema
from node.jobs.database import Database
from node.model import DeliveryState, JobState

_SKEW_S = 5.0  # clocks of workers, of a file server and of this machine differ by less


@dataclass(frozen=True, kw_only=True)
class LongestWaits:
    """How far ahead of now the node sets a lease, the next run of a job after its first, second ... failure (the last
    holds for all further ones), the next try of a delivery; seconds."""

    lease_s: float
    runs_s: tuple[float, ...]
    delivery_s: float


def bring_back(database: Database, now: datetime, waits: LongestWaits) -> int:
    """Set times that lie too far ahead to what they would be now; how many there were.

    Raises:
        StorageError: the ledger refused.
    """
    study, job, delivery = schema.study, schema.job, schema.delivery
    queued = job.c.state == JobState.QUEUED.value
    running = job.c.state == JobState.RUNNING.value
    pending = delivery.c.state == DeliveryState.PENDING.value
    moves = (
        _Move(study, study.c.open & (study.c.last_arrival_at > _after(now, 0)), {"last_arrival_at": now}),
        _Move(job, queued & (job.c.last_rung_at > _after(now, 0)), {"last_rung_at": None}),
        _Move(job, queued & _waits_too_long(now, waits.runs_s), {"not_before": now}),
        _Move(
            job,
            running & (job.c.lease_until > _after(now, waits.lease_s)),
            {"lease_until": now + timedelta(seconds=waits.lease_s)},  # a worker that lives renews it
        ),
        _Move(delivery, pending & (delivery.c.next_try_at > _after(now, waits.delivery_s)), {"next_try_at": now}),
    )
    with database.reading() as connection:
        wanted = [move for move in moves if connection.execute(select(1).where(move.where).limit(1)).first()]
    if not wanted:
        return 0
    with database.writing() as connection:
        return sum(connection.execute(update(m.table).where(m.where).values(**m.values)).rowcount for m in wanted)


def _waits_too_long(now: datetime, runs_s: Sequence[float]) -> ColumnElement[bool]:
    """Whether a job waits for longer than after its last failure: by the longest wait of all, a clock that was ahead by
    less would make it wait that long."""
    job = schema.job.c
    *early, last_s = runs_s
    after_one = (and_(job.attempts == n, job.not_before > _after(now, wait_s)) for n, wait_s in enumerate(early, 1))
    return or_(*after_one, job.not_before > _after(now, last_s))


@dataclass(frozen=True)
class _Move:
    table: Table
    where: ColumnElement[bool]
    values: Mapping[str, Any]


def _after(now: datetime, wait_s: float) -> datetime:
    return now + timedelta(seconds=wait_s + _SKEW_S)
