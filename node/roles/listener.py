"""The listener role: receives instances into the spool, counts associations, and nothing else."""

from contextlib import closing

from node.dimse.scp import Listener
from node.intake.spool import Spool
from node.ops.counters import EventCounter
from node.roles.stage import Stage


def play(stage: Stage) -> None:
    """Listen until told to stop; associations get a moment to finish."""
    config = stage.config
    titles = {peer.ae_title.strip() for peer in config.receive.allow}
    with closing(EventCounter(config.storage.root, titles)) as counter:
        counter.start()
        listener = Listener(config.receive, Spool(config.storage.root, config.storage.min_free_mib << 20))
        listener.start()
        stage.ready(port=listener.port, ae_title=config.receive.ae_title)
        stage.stop.wait()
        listener.stop()
