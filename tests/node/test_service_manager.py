"""What systemd is told: read from the socket that it would listen on."""

import socket
import threading
from pathlib import Path

import pytest

from node.ops.service_manager import READY, STOPPING, tell_service_manager
from node.runtime import RunFolder
from node.supervisor import Supervisor


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
