"""The run folder: one node on a storage root, ready files that tell the truth."""

import os
import socket
import subprocess
import sys

import pytest

from node.config import Config, StorageConfig
from node.errors import ConfigError, StorageError
from node.runtime import RunFolder, config_in_force, exclusive, gateway_run, sweep_run_folders

HOLD = """
import sys
from pathlib import Path
from node.runtime import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_node_is_refused_and_told_who_is_there(tmp_path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        held = pytest.raises(
            ConfigError, match=f"in use by another ironnode \\(process {holder.pid} on {socket.gethostname()}\\)"
        )
        with held, exclusive(tmp_path / "run"):
            pass
        holder.kill()
        holder.wait()
        with exclusive(tmp_path / "run"):  # the kernel let go of a killed holder's lock
            assert (tmp_path / "run" / "lock").read_text().startswith(f"{os.getpid()} on ")


def test_a_ready_file_tells_who_is_ready(tmp_path) -> None:
    run = RunFolder(tmp_path / "run")
    assert run.facts("listener") is None
    with exclusive(run.folder):
        run.announce("listener", port=104)
        assert run.facts("listener") == {"pid": os.getpid(), "port": 104}
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        (run.folder / "worker.json").write_text(f'{{"pid": {ended.pid}}}')
        assert run.roles_alive() == {"listener": True, "worker": False}
        killed = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)  # dead, not waited for yet
        killed.kill()
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
        (run.folder / "worker.json").write_text(f'{{"pid": {killed.pid}}}')
        assert run.roles_alive() == {"listener": True, "worker": False}
        killed.communicate()
        run.withdraw("listener")
        run.withdraw("listener")
        assert run.roles_alive() == {"worker": False}


def test_a_process_that_has_the_number_of_a_killed_nodes_is_not_the_node(tmp_path) -> None:
    config = Config(storage=StorageConfig(root=tmp_path))
    run = gateway_run(config)
    with exclusive(run.folder):
        run.announce("node")
        run.announce("listener")
        (run.folder / "config.json").write_text(config.model_dump_json())
        assert run.in_use()
        assert run.roles_alive() == {"listener": True, "node": True}
        assert config_in_force(config) == config
    assert not run.in_use()
    assert run.roles_alive() == {"listener": False, "node": False}
    assert config_in_force(config) is None
    with exclusive(run.folder):  # maintenance, or a node that starts
        assert run.roles_alive() == {}
        assert config_in_force(config) is None


def test_whoever_only_looks_does_not_keep_a_node_from_starting(tmp_path) -> None:
    with exclusive(tmp_path):
        pass
    look = "import sys, node.runtime as r, pathlib\nrun = r.RunFolder(pathlib.Path(sys.argv[1]))\nprint(flush=True)\n"
    command = [sys.executable, "-c", look + "while True: run.in_use()", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as looking:
        assert looking.stdout is not None
        assert looking.stdout.readline() == b"\n"
        for _ in range(50):
            with exclusive(tmp_path):
                pass
        looking.kill()


def test_a_damaged_ready_file_is_named(tmp_path) -> None:
    run = RunFolder(tmp_path)
    (tmp_path / "worker.json").write_text("{")
    with pytest.raises(StorageError, match=r"worker\.json cannot be read"):
        run.facts("worker")


def test_ready_files_that_a_power_cut_left_empty_are_forgotten(tmp_path) -> None:
    run = RunFolder(tmp_path)
    for name in ("node", "worker", "config"):
        (tmp_path / f"{name}.json").touch()
    run.forget()
    assert run.roles_alive() == {}
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_gateways_that_share_a_root_run_beside_each_other_but_not_beside_maintenance(tmp_path) -> None:
    in_use = pytest.raises(ConfigError, match="in use by another ironnode")
    with exclusive(tmp_path, beside_others=True), exclusive(tmp_path, beside_others=True), in_use, exclusive(tmp_path):
        pass
    with exclusive(tmp_path), pytest.raises(ConfigError), exclusive(tmp_path, beside_others=True):
        pass


def test_each_gateway_has_its_own_run_folder_only_where_ledger_and_broker_are_shared(tmp_path) -> None:
    alone = Config(storage=StorageConfig(root=tmp_path))
    assert gateway_run(alone).folder == tmp_path / "run"
    shared = Config.model_validate(
        {
            "storage": {"root": tmp_path},
            "database": {"url": "postgresql+psycopg://db/ironnode"},
            "broker": {"url": "redis://db/0"},
        }
    )
    assert gateway_run(shared).folder == tmp_path / "run" / "gateways" / socket.gethostname()


def test_run_folders_that_nobody_holds_any_more_are_swept(tmp_path) -> None:
    now, day = 1.8e9, 86400.0
    folders = {
        name: tmp_path / "run" / name for name in ("gateways/old", "gateways/held", "workers/new", "workers/old")
    }
    for name, folder in folders.items():
        RunFolder(folder).announce("web")
        os.utime(folder / "web.json", (now - 2 * day, now - (day / 2 if name == "workers/new" else 2 * day)))
    with exclusive(folders["gateways/held"]):
        os.utime(folders["gateways/held"] / "lock", (now - 2 * day, now - 2 * day))
        sweep_run_folders(tmp_path, now)
    assert {name for name, folder in folders.items() if folder.exists()} == {"gateways/held", "workers/new"}
