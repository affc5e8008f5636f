"""The node under test, its storage, its two destinations, and the means to hurt them. Processes and mounts are real."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from node.config import Config, load_config
from tests.conftest import REPOSITORY, find_peer
from tests.crash import archive
from tests.crash.role import FOLDER

STORAGE_MIB = 6144
COMPLETE_QUIET_S, SETTLE_S = 4.0, 12.0
_HERE = Path(__file__).parent
_SERVE, _ROLE = str(_HERE.parent / "nodekit" / "serve.py"), str(_HERE / "role.py")
_START_TIMEOUT_S = 600.0  # a machine that others use; a tree that cannot start ends by itself
_REFUSED_BY_THE_DISK = re.compile(r"ironnode: .*: (No space left on device|Read-only file system)$")
_END_TIMEOUT_S = 120.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal; whether there was anybody."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def command_line(pid: int) -> list[str]:
    """What a process was started as; empty when it is gone."""
    try:
        return [os.fsdecode(word) for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    except (FileNotFoundError, ProcessLookupError):
        return []


def children(pid: int) -> list[int]:
    """The processes directly below one, whichever thread started them."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found.extend(int(child) for child in (task / "children").read_text().split())
    return found


class Storage:
    """The storage root: a tmpfs of its own with the spool bound over itself, where the system lets us mount."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spool = root / "spool"
        root.mkdir(parents=True)
        self.mounted = os.geteuid() == 0 and self._mount()
        self.spool.mkdir(exist_ok=True)

    def _mount(self) -> bool:
        if not _run("mount", "-t", "tmpfs", "-o", f"size={STORAGE_MIB}m", "none", str(self.root)):
            return False
        self.spool.mkdir()
        if _run("mount", "--bind", str(self.spool), str(self.spool)):
            return True
        _run("umount", str(self.root))
        return False

    def fill(self, left_kib: int) -> bool:
        """Leave so little space; whether that worked."""
        status = os.statvfs(self.root)
        used_kib = (status.f_blocks - status.f_bfree) * status.f_frsize // 1024
        return _run("mount", "-o", f"remount,size={used_kib + left_kib}k", str(self.root))

    def empty(self) -> None:
        """Give the space back."""
        assert _run("mount", "-o", f"remount,size={STORAGE_MIB}m", str(self.root))

    def make_spool_read_only(self) -> bool:
        """Whether that worked; it does as soon as no file of the spool is open for writing."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if _run("mount", "-o", "remount,ro,bind", str(self.spool)):
                return True
            time.sleep(0.002)  # the kernel has no event for this
        return False

    def make_spool_writable(self) -> None:
        """As before."""
        assert _run("mount", "-o", "remount,rw,bind", str(self.spool))

    def close(self) -> None:
        """Unmount; the content is gone where it was a tmpfs."""
        if self.mounted:
            _run("umount", "-l", str(self.spool))
            _run("umount", "-l", str(self.root))


def _run(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class Destination:
    """A process that receives results and can be stopped, frozen and started again."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder, self.port = name, folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)

    def command(self) -> list[str]:
        """What to start."""
        raise NotImplementedError

    def held(self) -> dict[str, bytes]:
        """Data set bytes of every object held, by SOP Instance UID."""
        raise NotImplementedError

    def number_held(self) -> int:
        """Objects held now."""
        return sum(1 for _ in (self.folder / "objects").iterdir())

    def repeats(self) -> tuple[int, int]:
        """How many objects came again with the same bytes, and with others."""
        raise NotImplementedError

    def lost(self) -> set[str]:
        """UIDs that were answered with success and not kept."""
        return set()

    def start(self) -> None:
        """Start (again) and wait until it listens."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                env=_environment(self.folder),
                start_new_session=True,  # a scheduler that shares by session gives it as much as a role of the node
            )
        deadline = time.monotonic() + _END_TIMEOUT_S
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)  # another process's port
        raise AssertionError(f"{self.name} does not listen")

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """It does not answer any more, its connections stay."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Archive(Destination):
    """``archive.py``."""

    def command(self) -> list[str]:
        return [sys.executable, str(_HERE / "archive.py"), str(self.port), str(self.folder)]

    def start(self) -> None:
        if not (self.folder / "mode").exists():
            self.answer(archive.KEEP)
        super().start()

    def answer(self, mode: str) -> None:
        """How it answers from now on."""
        temporary = self.folder / "mode.tmp"
        temporary.write_text(mode)
        temporary.replace(self.folder / "mode")

    def held(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.folder / "objects").iterdir()}

    def repeats(self) -> tuple[int, int]:
        found = [path.suffix for path in (self.folder / "repeats").iterdir()]
        return found.count(".same"), found.count(".other")

    def lost(self) -> set[str]:
        return {path.name for path in (self.folder / "lost").iterdir()}


class Storescp(Destination):
    """DCMTK's storescp, which keeps what it receives byte for byte (+B)."""

    def command(self) -> list[str]:
        (self.folder / "objects").mkdir(exist_ok=True)
        options = ["-v", "+B", "-aet", "STORESCP", "-od", str(self.folder / "objects")]
        return [str(find_peer("storescp")), *options, str(self.port)]

    def held(self) -> dict[str, bytes]:
        found = {}
        for path in (self.folder / "objects").iterdir():
            content = path.read_bytes()
            length = int.from_bytes(content[140:144], "little")  # of the file meta information, PS3.10 7.1
            found[path.name.partition(".")[2]] = content[144 + length :]
        return found

    def repeats(self) -> tuple[int, int]:
        """Its log names no objects: requests beyond the objects held, those included that its own end cut off."""
        requests = (self.folder / "log").read_text(errors="replace").count("Received Store Request")
        return requests - len(self.held()), 0


