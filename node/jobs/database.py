"""The ledger's database: where it is, how it is opened, what a transaction means there.

SQLite (one machine) runs with a write-ahead log and a sync at every commit, so that a committed transition
survives a power cut; writers take the lock at once and wait for each other. PostgreSQL (several machines) is made to
mean the same: a transaction that writes first takes one advisory lock, so writers never interleave; a machine that is
cut off in the middle of one loses its session, and with it the lock, after seconds.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Insert, Table, create_engine, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError
from sqlalchemy.exc import NoSuchModuleError as UnknownDialectError

from node.errors import ConfigError, LedgerVersionError, RestoreCutOffError, StorageError
from node.intake.durable_io import storage_error
from node.jobs import schema

LEDGER_FILE = "ledger.sqlite"
RESTORE_FOLDER = "restoring"
"""In the storage root until all of a backup is in place."""
_BUSY_TIMEOUT_MS = 20_000
# For each connection; a role has up to five, one for each thread. SQLite's own 2000 fill up over an hour as the ledger
# grows, and look like a leak; the file is in the system's cache anyway.
_SQLITE_CACHE_KIB = 512
_REBUILD = "stop the node and run `ironnode rebuild`"
_MIGRATE = "stop the node and run `ironnode migrate`"
_NEWER = "a newer ironnode wrote it; install that one again"
_WRITERS_LOCK = 0x69726F6E  # of pg_advisory_xact_lock; the ledger's own in its database
_PSYCOPG = "postgresql+psycopg"
_CONNECT_ARGS = {  # libpq: a server that is cut off is given up after about 10 s, not after hours
    "connect_timeout": 5,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    # And the server gives up a client that is cut off: no transaction of it may hold the others up.
    "options": "-c idle_in_transaction_session_timeout=5s -c lock_timeout=20s -c statement_timeout=60s"
    " -c tcp_keepalives_idle=4 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10s",
}

Fence = Callable[[Connection], None]
"""Asked at the start of every transaction that writes; raises where this process may not write (any more)."""


class Database:
    """One open ledger database. Give each process its own (never share one over a fork)."""

    def __init__(self, root: Path, url: str | None, fence: Fence | None = None) -> None:
        """Open ``url``, or SQLite under ``root``; create what is missing.

        Raises:
            ConfigError: the URL cannot be used, the ledger was made by another version, or a restore was cut off.
            StorageError: the database cannot be opened.
        """
        if (root / RESTORE_FOLDER).exists():
            raise RestoreCutOffError(f"{root} (storage.root): a restore was cut off, or still runs")
        self._engine = make_engine(root, url)
        self._fence = fence
        self._name = str(root / LEDGER_FILE) if url is None else make_url(url).render_as_string(hide_password=True)
        try:
            self._prepare()
        except DatabaseError as error:
            self.close()
            raise StorageError(f"ledger {self._name}: cannot be opened: {error.orig}") from error
        except ConfigError:
            self.close()
            raise

    def _prepare(self) -> None:
        with self.writing() as connection:
            schema.metadata.create_all(connection)
            query = select(schema.meta.c.value).where(schema.meta.c.key == "ledger_version")
            found = connection.scalar(query)
            if found is None:
                row = {"key": "ledger_version", "value": str(schema.LEDGER_VERSION)}
                connection.execute(self.insert_new(schema.meta), [row])
            elif found != str(schema.LEDGER_VERSION):
                raise LedgerVersionError(version_refusal(self._name, int(found)))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A view in which nothing is changed.

        Raises:
            StorageError: the database refused, or is away.
        """
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StorageError(f"ledger {self._name}: {getattr(error, 'orig', error)}") from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction: all of it is durable at the end, or none of it.

        Raises:
            StorageError: the database refused (full disk, locked for too long, away).
        """
        try:
            with self._engine.connect().execution_options(ironnode_writes=True) as connection, connection.begin():
                if self._fence is not None:
                    self._fence(connection)
                yield connection
        except SQLAlchemyError as error:
            raise StorageError(f"ledger {self._name}: {getattr(error, 'orig', error)}") from error

    def now(self, local: Callable[[], datetime]) -> datetime:
        """The time that leases and waits go by: the database server's, so that machines whose clocks differ agree;
        with SQLite there is one machine, and its clock is ``local``.

        Raises:
            StorageError: the database is away.
        """
        if self._engine.dialect.name == "sqlite":
            return local()
        with self.reading() as connection:
            found = connection.scalar(select(func.clock_timestamp()))
        assert isinstance(found, datetime)
        return found.astimezone(UTC)

    def insert_new(self, table: Table) -> Insert:
        """An insert that leaves rows alone that exist already."""
        if self._engine.dialect.name == "sqlite":
            return sqlite.insert(table).on_conflict_do_nothing()
        return postgresql.insert(table).on_conflict_do_nothing()

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()


def one_of(column: ColumnElement[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """``column IN values``, with the last value repeated up to a power of two.

    Each number of values is a statement of its own, of which the SQLite driver keeps 128 prepared for each connection:
    a list that grows from look to look would fill memory with them.
    """
    found = list(values)
    wanted = 1 << (len(found) - 1).bit_length() if found else 0
    return column.in_([*found, *found[-1:] * (wanted - len(found))])


def version_refusal(name: str, found: int) -> str:
    """Why the ledger ``name`` of version ``found`` is not used, and what to do."""
    advice = _NEWER if found > schema.LEDGER_VERSION else _MIGRATE if found in schema.MIGRATIONS else _REBUILD
    return f"ledger {name} has version {found}, this software needs {schema.LEDGER_VERSION}: {advice}"


def make_engine(root: Path, url: str | None) -> Engine:
    """The engine of ``url``, or of SQLite under ``root``, with what a transaction means here.

    Raises:
        ConfigError: the URL cannot be used.
    """
    if url is None:
        root.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{root / LEDGER_FILE}"
    try:
        parsed = make_url(url)
        engine = create_engine(parsed, **_postgresql_options(parsed))
    except (ArgumentError, UnknownDialectError, ImportError) as error:
        raise ConfigError(f"database.url: cannot be used: {error}") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    elif parsed.drivername == _PSYCOPG:
        event.listen(engine, "begin", _begin_postgresql)
    else:
        raise ConfigError(f"database.url: {parsed.drivername} is not supported; use sqlite or {_PSYCOPG}")
    return engine


def _postgresql_options(url: URL) -> dict[str, Any]:
    if url.drivername != _PSYCOPG:
        return {}
    wanted = {name: value for name, value in _CONNECT_ARGS.items() if name not in url.query}
    return {"connect_args": wanted, "pool_pre_ping": True}  # a server that was started again ends no role


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("ironnode_writes"):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})")


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"cache_size=-{_SQLITE_CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that will write takes the lock at its start: upgrading later could fail half-way with "busy".
    writes = connection.get_execution_options().get("ironnode_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def set_sqlite_aside(root: Path, now: datetime) -> Path | None:
    """Give the SQLite ledger under ``root`` another name; that name, or ``None`` when there was no ledger.

    Raises:
        StorageError: the disk refused.
    """
    standing = root / LEDGER_FILE
    aside = root / f"ledger-before-{now:%Y%m%dT%H%M%S%f}.sqlite"
    if not standing.exists():
        return None
    try:
        for suffix in ("-wal", "-shm", ""):  # the file itself last: cut off in between, the call can be repeated
            part = standing.with_name(standing.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise storage_error(error, f"{standing} cannot be set aside") from error
    return aside


def sqlite_version(file: Path) -> int:
    """The ledger version that an SQLite file states.

    Raises:
        StorageError: it states none, or cannot be read.
    """
    try:
        with closing(sqlite3.connect(file)) as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = 'ledger_version'").fetchone()
        return int(row[0])
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise StorageError(f"ledger {file}: its version cannot be read: {error}") from error


def copy_sqlite(root: Path, target: Path) -> Path:
    """Copy the SQLite ledger under ``root`` to ``target``, as it stands at one moment, whoever writes meanwhile.

    Raises:
        StorageError: the ledger or the disk refused.
    """
    standing = root / LEDGER_FILE
    try:
        source = sqlite3.connect(standing, timeout=_BUSY_TIMEOUT_MS / 1000)
        with closing(source), closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
    except sqlite3.Error as error:
        raise StorageError(f"ledger {standing}: cannot be copied: {error}") from error
    return target
