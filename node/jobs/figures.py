"""Numbers about what came in and what became of it: for metrics and delivery statistics. Nothing is changed here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Select, String, Subquery, case, func, or_, select, true, type_coerce

from node.jobs import schema
from node.jobs.database import Database, one_of
from node.model import AcquisitionState, CommitmentState, DeliveryState, JobState
from quant.result import Reason

NO_PEER = "?"
"""Stands for the sender of images that came without a calling AE title."""
_FEW, _MANY = 500, 3000  # ids that one question names; of how many all jobs are read rather
_OBJECT_COUNTS = ("n_deliveries", "n_pending", "n_sent", "n_to_commit")
_Chosen = Callable[[ColumnElement[Any]], ColumnElement[bool]]  # from a column of job ids: whether a job is wanted


@dataclass(frozen=True, kw_only=True)
class PeerFigures:
    """What one calling AE title stored, in all or on one UTC day (``day`` as YYYY-MM-DD)."""

    peer: str
    day: str
    instances: int
    size_bytes: int
    last_received_at: str


@dataclass(frozen=True, kw_only=True)
class JobFigures:
    """One job in numbers; ``peer`` is the calling AE title that its images came from (a drawn region has its own)."""

    job_id: str
    peer: str
    state: str
    outcome: str | None
    reasons: tuple[Reason, ...]
    lic_mg_per_g: float | None
    last_received_at: datetime | None
    accepted_at: datetime
    finished_at: datetime | None
    last_sent_at: datetime | None
    n_deliveries: int
    n_pending: int
    n_sent: int
    n_to_commit: int
    n_committed: int

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do but storage commitment and what somebody asks for."""
        return self.state == JobState.DONE and self.n_pending == 0

    @property
    def deciding_code(self) -> str:
        """The code of the first reason, which decided that nothing was measured."""
        return self.reasons[0].code if self.reasons else "unknown"

    @property
    def delivered(self) -> bool:
        """Whether every destination has everything."""
        return 0 < self.n_deliveries == self.n_sent

    @property
    def committed(self) -> bool:
        """Whether every destination that is asked for storage commitment keeps everything it takes for good."""
        return 0 < self.n_to_commit == self.n_committed


@dataclass(frozen=True, kw_only=True)
class DeclinedFigures:
    """One group of images that was declined."""

    peer: str
    code: str
    at: datetime


