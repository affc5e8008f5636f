"""A supervisor without roles: when a reload is told, and who counts as running after a kill."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import node as node_package
from node.config import load_config
from node.runtime import RunFolder

POLICY = Path(node_package.__file__).parent / "policies" / "default.yaml"
SUPERVISE = """
import sys
from pathlib import Path
from node.config import load_config
from node.ops.events import configure_logging
from node.supervisor import ROLES_OF, run_node
configure_logging()
path = Path(sys.argv[1])
run_node(load_config(path), path, ROLES_OF["gateway"], [])
"""


class Supervised:
    """The process; its events are read as they come."""

    def __init__(self, folder: Path) -> None:
        self.policy, self.file, self.run = (
            folder / "policy.yaml",
            folder / "config.yaml",
            RunFolder(folder / "root/run"),
        )
        self.policy.write_bytes(POLICY.read_bytes())
        self.file.write_text("storage: {root: root}\nfollow_up: {policy_file: policy.yaml}\n")
        self.process = subprocess.Popen([sys.executable, "-c", SUPERVISE, str(self.file)], stderr=subprocess.PIPE)

    def next_event(self) -> dict[str, Any]:
        assert self.process.stderr is not None
        return json.loads(self.process.stderr.readline())

    def edit_policy(self) -> None:
        self.policy.write_text(self.policy.read_text() + "# a remark\n")

    def in_force(self) -> bool:
        """Whether what the roles read is what the file says."""
        handed_on = load_config(self.run.folder / "config.json")
        return handed_on.method_digest() == load_config(self.file).method_digest()


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    found = Supervised(tmp_path)
    with found.process:
        assert found.next_event()["event"] == "node_started"
        yield found
        found.process.kill()


def test_a_reload_is_told_when_it_is_in_force_and_not_before(supervised) -> None:
    (supervised.run.folder / "config.new").mkdir()  # so that the configuration cannot be handed to the roles
    supervised.edit_policy()
    supervised.process.send_signal(signal.SIGHUP)
    refused = supervised.next_event()
    assert refused["event"] == "config_refused"
    assert "config.json cannot be written" in refused["error"]
    assert not supervised.in_force()
    (supervised.run.folder / "config.new").rmdir()
    supervised.process.send_signal(signal.SIGHUP)
    told = supervised.next_event()  # the first since: nothing was told of the reload that failed
    assert (told["event"], told["sections"]) == ("config_reloaded", ["follow_up"])
    assert supervised.in_force()
    assert supervised.run.config_refused() is None


def test_a_damaged_copy_is_told_and_made_anew_by_a_reload(supervised) -> None:
    copy = load_config(supervised.run.folder / "config.json").follow_up.policy_file
    assert copy is not None
    before = copy.read_bytes()
    copy.write_bytes(before[:-20])
    supervised.process.send_signal(signal.SIGHUP)
    told = supervised.next_event()
    assert (told["event"], told["file"]) == ("settings_damaged", copy.name)
    assert supervised.next_event()["event"] == "config_reloaded"
    assert copy.read_bytes() == before


def test_the_number_of_a_killed_node_that_lives_again_as_another_process_is_not_the_node(supervised) -> None:
    supervised.edit_policy()
    remeasure = [sys.executable, "-m", "node", "remeasure", "--outdated", "--config", str(supervised.file)]
    refused = subprocess.run(remeasure, capture_output=True, text=True, timeout=60, check=False)
    assert "the running node measures with other settings" in refused.stderr
    assert supervised.run.roles_alive() == {"node": True}
    supervised.process.kill()
    supervised.process.wait()
    ready = supervised.run.folder / "node.json"
    ready.write_text(json.dumps({**json.loads(ready.read_text()), "pid": os.getpid()}))
    assert supervised.run.roles_alive() == {"node": False}
    done = subprocess.run(remeasure, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("every latest result")
