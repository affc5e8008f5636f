"""Jobs as rows of the ledger, and rows as jobs."""

from typing import Any

from sqlalchemy import Connection, Row, Select, select

from node.jobs import schema
from node.jobs.manifest import JobManifest
from node.model import Cause, Job, JobState


def find_row(connection: Connection, job_id: str) -> Row[Any] | None:
    """The row of a job, or ``None``."""
    return connection.execute(_select(job_id)).one_or_none()


def row_of(connection: Connection, job_id: str) -> Row[Any]:
    """The row of a job that is there."""
    return connection.execute(_select(job_id)).one()


def _select(job_id: str) -> Select[Any]:
    return select(schema.job).where(schema.job.c.job_id == job_id)


def job_of(connection: Connection, row: Row[Any]) -> Job:
    """The job of a row, with its instances."""
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
        method_version=row.method_version,
        missing=tuple(row.missing),
        error=row.error,
        predecessor_job_id=row.predecessor_job_id,
        cause=Cause(row.cause),
        region_uid=row.region_uid,
        self_test=row.self_test,
        destinations=None if row.destinations is None else tuple(row.destinations),
        indication=row.indication,
    )


def new_row(manifest: JobManifest) -> dict[str, Any]:
    """The row of a job that is queued for the first time."""
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
