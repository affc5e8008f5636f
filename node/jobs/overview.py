"""Questions that operators ask of the ledger. Nothing is changed here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, ScalarSelect, Select, case, func, select

from node.errors import InputError
from node.jobs import schema
from node.jobs.database import Database
from node.model import AcquisitionState, DeliveryState, JobState


@dataclass(frozen=True, kw_only=True)
class JobLine:
    """One job in a list; ``outcome`` is measured, not_measurable or declined once it is done."""

    job_id: str
    state: JobState
    outcome: str | None
    revision: int
    study_instance_uid: str
    accepted_at: datetime
    finished_at: datetime | None
    attempts: int
    not_before: datetime | None
    error: str | None
    n_instances: int
    n_deliveries: int
    n_sent: int
    n_pending: int
    n_unsupported: int
    self_test: bool


@dataclass(frozen=True, kw_only=True)
class AcquisitionLine:
    """What became of one group of images."""

    study_instance_uid: str
    acquisition_key: str
    state: str
    code: str | None
    text: str | None
    missing: tuple[str, ...]
    n_instances: int
    changed_at: datetime


@dataclass(frozen=True, kw_only=True)
class TrailLine:
    """One transition."""

    at: datetime
    name: str
    fields: dict[str, Any]


class Overview:
    """Read-only views."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def job_counts(self) -> dict[JobState, int]:
        """How many jobs are in each state."""
        query = select(schema.job.c.state, func.count()).group_by(schema.job.c.state)
        with self._database.reading() as connection:
            found = {JobState(state): int(number) for state, number in connection.execute(query)}
        return {state: found.get(state, 0) for state in JobState}

    def jobs(
        self, state: JobState | None = None, limit: int | None = None, *, undelivered: bool | None = None
    ) -> list[JobLine]:
        """One line for each job, the latest first; at most ``limit``; ``undelivered``: only those of which something
        waits to be sent, or (``False``) of which nothing does."""
        job, delivery = schema.job.c, schema.delivery.c
        order = (job.accepted_at.desc(), job.revision.desc(), job.job_id)
        chosen = select(job.job_id)
        if state is not None:
            chosen = chosen.where(job.state == state.value)
        if undelivered is not None:
            waiting = select(delivery.job_id).where(delivery.state == DeliveryState.PENDING.value)
            chosen = chosen.where(job.job_id.in_(waiting) if undelivered else job.job_id.not_in(waiting))
        # Chosen first: what is counted for each line must not be counted for every job of the ledger.
        query = _job_lines().where(job.job_id.in_(chosen.order_by(*order).limit(limit))).order_by(*order)
        with self._database.reading() as connection:
            return [_job_line(row) for row in connection.execute(query)]

    def job(self, job_id: str) -> JobLine:
        """The line of one job, which must exist."""
        with self._database.reading() as connection:
            return _job_line(connection.execute(_job_lines().where(schema.job.c.job_id == job_id)).one())

    def complete_job_id(self, start: str) -> str:
        """The id that begins so.

        Raises:
            InputError: no id, or several, begin so.
        """
        query = select(schema.job.c.job_id).where(schema.job.c.job_id.startswith(start, autoescape=True)).limit(2)
        with self._database.reading() as connection:
            found: Sequence[str] = connection.scalars(query).all()
        if len(found) != 1:
            raise InputError(f"{'no job' if not found else 'more than one job'} begins with {start!r}")
        return found[0]

    def record(self, job_id: str) -> dict[str, Any] | None:
        """The result record of a job that is done."""
        with self._database.reading() as connection:
            return connection.scalar(select(schema.job.c.record).where(schema.job.c.job_id == job_id))

    def trail(self, job_id: str) -> list[TrailLine]:
        """The transitions of one job, in order."""
        table = schema.event.c
        query = select(table.at, table.name, table.fields).where(table.job_id == job_id).order_by(table.id)
        with self._database.reading() as connection:
            return [TrailLine(at=row.at, name=row.name, fields=row.fields) for row in connection.execute(query)]

    def latest_revision(self, job_id: str) -> JobLine:
        """The last of the revisions that followed a job, which must exist; itself when none did."""
        job = schema.job.c
        at: str | None = job_id
        of_study = select(job.job_id).order_by(job.revision.desc()).limit(1)  # by the study, which has an index
        with self._database.reading() as connection:
            study_uid = connection.scalar(select(job.study_instance_uid).where(job.job_id == job_id))
            while at is not None:
                job_id = at
                later = of_study.where(job.study_instance_uid == study_uid, job.predecessor_job_id == at)
                at = connection.scalar(later)
            return _job_line(connection.execute(_job_lines().where(job.job_id == job_id)).one())

    def acquisition_counts(self) -> dict[str, int]:
        """How many groups of images are in each state (``AcquisitionState``) that there are any in."""
        table = schema.acquisition.c
        query = select(table.state, func.count()).group_by(table.state)
        with self._database.reading() as connection:
            return {state: int(number) for state, number in connection.execute(query)}

    def acquisitions(
        self,
        study_instance_uid: str | None = None,
        *,
        state: AcquisitionState | None = None,
        limit: int | None = None,
    ) -> list[AcquisitionLine]:
        """What became of each group of images (of one study, or in one state), the latest change first; at most
        ``limit``."""
        table = schema.acquisition.c
        query = select(schema.acquisition).order_by(table.changed_at.desc(), table.acquisition_key).limit(limit)
        if study_instance_uid is not None:
            query = query.where(table.study_instance_uid == study_instance_uid)
        if state is not None:
            query = query.where(table.state == state.value)
        with self._database.reading() as connection:
            return [
                AcquisitionLine(**{**row._mapping, "missing": tuple(row.missing)}) for row in connection.execute(query)
            ]


def _job_lines() -> Select[Any]:
    job, member = schema.job.c, schema.job_instance.c
    instances = select(func.count()).where(member.job_id == job.job_id).scalar_subquery()
    return select(
        schema.job,
        instances.label("n_instances"),
        _deliveries().label("n_deliveries"),
        _deliveries(DeliveryState.SENT).label("n_sent"),
        _deliveries(DeliveryState.PENDING).label("n_pending"),
        _deliveries(DeliveryState.UNSUPPORTED).label("n_unsupported"),
    )


def _deliveries(state: DeliveryState | None = None) -> ScalarSelect[Any]:
    """How many objects of a job go to a destination (those that a later result replaces do not), or how many of them
    are in one state.

    The state is counted, not looked for: SQLite would take the index of states, and walk every object ever sent.
    """
    delivery = schema.delivery.c
    counted = delivery.state != DeliveryState.SUPERSEDED.value if state is None else delivery.state == state.value
    number = func.coalesce(func.sum(case((counted, 1), else_=0)), 0)
    return select(number).where(delivery.job_id == schema.job.c.job_id).scalar_subquery()


def _job_line(row: Row[Any]) -> JobLine:
    others = JobLine.__dataclass_fields__.keys() - {"state"}
    return JobLine(state=JobState(row.state), **{name: getattr(row, name) for name in others})
