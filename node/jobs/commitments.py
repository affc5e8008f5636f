"""The ledger's part on storage commitment: which object a destination keeps for good, and which it was asked about.

    (sent) --ask--> ASKED --report says so--> COMMITTED
                    |  ^
      not taken,    v  |      the report says otherwise: the object is sent again, then asked for again;
      no answer     DUE       MOST_REFUSALS times, then REFUSED until an operator retries

Only the report that answers the latest request changes anything: an object that was sent again, or asked for again,
has another transaction UID.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, delete, func, or_, select, tuple_, update

from node.jobs import schema, trail
from node.jobs.database import Database, one_of
from node.model import CommitmentReport, CommitmentState, DeliveryState, SopReference
from node.ops.events import Event

MOST_REFUSALS = 3
"""So often an object is sent and asked for in all before it is left to an operator."""

FAILURE_REASONS: Mapping[int, str] = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0119: "class/instance conflict",
    0x0122: "referenced SOP class not supported",
    0x0131: "duplicate transaction UID",
    0x0213: "resource limitation",
}
"""Failure Reason (0008,1197) of a storage commitment report (PS3.3 C.14.1.1)."""


@dataclass(frozen=True, kw_only=True)
class Commitment:
    """One object that a destination was asked about."""

    job_id: str
    destination: str
    sop_instance_uid: str
    state: CommitmentState
    transaction_uid: str | None
    refusals: int
    next_try_at: datetime | None
    last_detail: str | None
    committed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class DueCommitment:
    """A sent object that a destination is to be asked about; the counts are of earlier requests."""

    job_id: str
    reference: SopReference
    unanswered: int
    failures: int


@dataclass(frozen=True, kw_only=True)
class CommitmentCounts:
    """How the sent objects of a destination stand; ``waiting`` are those that were asked for without a verdict yet."""

    committed: int = 0
    waiting: int = 0
    refused: int = 0
    last_detail: str | None = None


@dataclass(frozen=True, kw_only=True)
class EnteredReport:
    """What a report changed; ``given_up`` of the ``refused`` wait for an operator."""

    destination: str
    job_ids: tuple[str, ...]
    committed: int
    refused: int
    given_up: int
    detail: str | None


class CommitmentBook:
    """Storage commitment of deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due_destinations(self, now: datetime) -> list[str]:
        """Destinations with sent objects that nobody asked about, or that are to be asked about again."""
        query = _due(now).with_only_columns(schema.delivery.c.destination).distinct()
        with self._database.reading() as connection:
            return sorted(connection.scalars(query))

    def due(self, destination: str, now: datetime, limit: int) -> list[DueCommitment]:
        """What a destination is to be asked about now, job by job."""
        sent, asked, job = schema.delivery.c, schema.commitment.c, schema.job.c
        query = (
            _due(now)
            .join(schema.job, job.job_id == sent.job_id)
            .with_only_columns(
                sent.job_id, sent.sop_instance_uid, job.record["objects"].label("objects"), asked.unanswered,
                asked.failures,
            )
            .where(sent.destination == destination)
            .order_by(job.accepted_at, sent.job_id, sent.position)
            .limit(limit)
        )  # fmt: skip
        with self._database.reading() as connection:
            return [_due_commitment(row) for row in connection.execute(query)]

    def mark_asked(
        self, destination: str, due: Sequence[DueCommitment], transaction_uid: str, again_at: datetime, now: datetime
    ) -> None:
        """A request is about to be made; without a report it is made anew at ``again_at``."""
        rows = [
            {
                "job_id": d.job_id,
                "destination": destination,
                "sop_instance_uid": d.reference.sop_instance_uid,
                "sop_class_uid": d.reference.sop_class_uid,
                "state": CommitmentState.DUE.value,
                "unanswered": 0,
                "failures": 0,
                "refusals": 0,
            }
            for d in due
        ]
        table = schema.commitment
        values = {
            "state": CommitmentState.ASKED.value,
            "transaction_uid": transaction_uid,
            "unanswered": table.c.unanswered + 1,
            "next_try_at": again_at,
        }
        with self._database.writing() as connection:
            connection.execute(self._database.insert_new(table), rows)
            connection.execute(update(table).where(_are(destination, due)).values(**values))
            for job_id in dict.fromkeys(d.job_id for d in due):
                number = sum(d.job_id == job_id for d in due)
                trail.append(
                    connection, now, Event.COMMITMENT_ASKED, job_id=job_id, destination=destination, objects=number
                )

    def mark_taken(self, transaction_uid: str) -> None:
        """The destination took the request; its report is to come."""
        table = schema.commitment
        with self._database.writing() as connection:
            connection.execute(update(table).where(table.c.transaction_uid == transaction_uid).values(failures=0))

    def mark_not_taken(self, transaction_uid: str, detail: str, retry_at: datetime) -> None:
        """The destination did not take the request; it is made anew at ``retry_at``."""
        table = schema.commitment
        values = {
            "state": CommitmentState.DUE.value,
            "transaction_uid": None,
            "unanswered": table.c.unanswered - 1,
            "failures": table.c.failures + 1,
            "next_try_at": retry_at,
            "last_detail": detail,
        }
        asked = and_(table.c.transaction_uid == transaction_uid, table.c.state == CommitmentState.ASKED.value)
        with self._database.writing() as connection:
            connection.execute(update(table).where(asked).values(**values))

    def enter(self, report: CommitmentReport, now: datetime) -> EnteredReport | None:
        """Enter a report; ``None`` when it answers no request that is still open.

        An object counts as committed when the report names it so with its SOP class, and nowhere as failed; every
        other object of the request is refused.
        """
        table = schema.commitment.c
        asked = and_(table.transaction_uid == report.transaction_uid, table.state == CommitmentState.ASKED.value)
        with self._database.writing() as connection:
            rows = connection.execute(select(schema.commitment).where(asked)).all()
            if not rows:
                return None
            named = report.kept
            kept = [row for row in rows if _reference(row) in named]
            lost = [row for row in rows if _reference(row) not in named]
            for row in kept:
                _commit(connection, row, now)
            details = [_reason(_reference(row), report) for row in lost]
            given_up = [_refuse(connection, row, detail, now) for row, detail in zip(lost, details, strict=True)]
            _trail(connection, kept, Event.COMMITMENT_CONFIRMED, now)
            _trail(connection, lost, Event.COMMITMENT_REFUSED, now)
        return EnteredReport(
            destination=rows[0].destination,
            job_ids=tuple(sorted({row.job_id for row in rows})),
            committed=len(kept),
            refused=len(lost),
            given_up=sum(given_up),
            detail=details[0] if details else None,
        )

    def retry(self, job_id: str, now: datetime) -> int:
        """Send what a destination refused to keep once more and ask about it anew; how many objects."""
        table, sent = schema.commitment.c, schema.delivery
        refused = and_(table.job_id == job_id, table.state == CommitmentState.REFUSED.value)
        with self._database.writing() as connection:
            rows = connection.execute(select(schema.commitment).where(refused)).all()
            for row in rows:
                connection.execute(update(sent).where(_is_sent(row)).values(**_send_again(now)))
            connection.execute(delete(schema.commitment).where(refused))
        return len(rows)

    def of_job(self, job_id: str) -> list[Commitment]:
        """Every object of a job that a destination was asked about."""
        table = schema.commitment.c
        query = (
            select(schema.commitment)
            .where(table.job_id == job_id)
            .order_by(table.destination, table.sop_instance_uid)
        )  # fmt: skip
        with self._database.reading() as connection:
            return [_commitment(row) for row in connection.execute(query)]

    def counts(self) -> dict[str, CommitmentCounts]:
        """How every destination stands that was ever asked."""
        table = schema.commitment.c
        query = select(table.destination, table.state, func.count().label("n")).group_by(table.destination, table.state)
        numbers: dict[str, dict[str, int]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(query):
                numbers.setdefault(row.destination, {})[row.state] = row.n
            return {name: _counts(connection, name, states) for name, states in sorted(numbers.items())}


def _due(now: datetime) -> Any:
    """Sent objects without a row, or with one whose time has come."""
    sent, asked = schema.delivery.c, schema.commitment.c
    same = and_(
        asked.job_id == sent.job_id,
        asked.destination == sent.destination,
        asked.sop_instance_uid == sent.sop_instance_uid,
    )
    open_states = (CommitmentState.DUE.value, CommitmentState.ASKED.value)
    again = and_(asked.state.in_(open_states), asked.next_try_at <= now)
    return (
        select(sent.job_id)
        .select_from(schema.delivery.outerjoin(schema.commitment, same))
        .where(sent.state == DeliveryState.SENT.value, or_(asked.job_id.is_(None), again))
    )


def _due_commitment(row: Row[Any]) -> DueCommitment:
    classes = {item["sop_instance_uid"]: item["sop_class_uid"] for item in row.objects}
    reference = SopReference(sop_class_uid=classes[row.sop_instance_uid], sop_instance_uid=row.sop_instance_uid)
    return DueCommitment(
        job_id=row.job_id, reference=reference, unanswered=row.unanswered or 0, failures=row.failures or 0
    )


def _are(destination: str, due: Sequence[DueCommitment]) -> ColumnElement[bool]:
    table = schema.commitment.c
    pairs = [(d.job_id, d.reference.sop_instance_uid) for d in due]
    return and_(table.destination == destination, one_of(tuple_(table.job_id, table.sop_instance_uid), pairs))


def _reference(row: Row[Any]) -> SopReference:
    return SopReference(sop_class_uid=row.sop_class_uid, sop_instance_uid=row.sop_instance_uid)


def _reason(reference: SopReference, report: CommitmentReport) -> str:
    code = report.failed.get(reference)
    if code is None:
        return "its report does not name the object as committed"
    return f"{code:04X} ({FAILURE_REASONS.get(code, 'no reason that the Standard knows')})"


def _is(table: Table, row: Row[Any]) -> ColumnElement[bool]:
    """The object of ``row`` at its destination."""
    return and_(
        table.c.job_id == row.job_id,
        table.c.destination == row.destination,
        table.c.sop_instance_uid == row.sop_instance_uid,
    )


def _is_sent(row: Row[Any]) -> ColumnElement[bool]:
    return and_(_is(schema.delivery, row), schema.delivery.c.state == DeliveryState.SENT.value)


def _send_again(now: datetime) -> dict[str, Any]:
    return {"state": DeliveryState.PENDING.value, "attempts": 0, "next_try_at": now, "sent_at": None}


def _commit(connection: Connection, row: Row[Any], now: datetime) -> None:
    values = {
        "state": CommitmentState.COMMITTED.value,
        "committed_at": now,
        "next_try_at": None,
        "last_detail": None,
        "unanswered": 0,
    }
    connection.execute(update(schema.commitment).where(_is(schema.commitment, row)).values(**values))


def _refuse(connection: Connection, row: Row[Any], reason: str, now: datetime) -> bool:
    """Have an object sent again that the destination does not keep; whether that is given up."""
    given_up = bool(row.refusals + 1 >= MOST_REFUSALS)
    values = {
        "state": (CommitmentState.REFUSED if given_up else CommitmentState.DUE).value,
        "transaction_uid": None,
        "refusals": row.refusals + 1,
        "unanswered": 0,
        "next_try_at": None if given_up else now,
        "last_detail": reason,
    }
    connection.execute(update(schema.commitment).where(_is(schema.commitment, row)).values(**values))
    if not given_up:
        connection.execute(update(schema.delivery).where(_is_sent(row)).values(**_send_again(now)))
    return given_up


def _trail(connection: Connection, rows: Sequence[Row[Any]], name: Event, now: datetime) -> None:
    for job_id, destination in dict.fromkeys((row.job_id, row.destination) for row in rows):
        number = sum((row.job_id, row.destination) == (job_id, destination) for row in rows)
        trail.append(connection, now, name, job_id=job_id, destination=destination, objects=number)


def _counts(connection: Connection, destination: str, states: Mapping[str, int]) -> CommitmentCounts:
    table = schema.commitment.c
    detail = connection.scalar(
        select(table.last_detail)
        .where(table.destination == destination, table.last_detail.is_not(None))
        .where(table.state != CommitmentState.COMMITTED.value)
        .order_by(table.refusals.desc(), table.next_try_at.desc())
        .limit(1)
    )
    return CommitmentCounts(
        committed=states.get(CommitmentState.COMMITTED.value, 0),
        waiting=states.get(CommitmentState.DUE.value, 0) + states.get(CommitmentState.ASKED.value, 0),
        refused=states.get(CommitmentState.REFUSED.value, 0),
        last_detail=detail,
    )


def _commitment(row: Row[Any]) -> Commitment:
    others = Commitment.__dataclass_fields__.keys() - {"state"}
    return Commitment(state=CommitmentState(row.state), **{name: getattr(row, name) for name in others})
