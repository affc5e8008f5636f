"""The assembler role: arrivals to jobs, and (in a thread of its own) the reconciler."""

import threading
from collections.abc import Callable

from node.app import open_node
from node.jobs.celery_queue import Doorbell
from node.jobs.reconcile import Reconciler
from node.roles.stage import Stage

_LOOK_EVERY_S = 0.2
_RECONCILE_EVERY_S = 1.0
_AFTER_TROUBLE_S = 2.0


def play(stage: Stage) -> None:
    """Assemble until told to stop."""
    bell = Doorbell(stage.broker_url(), stage.config.queue)
    made = threading.Event()
    with open_node(stage.config, stage.fence) as node:
        assembler = node.assembler()
        assembler.recover()
        reconciler = Reconciler(node.ledger, bell, stage.config, node.clock)

        def assemble() -> None:
            if assembler.step():
                made.set()

        def reconcile() -> None:
            made.clear()
            reconciler.step()

        ringing = threading.Thread(
            target=repeat,
            args=(stage, "reconcile", reconcile, made, _RECONCILE_EVERY_S),
            name="reconciler",
            daemon=True,
        )
        ringing.start()
        stage.ready()
        repeat(stage, "assemble", assemble, stage.stop, _LOOK_EVERY_S)
        made.set()
        ringing.join()
        bell.close()


def repeat(stage: Stage, name: str, step: Callable[[], object], wake: threading.Event, every_s: float) -> None:
    """Do ``step`` until told to stop: every ``every_s`` seconds, or as soon as ``wake`` is set."""
    while not stage.stop.is_set():
        if not stage.does(name, step):
            stage.stop.wait(_AFTER_TROUBLE_S)
        wake.wait(every_s)
