"""The ledger made anew from the disk: spool, job manifests, outbox."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from node.config import Receiver
from node.deliver.outbox import Outbox, plan_deliveries
from node.errors import ConfigError, InputError
from node.intake.headers import read_header
from node.intake.spool import Spool
from node.jobs.ledger import Ledger
from node.jobs.manifest import ManifestStore
from node.jobs.studies import IndexedInstance
from node.ops.events import Event, emit

_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """What was found; ``unreadable`` names files of the spool that could not be entered."""

    instances: int
    jobs: int
    results: int
    unreadable: tuple[str, ...]


def rebuild_ledger(
    *,
    spool: Spool,
    ledger: Ledger,
    manifests: ManifestStore,
    outbox: Outbox,
    receivers_of: Callable[[tuple[str, ...] | None], Sequence[Receiver]],
    now: datetime,
) -> Rebuilt:
    """Enter everything that the disk knows into an empty ledger (or into one that knows a part of it).

    Every study is left open, so the assembler looks at it again: it finds the jobs that stand and makes those that
    were never made. Deliveries are pending again, except of jobs whose files retention removed.

    Raises:
        StorageError: disk or database refused.
    """
    instances, unreadable = _enter_instances(spool, ledger)
    jobs = results = 0
    for manifest in manifests.all():
        jobs += ledger.add(manifest, now)
        record = outbox.record(manifest.job_id)
        if record is not None:
            results += 1
            removed = outbox.removed(manifest.job_id)
            try:
                wanted = receivers_of(manifest.destinations) if removed is None else ()
            except ConfigError:
                continue  # it stays queued, and its worker parks it with this reason
            planned = plan_deliveries(record, wanted)
            ledger.restore_done(manifest.job_id, now, record, planned)
            if removed is not None:
                ledger.removals.restore(manifest.job_id, removed, now)
    emit(Event.LEDGER_REBUILT, instances=instances, jobs=jobs, results=results, unreadable=len(unreadable))
    return Rebuilt(instances=instances, jobs=jobs, results=results, unreadable=tuple(unreadable))


def _enter_instances(spool: Spool, ledger: Ledger) -> tuple[int, list[str]]:
    entered = 0
    batch: list[IndexedInstance] = []
    unreadable: list[str] = []
    for spooled in spool.instances():
        try:
            batch.append(IndexedInstance(header=read_header(spooled.path), spooled=spooled))
        except InputError as error:
            unreadable.append(str(error))
        if len(batch) >= _BATCH:
            ledger.studies.add_instances(batch)
            entered, batch = entered + len(batch), []
    ledger.studies.add_instances(batch)
    return entered + len(batch), unreadable
