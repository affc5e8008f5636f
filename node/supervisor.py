"""The supervisor: starts the roles as processes, starts again what dies, ends them in order.

    supervisor
    +-- broker       private Valkey, when broker.url is not set
    +-- listener     C-STORE and C-ECHO -> spool
    +-- assembler    spool -> ledger, jobs; reconciler
    +-- deliverer    outbox -> destinations
    +-- worker       jobs -> outbox (with pool processes below it)
    +-- web          pages, health, metrics
    +-- auditor      audit trail -> syslog server, when audit.syslog names one
    +-- notifier     tells people what is wrong, when notify names a channel
    +-- selftest     measures a phantom on a schedule, when selftest.every_h names one

No child outlives the supervisor (``node.ops.lifeline``). Children read the configuration that the supervisor read, from
``run/config.json``: a child that is started again later does not see a file that was edited meanwhile.
"""

import contextlib
import logging
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.app import open_node, wall_clock
from node.config import Config
from node.deliver.backoff import doubled_s
from node.errors import ConfigError, IronnodeError, StorageError
from node.intake.durable_io import storage_error
from node.jobs.settings import SettingsStore
from node.ops.audit import audit_events
from node.ops.events import Event, emit
from node.ops.service_manager import READY, STOPPING, tell_service_manager
from node.process.settings import settings_of
from node.reload import KEPT_ROLES, reread
from node.runtime import RunFolder, exclusive, gateway_run, sweep_run_folders

GATEWAY_ROLES = ("broker", "listener", "assembler", "deliverer", "web", "notifier", "auditor", "selftest")
ROLES_OF: Mapping[str, tuple[str, ...]] = {
    "serve": (*GATEWAY_ROLES, "worker"),
    "gateway": GATEWAY_ROLES,
    "worker": ("worker",),
}
"""The roles of each command; those that ``programs_for`` knows by name only where the configuration wants them."""

_ROLE_PROGRAM = (sys.executable, "-m", "node.roles")
_OPTIONAL = frozenset(
    {"web", "notifier", "auditor", "selftest"}
)  # the node works without; a taken port must not end it
_LOOK_EVERY_S = 0.1
_RESTART_BASE_S, _RESTART_MAX_S = 0.2, 30.0
_HEALTHY_AFTER_S = 10.0  # a role that was ready for so long starts its restart waits from the beginning
# glibc's malloc gives threads arenas of their own (up to 8 for each core), and each grows to the most that a thread in
# it ever held. With a single one memory is flat, and nothing measured is slower (docs/soak.md).
_ALLOCATOR = {"MALLOC_ARENA_MAX": "1"}
_GRACE_S = 20.0  # for an orderly end; what is cut off then is repeated at the next start


@dataclass(frozen=True, kw_only=True)
class RoleProgram:
    """How a role's process is started: ``program`` takes the arguments of ``node.roles.stage.run_role``."""

    role: str
    program: tuple[str, ...] = _ROLE_PROGRAM
    needs: tuple[str, ...] = ()  # roles that must be ready before the first start


