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

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, or_, select, update

from node.errors import LeaseLostError
from node.jobs import schema, trail
from node.jobs.commitments import CommitmentBook
from node.jobs.database import Database, Fence
from node.jobs.deliveries import DeliveryBook, PlannedDelivery, add_deliveries
from node.jobs.manifest import JobManifest
from node.jobs.region_refusals import RegionRefusal, refused_regions, reopen_after_refusal
from node.jobs.removals import RemovalBook
from node.jobs.studies import StudyBook
from node.model import Cause, Job, JobState
from node.ops.events import Event
from quant.result import ResultObject
from sr_templates.predecessor import EarlierResult

PARKED_BY_OPERATOR = "parked by an operator"
"""The error of a job that somebody, and no failure, parked."""
_UNFINISHED = (JobState.QUEUED.value, JobState.RUNNING.value)


@dataclass(frozen=True, kw_only=True)
class RelatedJob:
    """A job that measured some of the same images."""

    job_id: str
    revision: int
    sop_instance_uids: frozenset[str]
    region_uid: str | None
    destinations: tuple[str, ...] | None
    indication: str | None


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
        self.studies = StudyBook(self.database)
        self.deliveries = DeliveryBook(self.database)
        self.commitments = CommitmentBook(self.database)
        self.removals = RemovalBook(self.database)

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def related_jobs(self, study_instance_uid: str, sop_instance_uids: Sequence[str]) -> list[RelatedJob]:
        """Jobs of the study that share an instance with ``sop_instance_uids``, latest revision last."""
        wanted = set(sop_instance_uids)
        job, member = schema.job.c, schema.job_instance.c
        query = (
            select(job.job_id, job.revision, job.region_uid, job.destinations, job.indication, member.sop_instance_uid)
            .join(schema.job_instance, member.job_id == job.job_id)
            .where(job.study_instance_uid == study_instance_uid)
            .order_by(job.revision, job.accepted_at, job.job_id)
        )
        with self.database.reading() as connection:
            rows = connection.execute(query).all()
        members: dict[str, set[str]] = {}
        for row in rows:
            members.setdefault(row.job_id, set()).add(row.sop_instance_uid)
        jobs = {row.job_id: row for row in rows}
        return [
            RelatedJob(
                job_id=job_id,
                revision=row.revision,
                region_uid=row.region_uid,
                sop_instance_uids=frozenset(members[job_id]),
                destinations=None if row.destinations is None else tuple(row.destinations),
                indication=row.indication,
            )
            for job_id, row in jobs.items()
            if members[job_id] & wanted
        ]

    def replaced_by(self, job: Job) -> tuple[EarlierResult, ...]:
        """The result sets that a job's is to replace, the latest first: its predecessor's, and back to the one that
        replaced what was before it. One that replaced nothing stands beside its own predecessor."""
        found: list[EarlierResult] = []
        at = job.predecessor_job_id
        with self.database.reading() as connection:
            while at is not None:
                row = _row(connection, at)
                if row.record is not None:
                    found.append(_earlier(row))
                    if (row.record.get("revision") or {}).get("replaces"):
                        break
                at = row.predecessor_job_id
        return tuple(found)

    def results_of(self, study_instance_uid: str) -> dict[str, list[EarlierResult]]:
        """The result sets of a study that are done, by acquisition key."""
        job = schema.job.c
        query = select(schema.job).where(job.study_instance_uid == study_instance_uid, job.record.is_not(None))
        found: dict[str, list[EarlierResult]] = {}
        with self.database.reading() as connection:
            for row in connection.execute(query.order_by(job.revision)):
                if row.record is not None:  # a JSON column knows two kinds of nothing
                    found.setdefault(row.acquisition_key, []).append(_earlier(row))
        return found

    def refused_regions(self, study_instance_uid: str) -> dict[str, RegionRefusal]:
        """The drawn regions of a study that its results refuse, by SOP Instance UID."""
        with self.database.reading() as connection:
            return refused_regions(connection, study_instance_uid)

    def outdated(self, method_version: str, settings_digest: str) -> list[Job]:
        """Jobs that are done, of another method version or other settings, and the latest of their acquisition."""
        job, later = schema.job.c, schema.job.alias("later")
        follows = (later.c.study_instance_uid == job.study_instance_uid, later.c.predecessor_job_id == job.job_id)
        newest = ~select(later.c.job_id).where(*follows).exists()  # the study, because it has an index
        other = or_(job.method_version != method_version, job.settings_digest != settings_digest)
        query = select(schema.job).where(job.state == JobState.DONE.value, newest, other).order_by(job.accepted_at)
        with self.database.reading() as connection:
            return [_job(connection, row) for row in connection.execute(query).all()]

    def add(self, manifest: JobManifest, now: datetime) -> bool:
        """Enter a job whose manifest is durable; ``False`` when it stands already."""
        with self.database.writing() as connection:
            if _find(connection, manifest.job_id) is not None:
                return False
            connection.execute(schema.job.insert(), [_new_row(manifest)])
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
            job = _job(connection, _row(connection, job_id))
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
        """An operator's retry of a parked or waiting job: it starts with fresh attempts, now, under these settings."""
        values = {
            "state": JobState.QUEUED.value,
            "attempts": 0,
            "excused": 0,
            "not_before": None,
            "last_rung_at": None,
            "settings_digest": settings_digest,
        }
        with self.database.writing() as connection:
            moved = any(_move(connection, job_id, state, values) for state in (JobState.PARKED, JobState.QUEUED))
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
            row = _find(connection, job_id)
            return None if row is None else _job(connection, row)

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


