"""The listener role: receives instances into the spool, and nothing else."""

from node.dimse.scp import Listener
from node.intake.spool import Spool
from node.roles.stage import Stage


def play(stage: Stage) -> None:
    """Listen until told to stop; associations get a moment to finish."""
    config = stage.config
    listener = Listener(config.receive, Spool(config.storage.root, config.storage.min_free_mib << 20))
    listener.start()
    stage.ready(port=listener.port, ae_title=config.receive.ae_title)
    stage.stop.wait()
    listener.stop()
