"""The ``run`` folder: who runs on this storage root, and where it can be reached."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from node.config import Config, load_config
from node.errors import ConfigError, StorageError
from node.intake.durable_io import storage_error

_CANNOT_RUN = frozenset("ZXT")
"""States of proc(5): dead and not waited for by its parent, dead, stopped by a signal."""
_LOCK = "lock"
_ONLY_LOOKING_S, _LOOK_AGAIN_S = 0.2, 0.01
_SWEEP_AFTER_S = 86400.0  # one that is just being made is not locked yet


@dataclass(frozen=True, kw_only=True)
class ConfigRefusal:
    """A changed configuration that the running node did not take up, and why."""

    at: datetime
    error: str


class RunFolder:
    """Ready files: ``<role>.json`` with the process id and what else others must know (port, broker URL)."""

    def __init__(self, folder: Path) -> None:
        """Make the folder where absent.

        Raises:
            StorageError: it cannot be made.
        """
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, f"{folder} cannot be made") from error

    def announce(self, role: str, **facts: Any) -> None:
        """This process is ready to play ``role``."""
        path = self.folder / f"{role}.json"
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps({"pid": os.getpid(), **facts}) + "\n")
            temporary.replace(path)
        except OSError as error:
            raise storage_error(error, f"{path} cannot be written") from error

    def withdraw(self, role: str) -> None:
        """``role`` is not played any more."""
        (self.folder / f"{role}.json").unlink(missing_ok=True)

    def forget(self) -> None:
        """Nobody runs here now: what an earlier run announced goes, unread (a loss of power leaves empty files)."""
        for path in self.folder.glob("*.json"):
            if path.stem != "config":
                path.unlink(missing_ok=True)
        self.accept_config()

    def facts(self, role: str) -> dict[str, Any] | None:
        """What a role announced, or ``None``."""
        try:
            found: dict[str, Any] = json.loads((self.folder / f"{role}.json").read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.folder / role}.json cannot be read: {error}") from error
        return found

    def refuse_config(self, error: str) -> None:
        """Note that a changed configuration was not taken up, until one is."""
        temporary = self._refusal.with_suffix(".refusing")
        with contextlib.suppress(OSError):  # the log has told it already
            temporary.write_text(json.dumps({"at": datetime.now(UTC).isoformat(), "error": error}))
            temporary.replace(self._refusal)

    def accept_config(self) -> None:
        """What the configuration says now is in force."""
        with contextlib.suppress(OSError):  # a disk that is read-only must not end the node
            self._refusal.unlink(missing_ok=True)

    def config_refused(self) -> ConfigRefusal | None:
        """The last change of the configuration, where it was not taken up."""
        try:
            found = json.loads(self._refusal.read_text())
            return ConfigRefusal(at=datetime.fromisoformat(found["at"]), error=str(found["error"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def _refusal(self) -> Path:
        return self.folder / "config.refused"

    def in_use(self) -> bool:
        """Whether a node or worker runs here: it holds the lock, which ends with its process. The process ids that it
        announced say nothing after a kill: each may live again as another process.

        Raises:
            StorageError: the lock cannot be looked at.
        """
        path = self.folder / _LOCK
        try:
            with path.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        except OSError as error:
            raise storage_error(error, f"{path} cannot be looked at") from error
        return False

    def roles_alive(self) -> dict[str, bool]:
        """Of every role that was announced, whether its process is there and does its work: it announced no faults.

        Raises:
            StorageError: what was announced cannot be read.
        """
        in_use = self.in_use()
        announced = {path.stem for path in self.folder.glob("*.json")} - {"config"}
        expected = set((self.facts("node") or {}).get("roles", ()))  # one that died has withdrawn its own file
        found = {role: self.facts(role) or {} for role in sorted(announced | expected)}
        return {role: in_use and "faults" not in facts and _alive(facts.get("pid")) for role, facts in found.items()}


def gateway_name(config: Config) -> str | None:
    """This machine's name among the gateways that share the storage root; ``None`` where there is one gateway."""
    return socket.gethostname() if config.shared else None


def config_in_force(config: Config) -> Config | None:
    """What this machine's gateway was started or last reloaded with, while it runs; else ``None``."""
    run = gateway_run(config)
    return load_config(run.folder / "config.json") if run.in_use() and run.facts("node") else None


def sweep_run_folders(root: Path, now_s: float) -> None:
    """Remove the run folders of gateways and workers that share the storage ``root`` and ended without doing so
    themselves: untouched for a day, and nobody holds their lock."""
    for folder in (*root.glob("run/gateways/*"), *root.glob("run/workers/*")):
        with contextlib.suppress(ConfigError, StorageError, OSError, ValueError):
            if max(path.stat().st_mtime for path in folder.iterdir()) < now_s - _SWEEP_AFTER_S:
                with exclusive(folder):
                    shutil.rmtree(folder)


def gateway_run(config: Config) -> RunFolder:
    """The run folder of this machine's gateway: where several share a storage root, each host name has its own."""
    folder, name = config.storage.root / "run", gateway_name(config)
    return RunFolder(folder if name is None else folder / "gateways" / name)


@contextmanager
def exclusive(folder: Path, *, beside_others: bool = False) -> Iterator[None]:
    """Hold the lock of a storage root; the kernel lets go of it when the process ends, however it ends. What an earlier
    holder announced in the folder is forgotten.

    ``beside_others``: others may hold it so too (gateways that share the root), but nobody alone (maintenance).

    Raises:
        ConfigError: another process holds it.
        StorageError: the folder cannot be used.
    """
    run = RunFolder(folder)
    path = folder / _LOCK
    try:
        file = path.open("a+")
    except OSError as error:
        raise storage_error(error, f"{path} cannot be opened") from error
    with file:
        if not _locked(file, fcntl.LOCK_SH if beside_others else fcntl.LOCK_EX):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise ConfigError(f"storage.root: {folder.parent} is in use by another ironnode (process {holder})")
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}")
        file.flush()
        if not beside_others:
            run.forget()
        yield


def _locked(file: IO[str], kind: int) -> bool:
    """Take the lock, unless another process keeps it: one that only looks (``RunFolder.in_use``) soon lets go."""
    deadline = time.monotonic() + _ONLY_LOOKING_S
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_AGAIN_S)
        else:
            return True


def _alive(pid: Any) -> bool:
    """Whether a process is there and can run: not one that nobody buried yet (its parent hangs), nor a stopped one."""
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]  # proc(5): after the name
    except (OSError, IndexError):
        return True  # no /proc here, or the process ends just now
    return state not in _CANNOT_RUN
