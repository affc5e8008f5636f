"""Duties: where several gateways share one ledger, each role that must not be played twice has one holder.

A duty is a lease in the ledger, timed by the database server. Who loses it cannot write any more: every transaction of
the holder first asks whether it still is (``Duty.fence``), and taking over is a transaction like any other, so the two
never overlap (``node.jobs.database``: writers wait for each other).
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, or_, select, update

from node.errors import DutyLostError
from node.jobs import schema
from node.jobs.database import Database


class Duty:
    """One role's duty, seen by one process; ``holder`` names that process and no other."""

    def __init__(
        self, database: Database, role: str, holder: str, lease_s: float, local: Callable[[], datetime]
    ) -> None:
        self.role = role
        self.lease_s = lease_s
        self._database = database
        self._holder = holder
        self._local = local

    def take(self) -> bool:
        """Take the duty, or renew it; ``False`` when another holds it.

        Raises:
            StorageError: the ledger refused, or is away.
        """
        table = schema.duty.c
        now = self._database.now(self._local)
        free = or_(table.holder == self._holder, table.until < now)
        values = {"holder": self._holder, "until": now + timedelta(seconds=self.lease_s)}
        with self._database.writing() as connection:
            row = {"role": self.role, "holder": self._holder, "until": now}
            connection.execute(self._database.insert_new(schema.duty), [row])
            mine = update(schema.duty).where(table.role == self.role, free).values(**values)
            return connection.execute(mine).rowcount == 1

    def renew(self) -> bool:
        """Renew the duty; ``False`` when it is another's, or nobody's.

        Raises:
            StorageError: the ledger refused, or is away.
        """
        until = self._database.now(self._local) + timedelta(seconds=self.lease_s)
        with self._database.writing() as connection:
            mine = update(schema.duty).where(self._is_mine()).values(until=until)
            return connection.execute(mine).rowcount == 1

    def give_up(self) -> None:
        """Let another take it at once.

        Raises:
            StorageError: the ledger refused; the lease runs out by itself.
        """
        now = self._database.now(self._local)
        with self._database.writing() as connection:
            connection.execute(update(schema.duty).where(self._is_mine()).values(holder="", until=now))

    def fence(self, connection: Connection) -> None:
        """Raise DutyLostError unless this process holds the duty; within a transaction that writes."""
        if connection.execute(select(1).where(self._is_mine())).first() is None:
            raise DutyLostError(f"another {self.role} is on duty now")

    def _is_mine(self) -> ColumnElement[bool]:
        return (schema.duty.c.role == self.role) & (schema.duty.c.holder == self._holder)
