"""Log-ins of the web page, kept in the ledger: they hold on every gateway that shares it, and so does a log-out.

Tokens are kept as their SHA-256 only, so that nobody who reads the ledger, or a copy of it, is logged in by it.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select

from node.jobs import schema
from node.jobs.database import Database


@dataclass(frozen=True, kw_only=True)
class LogIn:
    """The user of the configuration that a token stands for, by which password (its digest), and until when."""

    name: str
    password_digest: str
    ends_at: datetime


def digest_of(secret: str) -> str:
    """SHA-256 (hex) of a token or a stored password hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


class LogInBook:
    """The log-ins of one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, token: str, log_in: LogIn, now: datetime) -> None:
        """Keep a log-in; those that are over go.

        Raises:
            StorageError: the ledger refused, or is away; nobody is logged in.
        """
        table = schema.web_session
        row = {"token_digest": digest_of(token), **vars(log_in)}
        with self._database.writing() as connection:
            connection.execute(delete(table).where(table.c.ends_at <= now))
            connection.execute(table.insert(), [row])

    def find(self, token: str) -> LogIn | None:
        """The log-in of a token, over or not.

        Raises:
            StorageError: the ledger is away.
        """
        table = schema.web_session.c
        query = select(table.name, table.password_digest, table.ends_at).where(table.token_digest == digest_of(token))
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else LogIn(**row._mapping)

    def remove(self, token: str) -> None:
        """End a log-in, everywhere.

        Raises:
            StorageError: the ledger refused, or is away; the log-in stands.
        """
        table = schema.web_session
        with self._database.writing() as connection:
            connection.execute(delete(table).where(table.c.token_digest == digest_of(token)))
