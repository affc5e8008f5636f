"""The ledger's part that the assembler writes: instances, studies, and what became of each acquisition."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, delete, select, update

from node.jobs import schema, trail
from node.jobs.database import Database, one_of
from node.jobs.region_refusals import refused_regions
from node.jobs.removals import note_returned
from node.model import (
    AcquisitionState,
    GroupFacts,
    InstanceHeader,
    ObjectPart,
    PlaneHeader,
    RegionReference,
    SpooledInstance,
)
from node.ops.events import Event

_REGION = "region-"


@dataclass(frozen=True, kw_only=True)
class OpenStudy:
    """A study with an acquisition whose fate is not decided, or with instances not yet looked at."""

    study_instance_uid: str
    last_arrival_at: datetime


@dataclass(frozen=True, kw_only=True)
class AcquisitionOutcome:
    """What the assembler made of one group of images."""

    acquisition_key: str
    state: AcquisitionState
    n_instances: int
    missing: tuple[str, ...] = ()
    code: str | None = None
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class IndexedInstance:
    """An instance that the ledger is to know: what its header says, and how it came."""

    header: InstanceHeader
    spooled: SpooledInstance


class StudyBook:
    """Instances, studies and acquisitions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_instances(self, instances: Sequence[IndexedInstance]) -> set[str]:
        """Enter what is new; studies that got something new, or an image of no job again, are open and returned."""
        if not instances:
            return set()
        with self._database.writing() as connection:
            known = _known(connection, [i.header.sop_instance_uid for i in instances])
            note_returned(connection, known.keys(), max(i.spooled.received_at for i in instances))
            fresh = {
                i.header.sop_instance_uid: i for i in reversed(instances) if i.header.sop_instance_uid not in known
            }
            arrivals: dict[str, datetime] = {}
            for item in [*fresh.values(), *_strays_again(connection, instances, known)]:
                uid = item.header.study_instance_uid
                arrivals[uid] = max(arrivals.get(uid, item.spooled.received_at), item.spooled.received_at)
            for uid, arrival in arrivals.items():
                self._reopen(connection, uid, arrival)
            if fresh:
                connection.execute(
                    self._database.insert_new(schema.instance), [_instance_row(i) for i in fresh.values()]
                )
        return set(arrivals)

    def _reopen(self, connection: Connection, study_instance_uid: str, arrival: datetime) -> None:
        row = {"study_instance_uid": study_instance_uid, "last_arrival_at": arrival, "open": True}
        connection.execute(self._database.insert_new(schema.study), [row])
        here = schema.study.c.study_instance_uid == study_instance_uid
        connection.execute(update(schema.study).where(here).values(open=True))
        later = and_(here, schema.study.c.last_arrival_at < arrival)
        connection.execute(update(schema.study).where(later).values(last_arrival_at=arrival))

    def open_studies(self) -> list[OpenStudy]:
        """Studies that still need a look, the longest quiet first."""
        query = select(schema.study).where(schema.study.c.open).order_by(schema.study.c.last_arrival_at)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [OpenStudy(study_instance_uid=r.study_instance_uid, last_arrival_at=r.last_arrival_at) for r in rows]

    def reopen_declined(self, code: str) -> None:
        """Open the studies with an acquisition that was declined for the reason ``code``."""
        declined = select(schema.acquisition.c.study_instance_uid).where(schema.acquisition.c.code == code)
        uid = schema.study.c.study_instance_uid
        with self._database.writing() as connection:
            connection.execute(update(schema.study).where(uid.in_(declined)).values(open=True))

    def headers(self, study_instance_uid: str) -> list[InstanceHeader]:
        """The headers of a study, sorted by SOP Instance UID."""
        query = (
            select(schema.instance.c.header)
            .where(schema.instance.c.study_instance_uid == study_instance_uid)
            .order_by(schema.instance.c.sop_instance_uid)
        )
        with self._database.reading() as connection:
            return [header_from_record(record) for record in connection.scalars(query)]

    def beside(
        self, study_instance_uid: str, patient_hashes: Collection[str], within: timedelta
    ) -> list[InstanceHeader]:
        """The headers of the same patients' other studies whose last image came at about the time of this one's."""
        if not patient_hashes:
            return []
        own = select(schema.study.c.last_arrival_at).where(schema.study.c.study_instance_uid == study_instance_uid)
        table = schema.instance
        with self._database.reading() as connection:
            arrived_at = connection.scalar(own)
            if arrived_at is None:
                return []
            near = (
                select(schema.study.c.study_instance_uid)
                .where(schema.study.c.last_arrival_at.between(arrived_at - within, arrived_at + within))
                .where(schema.study.c.study_instance_uid != study_instance_uid)
            )
            query = (  # ordered afterwards: by the key, SQLite would go through every instance of the ledger
                select(table.c.header)
                .where(table.c.study_instance_uid.in_(near))
                .where(one_of(table.c.header["bare_patient_id_hash"].as_string(), sorted(patient_hashes)))
            )
            found = [header_from_record(record) for record in connection.scalars(query)]
            return sorted(found, key=lambda header: header.sop_instance_uid)

    def arrivals(self, study_instance_uid: str) -> dict[str, datetime]:
        """When each instance of a study came, by SOP Instance UID."""
        table = schema.instance.c
        query = select(table.sop_instance_uid, table.received_at).where(table.study_instance_uid == study_instance_uid)
        with self._database.reading() as connection:
            return {row.sop_instance_uid: row.received_at for row in connection.execute(query)}

    def settle(
        self, study_instance_uid: str, outcomes: Iterable[AcquisitionOutcome], now: datetime
    ) -> list[AcquisitionOutcome]:
        """Enter what became of a study's acquisitions; those whose fate changed are returned.

        The study is closed when none of them is still being received, and no result refused one of its drawn regions
        since these outcomes were found.
        """
        wanted = {outcome.acquisition_key: outcome for outcome in outcomes}
        table = schema.acquisition
        changed = []
        with self._database.writing() as connection:
            rows = connection.execute(select(table).where(table.c.study_instance_uid == study_instance_uid)).all()
            known = {row.acquisition_key: row for row in rows}
            for key, outcome in wanted.items():
                row = _acquisition_row(study_instance_uid, outcome, now)
                if key in known and _same(known[key], row):
                    continue
                _replace(connection, row)
                if key not in known or known[key].state != row["state"] or known[key].code != row["code"]:
                    changed.append(outcome)
                    _trail(connection, study_instance_uid, outcome, now)
            for key in known.keys() - wanted.keys():
                _remove(connection, study_instance_uid, key)
            waiting = any(o.state == AcquisitionState.RECEIVING for o in wanted.values())
            used = {key for key, o in wanted.items() if o.state == AcquisitionState.JOBBED}
            refused = refused_regions(connection, study_instance_uid)
            waiting = waiting or any(region_key(uid) in used for uid in refused)
            here = schema.study.c.study_instance_uid == study_instance_uid
            connection.execute(update(schema.study).where(here).values(open=waiting))
        return changed

    def note_unreadable(self, sop_instance_uid: str, error: str, now: datetime) -> None:
        """Enter in the trail that an instance was set aside."""
        with self._database.writing() as connection:
            trail.append(connection, now, Event.INSTANCE_UNREADABLE, sop_instance_uid=sop_instance_uid, error=error)


