"""What a running node uses: memory, threads and descriptors of each of its processes, its folders, its queue."""

import csv
import os
import sqlite3
import threading
import time
import urllib.request
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

_FOLDERS = ("spool", "outbox", "jobs", "audit")
_QUERIES = {
    "queued": "select count(*) from job where state in ('queued', 'running')",
    "done": "select count(*) from job where state = 'done'",
    "parked": "select count(*) from job where state = 'parked'",
    "pending": "select count(*) from delivery where state = 'pending'",
    "uncommitted": "select count(*) from commitment where state != 'committed'",
    "removed": "select count(*) from removal where state = 'removed'",
}
_PAGES = ("/live", "/ready", "/metrics", "/")


@dataclass(frozen=True, kw_only=True)
class ProcessSample:
    """One process at one moment; memory in KiB, processor time in seconds since it started. ``own_kib`` is what no
    other process maps: PSS also moves when others that map the same libraries start or end."""

    at_s: float
    role: str
    pid: int
    pss_kib: int
    rss_kib: int
    own_kib: int
    threads: int
    descriptors: int
    cpu_s: float


@dataclass(frozen=True, kw_only=True)
class NodeSample:
    """Folders (MiB and files) and queue at one moment."""

    at_s: float
    disk_mib: dict[str, float]
    files: dict[str, int]
    queue: dict[str, int]


def children(pid: int) -> list[int]:
    """The processes directly below one, whichever thread started them."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found.extend(int(child) for child in (task / "children").read_text().split())
    return found


def roles_of(supervisor: int) -> dict[int, str]:
    """Every process of the tree with the name of its role; what a role started is named after it."""
    found = {supervisor: "supervisor"}
    for pid in children(supervisor):
        words = _command_line(pid)
        role = words[words.index("node.roles") + 1] if "node.roles" in words[:-1] else "other"
        found[pid] = role
        found.update(dict.fromkeys(_below(pid), "broker server" if role == "broker" else f"{role} child"))
    return found


def _below(pid: int) -> list[int]:
    direct = children(pid)
    return direct + [deeper for child in direct for deeper in _below(child)]


def _command_line(pid: int) -> list[str]:
    with suppress(OSError):
        return [os.fsdecode(word) for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    return []


def sample_process(pid: int, role: str, at_s: float) -> ProcessSample | None:
    """``None`` when it is gone."""
    folder = Path(f"/proc/{pid}")
    try:
        sizes = {line.split(":")[0]: line.split()[1] for line in _lines(folder / "smaps_rollup") if ":" in line}
        after_name = (folder / "stat").read_text().rpartition(")")[2].split()
        return ProcessSample(
            at_s=at_s,
            role=role,
            pid=pid,
            pss_kib=int(sizes["Pss"]),
            rss_kib=int(sizes["Rss"]),
            own_kib=int(sizes["Private_Clean"]) + int(sizes["Private_Dirty"]),
            threads=int(after_name[17]),
            descriptors=len(list((folder / "fd").iterdir())),
            cpu_s=(int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK"),
        )
    except (OSError, KeyError):
        return None


def _lines(path: Path) -> Iterable[str]:
    return path.read_text().splitlines()[1:]


def sample_node(root: Path, at_s: float) -> NodeSample:
    """Sizes and counts below ``storage.root``."""
    disk, files = {}, {}
    for name in _FOLDERS:
        sizes = _sizes(root / name)
        disk[name], files[name] = sum(sizes) / (1 << 20), len(sizes)
    ledger = [_size(path) for path in root.glob("ledger.sqlite*")]
    disk["ledger"], files["ledger"] = sum(ledger) / (1 << 20), len(ledger)
    return NodeSample(at_s=at_s, disk_mib=disk, files=files, queue=_queue(root / "ledger.sqlite"))


def _sizes(folder: Path) -> list[int]:
    return [_size(Path(parent) / name) for parent, _, names in os.walk(folder) for name in names]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # gone since it was listed


def _queue(ledger: Path) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=5)) as connection:
        return {name: int(connection.execute(query).fetchone()[0]) for name, query in _QUERIES.items()}


class Sampler:
    """Samples every ``every_s`` in a thread of its own, and looks at the web pages as a monitoring system does."""

    def __init__(self, supervisor: int, root: Path, web_port: int, every_s: float = 10.0) -> None:
        self.processes: list[ProcessSample] = []
        self.node: list[NodeSample] = []
        self.failures: list[str] = []
        self._supervisor, self._root, self._web_port, self._every_s = supervisor, root, web_port, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._began = time.monotonic()

    def start(self) -> None:
        """Sample from now on."""
        self._began = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """No more."""
        self._stop.set()
        self._thread.join()

    def wait(self, seconds: float) -> bool:
        """Let time pass; true when there is nothing more to wait for."""
        return self._stop.wait(seconds)

    def _run(self) -> None:
        while True:
            at_s = time.monotonic() - self._began
            self._look_at_pages()
            found = [sample_process(pid, role, at_s) for pid, role in roles_of(self._supervisor).items()]
            self.processes.extend(sample for sample in found if sample is not None)
            try:
                self.node.append(sample_node(self._root, at_s))
            except sqlite3.Error as error:
                self.failures.append(f"{at_s:.0f} s: ledger: {error}")
            if self._stop.wait(self._every_s):
                return

    def _look_at_pages(self) -> None:
        for page in _PAGES:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._web_port}{page}", timeout=10) as answer:
                    answer.read()
            except OSError as error:
                self.failures.append(f"{page}: {error}")

    def write(self, folder: Path) -> None:
        """Every sample as a table."""
        with (folder / "processes.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(ProcessSample)])
            writer.writeheader()
            writer.writerows(asdict(sample) for sample in self.processes)
        with (folder / "node.csv").open("w", newline="") as file:
            rows = [
                {
                    "at_s": sample.at_s,
                    **{f"{name}_mib": value for name, value in sample.disk_mib.items()},
                    **{f"{name}_files": value for name, value in sample.files.items()},
                    **sample.queue,
                }
                for sample in self.node
            ]
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