def _done(record: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """A job with its result; the settings are those that made it, also where an operator's retry came too late."""
    made_with = {"settings_digest": record["settings_digest"]} if record.get("settings_digest") else {}
    done = {"state": JobState.DONE.value, "finished_at": now, "outcome": record["status"], "record": dict(record)}
    return {**done, **made_with}


def _find(connection: Connection, job_id: str) -> Row[Any] | None:
    return connection.execute(_select(job_id)).one_or_none()


def _row(connection: Connection, job_id: str) -> Row[Any]:
    return connection.execute(_select(job_id)).one()


def _select(job_id: str) -> Select[Any]:
    return select(schema.job).where(schema.job.c.job_id == job_id)


def _job(connection: Connection, row: Row[Any]) -> Job:
    member = schema.job_instance.c
    uids = connection.scalars(
        select(member.sop_instance_uid).where(member.job_id == row.job_id).order_by(member.sop_instance_uid)
    )
    return Job(
        job_id=row.job_id,
        acquisition_key=row.acquisition_key,
        study_instance_uid=row.study_instance_uid,
        revision=row.revision,
        state=JobState(row.state),
        attempts=row.attempts,
        excused=row.excused,
        accepted_at=row.accepted_at,
        sop_instance_uids=tuple(uids),
        settings_digest=row.settings_digest,
        missing=tuple(row.missing),
        error=row.error,
        predecessor_job_id=row.predecessor_job_id,
        cause=Cause(row.cause),
        region_uid=row.region_uid,
        self_test=row.self_test,
        destinations=None if row.destinations is None else tuple(row.destinations),
        indication=row.indication,
    )


def _earlier(row: Row[Any]) -> EarlierResult:
    objects = tuple(ResultObject(**item) for item in row.record["objects"])
    return EarlierResult(job_id=row.job_id, revision=row.revision, objects=objects)


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


def _new_row(manifest: JobManifest) -> dict[str, Any]:
    return {
        "job_id": manifest.job_id,
        "acquisition_key": manifest.acquisition_key,
        "study_instance_uid": manifest.study_instance_uid,
        "revision": manifest.revision,
        "predecessor_job_id": manifest.predecessor_job_id,
        "cause": manifest.cause.value,
        "region_uid": manifest.region_uid,
        "self_test": manifest.self_test,
        "destinations": None if manifest.destinations is None else list(manifest.destinations),
        "indication": manifest.indication,
        "method_version": manifest.method_version,
        "settings_digest": manifest.settings_digest,
        "accepted_at": manifest.accepted_at,
        "missing": list(manifest.missing),
        "state": JobState.QUEUED.value,
        "attempts": 0,
        "excused": 0,
    }


def _trail(connection: Connection, at: datetime, name: Event, job_id: str, **fields: Any) -> None:
    study = connection.scalar(select(schema.job.c.study_instance_uid).where(schema.job.c.job_id == job_id))
    trail.append(connection, at, name, job_id=job_id, study_instance_uid=study, **fields)
