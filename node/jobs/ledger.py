"""The ledger holds the jobs: their states, leases and deliveries. Every move is one durable transaction.

    QUEUED --claim--> RUNNING --finish--> DONE
      ^                  |
      +--fail, expire----+--fail or expire, too often--> PARKED --retry--> QUEUED

A worker that claims a job gets a lease and renews it with heartbeats; a worker that goes silent loses it, and the run
counts as an attempt, so a job that kills its workers is parked in the end. Moves name the state (and owner) they
start from, so a repeat or a latecomer changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from node.errors import LeaseLostError
from node.jobs import schema, trail
from node.jobs.commitments import CommitmentBook
from node.jobs.database import Database, Fence
from node.jobs.deliveries import DeliveryBook, PlannedDelivery, add_deliveries
from node.jobs.job_rows import find_row, job_of, new_row, row_of
from node.jobs.manifest import JobManifest
from node.jobs.region_refusals import reopen_after_refusal
from node.jobs.removals import RemovalBook
from node.jobs.revisions import RevisionBook
from node.jobs.studies import StudyBook
from node.model import Job, JobState
from node.ops.events import Event

PARKED_BY_OPERATOR = "parked by an operator"
"""The error of a job that somebody, and no failure, parked."""
_UNFINISHED = (JobState.QUEUED.value, JobState.RUNNING.value)


@dataclass(frozen=True, kw_only=True)
class DueJob:
    """A queued job that may start; ``last_rung_at`` is when the workers were last told of it."""

    job_id: str
    last_rung_at: datetime | None


class Ledger:
    """Jobs, and through its books everything else the node knows."""

    def __init__(self, root: Path, url: str | None = None, fence: Fence | None = None) -> None:
        """Open the ledger of ``storage.root``; ``url`` is ``database.url``.

        Raises:
            ConfigError, StorageError: as ``Database``.
        """
        self.database = Database(root, url, fence)
        self.revisions = RevisionBook(self.database)
        self.studies = StudyBook(self.database)
        self.deliveries = DeliveryBook(self.database)
        self.commitments = CommitmentBook(self.database)
        self.removals = RemovalBook(self.database)

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def add(self, manifest: JobManifest, now: datetime) -> bool:
        """Enter a job whose manifest is durable; ``False`` when it stands already."""
        with self.database.writing() as connection:
            if find_row(connection, manifest.job_id) is not None:
                return False
            connection.execute(schema.job.insert(), [new_row(manifest)])
            members = [{"job_id": manifest.job_id, "sop_instance_uid": uid} for uid in manifest.sop_instance_uids]
            connection.execute(schema.job_instance.insert(), members)
            _trail(connection, now, Event.JOB_ACCEPTED, manifest.job_id, revision=manifest.revision)
        return True

    def due(self, now: datetime, *, rung_before: datetime, limit: int) -> list[DueJob]:
        """Queued jobs to announce: never announced, or last announced before ``rung_before``; never announced first."""
        job = schema.job.c
        query = (
            select(job.job_id, job.last_rung_at)
            .where(
                job.state == JobState.QUEUED.value,
                _may_start(now),
                or_(job.last_rung_at.is_(None), job.last_rung_at < rung_before),
            )
            .order_by(job.last_rung_at.is_not(None), job.last_rung_at, job.accepted_at, job.job_id)
            .limit(limit)
        )
        with self.database.reading() as connection:
            rows = connection.execute(query).all()
        return [DueJob(job_id=row.job_id, last_rung_at=row.last_rung_at) for row in rows]

    def mark_rung(self, job_id: str, now: datetime) -> None:
        """The broker was told."""
        with self.database.writing() as connection:
            connection.execute(update(schema.job).where(schema.job.c.job_id == job_id).values(last_rung_at=now))

    def claim(self, job_id: str, owner: str, now: datetime, lease_s: float) -> Job | None:
        """Take a queued job; ``None`` when there is nothing to take (done, taken, not yet due, unknown)."""
        values = {
            "state": JobState.RUNNING.value,
            "attempts": schema.job.c.attempts + 1,
            "lease_owner": owner,
            "lease_until": now + timedelta(seconds=lease_s),
            "heartbeat_at": now,
        }
        with self.database.writing() as connection:
            if not _move(connection, job_id, JobState.QUEUED, values, _may_start(now)):
                return None
            job = job_of(connection, row_of(connection, job_id))
            _trail(connection, now, Event.JOB_STARTED, job_id, owner=owner, attempt=job.attempts)
        return job

    def heartbeat(self, job_id: str, owner: str, now: datetime, lease_s: float) -> None:
        """Renew the lease.

        Raises:
            LeaseLostError: the job is no longer this owner's.
        """
        values = {"lease_until": now + timedelta(seconds=lease_s), "heartbeat_at": now}
        with self.database.writing() as connection:
            _require(_move(connection, job_id, JobState.RUNNING, values, _owned(owner)), job_id)

    def finish(
        self,
        job_id: str,
        owner: str,
        now: datetime,
        record: Mapping[str, Any],
        deliveries: Sequence[PlannedDelivery],
    ) -> None:
        """The result set is in the outbox: job, record and deliveries become durable together.

        Raises:
            LeaseLostError: the job is no longer this owner's; nothing was changed.
        """
        values = {**_done(record, now), "error": None, **_NO_LEASE}
        with self.database.writing() as connection:
            _require(_move(connection, job_id, JobState.RUNNING, values, _owned(owner)), job_id)
            add_deliveries(self.database, connection, job_id, deliveries, now)
            reopen_after_refusal(connection, job_id, record)
            _trail(connection, now, Event.JOB_DONE, job_id, outcome=record["status"], deliveries=len(deliveries))

    def fail(
        self, job_id: str, owner: str, now: datetime, error: str, retry_at: datetime | None, *, excused: bool = False
    ) -> JobState:
        """A run failed: wait until ``retry_at``, or park the job when that is ``None``; ``excused``: by no fault of it.

        Raises:
            LeaseLostError: the job is no longer this owner's; nothing was changed.
        """
        with self.database.writing() as connection:
            goes_to = JobState.PARKED if retry_at is None else JobState.QUEUED
            state = _give_back(connection, job_id, error, goes_to, retry_at, _owned(owner), excused=excused)
            _require(state is not None, job_id)
            name = Event.JOB_PARKED if state == JobState.PARKED else Event.JOB_FAILED
            _trail(connection, now, name, job_id, error=error)
        assert state is not None
        return state

    def expire(
        self, now: datetime, max_attempts: int, excused_until: datetime | None = None
    ) -> list[tuple[str, JobState]]:
        """Queue again (or park) jobs whose worker went silent; a lease that ran out before ``excused_until``, when an
        outage was over, costs no attempt."""
        job = schema.job.c
        gone = select(job.job_id, job.lease_owner, job.attempts, job.excused, job.lease_until).where(
            job.state == JobState.RUNNING.value, job.lease_until < now
        )
        with self.database.reading() as connection:
            if connection.execute(gone.limit(1)).first() is None:
                return []
        expired = []
        with self.database.writing() as connection:
            for row in connection.execute(gone).all():
                error = (
                    f"the worker {row.lease_owner} went silent during attempt {row.attempts}: its process was killed, "
                    "crashed, ran out of memory or went beyond queue.time_limit_s, or its machine stopped"
                )
                excused = excused_until is not None and row.lease_until < excused_until
                counted = row.attempts - row.excused - excused
                goes_to = JobState.PARKED if counted >= max_attempts else JobState.QUEUED
                silent = job.lease_until < now
                state = _give_back(connection, row.job_id, error, goes_to, None, silent, excused=excused)
                if state is not None:
                    _trail(connection, now, Event.LEASE_EXPIRED, row.job_id, owner=row.lease_owner, state=state.value)
                    expired.append((row.job_id, state))
        return expired

    def requeue(self, job_id: str, now: datetime, settings_digest: str) -> bool:
        """An operator's retry of a parked job: it starts with fresh attempts, now, under these settings; ``False`` when
        it is not parked."""
        values = {**_AFRESH, "settings_digest": settings_digest}
        with self.database.writing() as connection:
            moved = _move(connection, job_id, JobState.PARKED, values)
            if moved:
                _trail(connection, now, Event.JOB_RUNG_AGAIN, job_id, by="operator", settings_digest=settings_digest)
        return moved

    def hurry(self, job_id: str, now: datetime) -> bool:
        """An operator's retry of a job that waits: it starts with fresh attempts, now, under its own settings;
        ``False`` when it does not wait."""
        with self.database.writing() as connection:
            moved = _move(connection, job_id, JobState.QUEUED, _AFRESH)
            if moved:
                _trail(connection, now, Event.JOB_RUNG_AGAIN, job_id, by="operator")
        return moved

    def park(self, job_id: str, now: datetime) -> bool:
        """An operator's stop of a job that waits; ``False`` when it does not wait."""
        values = {"state": JobState.PARKED.value, "error": PARKED_BY_OPERATOR, "not_before": None}
        with self.database.writing() as connection:
            moved = _move(connection, job_id, JobState.QUEUED, values)
            if moved:
                _trail(connection, now, Event.JOB_PARKED, job_id, by="operator")
        return moved

    def restore_done(
        self, job_id: str, now: datetime, record: Mapping[str, Any], deliveries: Sequence[PlannedDelivery]
    ) -> None:
        """A result set was found in the outbox while the ledger is made anew."""
        values = _done(record, now)
        with self.database.writing() as connection:
            if _move(connection, job_id, JobState.QUEUED, values):
                add_deliveries(self.database, connection, job_id, deliveries, now)

    def find(self, job_id: str) -> Job | None:
        """The job, or ``None``."""
        with self.database.reading() as connection:
            row = find_row(connection, job_id)
            return None if row is None else job_of(connection, row)

    def job_ids(self) -> frozenset[str]:
        """Every job."""
        with self.database.reading() as connection:
            return frozenset(connection.scalars(select(schema.job.c.job_id)))

    def count_running(self, now: datetime) -> int:
        """How many jobs a live worker holds."""
        job = schema.job.c
        query = select(func.count()).where(job.state == JobState.RUNNING.value, job.lease_until >= now)
        with self.database.reading() as connection:
            return int(connection.scalar(query) or 0)


