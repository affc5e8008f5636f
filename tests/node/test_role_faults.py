"""A fault of the software in a role's thread: told once, the role counts as down until its step works again."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node.config import Config, StorageConfig
from node.errors import StorageError
from node.roles.assembler import repeat
from node.roles.deliverer import deliver
from node.roles.stage import Stage
from node.runtime import RunFolder, exclusive

PATIENCE_S = 60


class Watched(RunFolder):
    """A run folder that says when a role's faults have changed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.faulty, self.well_again = threading.Event(), threading.Event()

    def announce(self, role: str, **facts: Any) -> None:
        super().announce(role, **facts)
        if "faults" in facts:
            self.faulty.set()
        elif self.faulty.is_set():
            self.well_again.set()


@pytest.fixture(autouse=True)
def running(tmp_path) -> Iterator[None]:
    """A supervisor holds the lock while its roles play."""
    with exclusive(tmp_path / "run"):
        yield


def a_stage(folder: Path, role: str) -> Stage:
    stage = Stage(role=role, config=Config(storage=StorageConfig(root=folder)), run=Watched(folder / "run"))
    stage.run.announce(role)
    return stage


def events(caplog) -> list[tuple[str, str]]:
    return [(r.message, r.fields.get("step")) for r in caplog.records if r.message.startswith("role_fault")]


def test_an_errand_that_fails_is_told_once_and_the_deliverer_is_down_until_it_works(
    tmp_path, caplog, monkeypatch
) -> None:
    monkeypatch.setattr("node.roles.deliverer._RETENTION_EVERY_S", 0.0)
    monkeypatch.setattr("node.roles.deliverer._AFTER_TROUBLE_S", 0.0)
    stage = a_stage(tmp_path, "deliverer")
    assert isinstance(stage.run, Watched)
    looks: list[dict[str, bool]] = []

    def step() -> None:
        looks.append(stage.run.roles_alive())
        if len(looks) < 3:
            raise AttributeError("Phantom^Liver")  # a library's words may name a patient

    parts: dict[str, Any] = {
        "dispatcher": SimpleNamespace(book=SimpleNamespace(due_destinations=lambda now: []), clock=lambda: None),
        "committer": SimpleNamespace(take_answers=lambda: None, due_destinations=lambda names: []),
        "retention": SimpleNamespace(step=step),
    }
    with caplog.at_level("INFO", logger="ironnode"):
        deliverer = threading.Thread(target=deliver, args=(stage,), kwargs=parts)
        deliverer.start()
        assert stage.run.well_again.wait(PATIENCE_S)
        stage.stop.set()
        deliverer.join()
    assert looks[:3] == [{"deliverer": True}, {"deliverer": False}, {"deliverer": False}]
    assert stage.run.roles_alive() == {"deliverer": True}
    assert events(caplog) == [("role_fault", "retention"), ("role_fault_over", "retention")]
    (fault,) = [record.fields["error"] for record in caplog.records if record.message == "role_fault"]
    assert "AttributeError at test_role_faults.py" in fault
    assert "Phantom" not in fault


def test_a_repeated_step_goes_on_after_a_fault_and_tells_what_the_disk_refused_as_such(
    tmp_path, caplog, monkeypatch
) -> None:
    monkeypatch.setattr("node.roles.assembler._AFTER_TROUBLE_S", 0.0)
    stage = a_stage(tmp_path, "assembler")
    turns = [KeyError("x"), StorageError("full")]

    def step() -> None:
        if turns:
            raise turns.pop(0)
        stage.stop.set()

    with caplog.at_level("INFO", logger="ironnode"):
        repeat(stage, "reconcile", step, stage.stop, 0.0)
    assert [r.message for r in caplog.records] == ["role_fault", "storage_trouble", "role_fault_over"]
    assert stage.run.roles_alive() == {"assembler": True}
