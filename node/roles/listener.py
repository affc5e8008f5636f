"""The listener role: receives instances into the spool, keeps commitment reports as files, counts associations."""

from contextlib import closing

from node.dimse.scp import Listener
from node.intake.spool import Spool
from node.jobs.commitment_files import CommitmentFiles
from node.ops.counters import EventCounter
from node.roles.stage import Stage
from node.runtime import gateway_name


def play(stage: Stage) -> None:
    """Listen until told to stop; associations get a moment to finish."""
    config = stage.config
    titles = {peer.ae_title.strip() for peer in config.receive.allow}
    with closing(EventCounter(config.storage.root, titles, gateway_name(config))) as counter:
        counter.start()
        spool = Spool(config.storage.root, config.storage.min_free_mib << 20)
        keep_report = CommitmentFiles(config.storage.root).keep
        listener = Listener(config.receive, spool, keep_report, shared=config.shared)
        listener.start()
        stage.ready(port=listener.port, ae_title=config.receive.ae_title)
        stage.stop.wait()
        listener.stop()
