"""Totals over every job and image of the ledger, without reading all of them at each scrape.

What can hardly change any more is read once and kept in memory: a job that is settled (``JobFigures.settled``) with its
outcome, its LIC and its times, and the images of days before yesterday. A settled job stays counted as it was, as a
counter of Prometheus must: an object that somebody has sent once more, or at last (``ironnode retry`` of one that the
destination did not take), changes no latency. Images of earlier days that the assembler enters only now count from the
next day on. The web process begins anew at its start.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import accumulate
from threading import Lock

from node.jobs.figures import Figures, JobFigures, PeerFigures

_LATENCY_BUCKETS_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)
_LIC_BUCKETS_MG_PER_G = (1.0, 1.8, 3.2, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 40.0)
_STAGES = ("assemble", "process", "deliver")


class Histogram:
    """Values counted in bands."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = Fraction()  # exact, so that it never falls: in floats the order of settling would show

    def add(self, value: float) -> None:
        """Count a value, in the first band whose bound it does not exceed."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += Fraction(value)

    @property
    def sum(self) -> float:
        """Of all values."""
        return float(self._sum)

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Bound and number of values up to it, as the client library wants them."""
        names = [*map(str, self._bounds), "+Inf"]
        return [(name, float(number)) for name, number in zip(names, accumulate(self._counts), strict=True)]


class JobTotals:
    """What became of jobs: outcomes by deciding code, LIC, and how long each stage took."""

    def __init__(self) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.lic_mg_per_g = Histogram(_LIC_BUCKETS_MG_PER_G)
        self.latency_s = {stage: Histogram(_LATENCY_BUCKETS_S) for stage in _STAGES}

    def add(self, job: JobFigures) -> None:
        """Count a job as it stands."""
        if job.outcome is not None:
            self.outcomes[job.outcome, "" if job.outcome == "measured" else job.deciding_code] += 1
        if job.lic_mg_per_g is not None:
            self.lic_mg_per_g.add(job.lic_mg_per_g)
        if job.last_received_at is not None:
            self._took("assemble", job.last_received_at, job.accepted_at)
        if job.finished_at is not None:
            self._took("process", job.accepted_at, job.finished_at)
            if job.delivered and job.last_sent_at is not None:
                self._took("deliver", job.finished_at, job.last_sent_at)

    def with_these(self, jobs: Iterable[JobFigures]) -> "JobTotals":
        """Totals of these jobs too; ``self`` stays as it is."""
        both = deepcopy(self)
        for job in jobs:
            both.add(job)
        return both

    def _took(self, stage: str, begin: datetime, end: datetime) -> None:
        self.latency_s[stage].add(max((end - begin).total_seconds(), 0.0))


class Totals:
    """Totals of one ledger, for any thread."""

    def __init__(self) -> None:
        self._one_at_a_time = Lock()
        self._settled = JobTotals()
        self._done_with: set[str] = set()  # settled jobs, and the node's own tests, which count nowhere
        self._early_until = ""
        self._early: tuple[Counter[str], Counter[str]] = (Counter(), Counter())

    def jobs(self, figures: Figures) -> tuple[JobTotals, list[JobFigures]]:
        """Totals of all jobs but the node's own tests, and those of them that are not settled."""
        with self._one_at_a_time:
            new = [job_id for job_id in figures.job_ids() if job_id not in self._done_with]
            found = figures.jobs_of_patients(new)
            self._done_with |= set(new) - {job.job_id for job in found}
            for job in found:
                if job.settled:
                    self._settled.add(job)
                    self._done_with.add(job.job_id)
            unsettled = [job for job in found if not job.settled]
            return self._settled.with_these(unsettled), unsettled

    def arrivals(self, figures: Figures, now: datetime) -> tuple[Counter[str], Counter[str]]:
        """Images and bytes that each calling AE title stored."""
        yesterday = f"{now - timedelta(days=1):%Y-%m-%d}"
        with self._one_at_a_time:
            if yesterday != self._early_until:
                self._early = _by_peer(figures.peers_by_day(before_day=yesterday))
                self._early_until = yesterday
            early = self._early
        recent = _by_peer(figures.peers_by_day(since_day=yesterday))
        return early[0] + recent[0], early[1] + recent[1]


def _by_peer(lines: Iterable[PeerFigures]) -> tuple[Counter[str], Counter[str]]:
    instances: Counter[str] = Counter()
    size_bytes: Counter[str] = Counter()
    for line in lines:
        instances[line.peer] += line.instances
        size_bytes[line.peer] += line.size_bytes
    return instances, size_bytes
