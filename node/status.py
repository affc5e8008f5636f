"""The node at a glance: what its processes do, what waits, what wants a person."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from node.config import Config
from node.intake.set_apart import SetApartCounts
from node.jobs.commitments import CommitmentCounts
from node.jobs.ledger import Ledger
from node.jobs.removals import RemovalCounts
from node.jobs.self_tests import SelfTest
from node.model import JobState
from node.runtime import ConfigRefusal


@dataclass(frozen=True, kw_only=True)
class DestinationStatus:
    """What waits for a destination; ``configured`` is false when the configuration no longer names it; ``unsupported``
    counts by role the objects whose SOP class it does not take; ``untold`` counts the results of which it should have
    got a picture page or report and takes no form of either; ``commitment`` is ``None`` where it was never asked."""

    name: str
    configured: bool
    pending: int
    sent: int
    unsupported: Mapping[str, int]
    untold: int
    waiting_since: datetime | None
    last_detail: str | None
    commitment: CommitmentCounts | None


@dataclass(frozen=True, kw_only=True)
class NodeStatus:
    """The node at a glance; ``roles`` says of each process that was started whether it is alive; ``audit_unsent_since``
    since when the server of ``audit.syslog`` lacks messages."""

    roles: dict[str, bool]
    inbox: int
    receiving: int
    declined: int
    jobs: dict[JobState, int]
    destinations: tuple[DestinationStatus, ...]
    retention: RemovalCounts
    set_apart: Mapping[str, SetApartCounts]
    free_mib: int
    self_test: SelfTest | None
    config_refused: ConfigRefusal | None
    retention_held_until: datetime | None
    audit_unsent_since: datetime | None


def destination_statuses(config: Config, ledger: Ledger) -> Iterator[DestinationStatus]:
    """Of every destination that the configuration names, or for which something waits or was sent."""
    backlogs = {b.destination: b for b in ledger.deliveries.backlogs()}
    commitments = ledger.commitments.counts()
    configured = [d.name for d in config.receivers]
    to_tell = {d.name for d in config.destinations if d.is_to_tell}
    for name in dict.fromkeys([*configured, *backlogs]):
        backlog = backlogs.get(name)
        yield DestinationStatus(
            name=name,
            configured=name in configured,
            pending=backlog.pending if backlog else 0,
            sent=backlog.sent if backlog else 0,
            unsupported=backlog.unsupported if backlog else {},
            untold=backlog.untold if backlog and name in to_tell else 0,
            waiting_since=backlog.oldest_pending_at if backlog else None,
            last_detail=backlog.last_detail if backlog else None,
            commitment=commitments.get(name),
        )
