"""What the pages say for states and for what went wrong: plain words, and what to press."""

from dataclasses import dataclass

from node.errors import FAULT
from node.jobs.ledger import PARKED_BY_OPERATOR
from node.jobs.overview import JobLine
from node.model import AcquisitionState, JobState

ARRIVED, SENDING, NOT_ALL_TAKEN = "arrived", "sending", "not_all_taken"
"""States that only the pages know: images nobody has looked at yet; measured, and objects wait for a destination;
measured and sent, and a destination does not take some of the objects."""
_STATES = {
    ARRIVED: "received, not indexed yet",
    AcquisitionState.RECEIVING: "coming in",
    AcquisitionState.DECLINED: "declined",
    JobState.QUEUED: "waits to be measured",
    JobState.RUNNING: "being measured",
    SENDING: "waits to be sent",
    NOT_ALL_TAKEN: "sent, not all taken",
    JobState.DONE: "done",
    JobState.PARKED: "parked",
    "not_measurable": "not measurable",
    "self_test": "self-test",
}
MEASURE_NOW, SEND_NOW = "Measure now", "Send what is missing now"
"""The two things that ``Node.retry`` does, as buttons."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What stopped a job: what happened, what stays stored, what to press; ``technical`` is for the node's support."""

    happened: str
    stays: str
    to_do: str
    technical: str | None


def state_words(state: str) -> str:
    """A state as people say it."""
    return _STATES.get(state, state.replace("_", " "))


def shown_state(line: JobLine) -> str:
    """The state of a job with that of its deliveries: it is done when everything is where it should be."""
    if line.state != JobState.DONE:
        return line.state.value
    if line.n_pending:
        return SENDING
    return NOT_ALL_TAKEN if line.n_unsupported else line.state.value


def trouble_of(line: JobLine) -> Trouble | None:
    """What stopped a job that is parked, or waits after a failed run; ``None`` for any other."""
    parked = line.state == JobState.PARKED
    if line.error is None or not (parked or (line.state == JobState.QUEUED and line.attempts)):
        return None
    again = f"Press \u201c{MEASURE_NOW}\u201d"
    if line.error == PARKED_BY_OPERATOR:
        happened = "Somebody parked this job, so it is not measured."
        return Trouble(happened=happened, stays=_stays(line), to_do=f"{again} to have it measured.", technical=None)
    fault = line.error.startswith(FAULT)
    why = "by an error inside the program" if fault else f"by an error: {line.error.rstrip('.')}"
    tries = "once" if line.attempts == 1 else f"{line.attempts} times"
    how = "once more" if parked else "without waiting"
    number = f"job {line.job_id[:12]}{', and the technical text below' if fault else ''}"
    return Trouble(
        happened=f"The measurement was tried {tries} and was stopped {why}. "
        f"It is {'not ' if parked else ''}tried again by itself.",
        stays=_stays(line),
        to_do=f"{again} to try it {how}. If it stops again, tell whoever looks after this node: {number}.",
        technical=line.error if fault else None,
    )


def _stays(line: JobLine) -> str:
    images = "its one image stays" if line.n_instances == 1 else f"its {line.n_instances} images stay"
    earlier = "What was sent before it stays as it is." if line.revision > 1 else "No report of it exists yet."
    return f"Nothing is lost: {images} on this node. Nothing of this job was sent. {earlier}"
