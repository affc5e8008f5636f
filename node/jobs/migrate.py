"""A ledger of an older version brought to this software's, in one transaction, with a copy made first.

Never done by opening a ledger: a look with a new release would otherwise change what an old one, still running or to be
stepped back to, has to read.
"""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import SQLAlchemyError

from node.errors import InputError, LedgerVersionError, StorageError
from node.intake.durable_io import storage_error
from node.jobs import schema
from node.jobs.database import LEDGER_FILE, copy_sqlite, make_engine, version_refusal
from node.jobs.durable import flush_folder

_COPIES = "ledger-before-"


@dataclass(frozen=True, kw_only=True)
class Migrated:
    """From which version to this software's; ``copy`` is the SQLite file as it was (``None``: nothing was to do, or
    PostgreSQL)."""

    version_before: int
    copy: Path | None


def migrate_ledger(root: Path, url: str | None, now: datetime) -> Migrated:
    """Bring the ledger at ``url``, or SQLite under ``root``, to ``LEDGER_VERSION``; nobody else may use it meanwhile.

    Raises:
        InputError: there is no ledger.
        ConfigError: the ledger is newer, or so old that it has to be made anew.
        StorageError: disk or database refused; the ledger is as it was.
    """
    name = str(root / LEDGER_FILE) if url is None else "in database.url"
    if url is None and not (root / LEDGER_FILE).exists():
        raise InputError(f"ledger {name}: there is none; the node makes one at its start")
    engine = make_engine(root, url)
    try:
        with engine.connect().execution_options(ironnode_writes=True) as connection, connection.begin():
            found = _version(connection, name)
            if found == schema.LEDGER_VERSION:
                return Migrated(version_before=found, copy=None)
            if found not in schema.MIGRATIONS:
                raise LedgerVersionError(version_refusal(name, found))
            copy = _copy(root, now) if url is None else None  # under the lock: nobody writes between copy and change
            for version in range(found, schema.LEDGER_VERSION):
                for statement in schema.MIGRATIONS[version]:
                    connection.exec_driver_sql(statement)
            schema.metadata.create_all(connection)
            row = update(schema.meta).where(schema.meta.c.key == "ledger_version")
            connection.execute(row.values(value=str(schema.LEDGER_VERSION)))
    except SQLAlchemyError as error:
        raise StorageError(f"ledger {name}: {getattr(error, 'orig', error)}") from error
    finally:
        engine.dispose()
    return Migrated(version_before=found, copy=copy)


def _version(connection: Connection, name: str) -> int:
    found = connection.scalar(select(schema.meta.c.value).where(schema.meta.c.key == "ledger_version"))
    if found is None:
        raise StorageError(f"ledger {name}: it has no ledger_version")
    return int(found)


def _copy(root: Path, now: datetime) -> Path:
    target = root / f"{_COPIES}{now:%Y%m%dT%H%M%S%f}.sqlite"
    part = target.with_name(f"{target.name}.part")
    try:
        for left in root.glob(f"{_COPIES}*.part*"):  # as large as the ledger each, of attempts that were killed
            left.unlink()
        copy_sqlite(root, part)
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        part.rename(target)
        flush_folder(root)
    except OSError as error:
        raise storage_error(error, f"{target} cannot be written") from error
    finally:
        part.unlink(missing_ok=True)
    return target
