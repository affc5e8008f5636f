"""The broker role: the private Valkey server, for as long as it lives."""

from node.errors import BrokerError
from node.jobs.broker import EmbeddedBroker
from node.roles.stage import Stage

_LOOK_EVERY_S = 0.2


def play(stage: Stage) -> None:
    """Start the server and end with it."""
    broker = EmbeddedBroker(stage.config.storage.root / "broker")
    broker.start()
    try:
        stage.ready(url=broker.url, server_pid=broker.pid)
        while not stage.stop.is_set():
            if broker.wait(_LOOK_EVERY_S):
                raise BrokerError("the private broker's server ended")
    finally:
        broker.stop()
