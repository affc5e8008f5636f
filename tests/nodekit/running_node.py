"""A running node whose processes are the real ones; only the measurement is replaced by one that takes no time."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from node.app import open_node
from node.config import Config, load_config
from node.dimse import scu
from node.dimse.store_peer import StorePeer
from node.model import JobState
from node.runtime import RunFolder
from tests.nodekit.small_study import write_study

_NODEKIT = Path(__file__).parent
OBJECTS = 3
T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = 60) -> T:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {timeout_s:g} s")


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found |= new
    return found


def serve(config_file: Path, command: str = "serve") -> list[str]:
    """The command of a node (or a part of one) whose measurements take no time."""
    program = str(_NODEKIT / "serve.py")
    return [sys.executable, program, command, str(config_file), str(_NODEKIT / "fast_node.py"), "worker"]


class FastNode:
    """A running node, its PACS, and what a test does to them."""

    def __init__(self, folder: Path, pacs: StorePeer) -> None:
        self.folder = folder
        self.pacs = pacs
        self.root = folder / "root"
        self.run = RunFolder(self.root / "run")
        self.config_file = folder / "config.json"
        self.process: subprocess.Popen[bytes] | None = None
        self.config_file.write_text(json.dumps(self.settings()))

    def settings(self) -> dict[str, Any]:
        return {
            "storage": {"root": str(self.root), "min_free_mib": 0},
            "receive": {"host": "127.0.0.1", "port": 0, "allow": [{"ae_title": "SCANNER", "host": "127.0.0.1"}]},
            "assemble": {"settle_s": 2, "complete_quiet_s": 0.3},
            "queue": {"lease_s": 3, "retry_base_s": 0.5},
            "web": {"port": 0},
            "destinations": [
                {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": self.pacs.port, "retry_base_s": 0.5}
            ],
        }

    @property
    def config(self) -> Config:
        return load_config(self.config_file)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, command: str = "serve") -> "FastNode":
        log = (self.folder / "node.log").open("ab")
        with log:
            self.process = subprocess.Popen(serve(self.config_file, command), stderr=log)
        wait_until(self._ready, "the node is ready")
        return self

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        return (self.run.facts("node") or {}).get("pid") == self.process.pid

    def log(self) -> str:
        return (self.folder / "node.log").read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def pid_of(self, role: str, fact: str = "pid") -> int:
        return int(wait_until(lambda: self.run.facts(role), f"{role} is ready")[fact])

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_there(pid), f"{pid} is gone")

    def send(self, number: int) -> None:
        files = write_study(self.folder / f"study{number}", number)
        peer = scu.Peer(ae_title="IRONNODE", host="127.0.0.1", port=self.pid_of("listener", "port"))
        assert all(o.stored for o in scu.send(files, peer, calling_ae_title="SCANNER"))

    def hold_runs(self) -> None:
        self.root.mkdir(exist_ok=True)
        (self.root / "hold").touch()

    def let_runs_end(self) -> None:
        (self.root / "hold").unlink()

    def runs(self) -> list[Path]:
        return sorted((self.root / "runs").glob("*"))

    def delivered(self, studies: int) -> None:
        """Wait until everything is done and sent; nothing may be there twice or with other bytes."""
        self.pacs.wait_for(OBJECTS * studies, 60)

        def all_sent() -> bool:
            with open_node(self.config) as node:
                lines = node.jobs()
            return len(lines) == studies and all(j.state == JobState.DONE and j.n_sent == OBJECTS for j in lines)

        wait_until(all_sent, "every job is done and sent")
        assert len(self.pacs.files()) == OBJECTS * studies
        assert self.pacs.conflicts() == []

    def command(self, *words: str) -> str:
        """What ``ironnode`` with these words prints."""
        command = [sys.executable, "-m", "node", *words, "--config", str(self.config_file)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)


@contextmanager
def fast_node(folder: Path) -> Iterator[FastNode]:
    """A node that is not started yet, with its PACS; nobody of it is left at the end."""
    with StorePeer(folder / "pacs") as pacs:
        node = FastNode(folder, pacs)
        try:
            yield node
        finally:
            if node.process is not None and node.process.poll() is None:
                left = descendants(node.pid)
                node.process.kill()
                node.process.wait()
                wait_until(lambda: not any(map(is_there, left)), "the children are gone")
