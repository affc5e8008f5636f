"""Hosts as network namespaces on one bridge: each has an address, a name and processes, and can be killed or cut off.

A host that is cut off keeps its carrier and its connections; nothing that it sends arrives, and nobody says so.
"""

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_RESTART_S = 1.0  # of a service manager


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


class Network:
    """The bridge, in a namespace of its own."""

    def __init__(self, names: Sequence[str]) -> None:
        self._prefix = f"ih{os.getpid()}-"
        self._switch = f"{self._prefix}switch"
        self._names = list(names)
        self.address = {name: f"10.77.0.{number}" for number, name in enumerate(names, 1)}
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "bridge", "up")
        for name in names:
            space = self.space(name)
            _ip("netns", "add", space)
            _ip("-n", self._switch, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("-n", space, "addr", "add", f"{self.address[name]}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", space, "link", "set", device, "up")
            _ip("-n", self._switch, "link", "set", name, "master", "bridge", "up")

    def space(self, name: str) -> str:
        """The namespace of a host."""
        return f"{self._prefix}{name}"

    def cut_off(self, name: str) -> None:
        """Take the host's cable out of the bridge."""
        _ip("-n", self._switch, "link", "set", name, "nomaster")

    def join(self, name: str) -> None:
        """Put it back."""
        _ip("-n", self._switch, "link", "set", name, "master", "bridge")

    def enter(self, name: str) -> None:
        """From now on this thread, and whatever it starts, is on that host."""
        descriptor = os.open(f"/var/run/netns/{self.space(name)}", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)

    def pids(self, name: str) -> list[int]:
        """The processes of a host."""
        return [int(word) for word in _ip("netns", "pids", self.space(name)).split()]

    def cpu_s(self, name: str) -> float:
        """CPU time that the living processes of a host have used, and those below them that ended."""
        ticks = 0
        for pid in self.pids(name):
            with suppress(FileNotFoundError, ProcessLookupError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(int(field) for field in fields[11:15])  # proc(5): utime, stime, cutime, cstime
        return ticks / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Take the namespaces away; their processes must be gone."""
        for space in [*map(self.space, self._names), self._switch]:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", space)


class Host:
    """One host that runs commands, and starts them again when they end by themselves, as a service manager does."""

    def __init__(
        self,
        network: Network,
        name: str,
        log: Path,
        environment: dict[str, str],
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.log = log
        self.restarts = 0
        self._network = network
        self._environment = environment
        self._before = before
        self._commands: list[list[str]] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._up = threading.Event()
        self._lock = threading.Lock()
        self._manager = threading.Thread(target=self._manage, name=name, daemon=True)
        self._closed = threading.Event()

    def runs(self, *commands: Sequence[str]) -> "Host":
        """What the host starts at boot."""
        self._commands = [list(command) for command in commands]
        self._manager.start()
        return self

    def boot(self) -> None:
        """Start everything."""
        with self._lock:
            self._before()
            self._processes = [self._start(command) for command in self._commands]
            self._up.set()

    def kill(self) -> None:
        """SIGKILL for every process of the host."""
        with self._lock:
            self._up.clear()
            while left := self._network.pids(self.name):
                for pid in left:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                for process in self._processes:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(1)

    def stop(self) -> None:
        """An orderly end."""
        with self._lock:
            self._up.clear()
            for process in self._processes:
                process.terminate()
            for process in self._processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(40)

    def close(self) -> None:
        """For good."""
        self._closed.set()
        self.kill()

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        script = f'echo {self.name} >/proc/sys/kernel/hostname; exec "$@"'
        words = ["ip", "netns", "exec", self._network.space(self.name), "unshare", "--uts", "sh", "-c", script, "sh"]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*words, *command], stdout=log, stderr=log, env=self._environment, start_new_session=True
            )

    def _manage(self) -> None:
        while not self._closed.wait(_RESTART_S):
            with self._lock:
                for index, process in enumerate(self._processes):
                    if self._up.is_set() and process.poll() is not None:
                        self.restarts += 1
                        self._processes[index] = self._start(self._commands[index])


def wait_until(what: str, probe: Callable[[], bool], timeout_s: float) -> None:
    """Ask again and again what another host's processes decide."""
    deadline = time.monotonic() + timeout_s
    while not probe():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.2)  # another host's processes
