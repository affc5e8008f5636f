"""The ledger's part on retention: whose files may go, whose are gone.

    (delivered) --no proof--> UNPROVED --again later--+
         +-----------------proof----------------------+--> MARKED --files deleted--> REMOVED --sent again--> RETURNED

``MARKED`` is durable before the first file is deleted; deleting is repeated until it is done. Records, deliveries and
history stay.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, or_, select, update

from node.errors import InputError
from node.jobs import schema, trail
from node.jobs.database import Database, one_of
from node.model import DeliveryState, JobState, RemovalState
from node.ops.events import Event

_PARAMETERS_AT_ONCE = 500
_CLOCK = "retention_clock"  # in the table meta
_GOING = (RemovalState.MARKED.value, RemovalState.REMOVED.value)


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What retention did with one job; ``detail`` is the proof of its delivery, or what is missing to it."""

    job_id: str
    state: RemovalState
    changed_at: datetime
    detail: str
    freed_bytes: int

    @property
    def text(self) -> str:
        """What an operator should know, as a sentence."""
        if self.state == RemovalState.UNPROVED:
            return f"Its time is over, but its files are kept: {self.detail}."
        gone = f"Its images and result objects were removed; the record stays. Delivered: {self.detail}."
        if self.state == RemovalState.RETURNED:
            return f"{gone} Images of it were sent again on {self.changed_at:%Y-%m-%d}."
        return f"{gone} Removed on {self.changed_at:%Y-%m-%d}."


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A delivered job whose time is over; ``proved``: its delivery was proved before, its images came again.

    ``self_test``: of the node's own images, sent to nobody.
    """

    job_id: str
    study_instance_uid: str
    proved: bool
    self_test: bool


@dataclass(frozen=True, kw_only=True)
class RemovalCounts:
    """Retention at a glance."""

    removed: int
    freed_bytes: int
    unproved: int
    last_detail: str | None


@dataclass(frozen=True, kw_only=True)
class ClockNote:
    """When retention last looked (before its first look: when the ledger was last written), and until when it waits."""

    seen_at: datetime | None
    held_until: datetime | None


class RemovalBook:
    """Retention."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(
        self, now: datetime, *, measured_before: datetime | None, refused_before: datetime | None
    ) -> list[Candidate]:
        """Jobs that were last sent from (self-tests: that ended) before these moments, oldest first; ``None``: none of
        the kind."""
        job, sent, removal = schema.job.c, schema.delivery.c, schema.removal.c
        last_sent = select(func.max(sent.sent_at)).where(sent.job_id == job.job_id).scalar_subquery()
        ended = case((job.self_test, job.finished_at), else_=last_sent)
        waiting = select(sent.job_id).where(sent.state == DeliveryState.PENDING.value)
        measured = job.outcome == "measured"
        came_again = removal.state == RemovalState.RETURNED.value
        kinds = [
            and_(kind, ended <= before, or_(removal.state.is_(None), ~came_again, removal.changed_at <= before))
            for kind, before in ((measured, measured_before), (~measured, refused_before))
            if before is not None
        ]
        if not kinds:
            return []
        unproved = and_(removal.state == RemovalState.UNPROVED.value, removal.next_try_at <= now)
        query = (
            select(job.job_id, job.study_instance_uid, job.self_test, removal.state)
            .select_from(schema.job.outerjoin(schema.removal, removal.job_id == job.job_id))
            .where(job.state == JobState.DONE.value, job.job_id.not_in(waiting), or_(*kinds))
            .where(or_(removal.job_id.is_(None), unproved, came_again))
            .order_by(job.accepted_at, job.job_id)
        )
        with self._database.reading() as connection:
            return [
                Candidate(
                    job_id=row.job_id,
                    study_instance_uid=row.study_instance_uid,
                    proved=row.state == RemovalState.RETURNED.value,
                    self_test=row.self_test,
                )
                for row in connection.execute(query)
            ]

    def keep(self, job_id: str, detail: str, again_at: datetime, now: datetime) -> bool:
        """A job's delivery is not proved; whether ``detail`` says something new."""
        with self._database.writing() as connection:
            known = connection.scalar(select(schema.removal.c.detail).where(schema.removal.c.job_id == job_id))
            self._put(connection, job_id, RemovalState.UNPROVED, detail, now, again_at)
            if known != detail:
                trail.append(connection, now, Event.FILES_KEPT, job_id=job_id, detail=detail)
        return known != detail

    def mark(self, job_id: str, detail: str, now: datetime) -> bool:
        """Decide that a job's files go; ``False`` when something of it is to be sent after all."""
        job, sent = schema.job.c, schema.delivery.c
        with self._database.writing() as connection:
            connection.execute(select(job.job_id).where(job.job_id == job_id).with_for_update())
            pending = select(sent.job_id).where(sent.job_id == job_id, sent.state == DeliveryState.PENDING.value)
            if connection.execute(pending.limit(1)).first() is not None:
                return False
            self._put(connection, job_id, RemovalState.MARKED, detail, now, None)
        return True

    def marked(self) -> list[Removal]:
        """Jobs whose files are to be deleted (still, after a crash)."""
        return self._removals(schema.removal.c.state == RemovalState.MARKED.value)

    def unproved(self) -> list[Removal]:
        """Jobs whose time is over, and whose files were kept at the last look."""
        return self._removals(schema.removal.c.state == RemovalState.UNPROVED.value)

    def unneeded_instances(self, job_id: str) -> list[str]:
        """Images of a job that no other job has whose files stay."""
        mine, other, removal = schema.job_instance.c, schema.job_instance.alias("other"), schema.removal.c
        needed = (
            select(other.c.job_id)
            .select_from(other.outerjoin(schema.removal, removal.job_id == other.c.job_id))
            .where(other.c.sop_instance_uid == mine.sop_instance_uid, other.c.job_id != job_id)
            .where(or_(removal.state.is_(None), removal.state.not_in(_GOING)))
        )
        query = select(mine.sop_instance_uid).where(mine.job_id == job_id, ~needed.exists())
        with self._database.reading() as connection:
            return list(connection.scalars(query.order_by(mine.sop_instance_uid)))

    def done(self, job_id: str, freed_bytes: int, now: datetime) -> None:
        """The files of a marked job are gone."""
        table = schema.removal
        values = {
            "state": RemovalState.REMOVED.value,
            "changed_at": now,
            "freed_bytes": table.c.freed_bytes + freed_bytes,
        }
        here = and_(table.c.job_id == job_id, table.c.state == RemovalState.MARKED.value)
        with self._database.writing() as connection:
            if connection.execute(update(table).where(here).values(**values)).rowcount:
                detail = connection.scalar(select(table.c.detail).where(table.c.job_id == job_id))
                trail.append(
                    connection, now, Event.FILES_REMOVED, job_id=job_id, detail=detail, freed_bytes=freed_bytes
                )

    def restore(self, job_id: str, detail: str, now: datetime) -> None:
        """A result set without its objects was found while the ledger is made anew."""
        with self._database.writing() as connection:
            self._put(connection, job_id, RemovalState.REMOVED, detail, now, None)

    def of_job(self, job_id: str) -> Removal | None:
        """What retention did with a job."""
        found = self._removals(schema.removal.c.job_id == job_id)
        return found[0] if found else None

    def refuse_removed_image(self, sop_instance_uid: str) -> None:
        """Say why an image is not in the spool, when retention removed it.

        Raises:
            InputError: it did.
        """
        removal, member = schema.removal.c, schema.job_instance.c
        query = (
            select(func.max(removal.changed_at))
            .join(schema.job_instance, member.job_id == removal.job_id)
            .where(member.sop_instance_uid == sop_instance_uid, removal.state != RemovalState.UNPROVED.value)
        )
        with self._database.reading() as connection:
            at = connection.scalar(query)
        if at is not None:
            raise InputError(
                f"images of it were removed by retention on {at:%Y-%m-%d}: have the study sent again, then retry"
            )

    def counts(self) -> RemovalCounts:
        """Retention at a glance."""
        removal = schema.removal.c
        gone, kept = removal.state != RemovalState.UNPROVED.value, removal.state == RemovalState.UNPROVED.value
        with self._database.reading() as connection:
            removed, freed = connection.execute(select(func.count(), func.sum(removal.freed_bytes)).where(gone)).one()
            unproved = connection.scalar(select(func.count()).where(kept))
            latest = select(removal.detail).where(kept).order_by(removal.changed_at.desc()).limit(1)
            detail = connection.scalar(latest)
        return RemovalCounts(
            removed=int(removed), freed_bytes=int(freed or 0), unproved=int(unproved or 0), last_detail=detail
        )

    def strays(self, before: datetime) -> dict[str, list[str]]:
        """Images that belong to no job, by study: closed ones, quiet since ``before``, whose jobs' files are gone."""
        study, image, job, removal = schema.study.c, schema.instance.c, schema.job.c, schema.removal.c
        staying = (
            select(job.job_id)
            .select_from(schema.job.outerjoin(schema.removal, removal.job_id == job.job_id))
            .where(job.study_instance_uid == study.study_instance_uid)
            .where(or_(removal.state.is_(None), removal.state != RemovalState.REMOVED.value))
        )
        member = select(schema.job_instance.c.job_id).where(
            schema.job_instance.c.sop_instance_uid == image.sop_instance_uid
        )
        query = (
            select(image.study_instance_uid, image.sop_instance_uid)
            .join(schema.study, study.study_instance_uid == image.study_instance_uid)
            .where(study.open.is_(False), study.last_arrival_at <= before, ~staying.exists(), ~member.exists())
            .order_by(image.study_instance_uid, image.sop_instance_uid)
        )
        found: dict[str, list[str]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(query):
                found.setdefault(row.study_instance_uid, []).append(row.sop_instance_uid)
        return found

    def forget(
        self, study_instance_uid: str, sop_instance_uids: Sequence[str], before: datetime, now: datetime
    ) -> None:
        """The files of images that belong to no job are gone; so are their rows, but of those that came again after
        ``before``."""
        column, came_at = schema.instance.c.sop_instance_uid, schema.instance.c.received_at
        with self._database.writing() as connection:
            for start in range(0, len(sop_instance_uids), _PARAMETERS_AT_ONCE):
                some = sop_instance_uids[start : start + _PARAMETERS_AT_ONCE]
                connection.execute(delete(schema.instance).where(one_of(column, some), came_at <= before))
            trail.append(
                connection, now, Event.STRAYS_REMOVED, study_instance_uid=study_instance_uid,
                images=len(sop_instance_uids),
            )  # fmt: skip

    def clock_note(self) -> ClockNote:
        """What :meth:`note_clock` kept last."""
        with self._database.reading() as connection:
            text = connection.scalar(select(schema.meta.c.value).where(schema.meta.c.key == _CLOCK))
            if text is None:
                return ClockNote(seen_at=connection.scalar(select(func.max(schema.event.c.at))), held_until=None)
        seen_at, *held_until = (datetime.fromisoformat(part) for part in text.split())
        return ClockNote(seen_at=seen_at, held_until=held_until[0] if held_until else None)

    def note_clock(self, note: ClockNote) -> None:
        """Keep for the next process when retention looked, and until when it waits."""
        moments = [at.astimezone(UTC).replace(tzinfo=None) for at in (note.seen_at, note.held_until) if at is not None]
        text = " ".join(f"{at.isoformat(timespec='milliseconds')}Z" for at in moments)
        with self._database.writing() as connection:
            connection.execute(self._database.insert_new(schema.meta), [{"key": _CLOCK, "value": text}])
            connection.execute(update(schema.meta).where(schema.meta.c.key == _CLOCK).values(value=text))

    def note_set_apart(self, now: datetime, **numbers: Any) -> None:
        """Files that are set apart are about to go: how many, and how many bytes."""
        with self._database.writing() as connection:
            trail.append(connection, now, Event.SET_APART_REMOVED, **numbers)

    def _put(
        self,
        connection: Connection,
        job_id: str,
        state: RemovalState,
        detail: str,
        now: datetime,
        again: datetime | None,
    ) -> None:
        table = schema.removal
        values: dict[str, Any] = {"state": state.value, "changed_at": now, "next_try_at": again, "detail": detail}
        connection.execute(self._database.insert_new(table), [{"job_id": job_id, "freed_bytes": 0, **values}])
        connection.execute(update(table).where(table.c.job_id == job_id).values(**values))

    def _removals(self, condition: ColumnElement[bool]) -> list[Removal]:
        removal = schema.removal.c
        with self._database.reading() as connection:
            return [
                Removal(
                    job_id=row.job_id,
                    state=RemovalState(row.state),
                    changed_at=row.changed_at,
                    detail=row.detail,
                    freed_bytes=row.freed_bytes,
                )
                for row in connection.execute(
                    select(schema.removal).where(condition).order_by(removal.changed_at, removal.job_id)
                )
            ]


def refuse_removed(connection: Connection, job_id: str) -> None:
    """Within a transaction that would have a job's objects sent.

    Raises:
        InputError: retention removed them.
    """
    job, removal = schema.job.c, schema.removal.c
    connection.execute(select(job.job_id).where(job.job_id == job_id).with_for_update())
    gone = and_(removal.job_id == job_id, removal.state != RemovalState.UNPROVED.value)
    at = connection.scalar(select(removal.changed_at).where(gone))
    if at is not None:
        raise InputError(
            f"job {job_id}: its images and result objects were removed by retention on {at:%Y-%m-%d}; only the record "
            "is left. To have it made again, have the study sent again and measure it again"
        )


def note_returned(connection: Connection, sop_instance_uids: Collection[str], now: datetime) -> None:
    """Images came again; jobs whose files were removed have some once more, and are looked at anew."""
    removal, member = schema.removal.c, schema.job_instance.c
    uids = sorted(sop_instance_uids)
    values = {"state": RemovalState.RETURNED.value, "changed_at": now}
    for start in range(0, len(uids), _PARAMETERS_AT_ONCE):
        having = select(member.job_id).where(one_of(member.sop_instance_uid, uids[start : start + _PARAMETERS_AT_ONCE]))
        here = and_(removal.state == RemovalState.REMOVED.value, removal.job_id.in_(having))
        connection.execute(update(schema.removal).where(here).values(**values))
