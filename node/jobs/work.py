"""What a worker does with one job id: take the lease, measure, make the result durable, close the job.

Knows nothing of Celery. Every step may be cut off and repeated: a result set that stands in the outbox is never made
again, and the ledger takes the outcome only from the holder of the lease.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from node.config import Config
from node.deliver.backoff import doubled_s
from node.deliver.outbox import Outbox, plan_deliveries
from node.errors import IronnodeError, LeaseLostError, SettingsError, StorageError, fault_text
from node.jobs.ledger import Ledger
from node.jobs.priors import PriorStore
from node.jobs.settings import SettingsStore
from node.model import Job, JobInput, JobState, PipelineOutput
from node.ops.events import Event, emit
from quant.prior import PriorAnswer

Pipeline = Callable[[JobInput, Config], PipelineOutput]
"""Told a job and the configuration to measure it with."""
Clock = Callable[[], datetime]
AskArchive = Callable[[Path, Config], PriorAnswer | None]
"""Told one image of the patient; gives what the archive holds of earlier results."""
_HEARTBEATS_PER_LEASE = 4
RETRY_MAX_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What a worker process needs to do jobs. ``locate`` finds an instance's file by SOP Instance UID; what
    ``ask_archive`` gives is kept in ``priors``; ``settings`` has those of jobs that were made under others than
    ``config`` names now."""

    ledger: Ledger
    outbox: Outbox
    locate: Callable[[str], Path | None]
    run: Pipeline
    priors: PriorStore
    settings: SettingsStore
    ask_archive: AskArchive
    clock: Clock
    config: Config

    def do(self, job_id: str, owner: str) -> JobState | None:
        """Do one job if it can be had now; the state it ends in, or ``None`` when there was nothing to do.

        ``owner`` names this run of this worker and no other. Never raises for what went wrong with the job: that is
        entered in the ledger.

        Raises:
            StorageError: the ledger itself cannot be reached; the job keeps its lease until that runs out.
        """
        job = self.ledger.claim(job_id, owner, self.clock(), self.config.queue.lease_s)
        if job is None:
            return None
        emit(Event.JOB_STARTED, job_id=job_id, attempt=job.attempts, revision=job.revision)
        try:
            with self._heartbeat(job_id, owner):
                self._make_result(job)
            return self._finish(job, owner)
        except LeaseLostError as lost:
            emit(Event.LEASE_EXPIRED, job_id=job_id, error=str(lost))
            return None
        except Exception as error:  # noqa: BLE001 - the task's edge: whatever fails is entered in the ledger
            return self._fail(job, owner, error)

    def _make_result(self, job: Job) -> None:
        if self.outbox.record(job.job_id) is not None:
            return  # an earlier run was cut off between the outbox and the ledger
        config = self._config_of(job)
        output = self.run(self._input(job), config)
        if self.settings.digest_of(config) != job.settings_digest:
            raise SettingsError(f"settings {job.settings_digest}: a file of them was changed during the run")
        if not self.outbox.put(job.job_id, output):
            emit(Event.RESULT_KEPT, job_id=job.job_id)

    def _config_of(self, job: Job) -> Config:
        """The configuration with the settings that the job was made under, which may not be those of today."""
        own = self.settings.digest_of(self.config)  # where a kept copy is gone, what is told then names it
        if own == job.settings_digest:
            return self.config
        emit(Event.SETTINGS_DIFFER, logging.WARNING, job_id=job.job_id, of_job=job.settings_digest, of_worker=own)
        return self.settings.of(job.settings_digest, self.config)

    def _input(self, job: Job) -> JobInput:
        files = {}
        for uid in job.sop_instance_uids:
            path = self.locate(uid)
            if path is None:
                self.ledger.removals.refuse_removed_image(uid)
                raise StorageError(f"instance {uid} is not in the spool")
            files[uid] = path
        return JobInput(
            job_id=job.job_id,
            files=tuple(files.values()),
            accepted_at=job.accepted_at,
            revision=job.revision,
            missing=job.missing,
            replaces=self.ledger.revisions.replaced_by(job),
            cause=job.cause,
            region=None if job.region_uid is None else files[job.region_uid],
            indication=job.indication,
            priors=self._priors(job, next(path for uid, path in files.items() if uid != job.region_uid)),
        )

    def _priors(self, job: Job, image: Path) -> PriorAnswer | None:
        if job.self_test:
            return None  # the archive is not asked for a patient that nobody is
        answer = self.priors.answer(job.job_id, lambda: self.ask_archive(image, self.config))
        if answer is not None and answer.not_checked is not None:
            emit(Event.PRIORS_NOT_CHECKED, job_id=job.job_id, error=answer.not_checked)
        return answer

    def _finish(self, job: Job, owner: str) -> JobState:
        job_id = job.job_id
        record = self.outbox.record(job_id)
        if record is None:
            raise StorageError(f"{self.outbox.path(job_id)}: the result set is gone")
        if gone := self.config.gone_receivers(job.destinations):
            emit(Event.RECEIVERS_GONE, logging.WARNING, job_id=job_id, receivers=gone)
        deliveries = [] if job.self_test else plan_deliveries(record, self.config.receivers_of(job.destinations))
        self.ledger.finish(job_id, owner, self.clock(), record, deliveries)
        emit(Event.JOB_DONE, job_id=job_id, outcome=record["status"], deliveries=len(deliveries))
        return JobState.DONE

    def _fail(self, job: Job, owner: str, error: Exception) -> JobState | None:
        hopeless = isinstance(error, IronnodeError) and not error.retryable
        now = self.clock()
        retry_at = None
        patient = isinstance(error, StorageError)  # a disk that is away or full comes back; no job is given up for it
        if patient or (not hopeless and job.attempts - job.excused < self.config.queue.max_attempts):
            retry_at = now + timedelta(seconds=doubled_s(job.attempts, self.config.queue.retry_base_s, RETRY_MAX_S))
        text = str(error) if isinstance(error, IronnodeError) else fault_text(error)
        try:
            state = self.ledger.fail(job.job_id, owner, now, text, retry_at, excused=patient)
        except LeaseLostError as lost:
            emit(Event.LEASE_EXPIRED, job_id=job.job_id, error=str(lost))
            return None
        name = Event.JOB_PARKED if state == JobState.PARKED else Event.JOB_FAILED
        emit(name, job_id=job.job_id, attempt=job.attempts, error=text, retry_at=retry_at, exc_info=not hopeless)
        return state

    @contextmanager
    def _heartbeat(self, job_id: str, owner: str) -> Iterator[None]:
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(self.config.queue.lease_s / _HEARTBEATS_PER_LEASE):
                try:
                    self.ledger.heartbeat(job_id, owner, self.clock(), self.config.queue.lease_s)
                except LeaseLostError:
                    return  # the ledger will not take this run's outcome
                except StorageError as error:
                    emit(Event.HEARTBEAT_MISSED, job_id=job_id, error=str(error))

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
