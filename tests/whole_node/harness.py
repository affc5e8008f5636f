"""The node, Orthanc and patience, as the whole-node tests use them: real processes only."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from node.app import Node, open_node
from node.config import load_config

PATIENCE_S = 120.0


def wait_until(happened: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Poll another process's observable state until ``happened`` gives something true."""
    end = time.monotonic() + patience_s
    while not (value := happened()):
        if time.monotonic() > end:
            pytest.fail(f"not within {patience_s:.0f} s: {what}")
        time.sleep(0.1)
    return value


def node_settings(storage: Path) -> dict[str, Any]:
    """A configuration that hurries, for DCMTK as "SCANNER" on this machine."""
    return {
        "storage": {"root": str(storage), "min_free_mib": 0},
        "receive": {"host": "127.0.0.1", "port": 0, "allow": [{"ae_title": "SCANNER", "host": "127.0.0.1"}]},
        "assemble": {"settle_s": 4, "complete_quiet_s": 0.5},
        "queue": {"lease_s": 4, "ring_again_s": 3, "retry_base_s": 1},
        "web": {"enabled": False},
    }


@dataclass
class RunningNode:
    """``ironnode serve`` in its own storage folder."""

    root: Path
    settings: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.root / "node.log"

    @property
    def config_path(self) -> Path:
        return self.root / "config.yaml"

    def start(self) -> "RunningNode":
        """Start it and wait until every role is ready."""
        self.config_path.write_text(yaml.safe_dump(self.settings))
        for stale in (self.root / "data" / "run").glob("*.json"):
            stale.unlink()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node", "serve", "--config", self.config_path],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        seen = self.log.stat().st_size
        wait_until(lambda: self._ready(seen), f"the node starts; see {self.log}")
        return self

    def _ready(self, seen: int) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail(f"the node ended: {self.log.read_text()[-2000:]}")
        return '"node_started"' in self.log.read_text()[seen:]

    def ready_file(self, role: str) -> dict[str, Any]:
        """What a role wrote when it was ready."""
        return json.loads((self.root / "data" / "run" / f"{role}.json").read_text())

    @property
    def port(self) -> int:
        return int(self.ready_file("listener")["port"])

    def kill_tree(self) -> None:
        """SIGKILL for the supervisor; its children must follow."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        """Orderly end."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                pytest.fail("the node did not stop within 40 s of SIGTERM")

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another ironnode command against this node's configuration."""
        return subprocess.run(
            [sys.executable, "-m", "node", *words, "--config", str(self.config_path)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def jobs(self) -> list[dict[str, Any]]:
        """What `ironnode jobs --json` prints, read here: a process for each question would starve the node."""
        with self._opened() as opened:
            return [asdict(line) for line in opened.jobs()]

    def deliveries(self, job_id: str) -> list[dict[str, Any]]:
        """Those of one job, as `ironnode show` prints them."""
        with self._opened() as opened:
            return [asdict(delivery) for delivery in opened.show(job_id).deliveries]

    def committed(self, job_id: str) -> int:
        """How many objects of one job a destination has committed to, as `ironnode show` tells."""
        with self._opened() as opened:
            return sum(commitment.committed_at is not None for commitment in opened.show(job_id).commitments)

    def acquisitions(self) -> list[dict[str, Any]]:
        """What became of each group of images, as `ironnode status --json` prints it."""
        with self._opened() as opened:
            return [asdict(line) for line in opened.acquisitions()]

    def _opened(self) -> AbstractContextManager[Node]:
        return open_node(load_config(self.config_path))


@dataclass(frozen=True)
class Orthanc:
    """A real PACS."""

    dicom_port: int
    http_port: int

    def get(self, path: str) -> Any:
        """A REST answer, parsed."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
            return json.load(answer)

    def instances(self) -> list[dict[str, Any]]:
        """Every stored instance with its main tags."""
        return self.get("/instances?expand")

    def sop_uids(self) -> list[str]:
        return sorted(i["MainDicomTags"]["SOPInstanceUID"] for i in self.instances())

    def file(self, instance_id: str) -> bytes:
        """The stored DICOM file."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/instances/{instance_id}/file", timeout=10) as r:
            return r.read()

    def put(self, path: str, value: dict[str, Any]) -> None:
        """Set something over REST."""
        self._ask(path, "PUT", json.dumps(value).encode())

    def store(self, data: bytes) -> None:
        """Store a DICOM file."""
        self._ask("/instances", "POST", data)

    def delete(self, path: str) -> None:
        """Remove something over REST."""
        self._ask(path, "DELETE", None)

    def _ask(self, path: str, method: str, body: bytes | None) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=10):
            return


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(pacs: Orthanc, process: subprocess.Popen[bytes]) -> bool:
    def up() -> bool:
        if process.poll() is not None:
            return True
        try:
            return bool(pacs.get("/system"))
        except OSError:
            return False

    wait_until(up, "Orthanc answers", 60)
    return process.poll() is None
