"""The node of the soak: as ``ironnode serve`` starts it, with an archive that commits and one that cannot be asked."""

import json
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import find_peer
from tests.crash.testbed import Destination, Storescp, free_port
from tests.soak.traffic import CALLING

KEEP_S = 240.0


class Orthanc(Destination):
    """Orthanc, which takes storage commitment requests and reports to the node's listener."""

    def __init__(self, folder: Path, node_port: int) -> None:
        super().__init__("pacs", folder)
        self._node_port = node_port

    def command(self) -> list[str]:
        settings = {
            "StorageDirectory": str(self.folder / "objects"), "IndexDirectory": str(self.folder / "objects"),
            "Plugins": [], "DicomAet": "PACS", "DicomPort": self.port, "HttpServerEnabled": False,
            "DicomCheckCalledAet": True, "DicomAlwaysAllowStore": True,
            "DicomModalities": {"node": ["IRONNODE", "127.0.0.1", self._node_port]},
        }  # fmt: skip
        (self.folder / "orthanc.json").write_text(json.dumps(settings))
        return [str(find_peer("Orthanc")), str(self.folder / "orthanc.json")]

    def held(self) -> dict[str, bytes]:
        """Files of its store that are DICOM, by name."""
        found = {}
        for path in (self.folder / "objects").rglob("*-*"):
            if path.is_file():
                content = path.read_bytes()
                if content[128:132] == b"DICM":
                    found[path.name] = content
        return found

    def repeats(self) -> tuple[int, int]:
        return 0, 0


class SoakNode:
    """One ``ironnode serve``; it is never killed here."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "data"
        self.port, self.web_port = free_port(), free_port()
        self.log = folder / "node.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, destinations: list[Destination]) -> int:
        """Start it and wait until every role is ready; the supervisor's process id."""
        config = self.folder / "config.yaml"
        config.write_text(yaml.safe_dump(self._settings(destinations)))
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "node", "serve", "--config", str(config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 180
        while '"node_started"' not in self.log.read_text():
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, "the node does not start"
            time.sleep(0.2)  # another process's log
        return self._process.pid

    def _settings(self, destinations: list[Destination]) -> dict[str, Any]:
        callers = (CALLING, "PACS", "IRONNODE-TEST")
        return {
            "storage": {"root": str(self.root), "min_free_mib": 0, "warn_free_mib": 0},
            "receive": {
                "host": "127.0.0.1", "port": self.port,
                "allow": [{"ae_title": title, "host": "127.0.0.1"} for title in callers],
            },
            "web": {"host": "127.0.0.1", "port": self.web_port},
            "destinations": [
                {
                    "name": d.name, "ae_title": d.name.upper(), "host": "127.0.0.1", "port": d.port,
                    "commitment": isinstance(d, Orthanc),
                }
                for d in destinations
            ],
            "retention": {
                "keep_days": KEEP_S / 86400, "keep_refused_days": KEEP_S / 86400, "keep_declined_days": KEEP_S / 86400,
                "delete_without_proof": True,  # storescp answers neither commitment nor C-FIND
            },
            "selftest": {"every_h": 0.25},
        }  # fmt: skip

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(60)

    def kill(self) -> None:
        """However it stands."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def stock_destinations(folder: Path, node: SoakNode) -> list[Destination]:
    """Orthanc and storescp, where they are installed."""
    found: list[Destination] = []
    if find_peer("Orthanc"):
        found.append(Orthanc(folder / "pacs", node.port))
    if find_peer("storescp"):
        found.append(Storescp("storescp", folder / "storescp"))
    assert found, "neither Orthanc nor storescp is installed (deploy/install-test-peers)"
    return found


def end(destinations: list[Destination]) -> None:
    """Kill what was started."""
    for destination in destinations:
        with suppress(AssertionError, socket.error):
            destination.kill()
