"""The supervisor and its processes: what dies is started again, nobody is left behind, nothing is lost.

The processes are the real ones; only the measurement is replaced by one that takes no time.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

import node as node_package
from node.app import open_node
from node.dimse.store_peer import StorePeer
from node.jobs.overview import JobLine
from node.model import JobState
from tests.nodekit.running_node import OBJECTS, FastNode, descendants, fast_node, is_there, serve, wait_until

POLICY = Path(node_package.__file__).parent / "policies" / "default.yaml"

pytestmark = [pytest.mark.whole_node, pytest.mark.timeout(120)]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FastNode]:
    with fast_node(tmp_path) as node:
        yield node


def test_a_changed_configuration_drops_no_association(node, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(POLICY.read_bytes())
    node.config_file.write_text(json.dumps({**node.settings(), "follow_up": {"policy_file": str(policy)}}))
    node.start()
    policy.write_text(policy.read_text() + "# a remark\n")
    with pytest.raises(subprocess.CalledProcessError) as refused_command:
        node.command("remeasure", "--outdated")
    assert "the running node measures with other settings" in refused_command.value.stderr
    listener, deliverer = node.pid_of("listener"), node.pid_of("deliverer")
    caller = AE(ae_title="SCANNER")
    caller.add_requested_context(Verification)
    association = caller.associate("127.0.0.1", node.pid_of("listener", "port"), ae_title="IRONNODE")
    with StorePeer(tmp_path / "second", "SECOND") as second:
        settings = {**node.settings(), "follow_up": {"policy_file": str(policy)}}
        node.config_file.write_text(json.dumps({**settings, "receive": {"port": 1}}))
        os.kill(node.pid, signal.SIGHUP)
        (refused,) = wait_until(lambda: node.events("config_refused"), "a port cannot change on the way")
        assert refused["error"] == "receive: changed; that needs a restart"
        wait_until(node.run.config_refused, "the refusal is noted")
        assert f"the one before stays in force: {refused['error']}" in node.command("status")
        page = urllib.request.urlopen(f"http://127.0.0.1:{node.pid_of('web', 'port')}/system").read().decode()
        assert "the one before stays in force: receive: changed" in page
        entry = {"name": "second", "ae_title": "SECOND", "host": "127.0.0.1", "port": second.port}
        settings["destinations"].append(entry)
        node.config_file.write_text(json.dumps(settings))
        os.kill(node.pid, signal.SIGHUP)
        (reloaded,) = wait_until(lambda: node.events("config_reloaded"), "the new destination is taken up")
        assert reloaded["sections"] == ["destinations", "follow_up"]
        wait_until(lambda: node.run.config_refused() is None, "the refusal is over")
        assert "every latest result" in node.command("remeasure", "--outdated")
        wait_until(lambda: (node.run.facts("deliverer") or {}).get("pid", deliverer) != deliverer, "a new deliverer")
        assert node.pid_of("listener") == listener
        assert association.is_established
        assert association.send_c_echo().Status == 0
        association.release()
        node.send(1)
        second.wait_for(OBJECTS, 60)
        node.pacs.wait_for(OBJECTS, 60)
        assert node.events("role_died") == []


def _a_second_node_on_the_same_storage_is_refused(node: FastNode) -> None:
    second = subprocess.run(serve(node.config_file), capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 2
    assert f"is in use by another ironnode (process {node.pid} on {socket.gethostname()})" in second.stderr


def test_the_whole_way_alone_on_its_storage_health_and_an_orderly_end(node) -> None:
    node.start()
    _a_second_node_on_the_same_storage_is_refused(node)
    node.send(1)
    node.delivered(1)
    port = node.pid_of("web", "port")
    answers = {}
    for path in ("live", "ready", "status"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}") as answer:
            answers[path] = (answer.status, json.loads(answer.read()))
    assert answers["live"] == (200, {"live": True})
    assert answers["ready"][1]["ready"] is True
    assert answers["status"][1]["jobs"]["done"] == 1
    foreign = urllib.request.Request(f"http://127.0.0.1:{port}/status", headers={"Host": "evil.example:80"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(foreign)
    refused.value.close()
    assert refused.value.code == 403
    family = descendants(node.pid)
    assert len(family) >= 8  # six roles, the Valkey server, a pool process
    assert node.stop() == 0
    assert not any(map(is_there, family))
    assert node.run.roles_alive() == {}
    assert [e["event"] for e in node.events("node_started") + node.events("node_stopped")] == [
        "node_started", "node_stopped",
    ]  # fmt: skip
    assert not [line for line in node.log().splitlines() if not line.startswith("{")]
    assert "Doe" not in node.log()


def test_every_role_that_is_killed_is_started_again(node) -> None:
    node.start()
    before = {role: node.pid_of(role) for role in ("listener", "assembler", "deliverer", "worker", "broker", "web")}
    for pid in before.values():
        node.kill(pid)
    for role, pid in before.items():
        wait_until(lambda role=role, pid=pid: (node.run.facts(role) or {"pid": pid})["pid"] != pid, f"{role} is back")
    node.send(1)
    node.delivered(1)
    assert {e["role"] for e in node.events("role_died")} == before.keys()


def test_nobody_outlives_a_killed_supervisor_and_its_work_is_finished_by_the_next(node) -> None:
    node.hold_runs()
    node.start().send(1)
    wait_until(node.runs, "the measurement runs")
    family = descendants(node.pid)
    node.kill(node.pid)
    node.process.wait()
    wait_until(lambda: not any(map(is_there, family)), "the children are gone")
    node.let_runs_end()
    node.start()
    node.delivered(1)
    assert len(node.runs()) == 2


def test_a_worker_and_then_its_pool_process_killed_in_the_middle_of_a_fit_do_no_harm(node) -> None:
    node.hold_runs()
    node.start().send(1)
    (run,) = wait_until(node.runs, "the measurement runs")
    pool_process = int(run.suffix[1:])
    node.kill(node.pid_of("worker"))
    wait_until(lambda: not is_there(pool_process), "its pool process is gone")
    node.let_runs_end()
    node.delivered(1)
    assert [e["state"] for e in node.events("lease_expired")] == ["queued"]

    node.hold_runs()
    before = set(node.runs())
    node.send(2)
    (run,) = wait_until(lambda: set(node.runs()) - before, "the second measurement runs")
    node.kill(int(run.suffix[1:]))
    node.let_runs_end()
    node.delivered(2)


def test_a_broker_killed_and_emptied_with_jobs_waiting_loses_nothing(node) -> None:
    node.hold_runs()
    node.start()
    for number in (1, 2, 3):
        node.send(number)
    wait_until(node.runs, "the first measurement runs")
    wait_until(lambda: len(node.events("job_accepted")) == 3, "all jobs are accepted")
    node.kill(node.pid_of("broker", "server_pid"))
    shutil.rmtree(node.root / "broker")
    node.let_runs_end()
    node.delivered(3)


@pytest.mark.timeout(240)
def test_acquisitions_that_end_their_worker_each_time_are_parked_and_the_others_are_done(node) -> None:
    settings = node.settings()
    settings["queue"] |= {"lease_s": 1, "time_limit_s": 4, "max_attempts": 2}
    node.config_file.write_text(json.dumps(settings))
    study = "1.2.826.0.1.3680043.10.999"
    poison = {f"{study}.1": "SIGKILL", f"{study}.2": "SIGSEGV", f"{study}.3": "endless", f"{study}.4": "long"}
    node.root.mkdir(exist_ok=True)
    (node.root / "poison").write_text(json.dumps(poison))
    node.start()
    for number in (1, 2, 3, 4, 5):
        node.send(number)
    node.pacs.wait_for(OBJECTS, 60)  # the fifth

    def parked() -> dict[str, JobLine]:
        with open_node(node.config) as there:
            found = {poison[job.study_instance_uid]: job for job in there.jobs(JobState.PARKED)}
        return found if len(found) == len(poison) else {}

    jobs = wait_until(parked, "the four are parked")
    assert jobs.pop("long").error == "the run was ended after 3.8 s (queue.time_limit_s)"
    assert [(kind, job.attempts, job.error) for kind, job in jobs.items()
            if job.attempts != 2 or "went silent during attempt 2" not in (job.error or "")] == []  # fmt: skip
    assert len(node.runs()) == 2 * len(poison) + 1
    (pool_process,) = descendants(node.pid_of("worker")) - {node.pid_of("worker")}
    score = Path(f"/proc/{pool_process}/oom_score_adj")  # of a process that has just replaced a killed one
    wait_until(lambda: score.read_text() == "500\n", "it is the first to go when memory runs out")
    killed = jobs["SIGKILL"].job_id
    shown = node.command("status")
    assert f"parked        {killed[:12]} after 2 attempts: the worker" in shown
    assert "was killed, crashed, ran out of memory" in shown
    (node.root / "poison").unlink()
    assert f"job {killed} is queued again" in node.command("retry", killed)
    with open_node(node.config) as there:
        for job in there.jobs(JobState.PARKED):
            there.retry(job.job_id)
    node.delivered(5)


def test_a_role_that_cannot_start_ends_the_node_with_its_reason(node) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = node.settings()
        settings["receive"]["port"] = port
        node.config_file.write_text(json.dumps(settings))
        found = subprocess.run(serve(node.config_file), capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 2
    assert f"ironnode: listener: cannot listen on 127.0.0.1 port {port}: Address already in use" in found.stderr


def test_a_taken_web_port_does_not_stop_the_node(node) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = node.settings()
        settings["web"]["port"] = taken.getsockname()[1]
        node.config_file.write_text(json.dumps(settings))
        node.start().send(1)
        node.delivered(1)