class Node:
    """``ironnode serve`` (through ``serve.py``) over a storage."""

    def __init__(self, folder: Path, storage: Storage, destinations: list[Destination]) -> None:
        self.folder, self.storage = folder, storage
        self.port = free_port()
        self.log = folder / "node.log"
        self.config_file = folder / "config.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._refused_starts = 0
        (folder / "stacks").mkdir()
        self.move_clock(0)
        self.config_file.write_text(json.dumps(self._settings(destinations)))

    def _settings(self, destinations: list[Destination]) -> dict[str, Any]:
        return {
            "storage": {"root": str(self.storage.root), "min_free_mib": 0},
            "receive": {
                "host": "127.0.0.1", "port": self.port, "allow": [{"ae_title": "SCANNER", "host": "127.0.0.1"}],
            },
            "assemble": {"settle_s": SETTLE_S, "complete_quiet_s": COMPLETE_QUIET_S},
            "queue": {
                "lease_s": 4, "ring_again_s": 5, "retry_base_s": 0.5, "time_limit_s": 600,
                "concurrency": 2, "max_attempts": 100,  # kills are many here, and none is the acquisition's fault
            },
            "web": {"enabled": False},
            "destinations": [
                {
                    "name": d.name, "ae_title": d.name.upper(), "host": "127.0.0.1", "port": d.port, "timeout_s": 4,
                    "retry_base_s": 0.5, "retry_max_s": 3,
                }
                for d in destinations
            ],
        }  # fmt: skip

    @property
    def config(self) -> Config:
        return load_config(self.config_file)

    def launch(self) -> None:
        """Start the tree; it is not ready yet."""
        with self.log.open("ab") as log:
            command = [sys.executable, _SERVE, "serve", str(self.config_file), _ROLE]
            self._process = subprocess.Popen(command, stderr=log, stdout=log, env=_environment(self.folder))

    def start(self) -> int:
        """Start the tree, again and again until it is ready; how many starts ended by themselves (a full disk)."""
        refused, deadline = 0, time.monotonic() + _START_TIMEOUT_S
        self.launch()
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                refused += 1
                self._refused_starts += 1
                time.sleep(0.3)  # a service manager's pause
                self.launch()
            elif self.facts("node").get("pid") == self._process.pid:
                return refused
            time.sleep(0.05)  # another process's file
        raise AssertionError(f"the node does not start: {self.log.read_text()[-3000:]}")

    @property
    def running(self) -> bool:
        """Whether the supervisor lives, ready or not."""
        return self._process is not None and self._process.poll() is None

    def kill_tree(self) -> None:
        """SIGKILL for the supervisor, and wait until its children have followed."""
        assert self._process is not None
        below = [pid for pids in self.roles().values() for pid in pids]
        self._process.kill()
        self._process.wait()
        deadline = time.monotonic() + _END_TIMEOUT_S
        while any(command_line(pid) for pid in below) and time.monotonic() < deadline:
            time.sleep(0.02)  # processes of others
        assert not any(command_line(pid) for pid in below), "a child outlived the supervisor"

    def stop(self) -> int | None:
        """SIGTERM; the exit status, ``None`` when it had to be killed."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill_tree()
            return None

    def facts(self, role: str) -> dict[str, Any]:
        """What a role announced, or nothing."""
        try:
            found: dict[str, Any] = json.loads((self.storage.root / "run" / f"{role}.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

    def roles(self) -> dict[str, list[int]]:
        """The living processes of each role: its own first, then those below it."""
        found: dict[str, list[int]] = {}
        if self._process is None:
            return found
        for pid in children(self._process.pid):
            words = command_line(pid)
            if _ROLE in words[:-1]:  # the tree's own command ends with it
                found[words[words.index(_ROLE) + 1]] = [pid, *children(pid)]
        return found

    def move_clock(self, offset_s: float) -> None:
        """The node's wall clock is off by so much from now on."""
        temporary = self.folder / "clock.tmp"
        temporary.write_text(str(offset_s))
        temporary.replace(self.folder / "clock")

    def stack(self, pid: int) -> str:
        """The Python stack of a process just now, the innermost call first; empty when it cannot be had."""
        file = self.folder / "stacks" / str(pid)
        with suppress(OSError):
            before = file.stat().st_size
            deadline = time.monotonic() + 0.1
            if kill(pid, signal.SIGUSR2):
                while file.stat().st_size == before and time.monotonic() < deadline:
                    time.sleep(0.0005)  # written by the signal's handler
                return file.read_text()[before:]
        return ""

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the ledger as they stand on disk; none when it cannot be read just now."""
        try:
            uri = f"file:{self.storage.root / 'ledger.sqlite'}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=1)) as connection:
                return connection.execute(query).fetchall()
        except sqlite3.Error:
            return []

    def strange_lines(self) -> Iterator[str]:
        """Lines of the log that are no events: a process that ended with words of its own. A start on a full or
        read-only disk ends with its reason: as many of these as starts were refused are expected."""
        expected = self._refused_starts
        for line in self.log.read_text(errors="replace").splitlines():
            if expected and _REFUSED_BY_THE_DISK.match(line):
                expected -= 1
            elif line and not line.startswith("{"):
                yield line


def _environment(folder: Path) -> dict[str, str]:
    """Of every process. Compiled code is kept, as in an installed node: else each of its starts compiles all of it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**environment, "PYTHONPATH": str(REPOSITORY), FOLDER: str(folder)}
