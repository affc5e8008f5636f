"""The order in which results of one acquisition go out.

A receiver of messages cannot tell itself which of two is the later, so one that another result replaces is not sent any
more. It does not wait for the older one either: what a receiver refuses for good would hold back its correction.

An archive gets every result, in any order: each says which it replaces. Only a rejection note waits for what it names,
because an archive refuses a note that comes first, or hides nothing for it; and one that names what this archive never
got is not sent.
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from enum import Enum, auto

from sqlalchemy import CTE, ColumnElement, Connection, FromClause, and_, select, update

from node.jobs import schema, trail
from node.jobs.database import one_of
from node.model import DeliveryState
from node.ops.events import Event

OVERTAKEN = "not sent: a later result replaces it"
NOTHING_THERE = "not sent: it never got what this takes back"


class Turn(Enum):
    """When a rejection note is sent."""

    NOW = auto()
    LATER = auto()
    NEVER = auto()


def overtaken(connection: Connection, destination: str) -> list[str]:
    """Jobs with deliveries pending at ``destination`` that another job, on its way there or there, replaces."""
    pairs, sent, job = _pending_and_later(destination), schema.delivery.c, schema.job.c
    query = (
        select(pairs.c.earlier, job.record["revision"].label("revision"))
        .join(schema.job, job.job_id == pairs.c.later)
        .join(schema.delivery, sent.job_id == pairs.c.later)
        .where(sent.destination == destination)
    )
    # A later result that left the earlier one valid (an unusable region) overtakes nothing.
    return sorted({row.earlier for row in connection.execute(query) if (row.revision or {}).get("replaces")})


def last_received(connection: Connection, destination: str, job_id: str) -> str | None:
    """The SOP Instance UID of the last report that ``destination`` has of what ``job_id`` follows: the result that it
    replaces may never have been sent."""
    sent = schema.delivery.c
    for earlier in _before(connection, job_id):
        there = (sent.job_id == earlier, sent.destination == destination, sent.state == DeliveryState.SENT.value)
        uid: str | None = connection.scalar(select(sent.sop_instance_uid).where(*there))
        if uid is not None:
            return uid
    return None


def drop(connection: Connection, destination: str, job_ids: list[str], now: datetime) -> None:
    """End the pending deliveries of these jobs to ``destination``."""
    sent = schema.delivery.c
    for job_id in job_ids:
        of_job = and_(sent.job_id == job_id, sent.destination == destination)
        end(connection, of_job, job_id, destination, OVERTAKEN, now)


def end(
    connection: Connection, which: ColumnElement[bool], job_id: str, destination: str, detail: str, now: datetime
) -> None:
    """End those pending deliveries of a job to ``destination`` that are not to be sent any more, and say why."""
    moved = update(schema.delivery).where(which, schema.delivery.c.state == DeliveryState.PENDING.value)
    connection.execute(moved.values(state=DeliveryState.SUPERSEDED.value, last_detail=detail))
    trail.append(connection, now, Event.DELIVERY_SUPERSEDED, job_id=job_id, destination=destination, detail=detail)


def turn(connection: Connection, destination: str, job_id: str, rejected: Collection[str]) -> Turn:
    """When a rejection note of a job goes to ``destination``, by what has become there of the objects it names."""
    sent = schema.delivery.c
    query = select(sent.state).where(sent.destination == destination, one_of(sent.sop_instance_uid, rejected))
    states = [DeliveryState(state) for state in connection.scalars(query)]
    if len(states) == len(rejected) and set(states) == {DeliveryState.SENT}:
        return Turn.NOW
    earlier = list(_before(connection, job_id))
    waiting = (sent.destination == destination, one_of(sent.job_id, earlier), sent.state == DeliveryState.PENDING.value)
    # Also what the note does not name: where a kind is refused, another takes its place.
    return Turn.NEVER if connection.scalar(select(sent.job_id).where(*waiting).limit(1)) is None else Turn.LATER


def _before(connection: Connection, job_id: str) -> Iterator[str]:
    """The jobs that one follows, the latest first."""
    job = schema.job.c
    earlier: str | None = job_id
    while (earlier := connection.scalar(select(job.predecessor_job_id).where(job.job_id == earlier))) is not None:
        yield earlier


def _pending_and_later(destination: str) -> CTE:
    """Pairs (earlier, later) of jobs of one acquisition, the earlier pending at ``destination``."""
    earlier, later, table = schema.job.alias("earlier"), schema.job.alias("later"), schema.delivery.c
    pairs = (
        select(earlier.c.job_id.label("earlier"), later.c.job_id.label("later"), later.c.study_instance_uid)
        .select_from(schema.delivery)
        .join(earlier, earlier.c.job_id == table.job_id)
        .join(later, _follows(later, earlier.c.study_instance_uid, earlier.c.job_id))
        .where(table.destination == destination, table.state == DeliveryState.PENDING.value)
        .cte("pairs", recursive=True)
    )
    further = schema.job.alias("further")
    return pairs.union(
        select(pairs.c.earlier, further.c.job_id, further.c.study_instance_uid).join(
            further, _follows(further, pairs.c.study_instance_uid, pairs.c.later)
        )
    )


def _follows(later: FromClause, study: ColumnElement[str], job_id: ColumnElement[str]) -> ColumnElement[bool]:
    # The study, because it has an index.
    return and_(later.c.study_instance_uid == study, later.c.predecessor_job_id == job_id)
