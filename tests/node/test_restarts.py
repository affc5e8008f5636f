"""How the supervisor starts a role, and how soon again: at once if it was ready for a while, else later and later."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from node import __main__, supervisor
from node.config import Config, StorageConfig
from node.runtime import RunFolder
from node.supervisor import RoleProgram, Supervisor

_READY = 'echo "{\\"pid\\": $$}" > "$4/$0.new"; mv "$4/$0.new" "$4/$0.json"; '  # $0 the role, $4 the run folder


@pytest.mark.parametrize(
    ("script", "failures_in_a_row"),
    [(_READY + "sleep 1", [1, 1, 1]), ("sleep 1", [1, 2, 3])],
    ids=["ready, then killed", "never ready"],
)
def test_only_roles_that_were_not_ready_for_a_while_wait_longer_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, failures_in_a_row: list[int]
) -> None:
    counted: list[int] = []
    stop = threading.Event()

    def no_wait(attempts: int, _base_s: float, _max_s: float) -> float:
        counted.append(attempts)
        if len(counted) == len(failures_in_a_row):
            stop.set()
        return 0.0

    monkeypatch.setattr(supervisor, "doubled_s", no_wait)
    monkeypatch.setattr(supervisor, "_HEALTHY_AFTER_S", 0.05)
    program = RoleProgram(role="role", program=("sh", "-c", script))
    Supervisor([program], RunFolder(tmp_path), tmp_path / "config.json").run(stop, lambda facts: None)
    assert counted == failures_in_a_row


@pytest.mark.parametrize(("of_the_site", "given"), [(None, "1"), ("4", "4")])
def test_a_role_has_one_arena_unless_the_site_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_the_site: str | None, given: str
) -> None:
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    if of_the_site is not None:
        monkeypatch.setenv("MALLOC_ARENA_MAX", of_the_site)
    stop = threading.Event()
    script = 'echo "$MALLOC_ARENA_MAX" > "$4/arenas"; ' + _READY + "exec sleep 60"
    program = RoleProgram(role="role", program=("sh", "-c", script))
    Supervisor([program], RunFolder(tmp_path), tmp_path / "config.json").run(stop, lambda facts: stop.set())
    assert (tmp_path / "arenas").read_text().strip() == given


def test_a_hangup_before_anything_is_imported_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    before = signal.getsignal(signal.SIGHUP)
    monkeypatch.setitem(
        sys.modules, "node.cli", SimpleNamespace(main=lambda: seen.append(signal.getsignal(signal.SIGHUP)))
    )
    try:
        for command in ("jobs", "serve"):
            monkeypatch.setattr(sys, "argv", ["ironnode", command])
            __main__.main()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert seen == [before, signal.SIG_IGN], "a terminal that closes ends a command of an operator"


def test_a_hangup_during_the_start_does_not_end_the_node(tmp_path: Path) -> None:
    """The process reads its configuration from a pipe, so that it is known to be in its start."""
    config = tmp_path / "config.yaml"
    os.mkfifo(config)
    command = [sys.executable, "-m", "node", "serve", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as node:
        with config.open("w") as pipe:  # returns when the node has opened it
            node.send_signal(signal.SIGHUP)
            pipe.write("storage: {rooot: nowhere}")
        error = node.stderr.read()
        assert node.wait() == 2, "it goes on to the mistake"
    assert "rooot" in error


def test_a_hangup_during_the_start_is_done_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path | None] = []
    reload = threading.Event()
    reload.set()
    numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]

    def reread(_now: Config, path: Path | None, _held: Path) -> None:
        asked.append(path)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(supervisor, "reread", reread)
    program = RoleProgram(role="web", program=("sh", "-c", _READY + "exec sleep 60"))
    config = Config(storage=StorageConfig(root=tmp_path / "root"))
    try:
        assert supervisor.run_node(config, tmp_path / "c.yaml", ["web"], [program], reload=reload) == 0
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    assert asked == [tmp_path / "c.yaml"]
