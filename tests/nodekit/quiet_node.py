"""A whole node without processes, network or waiting: step it, crash it anywhere, start it again over the same disk."""

import os
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydicom import dcmread

from node.config import Config, DestinationConfig
from node.deliver.clock_watch import ClockWatch
from node.deliver.dispatch import Dispatcher, OnOutcome
from node.deliver.outbox import Outbox
from node.deliver.retention import Find, Retention
from node.intake.spool import Spool
from node.jobs.assemble import Assembler
from node.jobs.ledger import Ledger
from node.jobs.manifest import ManifestStore
from node.jobs.overview import JobLine, Overview
from node.jobs.priors import PriorStore
from node.jobs.reconcile import Reconciler
from node.jobs.settings import SettingsStore
from node.jobs.work import Workshop
from node.model import JobInput, JobState, PipelineOutput, StoreOutcome, StoreStatus
from quant.prior import PriorAnswer
from tests.nodekit.fast_node import make_result


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=123456)

    def __call__(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


class Archive:
    """A destination that keeps every object it is sent, and how often; ``refuse`` says what it answers instead."""

    def __init__(self) -> None:
        self.received: dict[str, list[bytes]] = {}
        self.associations: list[list[str]] = []
        self.refuse: Callable[[Path], StoreStatus | None] = lambda path: None

    def send(self, files: Sequence[Path], destination: DestinationConfig, on_outcome: OnOutcome) -> list[StoreOutcome]:
        self.associations.append([f.name for f in files])
        outcomes = []
        for path in files:
            status = self.refuse(path) or StoreStatus.SUCCESS
            if status == StoreStatus.SUCCESS:
                self.received.setdefault(str(dcmread(path).SOPInstanceUID), []).append(path.read_bytes())
            outcomes.append(StoreOutcome(path=path, status=status, detail=f"answered {status}"))
            on_outcome(outcomes[-1])
        return outcomes


class Bell:
    """A broker in memory; it can be away, and it can be emptied."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.away: Exception | None = None

    def waiting(self) -> int:
        if self.away:
            raise self.away
        return len(self.messages)

    def ring(self, job_ids: Sequence[str]) -> None:
        if self.away:
            raise self.away
        self.messages.extend(job_ids)


class QuietNode:
    """The stages wired as ``node.app`` and the roles do it. ``restart`` forgets everything but the disk."""

    def __init__(self, root: Path, archive: Archive, clock: Clock, config: Config) -> None:
        self.root = root
        self.archive = archive
        self.clock = clock
        self.config = config
        self.run: Callable[[JobInput], PipelineOutput] = make_result
        self.ask_archive: Callable[[Path, Config], PriorAnswer | None] = lambda image, config: None
        self.owner = 0
        self.jumped_s = 0.0
        self._wire()

    def _wire(self) -> None:
        self.bell = Bell()
        self.spool = Spool(self.root)
        self.ledger = Ledger(self.root, self.config.database.url)
        self.manifests = ManifestStore(self.root / "jobs")
        self.outbox = Outbox(self.root / "outbox")
        self.settings = SettingsStore(self.root / "settings")
        self.settings.keep(self.config)
        self.assembler = Assembler(
            spool=self.spool, ledger=self.ledger, manifests=self.manifests, config=self.config.assemble,
            rules=self.config.rules, settings_digest=self.config.method_digest(), method_version="1",
            clock=self.clock,
        )  # fmt: skip
        self.watch = ClockWatch(self.ledger.removals, self.clock, self.steady_s)
        self.watch.held_until()
        self.reconciler = Reconciler(self.ledger, self.bell, self.config, self.clock)
        self.workshop = Workshop(
            ledger=self.ledger, outbox=self.outbox, locate=self.spool.find, run=self._run,
            priors=PriorStore(self.root / "priors"), settings=self.settings, ask_archive=self._ask_archive,
            clock=self.clock, config=self.config,
        )  # fmt: skip
        self.dispatcher = Dispatcher(
            book=self.ledger.deliveries, outbox=self.outbox, send=self.archive.send, clock=self.clock,
            uniform=lambda low, high: high,
        )  # fmt: skip

    def steady_s(self) -> float:
        """Monotonic seconds: those that the clock passed, not those that it jumped."""
        return self.clock.now.timestamp() - self.jumped_s

    def retention(self, find: Find) -> Retention:
        """Retention as ``node.app`` wires it, on this node's clock."""
        return Retention(
            removals=self.ledger.removals, deliveries=self.ledger.deliveries, commitments=self.ledger.commitments,
            outbox=self.outbox, spool=self.spool, config=self.config.retention, destinations=self.config.destinations,
            message_receivers=frozenset(m.name for m in self.config.messages), find=find, clock=self.clock,
            watch=self.watch,
        )  # fmt: skip

    def _run(self, job: JobInput, _config: Config) -> PipelineOutput:
        return self.run(job)

    def _ask_archive(self, image: Path, config: Config) -> PriorAnswer | None:
        return self.ask_archive(image, config)

    def receive(self, files: Sequence[Path]) -> None:
        """Put files where the listener puts what it has acknowledged."""
        for file in files:
            uid = dcmread(file, stop_before_pixels=True).SOPInstanceUID
            arrived = self.spool.inbox_folder / f"{uid}.dcm"
            shutil.copyfile(file, arrived)
            os.utime(arrived, (self.clock().timestamp(),) * 2)

    def measured(self, files: Sequence[Path]) -> str:
        """The job that these files bring about, done; nothing of it is sent yet."""
        self.receive(files)
        for _ in range(3):
            self.clock.pass_s(60)
            self.assembler.step()
        (queued,) = [j for j in self.jobs() if j.state == JobState.QUEUED]
        assert self.workshop.do(queued.job_id, "one") == JobState.DONE
        return queued.job_id

    def step(self) -> None:
        """Every role once."""
        self.assembler.step()
        self.reconciler.step()
        messages, self.bell.messages = self.bell.messages, []
        for job_id in messages:
            self.owner += 1
            self.workshop.do(job_id, f"run {self.owner}")
        for destination in self.config.destinations:
            self.dispatcher.deliver_due(destination)

    def steps(self, number: int, *, each_s: float = 0) -> None:
        """Every role once, ``number`` times, ``each_s`` seconds passing before each."""
        for _ in range(number):
            self.clock.pass_s(each_s)
            self.step()

    def settle(self) -> None:
        """Step, with time passing, until everything must have happened."""
        self.steps(12, each_s=40)

    def jobs(self) -> list[JobLine]:
        """Every job, the earliest revision first."""
        return sorted(Overview(self.ledger.database).jobs(), key=lambda line: (line.revision, line.job_id))

    def restart(self) -> None:
        """What a kill leaves: the disk."""
        self.close()
        self._wire()
        self.assembler.recover()

    def close(self) -> None:
        self.ledger.close()
