"""What the jobs of one acquisition are to each other: which measured the same images, replaces which, is the latest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, or_, select

from node.jobs import schema
from node.jobs.database import Database
from node.jobs.job_rows import job_of, row_of
from node.jobs.region_refusals import RegionRefusal, refused_regions
from node.model import Job, JobState
from quant.result import ResultObject
from sr_templates.predecessor import EarlierResult


@dataclass(frozen=True, kw_only=True)
class RelatedJob:
    """A job that measured some of the same images."""

    job_id: str
    revision: int
    sop_instance_uids: frozenset[str]
    region_uid: str | None
    destinations: tuple[str, ...] | None
    indication: str | None


class RevisionBook:
    """Looks only; the ledger moves."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def related_jobs(self, study_instance_uid: str, sop_instance_uids: Sequence[str]) -> list[RelatedJob]:
        """Jobs of the study that share an instance with ``sop_instance_uids``, latest revision last."""
        wanted = set(sop_instance_uids)
        job, member = schema.job.c, schema.job_instance.c
        query = (
            select(job.job_id, job.revision, job.region_uid, job.destinations, job.indication, member.sop_instance_uid)
            .join(schema.job_instance, member.job_id == job.job_id)
            .where(job.study_instance_uid == study_instance_uid)
            .order_by(job.revision, job.accepted_at, job.job_id)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        members: dict[str, set[str]] = {}
        for row in rows:
            members.setdefault(row.job_id, set()).add(row.sop_instance_uid)
        jobs = {row.job_id: row for row in rows}
        return [
            RelatedJob(
                job_id=job_id,
                revision=row.revision,
                region_uid=row.region_uid,
                sop_instance_uids=frozenset(members[job_id]),
                destinations=None if row.destinations is None else tuple(row.destinations),
                indication=row.indication,
            )
            for job_id, row in jobs.items()
            if members[job_id] & wanted
        ]

    def replaced_by(self, job: Job) -> tuple[EarlierResult, ...]:
        """The result sets that a job's is to replace, the latest first: its predecessor's, and back to the one that
        replaced what was before it. One that replaced nothing stands beside its own predecessor."""
        found: list[EarlierResult] = []
        at = job.predecessor_job_id
        with self._database.reading() as connection:
            while at is not None:
                row = row_of(connection, at)
                if row.record is not None:
                    found.append(_earlier(row))
                    if (row.record.get("revision") or {}).get("replaces"):
                        break
                at = row.predecessor_job_id
        return tuple(found)

    def results_of(self, study_instance_uid: str) -> dict[str, list[EarlierResult]]:
        """The result sets of a study that are done, by acquisition key."""
        job = schema.job.c
        query = select(schema.job).where(job.study_instance_uid == study_instance_uid, job.record.is_not(None))
        found: dict[str, list[EarlierResult]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(query.order_by(job.revision)):
                if row.record is not None:  # a JSON column knows two kinds of nothing
                    found.setdefault(row.acquisition_key, []).append(_earlier(row))
        return found

    def refused_regions(self, study_instance_uid: str) -> dict[str, RegionRefusal]:
        """The drawn regions of a study that its results refuse, by SOP Instance UID."""
        with self._database.reading() as connection:
            return refused_regions(connection, study_instance_uid)

    def outdated(self, method_version: str, settings_digest: str) -> list[Job]:
        """Jobs that are done, of another method version or other settings, and the latest of their acquisition."""
        job, later = schema.job.c, schema.job.alias("later")
        follows = (later.c.study_instance_uid == job.study_instance_uid, later.c.predecessor_job_id == job.job_id)
        newest = ~select(later.c.job_id).where(*follows).exists()  # the study, because it has an index
        other = or_(job.method_version != method_version, job.settings_digest != settings_digest)
        query = select(schema.job).where(job.state == JobState.DONE.value, newest, other).order_by(job.accepted_at)
        with self._database.reading() as connection:
            return [job_of(connection, row) for row in connection.execute(query).all()]


def _earlier(row: Row[Any]) -> EarlierResult:
    objects = tuple(ResultObject(**item) for item in row.record["objects"])
    return EarlierResult(job_id=row.job_id, revision=row.revision, objects=objects)
