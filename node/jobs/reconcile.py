"""The reconciler: whatever the broker lost is announced again, a silent worker's job is queued again, and times that a
wrong clock wrote are brought back."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from node.config import Config
from node.deliver.backoff import doubled_s
from node.errors import BrokerError, StorageError
from node.jobs.ahead import LongestWaits, bring_back
from node.jobs.ledger import DueJob, Ledger
from node.jobs.work import RETRY_MAX_S
from node.model import JobState
from node.ops.events import Event, emit

MAX_WAITING = 64  # messages kept in the broker; more would only pile up there while workers are busy
_FAILURES = 64  # the wait has reached its limit by then, whatever it began with
_PATIENCE_S = 5.0  # with no message waiting, a job announced longer ago than this was not heard


class Bell(Protocol):
    """What tells the workers (``celery_queue.Doorbell``)."""

    def waiting(self) -> int:
        """Messages that no worker has taken."""

    def ring(self, job_ids: Sequence[str]) -> None:
        """Announce jobs."""


class Reconciler:
    """Keeps the workers told about every queued job."""

    def __init__(self, ledger: Ledger, bell: Bell, config: Config, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._bell = bell
        self._queue = config.queue
        self._waits = LongestWaits(
            lease_s=config.queue.lease_s,
            runs_s=_waits_after_failures_s(config.queue.retry_base_s),
            delivery_s=max((d.retry_max_s for d in config.destinations), default=0.0),
        )
        self._clock = clock
        self._away = False
        self._outage = False  # ledger or broker did not answer at the last look
        self._excused_until: datetime | None = None

    def step(self) -> int:
        """Look once; how many jobs were announced.

        Raises:
            StorageError: the ledger refused.
        """
        try:
            return self._step()
        except StorageError:
            self._outage = True
            raise

    def _step(self) -> int:
        now = self._clock()
        if moved := bring_back(self._ledger.database, now, self._waits):
            emit(Event.CLOCK_WAS_AHEAD, logging.WARNING, times=moved)
        self._expire(now)
        patience_s = min(_PATIENCE_S, self._queue.ring_again_s)
        if not self._due(now, patience_s, 1):
            return 0
        try:
            waiting = self._bell.waiting()
            again_s = self._queue.ring_again_s if waiting else patience_s
            due = self._due(now, again_s, MAX_WAITING - waiting)
            self._ring(due, now)
        except BrokerError as error:
            if not self._away:
                emit(Event.BROKER_AWAY, error=str(error))
            self._away = self._outage = True
            return 0
        if self._away:
            emit(Event.BROKER_BACK)
        self._away = False
        return len(due)

    def _expire(self, now: datetime) -> None:
        """Leases that ran out. After an outage workers have one lease's time to renew theirs, and what ran out
        meanwhile is not held against the job: a worker may not have been able to renew, or have died of the same."""
        if self._outage:
            self._outage = False
            self._excused_until = now + timedelta(seconds=self._queue.lease_s)
        if self._excused_until is not None and now < self._excused_until:
            return
        for job_id, state in self._ledger.expire(now, self._queue.max_attempts, self._excused_until):
            emit(Event.LEASE_EXPIRED, job_id=job_id, state=state.value)
            if state == JobState.PARKED:
                emit(Event.JOB_PARKED, job_id=job_id)

    def _due(self, now: datetime, again_s: float, limit: int) -> list[DueJob]:
        if limit <= 0:
            return []
        return self._ledger.due(now, rung_before=now - timedelta(seconds=again_s), limit=limit)

    def _ring(self, due: Sequence[DueJob], now: datetime) -> None:
        for job in due:
            self._bell.ring([job.job_id])
            self._ledger.mark_rung(job.job_id, now)
            if job.last_rung_at is not None:
                emit(Event.JOB_RUNG_AGAIN, job_id=job.job_id)


def _waits_after_failures_s(base_s: float) -> tuple[float, ...]:
    """The wait after the first failure, the second, ... up to the longest, which holds for all further ones."""
    waits = [doubled_s(attempts, base_s, RETRY_MAX_S) for attempts in range(1, _FAILURES + 1)]
    return (*(wait_s for wait_s in waits if wait_s < RETRY_MAX_S), RETRY_MAX_S)
