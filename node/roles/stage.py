"""What every role's process does first and last: configuration, logging, lifeline, signals, ready file."""

import argparse
import contextlib
import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node.config import Config, load_config
from node.errors import IronnodeError, StorageError, fault_text
from node.jobs.broker import EmbeddedBroker
from node.ops.audit import audit_events
from node.ops.events import Event, configure_logging, emit
from node.ops.lifeline import end_with
from node.runtime import RunFolder

if TYPE_CHECKING:  # the listener loads no database
    from node.jobs.database import Fence

EXIT_CANNOT_START = 2


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where a role plays: until ``stop`` is set."""

    role: str
    config: Config
    run: RunFolder
    stop: threading.Event = field(default_factory=threading.Event)
    fence: "Fence | None" = None  # of a role that only one gateway plays at a time
    _facts: dict[str, Any] = field(default_factory=dict)
    _faults: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # steps may run side by side

    def ready(self, **facts: Any) -> None:
        """Tell the supervisor (and whoever looks) that the role does its work now.

        What was loaded so far stays, and garbage is no longer looked for in it. Python puts a full collection off until
        a quarter as many objects again have gathered: for a listener that was after hours.
        """
        gc.collect()
        gc.freeze()
        gc.collect()  # of what is left: the next one is put off by its number
        with self._lock:
            self._facts.clear()
            self._facts.update(facts)
            self._announce()
        emit(Event.ROLE_STARTED, role=self.role, **facts)

    def does(self, name: str, step: Callable[[], object]) -> bool:
        """Do one step of the role's work, of which ``name`` is the kind; whether it came to its end.

        What goes wrong is logged. After a fault of the software the role does not count as working
        (``RunFolder.roles_alive``) until a step of the same kind comes to its end.
        """
        try:
            step()
        except StorageError as error:  # full disk, locked ledger: what is left undone is done in a later step
            emit(Event.STORAGE_TROUBLE, logging.ERROR, role=self.role, error=str(error))
            return False
        except Exception as error:  # noqa: BLE001 - the edge of a role: a thread must not end in silence
            self._note(name, str(error) if isinstance(error, IronnodeError) else fault_text(error))
            return False
        self._note(name, None)
        return True

    def _note(self, name: str, fault: str | None) -> None:
        with self._lock:
            if self._faults.get(name) == fault:
                return
            if fault is None:
                self._faults.pop(name)
                emit(Event.ROLE_FAULT_OVER, role=self.role, step=name)
            else:
                self._faults[name] = fault
                emit(Event.ROLE_FAULT, role=self.role, step=name, error=fault)
            try:
                self._announce()
            except StorageError as error:
                emit(Event.STORAGE_TROUBLE, logging.ERROR, role=self.role, error=str(error))

    def _announce(self) -> None:
        faults = {"faults": self._faults} if self._faults else {}
        self.run.announce(self.role, **self._facts, **faults)

    def stop_on_signals(self) -> None:
        """SIGTERM and SIGINT set ``stop``."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop.set())

    def broker_url(self) -> str:
        """The configured broker, or the private one of the gateway on this machine (it may be away just now)."""
        if self.config.broker.url is not None:
            return self.config.broker.url
        root = self.config.storage.root
        announced = RunFolder(root / "run").facts("broker") or {}
        return str(announced.get("url") or EmbeddedBroker(root / "broker").url)


Play = Callable[[Stage], None]


def run_role(arguments: Sequence[str], play: Play | None = None) -> None:
    """Be one role, as the supervisor's command line says; ``play`` replaces what the role does."""
    parser = argparse.ArgumentParser(prog="node.roles")
    parser.add_argument("role")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--run-folder", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args(arguments)
    end_with(options.parent)
    configure_logging()
    try:
        config = load_config(options.config)
        audit_events(config.storage.root)
        stage = Stage(role=options.role, config=config, run=RunFolder(options.run_folder))
        stage.stop_on_signals()
        with _turn(stage) as turn:
            if turn is not None:
                (play or _play_of(options.role))(turn)
    except IronnodeError as error:
        emit(Event.ROLE_DIED, logging.ERROR, role=options.role, error=str(error), hint=error.hint)
        with contextlib.suppress(StorageError):  # a full disk; the log has the reason
            RunFolder(options.run_folder).announce(options.role, error=str(error), retryable=error.retryable)
        sys.exit(EXIT_CANNOT_START)


def _turn(stage: Stage) -> "contextlib.AbstractContextManager[Stage | None]":
    """The stage to play on, when it is this process's turn; alone on a storage root it always is."""
    if not stage.config.shared:
        return contextlib.nullcontext(stage)
    from node.roles.on_duty import on_duty

    return on_duty(stage)


def _play_of(role: str) -> Play:
    # Each role imports only what it needs: the listener no Celery, the broker no pynetdicom, nobody but a worker numba.
    from importlib import import_module

    module = import_module(f"node.roles.{role}")
    play: Play = module.play
    return play
