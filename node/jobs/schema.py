"""The ledger's tables. Times are UTC text of fixed width (they sort and read well in any SQL database)."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

LEDGER_VERSION = 9
"""Raised with every change of a table; a ledger of another version is refused at start."""

MIGRATIONS: dict[int, tuple[str, ...]] = {
    2: (),  # version 3 has one more table, commitment: no row means "not asked yet"
    3: ("ALTER TABLE job ADD COLUMN self_test BOOLEAN NOT NULL DEFAULT FALSE",),  # nobody tested itself before 4
    4: ("ALTER TABLE job ADD COLUMN destinations JSON",),  # before there were rules, results went everywhere
    5: (),  # version 6 has one more table, duty: nobody holds any
    6: (
        "ALTER TABLE job ADD COLUMN indication VARCHAR(64)",  # nobody could choose one before 7
        "ALTER TABLE job ADD COLUMN excused INTEGER NOT NULL DEFAULT 0",  # every attempt counted before 7
    ),
    7: (),  # version 8 has one more table, web_session: everybody logs in again
    8: (  # what /metrics asks at each scrape
        "CREATE INDEX instance_arrived ON instance (received_at, calling_ae_title, size_bytes)",
        "CREATE INDEX event_by_name ON event (name)",
    ),
}
"""What leads from a version to the next, beside tables that are new. Version 1 is not here: a job of it has no method
version, and one must not be invented; `ironnode rebuild` reads it from the files."""

_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


class UtcTime(TypeDecorator[datetime]):
    """An aware time, kept to the microsecond as UTC text."""

    impl = String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """The text that is stored."""
        return None if value is None else value.astimezone(UTC).strftime(_TIME_FORMAT)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """The aware time that was stored."""
        return None if value is None else datetime.fromisoformat(value)


metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", String(64), nullable=False),
)

study = Table(  # what the assembler still has to look at
    "study",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("last_arrival_at", UtcTime, nullable=False),
    Column("open", Boolean, nullable=False),  # false: every acquisition of it is a job or declined
)

instance = Table(
    "instance",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), nullable=False, index=True),
    Column("received_at", UtcTime, nullable=False),
    Column("calling_ae_title", String(16), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("header", JSON, nullable=False),  # node.model.InstanceHeader
    Index("instance_arrived", "received_at", "calling_ae_title", "size_bytes"),
)

acquisition = Table(  # what became of each group of images
    "acquisition",
    metadata,
    Column("study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("acquisition_key", Text, primary_key=True),
    Column("state", String(16), nullable=False),  # node.model.AcquisitionState
    Column("code", String(64)),  # why declined
    Column("text", Text),
    Column("missing", JSON, nullable=False),  # grid cells without an image, in words
    Column("n_instances", Integer, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
)

job = Table(
    "job",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("acquisition_key", Text, nullable=False),
    Column("study_instance_uid", String(64), nullable=False, index=True),
    Column("revision", Integer, nullable=False),
    Column("predecessor_job_id", String(32)),
    Column("cause", String(16), nullable=False),  # node.model.Cause
    Column("region_uid", String(64)),  # the instance that a reader drew
    Column("self_test", Boolean, nullable=False),  # of the node's own images: sent to nobody
    Column("destinations", JSON(none_as_null=True)),  # where a rule sends the result; null: everywhere
    Column("indication", String(64)),  # what an operator chose; null: what the order says
    Column("method_version", String(16), nullable=False),
    Column("settings_digest", String(32), nullable=False),
    Column("accepted_at", UtcTime, nullable=False),
    Column("missing", JSON, nullable=False),
    Column("state", String(16), nullable=False),  # node.model.JobState
    Column("attempts", Integer, nullable=False),
    Column("excused", Integer, nullable=False),  # of these the ones that an outage ended: no fault of the job
    Column("lease_owner", String(255)),
    Column("lease_until", UtcTime),
    Column("heartbeat_at", UtcTime),
    Column("not_before", UtcTime),  # a failed job waits until then
    Column("last_rung_at", UtcTime),  # when the broker was last told
    Column("finished_at", UtcTime),
    Column("error", Text),
    Column("outcome", String(16)),  # quant.result.Status
    Column("record", JSON),  # result.json
    Index("job_by_state", "state", "last_rung_at"),
)

job_instance = Table(
    "job_instance",
    metadata,
    Column("job_id", String(32), ForeignKey("job.job_id"), primary_key=True),
    Column("sop_instance_uid", String(64), primary_key=True, index=True),
)

delivery = Table(
    "delivery",
    metadata,
    Column("job_id", String(32), ForeignKey("job.job_id"), primary_key=True),
    Column("destination", String(32), primary_key=True),
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("position", Integer, nullable=False),  # order of the objects within their job
    Column("role", String(64), nullable=False),
    Column("file", Text, nullable=False),  # relative to the job's outbox folder
    Column("state", String(16), nullable=False),  # node.model.DeliveryState
    Column("attempts", Integer, nullable=False),
    Column("next_try_at", UtcTime, nullable=False),
    Column("last_detail", Text),
    Column("sent_at", UtcTime),
    Index("delivery_due", "state", "destination", "next_try_at"),
)

commitment = Table(  # what a destination was asked to keep for good; no row: not asked yet
    "commitment",
    metadata,
    Column("job_id", String(32), ForeignKey("job.job_id"), primary_key=True),
    Column("destination", String(32), primary_key=True),
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("sop_class_uid", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # node.model.CommitmentState
    Column("transaction_uid", String(64), index=True),  # of the request that is open or was answered last
    Column("unanswered", Integer, nullable=False),  # requests since the last report
    Column("failures", Integer, nullable=False),  # requests that the destination did not take, since the last it took
    Column("refusals", Integer, nullable=False),  # reports that it does not have the object
    Column("next_try_at", UtcTime),
    Column("last_detail", Text),
    Column("committed_at", UtcTime),
    Index("commitment_due", "state", "destination", "next_try_at"),
)

removal = Table(  # what retention did with the files of a delivered job
    "removal",
    metadata,
    Column("job_id", String(32), ForeignKey("job.job_id"), primary_key=True),
    Column("state", String(16), nullable=False),  # node.model.RemovalState
    Column("changed_at", UtcTime, nullable=False),
    Column("next_try_at", UtcTime),  # of a job without proof
    Column("detail", Text, nullable=False),  # the proof, or what is missing
    Column("freed_bytes", BigInteger, nullable=False),
    Index("removal_by_state", "state", "next_try_at"),
)

duty = Table(  # which process plays a role of which there is one, where several gateways share the ledger
    "duty",
    metadata,
    Column("role", String(32), primary_key=True),
    Column("holder", String(255), nullable=False),
    Column("until", UtcTime, nullable=False),
)

web_session = Table(  # who is logged in to the web page
    "web_session",
    metadata,
    Column("token_digest", String(64), primary_key=True),
    Column("name", String(64), nullable=False),  # of web.users
    Column("password_digest", String(64), nullable=False),  # another password of the user ends it
    Column("ends_at", UtcTime, nullable=False),
)

event = Table(  # every transition, never changed
    "event",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False),
    Column("name", String(48), nullable=False),  # node.ops.events.Event
    Column("job_id", String(32), index=True),
    Column("study_instance_uid", String(64)),
    Column("fields", JSON, nullable=False),
    Index("event_by_name", "name"),
)
