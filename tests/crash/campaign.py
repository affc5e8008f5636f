"""A campaign: acquisitions flow, faults strike, everything is repaired, and the reckoning follows."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from node.app import open_node
from node.dimse.scu import Peer
from tests.conftest import find_peer
from tests.crash.acquisitions import Acquisition, Scanner, transmit
from tests.crash.conduct import Failures
from tests.crash.faults import FAULTS, Fault, Ground
from tests.crash.testbed import Archive, Destination, Node, Storage, Storescp
from tests.crash.verdict import Verdict, judge

_SENDERS = 6
_NO_PROGRESS_S = 300.0  # none at all, also where others use the machine
_TELL_EVERY_S = 60.0
_LOOK_EVERY_S = 0.5
_KILLS_AHEAD = 4
_FAULTS_AHEAD = 4


_FAULTS_EACH = {"surroundings": 0.1, "destinations": 0.3}  # for every acquisition that got through
_FAULTS_OF = {group: {fault.name for fault in FAULTS if fault.group == group} for group in _FAULTS_EACH}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do; it ends when both numbers are reached, or after ``longest_s``.

    ``measured_every``: one of so many acquisitions is really measured (0: none). ``pauses_s``: mean pause between the
    faults of a group. ``without``: faults that are left out.
    """

    acquisitions: int
    kills: int
    seed: int
    longest_s: float
    measured_every: int = 0
    most_in_flight: int = 60
    without: frozenset[str] = frozenset()
    pauses_s: dict[str, float] = field(default_factory=lambda: {"node": 1.5, "surroundings": 20.0, "destinations": 6.0})


@dataclass(frozen=True, kw_only=True)
class Struck:
    """One fault as it happened; ``in_flight`` are the acquisitions that were on their way then."""

    fault: str
    hit: str
    in_flight: frozenset[int]


