"""The live list: what is coming in, the jobs, and what was declined, the latest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from node.app import Node
from node.jobs.overview import AcquisitionLine
from node.model import AcquisitionState, JobState

LENGTH = 100
"""Lines of the list."""
STATES = (AcquisitionState.RECEIVING.value, *(state.value for state in JobState), AcquisitionState.DECLINED.value)
"""What the list can be filtered by."""


@dataclass(frozen=True, kw_only=True)
class ListLine:
    """One acquisition; ``job_id`` is ``None`` while it is still coming in, and when it was declined."""

    job_id: str | None
    state: str
    outcome: str | None
    source: str
    since: datetime
    n_instances: int
    text: str
    destinations: str


def live_list(node: Node, wanted: str) -> list[ListLine]:
    """The lines of the state ``wanted``, or of all; what is still coming in comes first."""
    if wanted and wanted not in STATES:
        return []
    groups = [a for a in node.acquisitions() if a.state != AcquisitionState.JOBBED and wanted in ("", a.state)]
    arriving = [a for a in groups if a.state == AcquisitionState.RECEIVING]
    declined = [a for a in groups if a.state == AcquisitionState.DECLINED][:LENGTH]
    settled = [*_groups(node, declined), *(_jobs(node, wanted) if wanted in ("", *JobState) else [])]
    return [*_groups(node, arriving), *sorted(settled, key=lambda line: line.since, reverse=True)[:LENGTH]]


def _groups(node: Node, groups: Sequence[AcquisitionLine]) -> list[ListLine]:
    senders = node.figures.senders([group.study_instance_uid for group in groups])
    return [
        ListLine(
            job_id=None,
            state=group.state,
            outcome=None,
            source=senders.get(group.study_instance_uid, "?"),
            since=group.changed_at,
            n_instances=group.n_instances,
            text=_remark(group),
            destinations="-",
        )
        for group in groups
    ]


def _remark(group: AcquisitionLine) -> str:
    if group.state == AcquisitionState.RECEIVING:
        return "; ".join(group.missing[:3]) or "waits to be quiet"
    return f"{group.text} [{group.code}]"


def _jobs(node: Node, wanted: str) -> list[ListLine]:
    lines = node.overview.jobs(JobState(wanted) if wanted else None, LENGTH)
    figures = {f.job_id: f for f in node.figures.jobs([line.job_id for line in lines])}
    return [
        ListLine(
            job_id=line.job_id,
            state=line.state.value,
            outcome="self_test" if line.self_test else line.outcome,
            source=figures[line.job_id].peer,
            since=line.accepted_at,
            n_instances=line.n_instances,
            text=line.error or ", ".join(code.replace("_", " ") for code in figures[line.job_id].reasons),
            destinations=f"{line.n_sent} of {line.n_deliveries}" if line.n_deliveries else "-",
        )
        for line in lines
        if line.job_id in figures
    ]