def region_key(sop_instance_uid: str) -> str:
    """Under which key a drawn region stands beside the acquisitions of its study."""
    return f"{_REGION}{sop_instance_uid}"


def region_of_key(acquisition_key: str) -> str | None:
    """The SOP Instance UID of the drawn region that stands under a key; ``None`` where images do."""
    return acquisition_key.removeprefix(_REGION) if acquisition_key.startswith(_REGION) else None


def header_from_record(record: dict[str, Any]) -> InstanceHeader:
    """The header that ``dataclasses.asdict`` and JSON made ``record`` from."""
    planes = tuple(
        PlaneHeader(**{**p, "position_mm": tuple(p["position_mm"]), "orientation": tuple(p["orientation"])})
        for p in record["planes"]
    )
    declined, region, facts, part = record["declined"], record["region"], record.get("group_facts"), record.get("part")
    lists = {name: tuple(region[name]) for name in ("sop_instance_uids", "series_instance_uids")} if region else {}
    return InstanceHeader(
        **{
            **record,
            "planes": planes,
            "declined": None if declined is None else tuple(declined),
            "told_echo_times_s": tuple(record["told_echo_times_s"]),
            "region": None if region is None else RegionReference(**{**region, **lists}),
            "group_facts": None if facts is None else GroupFacts(**facts),
            "part": None if part is None else ObjectPart(**part),
        }
    )


