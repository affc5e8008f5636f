"""The reckoning at the end: what was promised, and what there is."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from node.app import Node as NodeParts
from node.app import open_node
from node.config import Config
from node.intake.file_meta import decode_file_meta, head_bytes
from node.jobs.overview import JobLine
from node.model import DeliveryState, JobState
from tests.crash.acquisitions import Acquisition
from tests.crash.testbed import COMPLETE_QUIET_S, Destination

_WORDS_OF_KOMBU = re.compile(r"Restoring \d+ unacknowledged message")  # it prints them at an orderly end
_GAP_S = COMPLETE_QUIET_S - 1  # arrivals are timed by the node when stored, here when acknowledged


class Spooled(Protocol):
    """Where a storage root lies."""

    root: Path
    spool: Path


class Ran(Protocol):
    """What is judged: one node, or a site of several machines."""

    config: Config
    storage: Spooled

    def strange_lines(self) -> Iterable[str]:
        """Lines of its log that are no events."""


@dataclass
class Verdict:
    """``broken`` names every promise that was not kept; the rest are counts for the table."""

    broken: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    lost: set[int] = field(default_factory=set)
    twice: set[int] = field(default_factory=set)
    stuck: set[int] = field(default_factory=set)
    revised: set[int] = field(default_factory=set)

    def breach(self, text: str) -> None:
        """A promise was not kept."""
        self.broken.append(text)


def judge(
    node: Ran,
    acquisitions: list[Acquisition],
    destinations: tuple[Destination, ...],
    clock_jumps: list[tuple[float, float]],
) -> Verdict:
    """Compare the disk, the ledger and the destinations with what was acknowledged. The node must have been stopped."""
    verdict = Verdict()
    with open_node(node.config) as parts:
        lines = parts.jobs()
        _instances(verdict, parts, acquisitions)
        _jobs(verdict, parts, lines, acquisitions, clock_jumps)
        for destination in destinations:
            _objects(verdict, parts, lines, acquisitions, destination)
    _leftovers(verdict, node)
    return verdict


def _instances(verdict: Verdict, parts: NodeParts, acquisitions: list[Acquisition]) -> None:
    indexed = {uid for a in acquisitions for uid in parts.ledger.studies.arrivals(a.study_instance_uid)}
    for acquisition in acquisitions:
        for uid, sent in acquisition.files.items():
            if uid not in acquisition.acknowledged:
                verdict.breach(f"acquisition {acquisition.number}: {uid} was never acknowledged")
                continue
            verdict.counts["instances acknowledged"] += 1
            kept = parts.spool.find(uid)
            if kept is None or _data_set(kept) != _data_set(sent):
                verdict.lost.add(acquisition.number)
                verdict.breach(
                    f"acquisition {acquisition.number}: {uid} {'differs' if kept else 'is not in the spool'}"
                )
            elif uid not in indexed:
                verdict.stuck.add(acquisition.number)
                verdict.breach(f"acquisition {acquisition.number}: {uid} is not in the ledger")


def _jobs(
    verdict: Verdict,
    parts: NodeParts,
    lines: list[JobLine],
    acquisitions: list[Acquisition],
    clock_jumps: list[tuple[float, float]],
) -> None:
    by_study: dict[str, list[JobLine]] = {}
    for line in lines:
        by_study.setdefault(line.study_instance_uid, []).append(line)
    for acquisition in acquisitions:
        found = by_study.pop(acquisition.study_instance_uid, [])
        whole = [line for line in found if line.n_instances == len(acquisition.files)]
        for line in found:
            verdict.counts[f"jobs {line.state.value}"] += 1
            if line.state != JobState.DONE:
                verdict.stuck.add(acquisition.number)
                verdict.breach(
                    f"acquisition {acquisition.number}: job {line.job_id[:12]} is {line.state}: {line.error}"
                )
        if not whole:
            verdict.lost.add(acquisition.number)
            verdict.breach(f"acquisition {acquisition.number}: no job holds all its images")
        if len(whole) > 1:
            verdict.twice.add(acquisition.number)
            verdict.breach(f"acquisition {acquisition.number}: {len(whole)} jobs hold all its images")
        if len(found) > len(whole):
            verdict.revised.add(acquisition.number)
            verdict.counts["jobs of a part, revised when the rest came"] += len(found) - len(whole)
            if not _had_reason(acquisition, clock_jumps):
                verdict.breach(f"acquisition {acquisition.number}: a part was taken for the whole without a pause")
        verdict.counts["attempts cut off"] += sum(max(0, line.attempts - 1) for line in found)
    for study in by_study:
        verdict.breach(f"study {study}: jobs of nobody")


def _had_reason(acquisition: Acquisition, clock_jumps: list[tuple[float, float]]) -> bool:
    """Whether images stayed away for so long that the assembler could only judge what was there."""
    last = max(acquisition.acknowledged.values(), default=acquisition.began)
    jumped = any(begin <= last + 1 and end + 1 >= acquisition.began for begin, end in clock_jumps)
    return jumped or acquisition.longest_gap_s >= _GAP_S


def _objects(
    verdict: Verdict,
    parts: NodeParts,
    lines: list[JobLine],
    acquisitions: list[Acquisition],
    destination: Destination,
) -> None:
    number_of = {a.study_instance_uid: a.number for a in acquisitions}
    held = destination.held()
    verdict.counts[f"objects held by {destination.name}"] = len(held)
    same, other = destination.repeats()
    verdict.counts[f"repeats on the wire to {destination.name}"] = same + other
    if other:
        verdict.breach(f"{destination.name}: {other} repeats had other bytes")
    for line in lines:
        number = number_of.get(line.study_instance_uid, -1)
        for delivery in parts.ledger.deliveries.of_job(line.job_id):
            if delivery.destination != destination.name:
                continue
            if delivery.state == DeliveryState.PENDING:
                verdict.stuck.add(number)
                verdict.breach(f"acquisition {number}: {delivery.role} waits for {destination.name}")
            if delivery.state != DeliveryState.SENT:
                continue
            data = held.pop(delivery.sop_instance_uid, None)
            if data is None or data != _data_set(parts.outbox.path(line.job_id) / delivery.file):
                verdict.lost.add(number)
                what = "is not" if data is None else "differs"
                verdict.breach(f"acquisition {number}: {delivery.role}, sent, {what} at {destination.name}")
    for uid in held:
        verdict.breach(f"{destination.name}: {uid} is nobody's")


def _leftovers(verdict: Verdict, node: Ran) -> None:
    spool = node.storage.spool
    verdict.counts["temporary files left in the spool"] = _count(spool / "tmp")
    verdict.counts["half-written results left in the outbox"] = len(list((node.storage.root / "outbox").glob(".new-*")))
    for name in ("inbox", "quarantine", "unreadable"):
        if number := _count(spool / name):
            verdict.breach(f"{number} files in {name}/")
    for line in node.strange_lines():
        if not _WORDS_OF_KOMBU.match(line):
            verdict.breach(f"log: {line[:300]}")


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def _data_set(path: Path) -> bytes:
    content = path.read_bytes()
    _, start = decode_file_meta(content[: head_bytes()], path.name)
    return content[start:]
