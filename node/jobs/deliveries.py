"""The ledger's part that the deliverer writes: which object goes to which destination, and how that stands."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, func, not_, or_, select, update

from node.config import TELLING_KINDS
from node.jobs import order, schema, trail
from node.jobs.database import Database
from node.jobs.removals import refuse_removed
from node.model import DeliveryState
from node.ops.events import Event


@dataclass(frozen=True, kw_only=True)
class PlannedDelivery:
    """One object for one destination; ``file`` is relative to the job's result folder."""

    destination: str
    sop_instance_uid: str
    role: str
    file: str
    position: int


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One object on its way to one destination."""

    job_id: str
    destination: str
    sop_instance_uid: str
    role: str
    file: str
    state: DeliveryState
    attempts: int
    next_try_at: datetime
    last_detail: str | None
    sent_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class DeliveryTrial:
    """How one try went; ``retry_at`` is ``None`` when the destination has the object now, or is ``unsupported``.

    ``counted`` is false when the object's turn did not come; ``unsupported``: the destination does not take this kind.
    """

    delivery: Delivery
    detail: str
    retry_at: datetime | None
    counted: bool = True
    unsupported: bool = False


@dataclass(frozen=True, kw_only=True)
class DestinationBacklog:
    """What still waits for a destination; ``unsupported`` counts by role what it does not take, ``untold`` the results
    of which it takes no form that tells them (picture page, PDF, report)."""

    destination: str
    pending: int
    sent: int
    unsupported: Mapping[str, int]
    untold: int
    oldest_pending_at: datetime | None
    last_detail: str | None


def add_deliveries(
    database: Database, connection: Connection, job_id: str, planned: Iterable[PlannedDelivery], now: datetime
) -> None:
    """Enter the deliveries of a job, within the caller's transaction; those that stand already are left alone.

    A self-test's result is never entered: it must not reach an archive.
    """
    if connection.scalar(select(schema.job.c.self_test).where(schema.job.c.job_id == job_id)):
        return
    rows = [
        {
            "job_id": job_id,
            "destination": p.destination,
            "sop_instance_uid": p.sop_instance_uid,
            "position": p.position,
            "role": p.role,
            "file": p.file,
            "state": DeliveryState.PENDING.value,
            "attempts": 0,
            "next_try_at": now,
        }
        for p in planned
    ]
    if rows:
        connection.execute(database.insert_new(schema.delivery), rows)


def untold_at(deliveries: Iterable[Delivery]) -> list[str]:
    """Destinations that take no form of what tells a job's result (``node.config.TELLING_KINDS``)."""
    telling = [d for d in deliveries if d.role.split(".")[0] in TELLING_KINDS]
    told = {d.destination for d in telling if d.state != DeliveryState.UNSUPPORTED}
    return sorted({d.destination for d in telling} - told)


