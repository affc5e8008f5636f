"""The live list: what nobody has looked at yet, what is coming in, jobs, and what was declined, the latest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from node.app import Node
from node.intake.arrivals import Arrivals, arrivals
from node.jobs.overview import AcquisitionLine
from node.model import AcquisitionState, JobState
from node.web.wording import ARRIVED, SENDING, shown_state
from quant.result import Reason

LENGTH = 100
"""Lines of the list."""
STATES = (
    *(ARRIVED, AcquisitionState.RECEIVING.value, JobState.QUEUED.value, JobState.RUNNING.value, SENDING),
    *(JobState.DONE.value, JobState.PARKED.value, AcquisitionState.DECLINED.value),
)
"""What the list can be filtered by."""


@dataclass(frozen=True, kw_only=True)
class ListLine:
    """One acquisition; ``job_id`` is ``None`` while it is still coming in, and when it was declined. ``reasons``: why
    nothing was measured."""

    job_id: str | None
    state: str
    outcome: str | None
    source: str
    since: datetime
    n_instances: int
    text: str
    reasons: tuple[Reason, ...]
    destinations: str


def live_list(node: Node, wanted: str) -> list[ListLine]:
    """The lines of the state ``wanted``, or of all; what is still coming in comes first."""
    if wanted and wanted not in STATES:
        return []
    arrived = [_arrived(found) for found in arrivals(node.spool.inbox_folder)] if wanted in ("", ARRIVED) else []
    arriving = _in_state(node, AcquisitionState.RECEIVING, wanted)
    declined = _in_state(node, AcquisitionState.DECLINED, wanted, LENGTH)
    settled = [*_groups(node, declined), *(_jobs(node, wanted) if wanted in ("", SENDING, *JobState) else [])]
    newest_first = sorted(settled, key=lambda line: line.since, reverse=True)[:LENGTH]
    return [*arrived, *_groups(node, arriving), *newest_first]


def _arrived(found: Arrivals) -> ListLine:
    return ListLine(
        job_id=None,
        state=ARRIVED,
        outcome=None,
        source=found.calling_ae_title or "?",
        since=found.oldest_at,
        n_instances=found.n_instances,
        text="stored safely; the node looks at them next",
        reasons=(),
        destinations="-",
    )


def _in_state(node: Node, state: AcquisitionState, wanted: str, limit: int | None = None) -> list[AcquisitionLine]:
    return node.acquisitions(state, limit) if wanted in ("", state) else []


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
            text=_waits_for(group),
            reasons=(Reason(code=group.code, text=group.text or ""),) if group.code else (),
            destinations="-",
        )
        for group in groups
    ]


def _waits_for(group: AcquisitionLine) -> str:
    if group.state != AcquisitionState.RECEIVING:
        return ""
    return f"to come: {'; '.join(group.missing[:3])}" if group.missing else "all here; waits whether more images come"


def _jobs(node: Node, wanted: str) -> list[ListLine]:
    state = JobState.DONE if wanted == SENDING else JobState(wanted) if wanted else None
    undelivered = {SENDING: True, JobState.DONE.value: False}.get(wanted)
    lines = node.overview.jobs(state, LENGTH, undelivered=undelivered)
    figures = {f.job_id: f for f in node.figures.jobs([line.job_id for line in lines])}
    return [
        ListLine(
            job_id=line.job_id,
            state=shown_state(line),
            outcome="self_test" if line.self_test else line.outcome,
            source=figures[line.job_id].peer,
            since=line.accepted_at,
            n_instances=line.n_instances,
            text="see the job's page for what to do" if line.state == JobState.PARKED else "",
            reasons=figures[line.job_id].reasons,
            destinations=f"{line.n_sent} of {line.n_deliveries}" if line.n_deliveries else "-",
        )
        for line in lines
        if line.job_id in figures
    ]