class Figures:
    """Read-only numbers of one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def peers_by_day(self, *, since_day: str = "", before_day: str | None = None) -> list[PeerFigures]:
        """What each sender stored on each UTC day, of ``since_day`` and later, of days before ``before_day``."""
        table = schema.instance.c
        received = type_coerce(table.received_at, String)
        day = func.substr(received, 1, 10)
        query = (
            select(
                table.calling_ae_title.label("peer"),
                day.label("day"),
                func.count().label("instances"),
                func.sum(table.size_bytes).label("size_bytes"),
                func.max(received).label("last_received_at"),
            )
            .where(received >= since_day, true() if before_day is None else received < before_day)
            .group_by(table.calling_ae_title, day)
            .order_by(day.desc(), table.calling_ae_title)
        )
        with self._database.reading() as connection:
            return [PeerFigures(**{**row._mapping, "peer": row.peer or NO_PEER}) for row in connection.execute(query)]

    def job_ids(self) -> list[str]:
        """Of every job, the node's own tests too."""
        with self._database.reading() as connection:
            return list(connection.scalars(select(schema.job.c.job_id)))

    def jobs(
        self,
        job_ids: Sequence[str] | None = None,
        *,
        committing: Sequence[str] = (),
        since: datetime | None = None,
    ) -> list[JobFigures]:
        """Every job but the node's own tests, which are no patients, (accepted ``since``), or those named, in numbers;
        the latest first.

        ``committing`` are the destinations that are asked for storage commitment.
        """
        job = schema.job.c
        if job_ids is not None:
            return self._jobs(true(), lambda job_id: one_of(job_id, job_ids), committing)
        if since is None:
            return self._jobs(~job.self_test, lambda _: true(), committing)
        recent = select(job.job_id).where(~job.self_test, job.accepted_at >= since)
        return self._jobs(true(), lambda job_id: job_id.in_(recent), committing)

    def jobs_of_patients(self, job_ids: Sequence[str]) -> list[JobFigures]:
        """Those named that are none of the node's own tests, without storage commitment."""
        patients = ~schema.job.c.self_test
        if len(job_ids) > _MANY:
            wanted = frozenset(job_ids)
            return [job for job in self._jobs(patients, lambda _: true(), ()) if job.job_id in wanted]
        pieces = (job_ids[first : first + _FEW] for first in range(0, len(job_ids), _FEW))
        return [job for few in pieces for job in self._jobs(patients, partial(one_of, values=few), ())]

    def jobs_to_watch(self, since: datetime) -> list[JobFigures]:
        """The jobs but the node's own tests that are not done, or were done after ``since``; the latest first."""
        job = schema.job.c
        wanted = select(job.job_id).where(
            ~job.self_test, or_(job.state != JobState.DONE.value, job.finished_at > since)
        )
        return self._jobs(true(), lambda job_id: job_id.in_(wanted), ())

    def _jobs(self, condition: ColumnElement[bool], chosen: _Chosen, committing: Sequence[str]) -> list[JobFigures]:
        job = schema.job.c
        images, objects, kept = _images(chosen), _objects(chosen, committing), _committed(chosen, committing)
        query = (
            select(
                job.job_id,
                job.state,
                job.outcome,
                job.accepted_at,
                job.finished_at,
                job.record["reasons"].label("reasons"),
                job.record["lic_mg_per_g"]["median"].as_float().label("lic_mg_per_g"),
                images.c.peer,
                images.c.received_at,
                objects.c.last_sent_at,
                *(func.coalesce(objects.c[name], 0).label(name) for name in _OBJECT_COUNTS),
                func.coalesce(kept.c.n_committed, 0).label("n_committed"),
            )
            .select_from(schema.job)
            .outerjoin(images, images.c.job_id == job.job_id)
            .outerjoin(objects, objects.c.job_id == job.job_id)
            .outerjoin(kept, kept.c.job_id == job.job_id)
            .where(condition, chosen(job.job_id))
            .order_by(job.accepted_at.desc())
        )
        with self._database.reading() as connection:
            return [
                JobFigures(
                    job_id=row.job_id,
                    peer=row.peer or NO_PEER,
                    state=row.state,
                    outcome=row.outcome,
                    reasons=tuple(
                        Reason(code=str(reason["code"]), text=str(reason["text"])) for reason in row.reasons or ()
                    ),
                    lic_mg_per_g=row.lic_mg_per_g,
                    last_received_at=row.received_at,
                    accepted_at=row.accepted_at,
                    finished_at=row.finished_at,
                    last_sent_at=row.last_sent_at,
                    **{name: row._mapping[name] for name in (*_OBJECT_COUNTS, "n_committed")},
                )
                for row in connection.execute(query)
            ]

    def declined(self, *, since: datetime | None = None) -> list[DeclinedFigures]:
        """Every group of images that was declined (``since``)."""
        table = schema.acquisition.c
        peer = (
            select(func.min(schema.instance.c.calling_ae_title))
            .where(schema.instance.c.study_instance_uid == table.study_instance_uid)
            .scalar_subquery()
        )
        query = select(table.code, table.changed_at, peer.label("peer")).where(
            table.state == AcquisitionState.DECLINED.value, true() if since is None else table.changed_at >= since
        )
        with self._database.reading() as connection:
            return [
                DeclinedFigures(peer=row.peer or NO_PEER, code=row.code or "?", at=row.changed_at)
                for row in connection.execute(query)
            ]

    def declined_by_code(self) -> dict[str, int]:
        """How many groups of images were declined, by code."""
        table = schema.acquisition.c
        query = (
            select(table.code, func.count()).where(table.state == AcquisitionState.DECLINED.value).group_by(table.code)
        )
        with self._database.reading() as connection:
            return {code or "?": int(number) for code, number in connection.execute(query)}

    def senders(self, study_instance_uids: Sequence[str]) -> dict[str, str]:
        """The calling AE title that the images of each study came from."""
        table = schema.instance.c
        query = (
            select(table.study_instance_uid, func.min(table.calling_ae_title).label("peer"))
            .where(one_of(table.study_instance_uid, study_instance_uids))
            .group_by(table.study_instance_uid)
        )
        with self._database.reading() as connection:
            return {row.study_instance_uid: row.peer or NO_PEER for row in connection.execute(query)}

    def events(self) -> dict[str, int]:
        """How often each event stands in the trail."""
        query = select(schema.event.c.name, func.count()).group_by(schema.event.c.name)
        with self._database.reading() as connection:
            return {name: int(number) for name, number in connection.execute(query)}


def _images(chosen: _Chosen) -> Subquery:
    """The sender of each job's images, and when the last one came; a drawn region is none of them."""
    member, instance, job = schema.job_instance.c, schema.instance.c, schema.job.c
    query = (
        select(
            member.job_id,
            func.min(instance.calling_ae_title).label("peer"),
            func.max(instance.received_at).label("received_at"),
        )
        .select_from(schema.job_instance)
        .join(schema.instance, instance.sop_instance_uid == member.sop_instance_uid)
        .join(schema.job, job.job_id == member.job_id)
        .where(member.sop_instance_uid != func.coalesce(job.region_uid, ""))
    )
    return _each_job(query, member.job_id, chosen)


def _objects(chosen: _Chosen, committing: Sequence[str]) -> Subquery:
    """How many objects of each job there are to send, still to send, and sent, when the last one was, and of how many
    storage commitment is asked."""
    delivery = schema.delivery.c
    to_commit = delivery.destination.in_(committing) & delivery.state.not_in(
        (DeliveryState.UNSUPPORTED.value, DeliveryState.SUPERSEDED.value)
    )
    query = select(
        delivery.job_id,
        func.max(delivery.sent_at).label("last_sent_at"),
        _number(delivery.state != DeliveryState.SUPERSEDED.value).label("n_deliveries"),
        _number(delivery.state == DeliveryState.PENDING.value).label("n_pending"),
        _number(delivery.state == DeliveryState.SENT.value).label("n_sent"),
        _number(to_commit).label("n_to_commit"),
    )
    return _each_job(query, delivery.job_id, chosen)


def _committed(chosen: _Chosen, committing: Sequence[str]) -> Subquery:
    """How many objects of each job are committed."""
    commitment = schema.commitment.c
    query = select(commitment.job_id, func.count().label("n_committed")).where(
        commitment.destination.in_(committing), commitment.state == CommitmentState.COMMITTED.value
    )
    return _each_job(query, commitment.job_id, chosen)


def _each_job(query: Select[Any], job_id: ColumnElement[Any], chosen: _Chosen) -> Subquery:
    return query.where(chosen(job_id)).group_by(job_id).subquery()


def _number(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    """In how many rows a condition holds."""
    return func.sum(case((condition, 1), else_=0))
