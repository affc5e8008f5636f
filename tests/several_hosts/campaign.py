"""A campaign: acquisitions flow to two gateways, hosts are killed or cut off, and the reckoning follows."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node.dimse.scu import Peer
from tests.crash.acquisitions import Acquisition, Scanner, transmit
from tests.crash.conduct import Failures
from tests.crash.verdict import Verdict, judge
from tests.several_hosts.faults import Deck, Fault
from tests.several_hosts.site import CUT_OFF, FILES, KILLED, Site

_SENDERS = 3
_MOST_IN_FLIGHT = 24
_NO_PROGRESS_S = 900.0  # a busy machine starts a host in minutes
_PAUSE_S = (3.0, 9.0)
_AWAY_S = (2.0, 25.0)  # leases of roles last 15 s, of jobs 4 s


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do, for how long."""

    seed: int
    longest_s: float
    workers: int
    at_once: int = 2
    measured_every: int = 25


class Campaign:
    """One run in ``folder``, which must not exist."""

    def __init__(self, folder: Path, plan: Plan, tell: Callable[[str], None]) -> None:
        self.plan = plan
        self.acquisitions: list[Acquisition] = []
        self.struck: Counter[Fault] = Counter()
        self.beside_another: Counter[Fault] = Counter()
        self.on_their_way: Counter[Fault] = Counter()
        self._tell = tell
        self._scanner = Scanner(folder / "scanner", plan.measured_every)
        self._site = Site(folder, plan.workers, file_server=True)
        self._deck = Deck((FILES, *self._site.hosts), random.Random(f"{plan.seed} faults"))
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._failures = Failures(self._over)
        self._finished: set[int] = set()
        self._minutes = 0.0

    def run(self) -> Verdict:
        """Everything, to the reckoning."""
        began = time.monotonic()
        try:
            self._site.start()
            self._tell(f"started after {time.monotonic() - began:.0f} s")
            self._disturb()
            self._settle()
            self._site.stop()
            self._minutes = (time.monotonic() - began) / 60
            verdict = judge(self._site, self.acquisitions, (self._site.pacs,), [])
            verdict.broken.extend(self._failures)
            verdict.counts["starts by the service manager"] = sum(h.restarts for h in self._site.hosts.values())
            return verdict
        finally:
            self._over.set()
            self._site.close()

    def _disturb(self) -> None:
        threads = [self._failures.thread(self._strike, number) for number in range(self.plan.at_once)]
        threads += [self._failures.thread(self._send, number, daemon=True) for number in range(_SENDERS)]
        began = time.monotonic()
        self._tell(f"{len(threads)} threads, {self._deck.n_of_cover} faults at least")
        for thread in threads:
            thread.start()
        while not self._failures and (time.monotonic() < began + self.plan.longest_s or not self._deck.covered):
            time.sleep(1)  # the campaign's length
            self._look()
        self._over.set()
        for thread in threads:
            while thread.is_alive() and not self._failures:
                thread.join(1)

    def _strike(self, number: int) -> None:
        rng = random.Random(f"{self.plan.seed} striker {number}")
        began = time.monotonic()
        while not self._over.wait(rng.uniform(*_PAUSE_S)):
            away_s = rng.uniform(*_AWAY_S)
            with self._deck.drawn(self._over) as drawn:
                if drawn is None:
                    return
                fault, others = drawn
                in_flight = len(self.acquisitions) - len(self._finished)
                self._tell(f"{time.monotonic() - began:7.1f} s  {fault[0]} {fault[1]} for {away_s:.0f} s"
                           + "".join(f", while {name} is away" for name in others)
                           + f"  ({len(self._finished)} of {len(self.acquisitions)} finished)")  # fmt: skip
                self.struck[fault] += 1
                self.beside_another[fault] += bool(others)
                self.on_their_way[fault] += in_flight
                self._site.take_away(*fault)
                self._over.wait(away_s)
                self._site.bring_back(*fault)

    def _send(self, number: int) -> None:
        rng = random.Random(f"{self.plan.seed} scanner {number}")
        peers = [Peer(ae_title="IRONNODE", host=host, port=port) for host, port in self._site.gateways]
        while not self._over.is_set():
            if len(self.acquisitions) - len(self._finished) >= _MOST_IN_FLIGHT:
                self._over.wait(0.2)
                continue
            with self._lock:
                acquisition = self._scanner.acquire(len(self.acquisitions) + 1)
                self.acquisitions.append(acquisition)
            transmit(acquisition, peers, rng, threading.Event())  # to the end: what was begun is sent

    def _look(self) -> None:
        members = "(select count(*) from job_instance m where m.job_id = j.job_id)"
        pending = "(select count(*) from delivery d where d.job_id = j.job_id and d.state = 'pending')"
        waiting = {a.study_instance_uid: a for a in self.acquisitions if a.number not in self._finished}
        names = ",".join(f"'{uid}'" for uid in waiting) or "''"
        rows = self._site.ask(
            f"select study_instance_uid, max({members}), bool_and(state = 'done'), sum({pending}) from job j "
            f"where study_instance_uid in ({names}) group by study_instance_uid"
        )
        for study, images, done, left in rows:
            if done and not left and images == len(waiting[study].files):
                self._finished.add(waiting[study].number)

    def _settle(self) -> None:
        best, since = len(self._finished), time.monotonic()
        while len(self._finished) < len(self.acquisitions) and time.monotonic() - since < _NO_PROGRESS_S:
            time.sleep(0.5)  # other hosts' work
            self._look()
            if len(self._finished) > best:
                best, since = len(self._finished), time.monotonic()
        if left := {a.number for a in self.acquisitions} - self._finished:
            self._failures.append(f"not within {_NO_PROGRESS_S:g} s; left are {sorted(left)}")

    def table(self, verdict: Verdict) -> str:
        """What struck, and the counts."""
        lines = [
            f"{len(self.acquisitions)} acquisitions, {sum(self.struck.values())} faults in {self._minutes:.0f} min, "
            f"{sum(self.beside_another.values())} of them while another host was away "
            f"(seed {self.plan.seed}): {len(verdict.lost)} lost, {len(verdict.twice)} duplicated, "
            f"{len(verdict.stuck)} stuck, {len(verdict.broken)} promises broken.",
            "", "| host | killed | cut off | while another was away | acquisitions on their way then (sum) |",
            "|---|---|---|---|---|",
        ]  # fmt: skip
        for name in (*self._site.hosts, FILES):
            killed, cut = (name, KILLED), (name, CUT_OFF)
            beside = self.beside_another[killed] + self.beside_another[cut]
            sums = self.on_their_way[killed] + self.on_their_way[cut]
            lines.append(f"| {name} | {self.struck[killed]} | {self.struck[cut]} | {beside} | {sums} |")
        lines += ["", "| counted at the end | number |", "|---|---|"]
        return "\n".join([*lines, *(f"| {name} | {number} |" for name, number in verdict.counts.items())]) + "\n"
