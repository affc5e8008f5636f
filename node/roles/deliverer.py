"""The deliverer role: one thread for each destination that has something due, so that none waits for another."""

import logging
import random
import threading
from collections.abc import Sequence
from pathlib import Path

from node.app import open_node, wall_clock
from node.config import Config, DestinationConfig
from node.deliver.dispatch import Dispatcher, OnOutcome, Sender
from node.dimse.scu import Peer
from node.dimse.scu import send as send_files
from node.errors import StorageError
from node.model import StoreOutcome
from node.ops.events import Event, emit
from node.roles.stage import Stage

_LOOK_EVERY_S = 0.5
_AFTER_TROUBLE_S = 2.0
_LEFTOVERS_OLDER_THAN_S = 3600.0


def dicom_sender(config: Config) -> Sender:
    """C-STORE to a destination."""

    def send(files: Sequence[Path], destination: DestinationConfig, on_outcome: OnOutcome) -> Sequence[StoreOutcome]:
        return send_files(
            files,
            Peer.of(destination),
            calling_ae_title=destination.calling_ae_title or config.receive.ae_title,
            timeout_s=destination.timeout_s,
            on_outcome=on_outcome,
        )

    return send


def play(stage: Stage) -> None:
    """Deliver until told to stop; a send that is under way is cut off then, and repeated later."""
    with open_node(stage.config) as node:
        node.outbox.sweep(_LEFTOVERS_OLDER_THAN_S, wall_clock().timestamp())
        dispatcher = Dispatcher(
            book=node.ledger.deliveries,
            outbox=node.outbox,
            send=dicom_sender(stage.config),
            clock=wall_clock,
            uniform=random.uniform,
        )
        stage.ready()
        deliver(stage, dispatcher)


def deliver(stage: Stage, dispatcher: Dispatcher) -> None:
    """Look for what is due and have it sent, until told to stop."""
    destinations = {d.name: d for d in stage.config.destinations}
    busy: dict[str, threading.Thread] = {}
    while not stage.stop.wait(_LOOK_EVERY_S):
        try:
            due = dispatcher.book.due_destinations(wall_clock())
        except StorageError as error:
            _tell(stage, error)
            continue
        for name in due:
            running = busy.get(name)
            if name in destinations and (running is None or not running.is_alive()):
                busy[name] = threading.Thread(
                    target=_deliver_to, args=(stage, dispatcher, destinations[name]), name=f"to-{name}", daemon=True
                )
                busy[name].start()


def _deliver_to(stage: Stage, dispatcher: Dispatcher, destination: DestinationConfig) -> None:
    try:
        dispatcher.deliver_due(destination)
    except StorageError as error:
        _tell(stage, error)
        stage.stop.wait(_AFTER_TROUBLE_S)


def _tell(stage: Stage, error: StorageError) -> None:
    emit(Event.STORAGE_TROUBLE, logging.ERROR, role=stage.role, error=str(error))