_NO_LEASE: dict[str, Any] = {"lease_owner": None, "lease_until": None}
_AFRESH = {"state": JobState.QUEUED.value, "attempts": 0, "excused": 0, "not_before": None, "last_rung_at": None}


def _done(record: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """A job with its result; the settings are those that made it, also where an operator's retry came too late."""
    made_with = {"settings_digest": record["settings_digest"]} if record.get("settings_digest") else {}
    done = {"state": JobState.DONE.value, "finished_at": now, "outcome": record["status"], "record": dict(record)}
    return {**done, **made_with}


def _may_start(now: datetime) -> ColumnElement[bool]:
    """Not waiting after a failure, and not a revision of a job whose report is still to come (it refers to it)."""
    job, earlier = schema.job.c, schema.job.alias("earlier")
    predecessor_pending = (
        select(earlier.c.job_id)
        .where(earlier.c.job_id == job.predecessor_job_id, earlier.c.state.in_(_UNFINISHED))
        .exists()
    )
    return and_(or_(job.not_before.is_(None), job.not_before <= now), ~predecessor_pending)


def _owned(owner: str) -> ColumnElement[bool]:
    return schema.job.c.lease_owner == owner


def _move(
    connection: Connection, job_id: str, start: JobState, values: Mapping[str, Any], *conditions: ColumnElement[bool]
) -> bool:
    job = schema.job.c
    statement = update(schema.job).where(job.job_id == job_id, job.state == start.value, *conditions).values(**values)
    return connection.execute(statement).rowcount == 1


def _give_back(
    connection: Connection,
    job_id: str,
    error: str,
    state: JobState,
    not_before: datetime | None,
    condition: ColumnElement[bool],
    *,
    excused: bool,
) -> JobState | None:
    values = {"state": state.value, "error": error, "not_before": not_before, "last_rung_at": None, **_NO_LEASE}
    values["excused"] = schema.job.c.excused + int(excused)  # PostgreSQL adds no truth value to a number
    return state if _move(connection, job_id, JobState.RUNNING, values, condition) else None


def _require(held: bool, job_id: str) -> None:
    if not held:
        raise LeaseLostError(f"job {job_id} belongs to another worker now")


def _trail(connection: Connection, at: datetime, name: Event, job_id: str, **fields: Any) -> None:
    study = connection.scalar(select(schema.job.c.study_instance_uid).where(schema.job.c.job_id == job_id))
    trail.append(connection, at, name, job_id=job_id, study_instance_uid=study, **fields)
