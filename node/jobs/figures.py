"""Numbers about what came in and what became of it: for metrics and delivery statistics. Nothing is changed here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import String, case, func, select, type_coerce

from node.jobs import schema
from node.jobs.database import Database, one_of
from node.model import AcquisitionState, CommitmentState, DeliveryState
from quant.result import Reason

NO_PEER = "?"
"""Stands for the sender of images that came without a calling AE title."""


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
    n_sent: int
    n_to_commit: int
    n_committed: int

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

    def peers_by_day(self) -> list[PeerFigures]:
        """What each sender stored on each UTC day."""
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
            .group_by(table.calling_ae_title, day)
            .order_by(day.desc(), table.calling_ae_title)
        )
        with self._database.reading() as connection:
            return [PeerFigures(**{**row._mapping, "peer": row.peer or NO_PEER}) for row in connection.execute(query)]

    def jobs(self, job_ids: Sequence[str] | None = None, *, committing: Sequence[str] = ()) -> list[JobFigures]:
        """Every job but the node's own tests, which are no patients, or those named, in numbers; the latest first.

        ``committing`` are the destinations that are asked for storage commitment.
        """
        job, delivery, commitment = schema.job.c, schema.delivery.c, schema.commitment.c
        to_commit = select(func.count()).where(
            delivery.job_id == job.job_id,
            delivery.destination.in_(committing),
            delivery.state.not_in((DeliveryState.UNSUPPORTED.value, DeliveryState.SUPERSEDED.value)),
        )
        committed = select(func.count()).where(
            commitment.job_id == job.job_id,
            commitment.destination.in_(committing),
            commitment.state == CommitmentState.COMMITTED.value,
        )
        of_job = delivery.job_id == job.job_id
        wanted = delivery.state != DeliveryState.SUPERSEDED.value
        images = (
            select(func.min(schema.instance.c.calling_ae_title), func.max(schema.instance.c.received_at))
            .join(schema.job_instance, schema.job_instance.c.sop_instance_uid == schema.instance.c.sop_instance_uid)
            .where(schema.job_instance.c.job_id == job.job_id)
            .where(schema.job_instance.c.sop_instance_uid != func.coalesce(job.region_uid, ""))
        )
        sent = func.coalesce(func.sum(case((delivery.state == DeliveryState.SENT.value, 1), else_=0)), 0)
        query = (
            select(
                job.job_id,
                job.state,
                job.outcome,
                job.accepted_at,
                job.finished_at,
                job.record["reasons"].label("reasons"),
                job.record["lic_mg_per_g"]["median"].as_float().label("lic_mg_per_g"),
                images.with_only_columns(func.min(schema.instance.c.calling_ae_title)).scalar_subquery().label("peer"),
                images.with_only_columns(func.max(schema.instance.c.received_at))
                .scalar_subquery()
                .label("received_at"),
                select(func.max(delivery.sent_at)).where(of_job).scalar_subquery().label("last_sent_at"),
                select(func.count()).where(of_job, wanted).scalar_subquery().label("n_deliveries"),
                select(sent).where(of_job).scalar_subquery().label("n_sent"),
                to_commit.scalar_subquery().label("n_to_commit"),
                committed.scalar_subquery().label("n_committed"),
            )
            .where(~job.self_test if job_ids is None else one_of(job.job_id, job_ids))
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
                    n_deliveries=row.n_deliveries,
                    n_sent=row.n_sent,
                    n_to_commit=row.n_to_commit,
                    n_committed=row.n_committed,
                )
                for row in connection.execute(query)
            ]

    def declined(self) -> list[DeclinedFigures]:
        """Every group of images that was declined."""
        table = schema.acquisition.c
        peer = (
            select(func.min(schema.instance.c.calling_ae_title))
            .where(schema.instance.c.study_instance_uid == table.study_instance_uid)
            .scalar_subquery()
        )
        query = select(table.code, table.changed_at, peer.label("peer")).where(
            table.state == AcquisitionState.DECLINED.value
        )
        with self._database.reading() as connection:
            return [
                DeclinedFigures(peer=row.peer or NO_PEER, code=row.code or "?", at=row.changed_at)
                for row in connection.execute(query)
            ]

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
