"""The order in which a receiver of messages gets the results of one acquisition: it cannot tell itself which of two is
the later, so one that another result replaces is sent no more. It does not wait for the older one either: what a
receiver refuses for good would hold back its correction.
"""

from datetime import datetime

from sqlalchemy import CTE, ColumnElement, Connection, FromClause, and_, select, update

from node.jobs import schema, trail
from node.model import DeliveryState
from node.ops.events import Event

_OVERTAKEN = "not sent: a later result replaces it"


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


def drop(connection: Connection, destination: str, job_ids: list[str], now: datetime) -> None:
    """End the pending deliveries of these jobs to ``destination``."""
    sent = schema.delivery.c
    for job_id in job_ids:
        moved = update(schema.delivery).where(
            sent.job_id == job_id, sent.destination == destination, sent.state == DeliveryState.PENDING.value
        )
        connection.execute(moved.values(state=DeliveryState.SUPERSEDED.value, last_detail=_OVERTAKEN))
        trail.append(
            connection, now, Event.DELIVERY_SUPERSEDED, job_id=job_id, destination=destination, detail=_OVERTAKEN
        )


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
