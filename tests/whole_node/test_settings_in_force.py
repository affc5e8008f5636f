"""Which settings measure, while the site changes them below running processes: told truly, by whoever does it."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import node as node_package
from node.app import open_node
from node.config import load_config
from node.model import JobState
from tests.nodekit.running_node import FastNode, fast_node, serve, wait_until

POLICY = Path(node_package.__file__).parent / "policies" / "default.yaml"

pytestmark = [pytest.mark.whole_node, pytest.mark.timeout(120)]


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_bytes(POLICY.read_bytes())
    return file


@pytest.fixture
def node(tmp_path: Path, policy: Path) -> Iterator[FastNode]:
    with fast_node(tmp_path) as node:
        settings = {**node.settings(), "follow_up": {"policy_file": str(policy)}}
        settings["queue"] |= {"max_attempts": 20}  # no job is parked while a test does something
        node.config_file.write_text(json.dumps(settings))
        yield node


@pytest.fixture
def worker(node: FastNode) -> Iterator[subprocess.Popen[bytes]]:
    """A worker beside the gateway, which nobody reloads."""
    node.start("gateway")
    with (
        (node.folder / "worker.log").open("wb") as log,
        subprocess.Popen(serve(node.config_file, "worker"), stderr=log) as worker,
    ):
        wait_until(lambda: worker_events(node, "node_started"), "the worker is ready")
        yield worker
        worker.terminate()


def worker_events(node: FastNode, name: str) -> list[dict[str, Any]]:
    lines = (node.folder / "worker.log").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == name]


def reload(node: FastNode) -> None:
    before = len(node.events("config_reloaded"))
    os.kill(node.pid, signal.SIGHUP)
    wait_until(lambda: len(node.events("config_reloaded")) > before, "the reload is done")


def test_a_worker_that_was_not_reloaded_measures_with_the_settings_of_the_job(node, worker, policy) -> None:
    before = node.config.method_digest()
    policy.write_text(policy.read_text() + "# a remark\n")
    reload(node)
    today = node.config.method_digest()
    assert today != before
    node.send(1)
    node.delivered(1)
    with open_node(node.config) as there:
        (done,) = there.jobs(JobState.DONE)
        details = there.show(done.job_id)
    assert details.record is not None
    assert (details.job.settings_digest, details.record["settings_digest"]) == (today, today)
    (told,) = worker_events(node, "settings_differ")
    assert (told["of_job"], told["of_worker"]) == (today, before)

    kept = load_config(node.run.folder / "config.json").follow_up.policy_file
    assert kept is not None
    kept.write_text(kept.read_text()[:-20])  # cut off by whatever it was
    node.send(2)
    (failed, *_) = wait_until(lambda: worker_events(node, "job_failed"), "the job waits")
    assert f"settings {today}, which it was made under: they are now others" in failed["error"]
    assert "they are now others" in node.command("show", failed["job_id"])
    reload(node)
    assert node.events("settings_damaged")[0]["file"] == kept.name
    node.delivered(2)