class DeliveryBook:
    """Deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, job_id: str, planned: Sequence[PlannedDelivery], now: datetime) -> None:
        """Enter further deliveries of a job (a destination that was added later).

        Raises:
            InputError: retention removed the job's files; so do ``make_due`` and ``send_again``.
        """
        with self._database.writing() as connection:
            refuse_removed(connection, job_id)
            add_deliveries(self._database, connection, job_id, planned, now)

    def due_destinations(self, now: datetime) -> list[str]:
        """Destinations for which an object is due."""
        table = schema.delivery.c
        query = select(table.destination).where(_pending(), table.next_try_at <= now).distinct()
        with self._database.reading() as connection:
            return sorted(connection.scalars(query))

    def drop_overtaken(self, destination: str, now: datetime) -> None:
        """End the deliveries to a receiver of messages of results that a later one replaces."""
        with self._database.reading() as connection:  # asked each time, and hardly ever is there one
            overtaken = order.overtaken(connection, destination)
        if overtaken:
            with self._database.writing() as connection:
                order.drop(connection, destination, overtaken, now)

    def last_received(self, destination: str, job_id: str) -> str | None:
        """The SOP Instance UID of the last report before a job's that a receiver of messages has."""
        with self._database.reading() as connection:
            return order.last_received(connection, destination, job_id)

    def turn(self, note: Delivery, rejected: Collection[str]) -> order.Turn:
        """When a rejection note that names ``rejected`` is to be sent."""
        with self._database.reading() as connection:
            return order.turn(connection, note.destination, note.job_id, rejected)

    def wait(self, deliveries: Sequence[Delivery], detail: str, until: datetime) -> None:
        """Look at these again at ``until``: their turn has not come, which is no failure."""
        with self._database.writing() as connection:
            for delivery in deliveries:
                values = {"next_try_at": until, "last_detail": detail}
                connection.execute(update(schema.delivery).where(_pending(), _is(delivery)).values(**values))

    def drop(self, note: Delivery, now: datetime) -> None:
        """End the delivery of a rejection note that has nothing to take back."""
        with self._database.writing() as connection:
            order.end(connection, _is(note), note.job_id, note.destination, order.NOTHING_THERE, now)

    def due(self, destination: str, now: datetime, limit: int) -> list[Delivery]:
        """What is due for one destination: objects that never failed first, then job by job in their order."""
        table, job = schema.delivery.c, schema.job.c
        query = (
            select(schema.delivery)
            .join(schema.job, job.job_id == table.job_id)
            .where(_pending(), table.destination == destination, table.next_try_at <= now, ~job.self_test)
            .order_by(table.attempts, job.accepted_at, table.job_id, table.position)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [_delivery(row) for row in connection.execute(query)]

    def mark(self, trials: Sequence[DeliveryTrial], now: datetime) -> None:
        """Enter how some tries went, in one transaction."""
        with self._database.writing() as connection:
            for trial in trials:
                _mark(connection, trial, now)

    def make_due(self, job_id: str, now: datetime) -> int:
        """Try a job's pending objects now, and those again that a destination did not take; how many there are."""
        table = schema.delivery
        undelivered = or_(_pending(), table.c.state == DeliveryState.UNSUPPORTED.value)
        values = {"next_try_at": now, "state": DeliveryState.PENDING.value}
        with self._database.writing() as connection:
            refuse_removed(connection, job_id)
            return connection.execute(
                update(table).where(undelivered, table.c.job_id == job_id).values(**values)
            ).rowcount

    def send_again(self, job_id: str, now: datetime) -> int:
        """Send every object of a job once more, now, also those that the destinations have; how many there are."""
        table = schema.delivery
        values = {"state": DeliveryState.PENDING.value, "attempts": 0, "next_try_at": now, "sent_at": None}
        with self._database.writing() as connection:
            refuse_removed(connection, job_id)
            # What was committed was the object that went before; the destination is asked about the new one.
            connection.execute(delete(schema.commitment).where(schema.commitment.c.job_id == job_id))
            return connection.execute(update(table).where(table.c.job_id == job_id).values(**values)).rowcount

    def of_job(self, job_id: str) -> list[Delivery]:
        """Every delivery of a job."""
        table = schema.delivery.c
        query = select(schema.delivery).where(table.job_id == job_id).order_by(table.destination, table.position)
        with self._database.reading() as connection:
            return [_delivery(row) for row in connection.execute(query)]

    def backlogs(self) -> list[DestinationBacklog]:
        """What waits for each destination that ever had a delivery."""
        table = schema.delivery.c
        counts = select(table.destination, table.state, func.count().label("n")).group_by(
            table.destination, table.state
        )
        with self._database.reading() as connection:
            numbers: dict[str, dict[str, int]] = {}
            for row in connection.execute(counts):
                numbers.setdefault(row.destination, {})[row.state] = row.n
            return [_backlog(connection, name, states) for name, states in sorted(numbers.items())]


def _pending() -> ColumnElement[bool]:
    return schema.delivery.c.state == DeliveryState.PENDING.value


def _is(delivery: Delivery) -> ColumnElement[bool]:
    table = schema.delivery.c
    return and_(
        table.job_id == delivery.job_id,
        table.destination == delivery.destination,
        table.sop_instance_uid == delivery.sop_instance_uid,
    )


def _mark(connection: Connection, trial: DeliveryTrial, now: datetime) -> None:
    table = schema.delivery
    values: dict[str, Any] = {
        "attempts": table.c.attempts + (1 if trial.counted else 0),
        "last_detail": trial.detail,
    }
    if trial.unsupported:
        values.update(state=DeliveryState.UNSUPPORTED.value)
    elif trial.retry_at is None:
        values.update(state=DeliveryState.SENT.value, sent_at=now)
    else:
        values.update(next_try_at=trial.retry_at)
    moved = connection.execute(update(table).where(_pending(), _is(trial.delivery)).values(**values)).rowcount
    # A destination that is away for days fails in the same way again and again: once in the trail is enough.
    if moved and (trial.retry_at is None or trial.detail != trial.delivery.last_detail):
        _trail(connection, trial, now)


def _backlog(connection: Connection, destination: str, states: dict[str, int]) -> DestinationBacklog:
    table, job = schema.delivery.c, schema.job.c
    here = and_(_pending(), table.destination == destination)
    oldest = connection.scalar(
        select(func.min(job.finished_at)).join(schema.delivery, table.job_id == job.job_id).where(here)
    )
    detail = connection.scalar(
        select(table.last_detail)
        .where(here, table.last_detail.is_not(None))
        .order_by(table.next_try_at.desc())
        .limit(1)
    )
    return DestinationBacklog(
        destination=destination,
        pending=states.get(DeliveryState.PENDING.value, 0),
        sent=states.get(DeliveryState.SENT.value, 0),
        unsupported=_unsupported(connection, destination),
        untold=_untold(connection, destination),
        oldest_pending_at=oldest,
        last_detail=detail,
    )


def _unsupported(connection: Connection, destination: str) -> dict[str, int]:
    table = schema.delivery.c
    here = and_(table.destination == destination, table.state == DeliveryState.UNSUPPORTED.value)
    query = select(table.role, func.count()).where(here).group_by(table.role).order_by(table.role)
    return {role: int(number) for role, number in connection.execute(query)}


def _untold(connection: Connection, destination: str) -> int:
    refused, other = schema.delivery.c, schema.delivery.alias("other").c
    told = exists().where(
        other.job_id == refused.job_id,
        other.destination == destination,
        other.state != DeliveryState.UNSUPPORTED.value,
        _tells(other.role),
    )
    job, later = schema.job.c, schema.job.alias("later").c
    followed = exists().where(
        later.study_instance_uid == job.study_instance_uid,  # which has an index
        later.acquisition_key == job.acquisition_key,
        later.revision > job.revision,
    )
    here = and_(refused.destination == destination, refused.state == DeliveryState.UNSUPPORTED.value)
    query = (
        select(func.count(refused.job_id.distinct()))
        .join(schema.job, job.job_id == refused.job_id)
        .where(here, _tells(refused.role), not_(told), not_(followed))
    )
    return int(connection.scalar(query) or 0)


def _tells(role: ColumnElement[str]) -> ColumnElement[bool]:
    return or_(*(or_(role == kind, role.startswith(f"{kind}.")) for kind in TELLING_KINDS))


def _delivery(row: Row[Any]) -> Delivery:
    others = Delivery.__dataclass_fields__.keys() - {"state"}
    return Delivery(state=DeliveryState(row.state), **{name: getattr(row, name) for name in others})


def _trail(connection: Connection, trial: DeliveryTrial, now: datetime) -> None:
    name = Event.DELIVERY_SENT if trial.retry_at is None else Event.DELIVERY_FAILED
    name = Event.DELIVERY_UNSUPPORTED if trial.unsupported else name
    d = trial.delivery
    trail.append(
        connection,
        now,
        name,
        job_id=d.job_id,
        destination=d.destination,
        sop_instance_uid=d.sop_instance_uid,
        role=d.role,
        detail=trial.detail,
    )
