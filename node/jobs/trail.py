"""The trail: every transition, appended to the ledger in the same transaction that makes it."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from node.jobs import schema
from node.ops.events import Event


def append(
    connection: Connection,
    at: datetime,
    name: Event,
    *,
    job_id: str | None = None,
    study_instance_uid: str | None = None,
    **fields: Any,
) -> None:
    """Append one transition; ``fields`` are plain values without patient data."""
    row = {
        "at": at,
        "name": name.value,
        "job_id": job_id,
        "study_instance_uid": study_instance_uid,
        "fields": fields,
    }
    connection.execute(schema.event.insert(), [row])
