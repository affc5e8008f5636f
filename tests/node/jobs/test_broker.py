"""The private broker and the doorbell against the real server."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.config import QueueConfig
from node.errors import BrokerError
from node.jobs.broker import EmbeddedBroker
from node.jobs.celery_queue import Doorbell


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def bell(broker: EmbeddedBroker) -> Iterator[Doorbell]:
    bell = Doorbell(broker.url, QueueConfig())
    yield bell
    bell.close()


def kill(broker: EmbeddedBroker) -> None:
    os.kill(broker.pid, signal.SIGKILL)
    assert broker.wait(10)


def test_messages_survive_a_kill(broker, bell) -> None:
    bell.ring(["a", "b"])
    kill(broker)
    broker.start()
    assert bell.waiting() == 2


def test_a_broker_that_is_away_is_one_error_soon_and_comes_back(broker, bell) -> None:
    bell.ring(["a"])
    kill(broker)
    with pytest.raises(BrokerError, match="the broker does not answer"):
        bell.waiting()
    with pytest.raises(BrokerError, match="the broker does not answer"):
        bell.ring(["b"])
    broker.start()
    bell.ring(["c"])
    assert bell.waiting() == 2


def test_data_that_cannot_be_loaded_are_thrown_away(broker, bell, tmp_path, caplog) -> None:
    caplog.set_level("INFO", logger="ironnode")
    bell.ring(["a"])
    kill(broker)
    for file in (tmp_path / "broker").rglob("*.aof"):
        file.write_bytes(b"garbage" * 100)
    broker.start()
    assert bell.waiting() == 0
    assert [r.message for r in caplog.records] == ["broker_emptied"]


def test_data_that_are_gone_are_not_missed(broker, bell, tmp_path) -> None:
    import shutil

    bell.ring(["a"])
    kill(broker)
    shutil.rmtree(tmp_path / "broker")
    broker.start()
    assert bell.waiting() == 0


def test_nothing_listens_on_the_network_and_the_socket_is_private(broker) -> None:
    assert broker.socket_path.stat().st_mode & 0o777 == 0o600
    tables = [Path(f"/proc/{broker.pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    inodes = {str(f.readlink()) for f in Path(f"/proc/{broker.pid}/fd").iterdir() if f.is_symlink()}
    listening = {f"socket:[{line.split()[9]}]" for table in tables for line in table if line.split()[3] == "0A"}
    assert not inodes & listening


def test_a_path_too_long_for_a_socket_moves_to_a_private_folder(tmp_path, monkeypatch) -> None:
    with tempfile.TemporaryDirectory() as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        deep = tmp_path / ("x" * 60) / ("y" * 60) / "broker"
        broker = EmbeddedBroker(deep)
        assert broker.socket_path.parent.stat().st_mode & 0o777 == 0o700
        assert EmbeddedBroker(deep).url == broker.url
        assert EmbeddedBroker(deep.with_name("other")).url != broker.url
        broker.start()
        broker.stop()
        broker.socket_path.parent.chmod(0o755)
        with pytest.raises(BrokerError, match="open to others"):
            EmbeddedBroker(deep)


WORKER_ON_A_FULL_DISK = """
import sys
from node.config import QueueConfig
from node.errors import DiskFullError
from node.jobs.celery_queue import serve_worker

def announce():
    raise DiskFullError("worker.json cannot be written: No space left on device")

try:
    serve_worker(sys.argv[1], QueueConfig(concurrency=1), lambda: lambda job_id, owner: None, announce)
except DiskFullError as error:
    sys.exit(str(error))
"""


def test_a_worker_that_cannot_tell_that_it_is_ready_ends_and_says_why(broker) -> None:
    """It would work on, and the node never count as started."""
    command = [sys.executable, "-c", WORKER_ON_A_FULL_DISK, broker.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "worker.json cannot be written: No space left on device"


WORKER_WHOSE_POOL_CANNOT_BEGIN = """
import sys
from celery.concurrency import asynpool
from node.config import QueueConfig
from node.jobs.celery_queue import serve_worker
from node.ops.events import configure_logging

def begin(self, pid):
    raise BrokenPipeError("as of a pool process whose worker was killed while it was forked")

asynpool.Worker.on_loop_start = begin
configure_logging()
serve_worker(sys.argv[1], QueueConfig(concurrency=1), lambda: lambda job_id, owner: None, lambda: None)
"""


def test_a_pool_process_that_cannot_begin_is_a_line_of_the_log(broker) -> None:
    """Billiard prints a traceback as well, beside the log."""
    command = [sys.executable, "-c", WORKER_WHOSE_POOL_CANNOT_BEGIN, broker.url]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr is not None
        try:
            lines = iter(json.loads(line) for line in worker.stderr)
            told = next(line for line in lines if line.get("text", "").startswith("Process ForkPoolWorker"))
            next(lines)
        finally:
            worker.kill()
    assert "BrokenPipeError" in told["error"]