def _known(connection: Connection, sop_instance_uids: Sequence[str]) -> dict[str, datetime]:
    """When each of these instances that are in the ledger came."""
    table = schema.instance.c
    known: dict[str, datetime] = {}
    for start in range(0, len(sop_instance_uids), 500):  # SQL databases bound the number of parameters
        some = one_of(table.sop_instance_uid, sop_instance_uids[start : start + 500])
        rows = connection.execute(select(table.sop_instance_uid, table.received_at).where(some))
        known.update({row.sop_instance_uid: row.received_at for row in rows})
    return known


def _strays_again(
    connection: Connection, instances: Sequence[IndexedInstance], known: Mapping[str, datetime]
) -> list[IndexedInstance]:
    """Images of no job that came later than the ledger says: their files were removed before. It says so now."""
    table, member = schema.instance, schema.job_instance.c.sop_instance_uid
    again = []
    for item in instances:
        uid, came_at = item.header.sop_instance_uid, item.spooled.received_at
        if uid not in known or came_at <= known[uid]:
            continue
        if connection.execute(select(member).where(member == uid).limit(1)).first() is None:
            connection.execute(update(table).where(table.c.sop_instance_uid == uid).values(received_at=came_at))
            again.append(item)
    return again


def _instance_row(item: IndexedInstance) -> dict[str, Any]:
    return {
        "sop_instance_uid": item.header.sop_instance_uid,
        "study_instance_uid": item.header.study_instance_uid,
        "received_at": item.spooled.received_at,
        "calling_ae_title": item.spooled.calling_ae_title,
        "size_bytes": item.spooled.size_bytes,
        "header": asdict(item.header),
    }


def _acquisition_row(study_instance_uid: str, outcome: AcquisitionOutcome, now: datetime) -> dict[str, Any]:
    return {
        "study_instance_uid": study_instance_uid,
        "acquisition_key": outcome.acquisition_key,
        "state": outcome.state.value,
        "code": outcome.code,
        "text": outcome.text,
        "missing": list(outcome.missing),
        "n_instances": outcome.n_instances,
        "changed_at": now,
    }


def _same(known: Any, row: dict[str, Any]) -> bool:
    return all(getattr(known, name) == value for name, value in row.items() if name != "changed_at")


def _replace(connection: Connection, row: dict[str, Any]) -> None:
    _remove(connection, row["study_instance_uid"], row["acquisition_key"])
    connection.execute(schema.acquisition.insert(), [row])


def _remove(connection: Connection, study_instance_uid: str, key: str) -> None:
    table = schema.acquisition
    connection.execute(
        delete(table).where(table.c.study_instance_uid == study_instance_uid, table.c.acquisition_key == key)
    )


def _trail(connection: Connection, study_instance_uid: str, outcome: AcquisitionOutcome, now: datetime) -> None:
    if outcome.state == AcquisitionState.DECLINED:
        trail.append(
            connection,
            now,
            Event.ACQUISITION_DECLINED,
            study_instance_uid=study_instance_uid,
            acquisition_key=outcome.acquisition_key,
            code=outcome.code,
            text=outcome.text,
        )
