"""Roles of which there is one, where several gateways share a storage root: one process plays, the others wait.

The one on duty renews its lease in the ledger (``node.jobs.duties``). When it cannot for so long that another may take
over, or another has, its process ends at once, wherever it is; the supervisor starts it again, and it waits for its
turn. What it was sending to a destination then may arrive there a second time: the same bytes under the same UID.
"""

import contextlib
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from node.app import wall_clock
from node.errors import StorageError
from node.jobs.database import Database
from node.jobs.duties import Duty
from node.ops.events import Event, emit
from node.roles.stage import EXIT_CANNOT_START, Stage

ROLES = frozenset({"assembler", "deliverer", "notifier", "auditor", "selftest"})
"""Listener and web are played on every gateway."""

_LEASE_S = 15.0
_RENEW_EVERY_S = 3.0
_END_BEFORE_S = 2.0  # the holder ends so long before another may begin
_LOOK_EVERY_S = 0.2


@contextmanager
def on_duty(stage: Stage) -> Iterator[Stage | None]:
    """The stage to play on, once it is this process's turn; ``None`` when it is told to stop before.

    Raises:
        StorageError, ConfigError: the ledger cannot be opened.
    """
    if stage.role not in ROLES or not stage.config.shared:
        yield stage
        return
    database = Database(stage.config.storage.root, stage.config.database.url)
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    duty = Duty(database, stage.role, holder, _LEASE_S, wall_clock)
    try:
        yield _wait(stage, duty)
    finally:
        with contextlib.suppress(StorageError):  # then it runs out
            duty.give_up()
        database.close()


def _wait(stage: Stage, duty: Duty) -> Stage | None:
    waiting = False
    while not stage.stop.is_set():
        asked_at = time.monotonic()
        try:
            if duty.take():
                _Keeper(stage, duty, asked_at).start()
                emit(Event.DUTY_TAKEN, role=stage.role)
                return replace(stage, fence=duty.fence)
        except StorageError as error:
            emit(Event.STORAGE_TROUBLE, logging.ERROR, role=stage.role, error=str(error))
        if not waiting:
            stage.ready(waits="another gateway plays this role")
            waiting = True
        stage.stop.wait(_RENEW_EVERY_S)
    return None


class _Keeper:
    """Renews the lease, and ends the process when it is not surely held any more."""

    def __init__(self, stage: Stage, duty: Duty, taken_at: float) -> None:
        self._stage = stage
        self._duty = duty
        self._held_until = taken_at + duty.lease_s - _END_BEFORE_S

    def start(self) -> None:
        """Two threads: a renewal that hangs (a server that is cut off) must not keep the other from looking."""
        for work in (self._renew, self._look):
            threading.Thread(target=work, name="duty", daemon=True).start()

    def _renew(self) -> None:
        while not self._stage.stop.wait(_RENEW_EVERY_S):
            asked_at = time.monotonic()
            try:
                if not self._duty.renew():
                    self._end("another process took it")
            except StorageError as error:
                emit(Event.STORAGE_TROUBLE, logging.ERROR, role=self._stage.role, error=str(error))
                continue
            self._held_until = asked_at + self._duty.lease_s - _END_BEFORE_S

    def _look(self) -> None:
        while not self._stage.stop.wait(_LOOK_EVERY_S):
            if time.monotonic() > self._held_until:
                self._end("the ledger could not be reached to renew it")

    def _end(self, why: str) -> None:
        emit(Event.DUTY_LOST, logging.WARNING, role=self._stage.role, why=why)
        os._exit(EXIT_CANNOT_START)
