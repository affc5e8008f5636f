"""What somebody should be told of, found from the node's state. Codes, counts and job ids only."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from node.app import Node
from node.config import NoticeKind, NotifyConfig, StorageConfig
from node.jobs.self_tests import Verdict
from node.model import JobState
from node.ops.disk_watch import DiskLevel, disk_level, disk_words
from node.status import NodeStatus

_LOOK_BACK = timedelta(days=1)  # a refusal older than this is no news any more


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One thing to be told; ``subject`` tells troubles of one kind apart."""

    kind: NoticeKind
    subject: str
    text: str

    @property
    def key(self) -> str:
        """The same trouble has the same key."""
        return f"{self.kind} {self.subject}"


def find_troubles(node: Node, now: datetime) -> list[Trouble]:
    """What is wrong now, of the kinds that ``notify.events`` names."""
    settings = node.config.notify
    status = node.status()
    found = [*_of_status(status, node.config.storage, settings, now), *_of_jobs(node, settings, now)]
    return [trouble for trouble in found if trouble.kind in settings.events]


def _of_status(status: NodeStatus, storage: StorageConfig, settings: NotifyConfig, now: datetime) -> Iterator[Trouble]:
    for role, alive in status.roles.items():
        if not alive:
            text = f"the process {role} is not running, or a fault keeps it from its work"
            yield Trouble(kind="role_down", subject=role, text=text)
    level = disk_level(status.free_mib, storage)
    if level is not DiskLevel.OK:
        yield Trouble(kind="disk_low", subject=f"storage {level}", text=disk_words(status.free_mib, storage))
    test = status.self_test
    if test is not None and test.verdict != Verdict.PASSED and now - test.at < _LOOK_BACK:
        yield Trouble(
            kind="self_test_failed", subject=f"{test.at:%Y-%m-%d %H:%M}", text=f"self-test {test.verdict}: {test.text}"
        )
    for line in status.destinations:
        if _too_long(line.waiting_since, settings, now):
            text = (
                f"{line.pending} objects wait for destination {line.name} since {line.waiting_since:%Y-%m-%d %H:%M} UTC"
            )
            yield Trouble(kind="delivery_stuck", subject=line.name, text=text)
        if line.untold:
            unread = f"nobody reads the result of {line.untold} jobs"
            text = f"destination {line.name} takes neither page, PDF nor report: {unread}"
            yield Trouble(kind="delivery_stuck", subject=f"{line.name} untold", text=text)
        if line.commitment is not None and line.commitment.refused:
            text = f"destination {line.name} does not commit to keeping {line.commitment.refused} objects it was sent"
            yield Trouble(kind="delivery_stuck", subject=f"{line.name} commitment", text=text)


def _of_jobs(node: Node, settings: NotifyConfig, now: datetime) -> Iterator[Trouble]:
    for job in node.figures.jobs_to_watch(now - _LOOK_BACK):
        name = job.job_id[:12]
        if job.state == JobState.PARKED:
            yield Trouble(
                kind="job_parked", subject=name, text=f"job {name} is parked; see its page or `ironnode show`"
            )
        elif job.state != JobState.DONE and _too_long(job.accepted_at, settings, now):
            text = f"job {name} is {job.state} since {job.accepted_at:%Y-%m-%d %H:%M} UTC"
            yield Trouble(kind="stage_stuck", subject=name, text=text)
        elif job.state == JobState.DONE and job.outcome == "not_measurable":
            text = f"job {name} could not be measured: {', '.join(reason.code for reason in job.reasons) or 'unknown'}"
            yield Trouble(kind="acquisition_refused", subject=name, text=text)


def _too_long(since: datetime | None, settings: NotifyConfig, now: datetime) -> bool:
    return since is not None and (now - since).total_seconds() > settings.stuck_after_s
