"""An operator has an acquisition measured again: other software or settings, or another region or indication."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from node.errors import InputError
from node.intake.spool import Spool
from node.jobs.ledger import Ledger
from node.jobs.manifest import JobManifest, ManifestStore, derive_job_id
from node.model import Cause, Job, JobState

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RunAgain:
    """What became of jobs that were to run again: a sentence about each."""

    queued: tuple[str, ...]
    refused: tuple[str, ...] = ()


def run_each(jobs: Iterable[T], run: Callable[[T], str]) -> RunAgain:
    """``run`` every one of ``jobs``; one that refuses with an ``InputError`` keeps no other from it."""
    queued, refused = [], []
    for job in jobs:
        try:
            queued.append(run(job))
        except InputError as error:
            refused.append(str(error))
    return RunAgain(queued=tuple(queued), refused=tuple(refused))


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What an operator chose for one measurement: a drawn region by SOP Instance UID (``None``: the automatic one), and
    the policy's indication (``None``: what the order says)."""

    region_uid: str | None
    indication: str | None


def regions_of(job: Job, ledger: Ledger) -> list[str]:
    """The drawn regions with which the acquisition of ``job`` was measured, the latest first, without refused ones."""
    refused = ledger.revisions.refused_regions(job.study_instance_uid)
    related = ledger.revisions.related_jobs(job.study_instance_uid, job.sop_instance_uids)
    found = (r.region_uid for r in reversed(related))
    return list(dict.fromkeys(uid for uid in found if uid is not None and uid not in refused))


def standing_choice(job: Job, ledger: Ledger) -> Choice:
    """What counts for the acquisition of ``job``; of drawn regions the last one that no result refuses."""
    region_uid = job.region_uid
    if region_uid in ledger.revisions.refused_regions(job.study_instance_uid):
        region_uid = next(iter(regions_of(job, ledger)), None)
    return Choice(region_uid=region_uid, indication=job.indication)


def manifest_again(
    job: Job, choice: Choice | None, *, ledger: Ledger, spool: Spool, digest: str, method_version: str, now: datetime
) -> JobManifest:
    """The next revision of a job's acquisition; without a ``choice`` its region and indication stay. Maps of the
    scanner's own that came since are compared.

    Raises:
        InputError: the job is not the latest of its acquisition, not done, or a self-test; its images are gone; the
            region is none of its; or nothing has changed since, and no map has come.
    """
    related = ledger.revisions.related_jobs(job.study_instance_uid, job.sop_instance_uids)
    if related[-1].job_id != job.job_id:
        raise InputError(f"job {job.job_id} is not the latest of its acquisition: that is {related[-1].job_id}")
    if job.state != JobState.DONE:
        raise InputError(f"job {job.job_id} is {job.state}, not done")
    standing = standing_choice(job, ledger)
    wanted = standing if choice is None else choice
    if choice is not None:
        _check(job, choice, ledger)
    images = {uid for uid in job.sop_instance_uids if uid != job.region_uid}
    if wanted.region_uid is not None:
        images.add(wanted.region_uid)
    maps = {h.sop_instance_uid for h in ledger.studies.headers(job.study_instance_uid) if h.map_of}
    uids = tuple(sorted(images | maps))
    refuse_gone_images(job, ledger, spool, uids)
    chosen = wanted != standing
    outdated = (job.settings_digest, job.method_version) != (digest, method_version)

    def id_after(after: str | None) -> str:
        return derive_job_id(uids, digest, method_version, indication=wanted.indication, after=after)

    job_id = id_after(job.job_id if chosen else None)
    if outdated and ledger.find(job_id) is not None:  # measured so before, and with others since
        job_id = id_after(job.job_id)
    unchanged = not chosen and not outdated and set(uids) == set(job.sop_instance_uids)
    if unchanged or ledger.find(job_id) is not None:
        raise InputError(
            f"job {job.job_id}: neither method, settings, region nor indication have changed since a result of it, "
            "and no map of the scanner's own has come"
        )
    cause = Cause.OPERATOR if chosen else Cause.SETTINGS if outdated else Cause.SCANNER_MAP
    return JobManifest(
        job_id=job_id,
        acquisition_key=job.acquisition_key,
        study_instance_uid=job.study_instance_uid,
        sop_instance_uids=uids,
        accepted_at=now,
        revision=job.revision + 1,
        predecessor_job_id=job.job_id,
        missing=job.missing,
        method_version=method_version,
        settings_digest=digest,
        cause=cause,
        region_uid=wanted.region_uid,
        indication=wanted.indication,
        self_test=job.self_test,
        destinations=job.destinations,
    )


def keep(manifest: JobManifest, ledger: Ledger, manifests: ManifestStore, now: datetime) -> str:
    """Make the measurement a job; a sentence about it."""
    ledger.add(manifests.keep(manifest), now)
    before = manifest.predecessor_job_id
    return f"job {manifest.job_id} is queued: revision {manifest.revision}, replaces {before}"


def refuse_gone_images(job: Job, ledger: Ledger, spool: Spool, uids: Sequence[str] | None = None) -> None:
    """See that the images of a job (or those named) are still here.

    Raises:
        InputError: retention removed them, or they are gone otherwise.
    """
    gone = [uid for uid in uids or job.sop_instance_uids if spool.find(uid) is None]
    if gone:
        ledger.removals.refuse_removed_image(gone[0])
        raise InputError(f"job {job.job_id}: {len(gone)} of its images are no longer in the spool; send them again")


def _check(job: Job, choice: Choice, ledger: Ledger) -> None:
    if job.self_test:
        raise InputError(f"job {job.job_id} is a self-test, for which nobody chooses region or indication")
    if choice.region_uid is not None and choice.region_uid not in regions_of(job, ledger):
        raise InputError(f"{choice.region_uid}: no usable drawn region of this acquisition; send it to the node first")
