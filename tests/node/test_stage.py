"""What every role does first and last."""

import gc

import pytest

from node.config import Config
from node.errors import BrokerError
from node.roles import stage
from node.roles.stage import EXIT_CANNOT_START, Stage, run_role
from node.runtime import RunFolder


def test_a_role_that_cannot_even_leave_its_reason_ends_as_one_that_can(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(stage, "end_with", lambda parent: None)  # the test's process must outlive its role
    monkeypatch.setattr(stage, "configure_logging", lambda: None)
    config = tmp_path / "config.yaml"
    config.write_text("{}")
    (tmp_path / "run" / "broker.json").mkdir(parents=True)  # nothing can take its place, as on a full disk

    def play(_stage: stage.Stage) -> None:
        raise BrokerError("the server ended")

    monkeypatch.setattr(stage.Stage, "stop_on_signals", lambda self: None)
    words = ["broker", "--config", str(config), "--run-folder", str(tmp_path / "run"), "--parent", "1"]
    with pytest.raises(SystemExit) as ended, caplog.at_level("ERROR"):
        run_role(words, play)
    assert ended.value.code == EXIT_CANNOT_START
    assert [record.fields["error"] for record in caplog.records] == ["the server ended"]


def test_no_collection_looks_through_what_a_role_loaded(tmp_path) -> None:
    before = len(gc.get_objects())
    try:
        Stage(role="web", config=Config(), run=RunFolder(tmp_path)).ready()
        assert len(gc.get_objects()) < before / 10
    finally:
        gc.unfreeze()
