"""Drawn regions that a worker could not use. Such a region counts no longer: the one drawn before it does, or none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from node.jobs import schema
from node.process.revision import REGION_REFUSALS


@dataclass(frozen=True, kw_only=True)
class RegionRefusal:
    """Why a region cannot be used, as code, and the job whose report says so in words."""

    code: str
    job_id: str


def refusal_code(region_uid: str | None, record: Mapping[str, Any]) -> str | None:
    """The code by which a result record refuses the region that it was made for; ``None`` when it does not."""
    codes = (str(reason["code"]) for reason in record.get("reasons") or ())
    return None if region_uid is None else next((code for code in codes if code in REGION_REFUSALS), None)


def refused_regions(connection: Connection, study_instance_uid: str) -> dict[str, RegionRefusal]:
    """The regions of a study that its results refuse, by SOP Instance UID; the latest result of each region counts."""
    job = schema.job.c
    query = (
        select(job.job_id, job.region_uid, job.record)
        .where(job.study_instance_uid == study_instance_uid, job.region_uid.is_not(None), job.record.is_not(None))
        .order_by(job.revision)
    )
    found: dict[str, RegionRefusal] = {}
    for row in connection.execute(query):
        if row.record is None:  # a JSON column knows two kinds of nothing
            continue
        found.pop(row.region_uid, None)
        if (code := refusal_code(row.region_uid, row.record)) is not None:
            found[row.region_uid] = RegionRefusal(code=code, job_id=row.job_id)
    return found


def reopen_after_refusal(connection: Connection, job_id: str, record: Mapping[str, Any]) -> None:
    """Have the assembler look at a study again when the result of ``job_id`` refuses the region it was made for."""
    job = schema.job.c
    row = connection.execute(select(job.region_uid, job.study_instance_uid).where(job.job_id == job_id)).one()
    if refusal_code(row.region_uid, record) is not None:
        study = schema.study.c.study_instance_uid == row.study_instance_uid
        connection.execute(update(schema.study).where(study).values(open=True))
