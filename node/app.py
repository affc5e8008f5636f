"""The composition root: from the configuration to spool, ledger, outbox and what operators ask of them.

Together with the entry points in ``node/roles`` the only place that reads the wall clock.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from node.config import Config
from node.deliver.clock_watch import ClockWatch
from node.deliver.outbox import Outbox, plan_deliveries
from node.deliver.retention import Find, Retention
from node.errors import ConfigError, InputError
from node.intake.durable_io import storage_error
from node.intake.region_file import keep_region
from node.intake.set_apart import by_place, set_apart
from node.intake.spool import Spool
from node.jobs import remeasure
from node.jobs.assemble import Assembler
from node.jobs.commitments import Commitment
from node.jobs.database import Fence
from node.jobs.deliveries import Delivery
from node.jobs.figures import Figures
from node.jobs.ledger import Ledger
from node.jobs.manifest import ManifestStore
from node.jobs.overview import AcquisitionLine, JobLine, Overview, TrailLine
from node.jobs.priors import PriorStore
from node.jobs.removals import Removal
from node.jobs.self_tests import SelfTests
from node.jobs.sessions import LogInBook
from node.jobs.settings import SettingsStore
from node.jobs.studies import region_of_key
from node.model import AcquisitionState, Job, JobState
from node.ops.audit import AuditTrail
from node.ops.syslog import unsent_since
from node.policy import load_policy
from node.process.settings import settings_of
from node.runtime import config_in_force, gateway_run
from node.status import NodeStatus, destination_statuses
from quant import METHOD_VERSION

_MIB = 1 << 20
PAGE_AE_TITLE = "WEB-PAGE"
"""Stands as the sender of what people upload on the web page."""
_TO_NOBODY = "the result of a self-test is sent to nobody"


def wall_clock() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)


def free_mib(root: Path) -> int:
    """Space left for an unprivileged process where ``root`` lies.

    Raises:
        StorageError: the disk cannot be asked.
    """
    try:
        return shutil.disk_usage(root).free // _MIB
    except OSError as error:
        raise storage_error(error, f"{root} cannot be looked at") from error


@dataclass(frozen=True, kw_only=True)
class JobDetails:
    """Everything the ledger knows of one job."""

    job: Job
    gone_receivers: tuple[str, ...]
    line: JobLine
    latest: JobLine  # of the revisions that followed; the job itself when none did
    record: dict[str, object] | None
    deliveries: tuple[Delivery, ...]
    commitments: tuple[Commitment, ...]
    removal: Removal | None
    trail: tuple[TrailLine, ...]
    result_folder: Path | None

    @property
    def route(self) -> str | None:
        """Where a rule sends the results, in words; ``None`` when they go everywhere."""
        named = self.job.destinations
        if named is None:
            return None
        gone = f"; the configuration no longer names {', '.join(self.gone_receivers)}" if self.gone_receivers else ""
        return f"a rule sends its results to {', '.join(named)} only{gone}"


class Node:
    """The parts of a node over one storage root. Close it, or use :func:`open_node`."""

    def __init__(self, config: Config, fence: Fence | None = None) -> None:
        """Open (and make where absent) everything under ``storage.root``; ``fence`` stands before the ledger.

        Raises:
            StorageError, ConfigError: a folder or the ledger cannot be used.
        """
        self.config = config
        root = config.storage.root
        self.spool = Spool(root, config.storage.min_free_mib * _MIB)
        self.ledger = Ledger(root, config.database.url, fence)
        self.outbox = Outbox(root / "outbox")
        self.manifests = ManifestStore(root / "jobs")
        self.priors = PriorStore(root / "priors")
        self.settings = SettingsStore(root / "settings")
        self.overview = Overview(self.ledger.database)
        self.figures = Figures(self.ledger.database)
        self.log_ins = LogInBook(self.ledger.database)

    def close(self) -> None:
        """Let go of the ledger."""
        self.ledger.close()

    def clock(self) -> datetime:
        """Now, as everybody who shares the ledger reads it, aware, in UTC.

        Raises:
            StorageError: the database server is asked, and away.
        """
        return self.ledger.database.now(wall_clock)

    def assembler(self) -> Assembler:
        """The assembler of this node; the settings that it makes jobs under are kept.

        Raises:
            ConfigError, StorageError: as ``SettingsStore.keep``.
        """
        return Assembler(
            spool=self.spool,
            ledger=self.ledger,
            manifests=self.manifests,
            config=self.config.assemble,
            rules=self.config.rules,
            settings_digest=self._kept_digest(),
            method_version=METHOD_VERSION,
            clock=self.clock,
        )

    def retention(self, find: Find) -> Retention:
        """The retention of this node; ``find`` asks a destination what it has."""
        return Retention(
            removals=self.ledger.removals,
            deliveries=self.ledger.deliveries,
            commitments=self.ledger.commitments,
            outbox=self.outbox,
            spool=self.spool,
            config=self.config.retention,
            destinations=self.config.destinations,
            message_receivers=frozenset(m.name for m in self.config.messages),
            find=find,
            clock=self.clock,
            watch=ClockWatch(self.ledger.removals, self.clock, time.monotonic),
        )

    # ------------------------------------------------------------ what operators ask

    def status(self) -> NodeStatus:
        """The node at a glance; works whether the node runs or not."""
        root = self.config.storage.root
        acquisitions = self.overview.acquisition_counts()
        run = gateway_run(self.config)
        return NodeStatus(
            roles=run.roles_alive(),
            inbox=sum(1 for _ in self.spool.inbox_folder.glob("*.dcm")),
            receiving=acquisitions.get(AcquisitionState.RECEIVING, 0),
            declined=acquisitions.get(AcquisitionState.DECLINED, 0),
            jobs=self.overview.job_counts(),
            destinations=tuple(destination_statuses(self.config, self.ledger)),
            retention=self.ledger.removals.counts(),
            set_apart=by_place(self.spool, set_apart(self.spool)),
            free_mib=free_mib(root),
            self_test=SelfTests(root).latest(),
            config_refused=run.config_refused(),
            retention_held_until=self.retention_held_until(),
            audit_unsent_since=unsent_since(AuditTrail(root)) if self.config.audit.syslog else None,
        )

    def retention_held_until(self) -> datetime | None:
        """Until when retention removes nothing, where the clock jumped or the node was off for long."""
        until = self.ledger.removals.clock_note().held_until
        return until if until is not None and self.clock() < until else None

    def jobs(self, state: JobState | None = None) -> list[JobLine]:
        """One line for each job, the latest first."""
        return self.overview.jobs(state)

    def acquisitions(self, state: AcquisitionState | None = None, limit: int | None = None) -> list[AcquisitionLine]:
        """What became of each group of images (in one state), declined ones with their reason; the latest first."""
        return self.overview.acquisitions(state=state, limit=limit)

    def show(self, job_id: str) -> JobDetails:
        """Everything about one job; the first characters of its id are enough.

        Raises:
            InputError: no job, or several, begin so.
        """
        full = self.overview.complete_job_id(job_id)
        job = self.ledger.find(full)
        assert job is not None
        folder = self.outbox.path(full)
        return JobDetails(
            job=job,
            gone_receivers=self.config.gone_receivers(job.destinations),
            line=self.overview.job(full),
            latest=self.overview.latest_revision(full),
            record=self.overview.record(full),
            deliveries=tuple(self.ledger.deliveries.of_job(full)),
            commitments=tuple(self.ledger.commitments.of_job(full)),
            removal=self.ledger.removals.of_job(full),
            trail=tuple(self.overview.trail(full)),
            result_folder=folder if folder.is_dir() else None,
        )

    def retry(self, job_id: str) -> str:
        """Do what is left of a job now; a sentence that says what will happen.

        A parked job runs again, with the settings of today, and one that waits at once, with its own; of a finished
        one everything that its destinations (also those added since) do not have yet, or refused to keep for good, is
        sent.

        Raises:
            InputError: no job, or several, begin so; a worker has it; or retention removed its files.
            ConfigError, StorageError: as ``_digest_in_force``.
        """
        now = self.clock()
        details = self.show(job_id)
        full = details.job.job_id
        if details.job.state == JobState.RUNNING:
            raise InputError(f"job {full} is running now")
        if details.record is None:
            if details.job.state == JobState.PARKED:
                moved = self.ledger.requeue(full, now, self._digest_in_force())
            else:
                moved = self.ledger.hurry(full, now)
            if not moved:
                raise InputError(f"job {full} is no longer {details.job.state}: look again")
            return f"job {full} is queued again"
        if details.job.self_test:
            return f"job {full} is done; {_TO_NOBODY}"
        receivers = self.config.receivers_of(details.job.destinations)
        self.ledger.deliveries.add(full, plan_deliveries(details.record, receivers), now)
        self.ledger.commitments.retry(full, now)
        pending = self.ledger.deliveries.make_due(full, now)
        return f"job {full} is done; {pending} objects are sent now" if pending else f"job {full} is done and delivered"

    def retry_parked(self) -> remeasure.RunAgain:
        """``retry`` for every parked job.

        Raises:
            ConfigError, StorageError: as ``_digest_in_force``.
        """
        return remeasure.run_each((line.job_id for line in self.jobs(JobState.PARKED)), self.retry)

    def measure_again(self, job_id: str, choice: remeasure.Choice | None = None) -> str:
        """Make a new revision of a job's acquisition with this software and these settings, and another region or
        indication where one is chosen; a sentence about it.

        Raises:
            InputError: no job, or several, begin so; as ``manifest_again``; or the policy has no such indication.
            ConfigError, StorageError: as ``_digest_in_force``.
        """
        if choice is not None and choice.indication not in (None, *self.indications()):
            raise InputError(f"{choice.indication}: the policy has no such indication: {', '.join(self.indications())}")
        return self._again(self.show(job_id).job, choice, self._digest_in_force())

    def measure_outdated(self) -> remeasure.RunAgain:
        """``measure_again`` for every acquisition whose latest result other software or settings made.

        Raises:
            ConfigError, StorageError: as ``_digest_in_force``.
        """
        digest = self._digest_in_force()
        outdated = self.ledger.revisions.outdated(METHOD_VERSION, digest)
        return remeasure.run_each(outdated, lambda job: self._again(job, None, digest))

    def indications(self) -> dict[str, str]:
        """The indications that the site's policy knows, with their labels."""
        policy = load_policy(self.config.follow_up.policy_file, None, None)
        return {found.id: found.label for found in policy.indications}

    def standing(self, job: Job) -> remeasure.Choice:
        """The region and the indication that count for a job's acquisition."""
        return remeasure.standing_choice(job, self.ledger)

    def regions(self, job: Job) -> list[str]:
        """The drawn regions, by SOP Instance UID, with which a job's acquisition can be measured again."""
        return remeasure.regions_of(job, self.ledger)

    def drawn_regions(self, job: Job) -> list[AcquisitionLine]:
        """What became of every drawn region that came for the study of a job."""
        return [
            line for line in self.overview.acquisitions(job.study_instance_uid) if region_of_key(line.acquisition_key)
        ]

    def add_region(self, job_id: str, file: BinaryIO) -> str:
        """Take a drawn region as a file; the assembler makes a revision of it, as of one that came by C-STORE. Its SOP
        Instance UID.

        Raises:
            InputError: no job, or several, begin so; it is a self-test, or its images are gone; or as ``keep_region``.
            StorageError: the disk refused.
        """
        job = self.show(job_id).job
        if job.self_test:
            raise InputError(f"job {job.job_id} is a self-test, for which nobody draws a region")
        remeasure.refuse_gone_images(job, self.ledger, self.spool)
        limit_mib = min(self.config.web.max_upload_mib, self.config.receive.max_instance_mib)
        return keep_region(
            self.spool,
            file,
            study_instance_uid=job.study_instance_uid,
            sender=PAGE_AE_TITLE,
            max_bytes=limit_mib * _MIB,
        )

    def _kept_digest(self) -> str:
        """The digest of this node's settings, for a job; from now on any worker finds them by it.

        Raises:
            ConfigError: nobody could measure with them; or, and StorageError, as ``SettingsStore.keep``.
        """
        kept = self.settings.keep(self.config)
        settings_of(self.config)
        return kept.method_digest()

    def _digest_in_force(self) -> str:
        """``_kept_digest``, where no gateway runs here that has other settings.

        Raises:
            ConfigError: one runs; or, and StorageError, as ``_kept_digest``.
        """
        digest = self._kept_digest()
        in_force = config_in_force(self.config)
        if in_force is not None and self.settings.digest_of(in_force) != digest:
            raise ConfigError(
                "the running node measures with other settings than the files say now, or a file of its own is gone: "
                "reload it first"
            )
        return digest

    def _again(self, job: Job, choice: remeasure.Choice | None, digest: str) -> str:
        manifest = remeasure.manifest_again(
            job,
            choice,
            ledger=self.ledger,
            spool=self.spool,
            digest=digest,
            method_version=METHOD_VERSION,
            now=self.clock(),
        )
        return remeasure.keep(manifest, self.ledger, self.manifests, self.clock())

    def send_again(self, job_id: str) -> str:
        """Send all objects of a finished job once more (the same bytes); a sentence that says what will happen.

        Raises:
            InputError: no job, or several, begin so; it has no result yet; or retention removed its files.
        """
        now = self.clock()
        details = self.show(job_id)
        full = details.job.job_id
        if details.record is None:
            raise InputError(f"job {full} has no result yet")
        if details.job.self_test:
            raise InputError(f"job {full}: {_TO_NOBODY}")
        receivers = self.config.receivers_of(details.job.destinations)
        self.ledger.deliveries.add(full, plan_deliveries(details.record, receivers), now)
        return f"job {full}: {self.ledger.deliveries.send_again(full, now)} objects are sent again"

    def park(self, job_id: str) -> str:
        """Keep a waiting job from being run until somebody retries it; a sentence that says so.

        Raises:
            InputError: no job, or several, begin so; or it does not wait.
        """
        full = self.overview.complete_job_id(job_id)
        if not self.ledger.park(full, self.clock()):
            raise InputError(f"job {full} does not wait; only a queued job can be parked")
        return f"job {full} is parked"


@contextmanager
def open_node(config: Config, fence: Fence | None = None) -> Iterator[Node]:
    """A node's parts, closed at the end."""
    node = Node(config, fence)
    try:
        yield node
    finally:
        node.close()
