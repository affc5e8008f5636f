"""How the supervisor starts a role, and how soon again: at once if it was ready for a while, else later and later."""

import threading
from pathlib import Path

import pytest

from node import supervisor
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
