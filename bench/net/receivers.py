"""Receivers, each as a process of its own, and what they cost.

``python -m bench.net.receivers NAME FOLDER PORT`` is one of ours or pynetdicom's.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from node.dimse.scu import Peer, echo
from node.errors import PeerError
from node.intake.durable_io import DurableIo

AE_TITLE = "BENCH"
SLOW_FLUSH_S = 0.005
_ORTHANC, _STORESCP = "/usr/sbin/Orthanc", "/usr/bin/storescp"
_PROGRAMS = {"storescp": _STORESCP, "orthanc": _ORTHANC}
_CLOCK_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def missing(name: str) -> bool:
    """Whether this receiver is not installed."""
    return shutil.which(_PROGRAMS.get(name, sys.executable)) is None


@dataclass(frozen=True)
class Running:
    """A receiver that answers on ``port``."""

    port: int
    pid: int

    @property
    def cpu_s(self) -> float:
        """Processor time of the process, its children and those it has waited for."""
        own = _times(self.pid)
        return (sum(own) + sum(sum(_times(child)[:2]) for child in self._children())) * _CLOCK_TICK_S

    @property
    def peak_mib(self) -> float:
        """Largest resident memory of the process so far."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    def _children(self) -> list[int]:
        return [int(n) for n in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


def _times(pid: int) -> list[int]:
    """utime, stime, cutime and cstime of a process in clock ticks (proc(5)); zeros when it has just ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return [0, 0, 0, 0]
    return [int(field) for field in fields[11:15]]


@contextmanager
def running(name: str, folder: Path, *, nodelay: bool = True) -> Iterator[Running]:
    """The named receiver, storing into ``folder``; ``nodelay`` sets DCMTK's TCP_NODELAY, in Orthanc too."""
    folder.mkdir(parents=True)
    with socket.socket() as free:  # no address reuse: DCMTK cannot listen where old connections are still remembered
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    environment = os.environ | ({"TCP_NODELAY": "1"} if nodelay else {})
    process = subprocess.Popen(
        _command(name, folder, port), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _await_echo(port)
        yield Running(port, process.pid)
    finally:
        process.terminate()
        process.wait()


def _command(name: str, folder: Path, port: int) -> list[str]:
    if name == "storescp":
        return [_STORESCP, "--fork", "-aet", AE_TITLE, "-od", str(folder), str(port)]
    if name == "orthanc":
        settings = {
            "Name": "bench", "StorageDirectory": str(folder), "IndexDirectory": str(folder), "Plugins": [],
            "HttpServerEnabled": False, "DicomAet": AE_TITLE, "DicomPort": port, "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True, "DicomAlwaysAllowEcho": True, "DicomThreadsCount": 10,
        }  # fmt: skip
        path = folder / "orthanc.json"
        path.write_text(json.dumps(settings))
        return [_ORTHANC, str(path)]
    return [sys.executable, "-m", "bench.net.receivers", name, str(folder), str(port)]


def _await_echo(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            echo(Peer(ae_title=AE_TITLE, host="127.0.0.1", port=port), calling_ae_title=AE_TITLE)
        except PeerError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


class SlowDisk(DurableIo):
    """A disk that needs 5 ms for each flush and does one at a time."""

    def __init__(self) -> None:
        self._turn = threading.Lock()

    def flush_file(self, descriptor: int) -> None:
        with self._turn:
            time.sleep(SLOW_FLUSH_S)
            super().flush_file(descriptor)

    def flush_folder(self, folder: Path) -> None:
        with self._turn:
            time.sleep(SLOW_FLUSH_S)
            super().flush_folder(folder)


def _serve_ours(folder: Path, port: int, disk: DurableIo) -> None:
    from node.config import AllowedPeer, ReceiveConfig
    from node.dimse.scp import Listener
    from node.intake.spool import Spool

    everybody = (AllowedPeer(ae_title="*", host="127.0.0.1"),)
    config = ReceiveConfig(
        ae_title=AE_TITLE, host="127.0.0.1", port=port, allow=everybody, max_associations_per_host=20
    )
    Listener(config, Spool(folder, disk=disk)).start()


def _serve_pynetdicom(folder: Path, port: int) -> None:
    """As its documentation shows it: each data set decoded and saved."""
    from pynetdicom import AE, AllStoragePresentationContexts, evt
    from pynetdicom.sop_class import Verification

    def store(event: evt.Event) -> int:
        image = event.dataset
        image.file_meta = event.file_meta
        image.save_as(folder / f"{image.SOPInstanceUID}.dcm", enforce_file_format=True)
        return 0

    entity = AE(ae_title=AE_TITLE)
    entity.supported_contexts = AllStoragePresentationContexts
    entity.add_supported_context(Verification)
    entity.maximum_associations = 20
    entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])


def _serve(name: str, folder: Path, port: int) -> None:
    """Until the process is terminated."""
    if name == "pynetdicom":
        _serve_pynetdicom(folder, port)
    else:
        _serve_ours(folder, port, SlowDisk() if name == "ironnode_slow_disk" else DurableIo())
    while True:
        time.sleep(60)


if __name__ == "__main__":
    _serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
