"""The deliverer role: sends, asks for storage commitment, removes; a thread for each errand, so that none waits."""

import random
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from node.app import free_mib, open_node, wall_clock
from node.config import Config, DestinationConfig, Receiver
from node.deliver.commitment import Ask, Committer
from node.deliver.dispatch import Dispatcher, OnOutcome, Sender
from node.deliver.retention import Find, Retention
from node.dimse.commitment import REPORT_WAIT_S, KeepReport, ask
from node.dimse.holdings import Inquiry
from node.dimse.scu import Peer
from node.dimse.scu import send as send_files
from node.jobs.commitment_files import CommitmentFiles
from node.jobs.deliveries import DeliveryBook
from node.model import SopReference, StoreOutcome
from node.ops.disk_watch import DiskWatch
from node.roles.stage import Stage

_LOOK_EVERY_S = 0.5
_AFTER_TROUBLE_S = 2.0
_LEFTOVERS_OLDER_THAN_S = 3600.0
_RETENTION_EVERY_S = 10.0
_LOOK_AT_DISK_EVERY_S = 5.0
_TRANSACTIONS_OLDER_THAN_S = 30 * 86400.0

Errand = Callable[[], object]


def sender(config: Config, book: DeliveryBook) -> Sender:
    """C-STORE to a destination, a message to another receiver."""

    def send(files: Sequence[Path], destination: Receiver, on_outcome: OnOutcome) -> Sequence[StoreOutcome]:
        if not isinstance(destination, DestinationConfig):
            from node.messages.send import send_messages

            return send_messages(files, destination, on_outcome, partial(book.last_received, destination.name))
        return send_files(
            files,
            Peer.of(destination),
            calling_ae_title=destination.calling_ae_title or config.receive.ae_title,
            timeout_s=destination.timeout_s,
            on_outcome=on_outcome,
        )

    return send


def dicom_asker(config: Config, keep: KeepReport, report_wait_s: float = REPORT_WAIT_S) -> Ask:
    """Storage commitment request to a destination; ``keep`` gets a report that comes on the same association."""

    def request(destination: DestinationConfig, transaction_uid: str, references: Sequence[SopReference]) -> None:
        ask(
            Peer.of(destination),
            transaction_uid,
            references,
            keep,
            calling_ae_title=destination.calling_ae_title or config.receive.ae_title,
            timeout_s=destination.timeout_s,
            report_wait_s=report_wait_s,
        )

    return request


def dicom_finder(config: Config) -> Find:
    """C-FIND at a destination."""

    def find(destination: DestinationConfig, study_instance_uid: str, series: Sequence[str]) -> frozenset[str]:
        calling = destination.calling_ae_title or config.receive.ae_title
        with Inquiry(Peer.of(destination), calling_ae_title=calling, timeout_s=destination.timeout_s) as inquiry:
            return inquiry.held(study_instance_uid, series)

    return find


def play(stage: Stage) -> None:
    """Deliver until told to stop; a send that is under way is cut off then, and repeated later."""
    with open_node(stage.config, stage.fence) as node:
        now_s = wall_clock().timestamp()
        node.outbox.sweep(_LEFTOVERS_OLDER_THAN_S, now_s)
        files = CommitmentFiles(stage.config.storage.root)
        files.sweep(_TRANSACTIONS_OLDER_THAN_S, now_s)
        dispatcher = Dispatcher(
            book=node.ledger.deliveries,
            outbox=node.outbox,
            send=sender(stage.config, node.ledger.deliveries),
            clock=node.clock,
            uniform=random.uniform,
        )
        committer = Committer(
            book=node.ledger.commitments,
            files=files,
            ask=dicom_asker(stage.config, files.keep),
            clock=node.clock,
            uniform=random.uniform,
        )
        retention = node.retention(dicom_finder(stage.config))
        stage.ready()
        deliver(stage, dispatcher, committer, retention)


def deliver(stage: Stage, dispatcher: Dispatcher, committer: Committer, retention: Retention) -> None:
    """Look for what is due and have it sent, asked about, or removed, until told to stop."""
    destinations = {d.name: d for d in stage.config.destinations}
    receivers = {r.name: r for r in stage.config.receivers}
    errands = _Errands(stage)
    watch = DiskWatch(stage.config.storage, partial(free_mib, stage.config.storage.root))

    def look() -> None:
        committer.take_answers()
        for name in dispatcher.book.due_destinations(dispatcher.clock()):
            if name in receivers:
                errands.run(f"to-{name}", partial(dispatcher.deliver_due, receivers[name]))
        for name in committer.due_destinations(destinations.values()):
            errands.run(f"commit-{name}", partial(committer.ask_due, destinations[name]))

    while not stage.stop.wait(_LOOK_EVERY_S):
        errands.run("disk", watch.look, _LOOK_AT_DISK_EVERY_S)
        errands.run("retention", retention.step, _RETENTION_EVERY_S)
        stage.does("look", look)


class _Errands:
    """One thread for each errand that is under way."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._threads: dict[str, threading.Thread] = {}

    def run(self, name: str, errand: Errand, then_wait_s: float = 0.0) -> None:
        """Start an errand, unless the last of its name is still under way, or was a moment ago."""
        running = self._threads.get(name)
        if running is None or not running.is_alive():
            thread = threading.Thread(target=self._run, args=(name, errand, then_wait_s), name=name, daemon=True)
            self._threads[name] = thread
            thread.start()

    def _run(self, name: str, errand: Errand, then_wait_s: float) -> None:
        if not self._stage.does(name, errand):
            then_wait_s = max(then_wait_s, _AFTER_TROUBLE_S)
        self._stage.stop.wait(then_wait_s)
