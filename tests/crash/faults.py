"""What is done to the node, its disk, its clock and its destinations while acquisitions flow.

A fault returns what it hit, in a few words (a row of the table counts them), or ``None`` when it could not be done now.
"""

import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.crash import archive
from tests.crash.testbed import Archive, Destination, Node, kill

_WAIT_FOR_MOMENT_S = 6.0
_ENVIRONMENT_S = (1.0, 4.0)  # how long a disk or clock stays wrong
_HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``group``: faults of one group follow each other, groups overlap. ``kills``: it is a SIGKILL of the node."""

    name: str
    group: str
    weight: int
    strike: Callable[["Ground", random.Random], str | None]
    kills: bool = False
    needs_mounts: bool = False


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What faults act on; ``pacs`` misbehaves, ``destinations`` are all of them."""

    node: Node
    pacs: Archive
    destinations: tuple[Destination, ...]
    clock_jumps: list[tuple[float, float]]


# ------------------------------------------------------------ kills


def _kill_role(role: str) -> Callable[[Ground, random.Random], str | None]:
    def strike(ground: Ground, _rng: random.Random) -> str | None:
        pids = ground.node.roles().get(role)
        if not pids:
            return None
        where = _place(ground.node.stack(pids[0]))
        for pid in pids:
            kill(pid)
        return where

    return strike


def _kill_broker(ground: Ground, rng: random.Random) -> str | None:
    return _end_broker(ground, with_data=False)


def _kill_broker_and_data(ground: Ground, rng: random.Random) -> str | None:
    return _end_broker(ground, with_data=True)


def _end_broker(ground: Ground, *, with_data: bool) -> str | None:
    server = ground.node.facts("broker").get("server_pid")
    if server is None or server not in [pid for pids in ground.node.roles().values() for pid in pids]:
        return None
    kill(int(server))
    if with_data:
        shutil.rmtree(ground.node.storage.root / "broker", ignore_errors=True)
    return "server"


def _kill_tree(ground: Ground, rng: random.Random) -> str | None:
    ground.node.kill_tree()
    refused = ground.node.start()
    return f"started after {refused} refused starts" if refused else "started"


def _pool(node: Node) -> list[int]:
    """The worker's processes that measure."""
    return node.roles().get("worker", [])[1:]


def _kill_in_run(ground: Ground, rng: random.Random) -> str | None:
    """A pool process while it has a job, at any moment of it."""
    if not _wait(lambda: _running(ground.node)):
        return None
    time.sleep(rng.uniform(0, 0.5) if rng.random() < 0.5 else rng.uniform(0, 5))  # the moment is what is random here
    pool = _pool(ground.node)
    if not pool:
        return None
    pid = rng.choice(pool)
    where = _place(ground.node.stack(pid))
    kill(pid)
    return where


def _kill_at(moment: str, there: Callable[[Node, str], bool]) -> Callable[[Ground, random.Random], str | None]:
    """A pool process at a moment that is seen from outside: it is frozen, looked at, killed or let go on."""

    def strike(ground: Ground, _rng: random.Random) -> str | None:
        deadline = time.monotonic() + _WAIT_FOR_MOMENT_S
        while time.monotonic() < deadline:
            for pid in _pool(ground.node):
                kill(pid, signal.SIGSTOP)
                if any(there(ground.node, job_id) for job_id in _running(ground.node)):
                    kill(pid)
                    return moment
                kill(pid, signal.SIGCONT)
            time.sleep(0.001)  # let it move on
        return None

    return strike


def _writing(node: Node, job_id: str) -> bool:
    return any((node.storage.root / "outbox").glob(f".new-{job_id}-*"))


def _written(node: Node, job_id: str) -> bool:
    return (node.storage.root / "outbox" / job_id).is_dir()


def _kill_before_acknowledgement(ground: Ground, rng: random.Random) -> str | None:
    """The worker's main process is frozen, so that its pool process ends the job and the message stays unanswered."""
    pids = ground.node.roles().get("worker", [])
    running = set(_running(ground.node))
    if len(pids) < 2 or not running:
        return None
    kill(pids[0], signal.SIGSTOP)
    ended = _wait(lambda: running - set(_running(ground.node)))
    for pid in pids:
        kill(pid)
    return "job done, message not acknowledged" if ended else "run cut off"


def _running(node: Node) -> list[str]:
    return [row[0] for row in node.ask("select job_id from job where state = 'running'")]


def _wait(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + _WAIT_FOR_MOMENT_S
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)  # another process's state
    return False


_STEPS = (  # the innermost of these names what a process was doing
    ("quant/", "fit and region"),
    ("sr_templates/", "making objects"),
    ("node/report/", "making the report"),
    ("node/deliver/outbox.py", "outbox"),
    ("node/process/", "pixels and checks"),
    ("tests/crash/role.py", "quick measurement"),
    ("node/intake/group_commit.py", "making an instance durable"),
    ("node/intake/spool.py", "spool"),
    ("node/dimse/scu.py", "sending"),
    ("node/dimse/requestor.py", "sending"),
    ("node/dimse/", "protocol"),
    ("node/intake/", "reading headers"),
    ("node/jobs/ledger.py", "ledger"),
    ("node/jobs/deliveries.py", "ledger"),
    ("node/jobs/studies.py", "ledger"),
    ("node/jobs/database.py", "ledger"),
)


