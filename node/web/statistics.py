"""Delivery statistics: what became of everything that each scanner sent, by UTC day."""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from node.jobs.figures import DeclinedFigures, JobFigures, PeerFigures

_MEASURED = "measured"


@dataclass(kw_only=True)
class DayLine:
    """One calling AE title on one day. Jobs count on the day they were accepted; ``refused`` by reason code."""

    day: str
    peer: str
    instances: int = 0
    size_bytes: int = 0
    complete: int = 0
    measured: int = 0
    delivered: int = 0
    committed: int = 0
    declined: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


def by_day(
    peers: Iterable[PeerFigures], jobs: Iterable[JobFigures], declined: Iterable[DeclinedFigures]
) -> list[DayLine]:
    """One line for each day and scanner, the latest day first."""
    lines: dict[tuple[str, str], DayLine] = {}

    def line(day: str, peer: str) -> DayLine:
        return lines.setdefault((day, peer), DayLine(day=day, peer=peer))

    for arrived in peers:
        found = line(arrived.day, arrived.peer)
        found.instances += arrived.instances
        found.size_bytes += arrived.size_bytes
    for job in jobs:
        found = line(f"{job.accepted_at:%Y-%m-%d}", job.peer)
        found.complete += 1
        found.measured += job.outcome == _MEASURED
        found.delivered += job.delivered
        found.committed += job.committed
        if job.outcome is not None and job.outcome != _MEASURED:
            found.refused[job.deciding_code] += 1
    for group in declined:
        line(f"{group.at:%Y-%m-%d}", group.peer).declined[group.code] += 1
    return sorted(sorted(lines.values(), key=lambda x: x.peer), key=lambda x: x.day, reverse=True)


def as_csv(lines: Iterable[DayLine]) -> str:
    """The table as CSV with a heading; a text that a spreadsheet would run as a formula is quoted."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        ["day_utc", "scanner", "instances", "bytes", "complete", "measured", "refused", "refused_by_reason",
         "declined", "declined_by_reason", "delivered", "committed"]
    )  # fmt: skip
    for x in lines:
        writer.writerow(
            [x.day, _harmless(x.peer), x.instances, x.size_bytes, x.complete, x.measured, x.refused.total(),
             _reasons(x.refused), x.declined.total(), _reasons(x.declined), x.delivered, x.committed]
        )  # fmt: skip
    return out.getvalue()


def _reasons(counts: Counter[str]) -> str:
    return " ".join(f"{code}:{number}" for code, number in sorted(counts.items()))


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
