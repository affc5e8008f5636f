"""The hostile peer against four listeners side by side; writes docs/hostile-peers.md (about ten minutes).

ironnode with its default configuration, DCMTK's storescp, Orthanc and pynetdicom's own storescp, each a process on this
machine. Every row is run against each; memory is the growth of the process's resident set while the row runs.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from tests.hostile.attacks import ROWS, Row
from tests.hostile.target import Target

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "hostile-peers.md"
_LISTENER = Path(__file__).resolve().parents[1] / "tests" / "loopback" / "listener_process.py"
_TOLD_FROM_MIB = 8
_FRAME = """# Hostile and broken peers

Made by `make hostile` (`python -m bench.hostile`): one fresh process of each listener for each row, on loopback, with
{versions}. ironnode runs with its default limits (docs/operations.md).
A four-digit code is the C-STORE status; memory is told from {told_from_mib} MiB growth on. "Closed" is an end of the
connection without a word. The quick rows stand in the gate (`tests/hostile`).

{table}

What is stored with NaN or zero geometry or an impossible size is declined by assembly (`no_geometry`), without a
number. Other content under a known UID goes to `spool/quarantine` and the first is kept. A deflated data set is
unpacked piece by piece into a file, to 256 MiB at most, before it is acknowledged.
"""
_SAMPLES_EVERY_S = 0.05
_STARTED_S = 300  # on a machine that may be busy


@dataclass(frozen=True, kw_only=True)
class Server:
    """A listener under attack; ``start`` gives command and port for a folder."""

    name: str
    start: Callable[[Path], tuple[list[str], int]]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ours(folder: Path) -> tuple[list[str], int]:
    return [sys.executable, str(_LISTENER), str(folder)], 0


def _storescp(folder: Path) -> tuple[list[str], int]:
    port = _free_port()
    return ["/usr/bin/storescp", "--fork", "+xa", "-aet", "IRONNODE", "-od", str(folder), str(port)], port


def _orthanc(folder: Path) -> tuple[list[str], int]:
    port = _free_port()
    settings = {
        "StorageDirectory": str(folder), "IndexDirectory": str(folder), "Plugins": [], "DicomAet": "IRONNODE",
        "DicomPort": port, "HttpServerEnabled": False, "DicomCheckCalledAet": True, "DicomAlwaysAllowStore": True,
    }  # fmt: skip
    path = folder.parent / "orthanc.json"
    path.write_text(json.dumps(settings))
    return ["/usr/sbin/Orthanc", str(path)], port


def _pynetdicom(folder: Path) -> tuple[list[str], int]:
    port = _free_port()
    return [sys.executable, "-m", "pynetdicom", "storescp", "-q", "-od", str(folder), str(port)], port


SERVERS = (
    Server(name="ironnode", start=_ours),
    Server(name="DCMTK storescp --fork", start=_storescp),
    Server(name="Orthanc", start=_orthanc),
    Server(name="pynetdicom storescp", start=_pynetdicom),
)


@contextlib.contextmanager
def _running(server: Server) -> Iterator[tuple[Target, subprocess.Popen[str], Path]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "a" / "b" / "received"
        folder.mkdir(parents=True)
        target, process = _started(server, folder)
        try:
            yield target, process, Path(name)
        finally:
            process.kill()
            process.wait()


def _started(server: Server, folder: Path) -> tuple[Target, subprocess.Popen[str]]:
    """A listener that answers; tried again when it ended, for another program may have taken its port meanwhile."""
    deadline = time.monotonic() + _STARTED_S
    while time.monotonic() < deadline:
        command, port = server.start(folder)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder)
        if not port:
            assert process.stdout is not None
            port = int(process.stdout.readline())
        target = Target(port=port)
        while process.poll() is None and time.monotonic() < deadline:
            if target.serves():
                return target, process
            time.sleep(0.1)
        process.kill()
        process.wait()
    raise RuntimeError(f"{server.name} does not answer")


def _family(pid: int) -> list[int]:
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _family(int(child))
    return found


def _resident_mib(pid: int) -> float:
    total = 0
    for member in _family(pid):
        with contextlib.suppress(OSError, IndexError):
            total += int(Path(f"/proc/{member}/statm").read_text().split()[1])
    return total * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class _Memory:
    """The highest resident set while a row runs."""

    def __init__(self, pid: int) -> None:
        self._pid, self._stop = pid, threading.Event()
        self.before = self.highest = _resident_mib(pid)
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "_Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLES_EVERY_S):
            self.highest = max(self.highest, _resident_mib(self._pid))

    @property
    def growth_mib(self) -> float:
        return self.highest - self.before


def _outcome(server: Server, row: Row) -> str:
    """One row against a fresh process, so that no row suffers from the one before."""
    with _running(server) as (target, process, folder):
        with _Memory(process.pid) as memory:
            try:
                found = row.attack(target)
            except Exception as error:  # noqa: BLE001 - an odd answer is an outcome, not the end of the table
                found = f"odd: {type(error).__name__}"
            served = target.serves()
        notes = [found]
        if memory.growth_mib >= _TOLD_FROM_MIB:
            notes.append(f"+{memory.growth_mib:.0f} MiB")
        if process.poll() is not None:
            notes.append("**process ended**")
        elif not served:
            notes.append("**serves nobody after**")
        escaped = [p for p in (*folder.rglob("*escaped*"), *Path(tempfile.gettempdir()).glob("escaped*"))]
        inside = [p for p in escaped if folder / "a" / "b" / "received" in p.parents]
        if len(escaped) > len(inside):
            notes.append("**wrote outside its folder**")
    return ", ".join(notes)


def _version_of(command: list[str]) -> str:
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    return next((w.strip("v") for w in (told.stdout + told.stderr).split() if w.strip("v")[:1].isdigit()), "?")


def main() -> None:
    """Run every row, print and write the table."""
    names = [server.name for server in SERVERS]
    table: dict[str, dict[str, str]] = {}
    with ThreadPoolExecutor(len(SERVERS)) as pool:  # the listeners beside each other: most of the time is waiting
        for row in ROWS:
            table[row.name] = dict(zip(names, pool.map(partial(_outcome, row=row), SERVERS), strict=True))
            print(row.name, table[row.name], flush=True)
    versions = {
        "DCMTK": _version_of(["/usr/bin/storescp", "--version"]),
        "Orthanc": _version_of(["/usr/sbin/Orthanc", "--version"]),
        "pynetdicom": version("pynetdicom"),
    }
    DOCUMENT.write_text(_document(names, table, versions))


def _document(names: list[str], table: dict[str, dict[str, str]], versions: dict[str, str]) -> str:
    made_with = ", ".join(f"{name} {number}" for name, number in versions.items())
    head = f"| attack | {' | '.join(names)} |\n|---|{'---|' * len(names)}"
    rows = "\n".join(f"| {row} | {' | '.join(found[name] for name in names)} |" for row, found in table.items())
    return _FRAME.format(versions=made_with, told_from_mib=_TOLD_FROM_MIB, table=f"{head}\n{rows}")


if __name__ == "__main__":
    main()