_QUICK_RUN = re.compile(r'role\.py", line \d+ in run\n')


def _place(stack: str) -> str:
    """What a process was doing: the most specific step among its threads."""
    files = re.findall(r'File "([^"]+)"', stack)
    for part, step in _STEPS:
        if any(part in file and (part != "tests/crash/role.py" or _QUICK_RUN.search(stack)) for file in files):
            return step
    return "elsewhere" if files else "not seen"


# ------------------------------------------------------------ disk and clock


def _fill_disk(ground: Ground, rng: random.Random) -> str | None:
    left_kib = rng.choice((0, 16, 128, 1024))
    if not ground.node.storage.fill(left_kib):
        return None
    try:
        time.sleep(rng.uniform(*_ENVIRONMENT_S))  # the fault's duration
    finally:
        ground.node.storage.empty()
    return f"{left_kib} KiB left"


def _read_only_spool(ground: Ground, rng: random.Random) -> str | None:
    if not ground.node.storage.make_spool_read_only():
        return None
    try:
        time.sleep(rng.uniform(*_ENVIRONMENT_S))  # the fault's duration
    finally:
        ground.node.storage.make_spool_writable()
    return "read-only"


def _jump_clock(ground: Ground, rng: random.Random) -> str | None:
    """Off by minutes to hours, and back: each way is a jump."""
    offset_s = rng.choice((-1, 1)) * rng.choice((60, _HOUR_S, 30 * _HOUR_S))
    began = time.monotonic()
    ground.node.move_clock(offset_s)
    try:
        time.sleep(rng.uniform(*_ENVIRONMENT_S))  # the fault's duration
    finally:
        ground.node.move_clock(0)
        ground.clock_jumps.append((began, time.monotonic()))
    return f"{offset_s / _HOUR_S:+.3g} h and back"


# ------------------------------------------------------------ destinations


def _answer(mode: str) -> Callable[[Ground, random.Random], str | None]:
    def strike(ground: Ground, rng: random.Random) -> str | None:
        ground.pacs.answer(mode)
        try:
            time.sleep(rng.uniform(0.5, 5))  # the fault's duration
        finally:
            ground.pacs.answer(archive.KEEP)
        return "answered so"

    return strike


def _stop_destination(ground: Ground, rng: random.Random) -> str | None:
    destination = rng.choice(ground.destinations)
    destination.kill()
    time.sleep(rng.uniform(0.5, 5))  # the fault's duration
    destination.start()
    return f"{destination.name} killed"


def _freeze_destination(ground: Ground, rng: random.Random) -> str | None:
    destination = rng.choice(ground.destinations)
    destination.freeze()
    try:
        time.sleep(rng.uniform(1, 8))  # the fault's duration; the node gives up after 4 s
    finally:
        destination.thaw()
    return f"{destination.name} frozen"


FAULTS = (
    Fault(name="listener killed", group="node", weight=10, kills=True, strike=_kill_role("listener")),
    Fault(name="assembler killed", group="node", weight=10, kills=True, strike=_kill_role("assembler")),
    Fault(name="deliverer killed", group="node", weight=10, kills=True, strike=_kill_role("deliverer")),
    Fault(name="worker killed, all of it", group="node", weight=5, kills=True, strike=_kill_role("worker")),
    Fault(name="worker killed in a run", group="node", weight=10, kills=True, strike=_kill_in_run),
    Fault(
        name="worker killed writing objects", group="node", weight=5, kills=True,
        strike=_kill_at("half-written folder", _writing),
    ),
    Fault(
        name="worker killed between outbox and ledger", group="node", weight=5, kills=True,
        strike=_kill_at("result stands, job runs", _written),
    ),
    Fault(
        name="worker killed before acknowledging the message", group="node", weight=4, kills=True,
        strike=_kill_before_acknowledgement,
    ),
    Fault(name="broker killed", group="node", weight=5, kills=True, strike=_kill_broker),
    Fault(name="broker killed, its data deleted", group="node", weight=5, kills=True, strike=_kill_broker_and_data),
    Fault(name="whole tree killed", group="node", weight=6, kills=True, strike=_kill_tree),
    Fault(name="disk full", group="surroundings", weight=3, needs_mounts=True, strike=_fill_disk),
    Fault(name="spool read-only", group="surroundings", weight=3, needs_mounts=True, strike=_read_only_spool),
    Fault(name="clock jumps", group="surroundings", weight=2, strike=_jump_clock),
    Fault(name="destination stopped", group="destinations", weight=3, strike=_stop_destination),
    Fault(name="destination frozen", group="destinations", weight=2, strike=_freeze_destination),
    Fault(name="destination answers failures", group="destinations", weight=2, strike=_answer(archive.FAIL)),
    Fault(name="destination hangs", group="destinations", weight=2, strike=_answer(archive.HANG)),
    Fault(name="destination aborts", group="destinations", weight=2, strike=_answer(archive.ABORT)),
    Fault(name="destination accepts and loses", group="destinations", weight=1, strike=_answer(archive.LOSE)),
)  # fmt: skip
