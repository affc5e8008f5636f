"""What systemd is told: read from the socket that it would listen on."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from node.ops.service_manager import READY, STOPPING, tell_service_manager
from node.runtime import RunFolder
from node.supervisor import Supervisor
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("abstract", [False, True])
def test_the_supervisor_says_when_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"\0ironnode-test-{tmp_path}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
        stop = threading.Event()

        def on_ready(_facts: object) -> None:
            tell_service_manager(READY)
            stop.set()

        Supervisor([], RunFolder(tmp_path / "run"), tmp_path / "config.json").run(stop, on_ready)
        assert [listening.recv(100).decode() for _ in range(2)] == [READY, STOPPING]


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for address in ("", "vsock:2:1", str(tmp_path / "gone")):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        tell_service_manager(READY)


def test_a_database_that_is_not_there_yet_is_no_reason_to_stay_down(tmp_path: Path) -> None:
    """After a power cut it may come up last: another exit status than that of a wrong configuration."""
    unit = (REPOSITORY / "deploy/systemd/ironnode@.service").read_text()
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    config = {
        "storage": {"root": str(tmp_path / "data")},
        "database": {"url": f"postgresql+psycopg://ironnode@127.0.0.1:{port}/ironnode"},
        "broker": {"url": f"redis://127.0.0.1:{port}/0"},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))  # YAML holds JSON
    command = [sys.executable, "-m", "node", "gateway", "--config", tmp_path / "config.yaml"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (ended.returncode, "Connection refused" in ended.stderr) == (os.EX_TEMPFAIL, True), ended.stderr
    assert "RestartPreventExitStatus=2\n" in unit
    assert "StartLimitIntervalSec=0\n" in unit