class Supervisor:
    """Keeps a set of roles running over one run folder."""

    def __init__(self, programs: Sequence[RoleProgram], run: RunFolder, config_file: Path) -> None:
        self._run = run
        self._children = {p.role: _Child(p, run, config_file) for p in programs}
        self._announced = False

    def run(
        self,
        stop: threading.Event,
        on_ready: Callable[[dict[str, dict[str, Any]]], None],
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        """Run until ``stop``; ``on_ready`` gets what each role announced, once all of them are ready; ``on_look`` is
        called all the time.

        The thread that calls this must live as long as the node: its end would end the children.

        Raises:
            IronnodeError: a role cannot start at all; every role has been ended.
        """
        try:
            while not stop.is_set():
                self._look()
                on_look()
                if not self._announced and all(c.ready or c.program.role in _OPTIONAL for c in self._children.values()):
                    self._announced = True
                    on_ready({role: child.facts for role, child in self._children.items()})
                stop.wait(_LOOK_EVERY_S)
        finally:
            tell_service_manager(STOPPING)
            self._stop()

    def renew(self, kept: Collection[str]) -> None:
        """End the processes of all roles but those ``kept``; they are started again and read the configuration anew."""
        renewed = [child for role, child in self._children.items() if role not in kept]
        for child in renewed:
            child.ask_to_end()
        deadline = time.monotonic() + _GRACE_S
        for child in renewed:
            child.end(deadline)

    def _look(self) -> None:
        for child in self._children.values():
            child.look()
            needed = [self._children[role] for role in child.program.needs if role in self._children]
            if child.may_start and all(other.was_ready for other in needed):
                child.start()

    def _stop(self) -> None:
        deadline = time.monotonic() + _GRACE_S
        last = [c for c in self._children.values() if c.program.role == "broker"]
        first = [c for c in self._children.values() if c not in last]
        for group in (first, last):
            for child in group:
                child.ask_to_end()
            for child in group:
                child.end(deadline)


class _Child:
    """One role's process."""

    def __init__(self, program: RoleProgram, run: RunFolder, config_file: Path) -> None:
        self.program = program
        self.facts: dict[str, Any] = {}
        self.ready = False
        self.was_ready = False
        self._run = run
        self._config_file = config_file
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._ready_at = math.inf
        self._start_at = 0.0

    @property
    def may_start(self) -> bool:
        return self._process is None and time.monotonic() >= self._start_at

    def start(self) -> None:
        self._run.withdraw(self.program.role)
        self._ready_at = math.inf
        self._process = subprocess.Popen(
            [
                *self.program.program,
                self.program.role,
                *("--config", str(self._config_file)),
                *("--run-folder", str(self._run.folder)),
                *("--parent", str(os.getpid())),
            ],
            env={**_ALLOCATOR, **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the node's lines go to standard error; Celery says good-bye on the other
            start_new_session=True,  # a terminal's Ctrl-C reaches the supervisor only, which ends the roles in order
        )

    def look(self) -> None:
        """Notice that the process is ready, or has ended.

        Raises:
            IronnodeError: it cannot start, and never could.
        """
        if self._process is None:
            return
        status = self._process.poll()
        facts = self._run.facts(self.program.role) or {}
        if status is None:
            if not self.ready and facts.get("pid") == self._process.pid and "error" not in facts:
                self.ready = self.was_ready = True
                self._ready_at = time.monotonic()
                self.facts = facts
            return
        self._cannot_start(facts)
        self._end_group()
        emit(Event.ROLE_DIED, logging.ERROR, role=self.program.role, pid=self._process.pid, status=status)
        self._process, self.ready = None, False
        was_healthy = time.monotonic() - self._ready_at > _HEALTHY_AFTER_S
        self._failures = 1 if was_healthy else self._failures + 1
        self._start_at = time.monotonic() + doubled_s(self._failures, _RESTART_BASE_S, _RESTART_MAX_S)

    def _cannot_start(self, facts: dict[str, Any]) -> None:
        if self.was_ready or "error" not in facts or self.program.role in _OPTIONAL:
            return
        kind = StorageError if facts.get("retryable") else IronnodeError
        raise kind(f"{self.program.role}: {facts['error']}")

    def ask_to_end(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def end(self, deadline: float) -> None:
        """Wait for the process until ``deadline`` (monotonic seconds), then kill it and what it started."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.1, deadline - time.monotonic()))
        self._end_group()
        self._process.wait()
        self._run.withdraw(self.program.role)
        self._process, self.ready = None, False

    def _end_group(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):  # the normal case: nobody is left
            os.killpg(self._process.pid, signal.SIGKILL)


def programs_for(config: Config, roles: Sequence[str]) -> list[RoleProgram]:
    """The programs of some roles, as the configuration wants them.

    Raises:
        ConfigError: workers are to run alone and there is no broker for them.
    """
    unwanted = {
        "broker": config.broker.url is not None,
        "web": not config.web.enabled,
        "auditor": config.audit.syslog is None,
        "notifier": config.notify.email is None and config.notify.webhook is None,
        "selftest": config.selftest.every_h is None,
    }
    wanted = [role for role in roles if not unwanted.get(role, False)]
    if "worker" in wanted and "broker" not in wanted and config.broker.url is None:
        gateway = RunFolder(config.storage.root / "run")
        if not gateway.in_use() or gateway.facts("broker") is None:
            raise ConfigError(
                "broker.url: must be set for `ironnode worker`, unless `ironnode gateway` with its private broker runs "
                "on this machine and storage.root"
            )
    return [RoleProgram(role=r, needs=("broker",) if r in ("assembler", "worker") else ()) for r in wanted]


def run_node(
    config: Config,
    config_path: Path | None,
    roles: Sequence[str],
    programs: Sequence[RoleProgram] | None = None,
    *,
    reload: threading.Event | None = None,
) -> int:
    """Run these roles until SIGTERM or SIGINT; a second signal does not wait for an orderly end. Returns 0.

    ``programs`` replaces how the roles are started; ``reload`` is set where SIGHUP came before this.

    Raises:
        ConfigError: another node runs on this storage root (where gateways share it: under this host name).
        StorageError: the ledger or the disk cannot be used just now (also by a role); trying again may help.
        IronnodeError: a role cannot start at all.
    """
    asked = threading.Event() if reload is None else reload
    signal.signal(signal.SIGHUP, lambda *_: asked.set())
    root = config.storage.root
    audit_events(root)
    programs = programs_for(config, roles) if programs is None else programs
    with contextlib.ExitStack() as stack:
        if "listener" in roles:
            stack.enter_context(exclusive(root / "run", beside_others=config.shared))
            run = gateway_run(config)
            if config.shared:
                stack.enter_context(exclusive(run.folder))
        else:  # any number of workers may share a storage root
            if config.shared:  # nobody migrates or restores below them
                stack.enter_context(exclusive(root / "run", beside_others=True))
            run = RunFolder(root / "run" / "workers" / f"{socket.gethostname()}-{os.getpid()}")
            stack.enter_context(exclusive(run.folder))
        with open_node(config):
            pass  # made and checked once, before several processes open it
        sweep_run_folders(root, wall_clock().timestamp())
        stop = threading.Event()
        _stop_on_signals(stop)
        settings = SettingsStore(root / "settings")
        in_force = settings.keep(config)
        settings_of(in_force)  # the copies: what the caller checked may have been edited since
        supervisor = Supervisor(programs, run, _freeze_config(in_force, run))

        def look() -> None:
            nonlocal in_force
            if not asked.is_set():
                return
            asked.clear()
            try:
                found = reread(in_force, config_path, settings)
                if found.sections:
                    _freeze_config(found.config, run)
            except Exception as error:  # noqa: BLE001 - whatever a file holds, a reload must not end the node
                told = str(error) if isinstance(error, IronnodeError) else f"unexpected {type(error).__name__}"
                emit(Event.CONFIG_REFUSED, logging.ERROR, error=told)
                run.refuse_config(told)
                return
            run.accept_config()
            if found.sections:
                in_force = found.config
                supervisor.renew(KEPT_ROLES)
            found.tell()

        supervisor.run(stop, lambda facts: _announce(run, config_path, facts), look)
        run.forget()
        if run.folder != root / "run":  # one of several on this root: nobody else looks into its folder
            shutil.rmtree(run.folder, ignore_errors=True)
    emit(Event.NODE_STOPPED)
    return 0


def _announce(run: RunFolder, config_path: Path | None, facts: dict[str, dict[str, Any]]) -> None:
    ports = {role: found["port"] for role, found in facts.items() if "port" in found}
    run.announce("node", roles=sorted(facts), ports=ports)
    tell_service_manager(READY)
    emit(Event.NODE_STARTED, config=str(config_path) if config_path else None, roles=sorted(facts), ports=ports)


def _freeze_config(config: Config, run: RunFolder) -> Path:
    path, new = run.folder / "config.json", run.folder / "config.new"
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # a URL in it may hold a password
        with os.fdopen(descriptor, "w") as file:
            file.write(config.model_dump_json())
        new.replace(path)
    except OSError as error:
        raise storage_error(error, f"{path} cannot be written") from error
    return path


def _stop_on_signals(stop: threading.Event) -> None:
    def ask(number: int, _frame: object) -> None:
        if stop.is_set():
            os._exit(128 + number)  # the children end with us
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