class Campaign:
    """One run in ``folder``, which must not exist; ``tell`` gets a line now and then."""

    def __init__(self, folder: Path, plan: Plan, tell: Callable[[str], None] = lambda line: None) -> None:
        self.plan = plan
        self.struck: list[Struck] = []
        self.acquisitions: list[Acquisition] = []
        self.seconds = 0.0
        self._tell = tell
        self._storage = Storage(folder / "storage")
        self._pacs = Archive("pacs", folder / "pacs")
        destinations: list[Destination] = [self._pacs]
        if find_peer("storescp"):
            destinations.append(Storescp("storescp", folder / "storescp"))
        self.node = Node(folder, self._storage, destinations)
        self._ground = Ground(node=self.node, pacs=self._pacs, destinations=tuple(destinations), clock_jumps=[])
        self._scanner = Scanner(folder / "scanner", plan.measured_every)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._cut_short = threading.Event()
        self._finished: set[int] = set()
        self._failures = Failures(self._stop)
        self._began = time.monotonic()

    @property
    def kills(self) -> int:
        """SIGKILLs of the node so far."""
        counted = {fault.name for fault in FAULTS if fault.kills}
        return sum(one.fault in counted for one in self.struck)

    @property
    def left_out(self) -> list[str]:
        """Faults that this machine does not allow."""
        return [fault.name for fault in FAULTS if fault.needs_mounts and not self._storage.mounted]

    def cut_short(self) -> None:
        """No new acquisitions and faults from now on; the reckoning follows as ever."""
        self._cut_short.set()

    def run(self) -> Verdict:
        """Everything, to the reckoning."""
        try:
            for destination in self._ground.destinations:
                destination.start()
            self.node.start()
            self._began = time.monotonic()
            self._disturb()
            self._settle("everything is delivered")
            repeats = {d.name: sum(d.repeats()) for d in self._ground.destinations}
            resent = self._send_lost_again()
            status = self.node.stop()
            self.seconds = time.monotonic() - self._began
            verdict = judge(self.node, self.acquisitions, self._ground.destinations, self._ground.clock_jumps)
            for name, number in repeats.items():
                verdict.counts[f"repeats on the wire to {name}"] = number
            verdict.counts["jobs sent again by the operator, after the PACS lost objects"] = resent
            if status != 0:
                verdict.breach(f"the orderly end gave {status}")
            for failure in self._failures:
                verdict.breach(failure)
            return verdict
        finally:
            self._end()

    def _end(self) -> None:
        self._stop.set()
        if self.node.running:
            self.node.kill_tree()
        for destination in self._ground.destinations:
            destination.kill()
        self._storage.close()

    # ------------------------------------------------------------ while faults strike

    def _disturb(self) -> None:
        groups = sorted({fault.group for fault in FAULTS})
        faults = [self._failures.thread(self._strike, group, number) for number, group in enumerate(groups)]
        senders = [self._failures.thread(self._transmit, number) for number in range(_SENDERS)]
        watch = self._failures.thread(self._watch, daemon=True)
        for thread in (*senders, *faults, watch):
            thread.start()
        for thread in (*senders, *faults):
            thread.join()

    def _over(self) -> bool:
        enough = len(self.acquisitions) >= self.plan.acquisitions and self.kills >= self.plan.kills
        ended = self._stop.is_set() or self._cut_short.is_set()
        return enough or ended or time.monotonic() - self._began > self.plan.longest_s

    def _strike(self, group: str, number: int) -> None:
        rng = random.Random(f"{self.plan.seed} {group}")
        left_out = {*self.plan.without, *self.left_out}
        faults = [f for f in FAULTS if f.group == group and f.name not in left_out]
        while not self._over():
            self._stop.wait(rng.expovariate(1 / self.plan.pauses_s[group]))
            if not self._earned(group):
                continue
            fault: Fault = rng.choices(faults, [f.weight for f in faults])[0]
            in_flight, at_s = self._in_flight(), time.monotonic() - self._began
            hit = fault.strike(self._ground, rng)
            if hit is not None:
                one = Struck(fault=fault.name, hit=hit, in_flight=in_flight)
                with self._lock:
                    self.struck.append(one)
                self._tell(
                    f"{at_s:8.2f} s  {fault.name}: {hit}  ({len(self._finished)} of {len(self.acquisitions)} finished, "
                    f"{len(in_flight)} in flight, {self.kills} kills)"
                )

    def _earned(self, group: str) -> bool:
        """Faults follow the acquisitions that got through, so that a slow machine is not only starting processes."""
        if group == "node":
            return self.kills <= _KILLS_AHEAD + self.plan.kills * len(self._finished) / self.plan.acquisitions
        struck = sum(one.fault in _FAULTS_OF[group] for one in self.struck)
        return struck <= _FAULTS_AHEAD + _FAULTS_EACH[group] * len(self._finished)

    def _transmit(self, number: int) -> None:
        rng = random.Random(f"{self.plan.seed} scanner {number}")
        peer = Peer(ae_title="IRONNODE", host="127.0.0.1", port=self.node.port)
        while not self._over():
            if len(self._in_flight()) >= self.plan.most_in_flight:
                self._stop.wait(0.1)
                continue
            with self._lock:
                acquisition = self._scanner.acquire(len(self.acquisitions) + 1)
                self.acquisitions.append(acquisition)
            transmit(acquisition, (peer,), rng, self._stop)

    def _in_flight(self) -> frozenset[int]:
        return frozenset(a.number for a in self.acquisitions) - self._finished

    def _watch(self) -> None:
        told_at = time.monotonic()
        while not self._stop.wait(_LOOK_EVERY_S):
            self._look()
            if time.monotonic() - told_at > _TELL_EVERY_S:
                told_at = time.monotonic()
                self._tell(f"so far: {self._so_far()}")

    def _look(self) -> None:
        waiting = {a.study_instance_uid: a for a in self.acquisitions if a.number not in self._finished}
        names = ",".join(f"'{uid}'" for uid in waiting)
        members = "(select count(*) from job_instance m where m.job_id = j.job_id)"
        pending = "(select count(*) from delivery d where d.job_id = j.job_id and d.state = 'pending')"
        rows = self.node.ask(
            f"select study_instance_uid, max({members}), min(state = 'done'), sum({pending}) from job j "
            f"where study_instance_uid in ({names}) group by study_instance_uid"
        )
        for study, images, done, left in rows:
            if done and not left and images == len(waiting[study].files):
                self._finished.add(waiting[study].number)

    def _so_far(self) -> str:
        """For a run that is cut off: it has counts too."""
        faults = Counter(one.fault for one in self.struck)
        held = {d.name: d.number_held() for d in self._ground.destinations}
        return (
            f"{time.monotonic() - self._began:.0f} s, {len(self._finished)} of {len(self.acquisitions)} acquisitions "
            f"finished, {self.kills} kills, objects held {held}, faults {dict(sorted(faults.items()))}"
        )

    # ------------------------------------------------------------ when they are over

    def _settle(self, what: str) -> None:
        """Wait for the rest, as long as something moves."""
        best, since = len(self._finished), time.monotonic()
        while self._in_flight() and time.monotonic() - since < _NO_PROGRESS_S:
            time.sleep(_LOOK_EVERY_S)  # other processes' work
            self._look()
            if len(self._finished) > best:
                best, since = len(self._finished), time.monotonic()
        if left := self._in_flight():
            self._failures.append(f"not within {_NO_PROGRESS_S:g} s: {what}; left are {sorted(left)}")

    def _send_lost_again(self) -> int:
        """What an operator does about objects that a PACS acknowledged and has not; for how many jobs."""
        lost = self._pacs.lost() - self._pacs.held().keys()
        names = ",".join(f"'{uid}'" for uid in lost)
        jobs = self.node.ask(f"select distinct job_id, j.study_instance_uid from delivery join job j using (job_id) "
                             f"where sop_instance_uid in ({names})")  # fmt: skip
        with open_node(self.node.config) as parts:
            for job_id, _ in jobs:
                parts.send_again(job_id)
        studies = {study for _, study in jobs}
        self._finished -= {a.number for a in self.acquisitions if a.study_instance_uid in studies}
        self._settle("what the PACS lost is sent again")
        return len(jobs)
