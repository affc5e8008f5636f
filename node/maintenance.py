"""What is done to a storage root on which no node runs: the ledger made anew, or brought to this software's version."""

from node.app import open_node, wall_clock
from node.config import Config
from node.jobs.database import set_sqlite_aside
from node.jobs.migrate import Migrated, migrate_ledger
from node.jobs.rebuild import Rebuilt, rebuild_ledger
from node.runtime import exclusive


def rebuild(config: Config) -> Rebuilt:
    """Make the ledger anew from spool, manifests and outbox; the node must not run.

    An SQLite file that stands is set aside under another name. What was delivered is not on the disk, so everything
    is delivered again: the same bytes under the same UIDs.

    Raises:
        ConfigError: the node runs.
        StorageError: disk or database refused.
    """
    root = config.storage.root
    with exclusive(root / "run"):
        if config.database.url is None:
            set_sqlite_aside(root, wall_clock())
        return fill_ledger(config)


def migrate(config: Config) -> Migrated:
    """Bring the ledger to this software's version; the node must not run.

    Raises:
        InputError: there is no ledger.
        ConfigError: the node runs, or the ledger is newer or too old.
        StorageError: disk or database refused; the ledger is as it was.
    """
    root = config.storage.root
    with exclusive(root / "run"):
        return migrate_ledger(root, config.database.url, wall_clock())


def fill_ledger(config: Config) -> Rebuilt:
    """Enter what spool, manifests and outbox hold and the ledger does not know; what it knows stays as it is.

    Raises:
        StorageError: disk or database refused.
    """
    with open_node(config) as node:
        return rebuild_ledger(
            spool=node.spool,
            ledger=node.ledger,
            manifests=node.manifests,
            outbox=node.outbox,
            receivers_of=config.receivers_of,
            now=wall_clock(),
        )
