"""The sections of the configuration: one frozen, typed tree.

``config.example.yaml`` shows every key; a test keeps the two equal.
"""

from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator, model_validator

from node.config.messages import MessageReceiver
from node.config.method import method_settings, settings_digest
from node.config.parts import TELLING_KINDS, AeTitle, ObjectRole, PlacedError, Port, Seconds, Section, refuse_twice
from node.config.priors import PriorsConfig
from node.config.rules import Rule, check_names
from node.config.tls import CallerTls, ListenerTls
from node.config.web import NotifyConfig, WebConfig
from node.errors import ConfigError

_OF_ALL = frozenset({"map", "page", "sr", "seg", "pm"})  # the others only where the site names them


class StorageConfig(Section):
    """Where spool, outbox, ledger and the embedded broker live."""

    root: Path = Field(
        Path("ironnode-data"), description="folder on a local disk, or one that all machines share; made when absent"
    )
    min_free_mib: int = Field(
        512, ge=0, description="below this free space instances are answered A700 (out of resources)"
    )
    warn_free_mib: int = Field(2048, ge=0, description="below this free space people are warned")

    @model_validator(mode="after")
    def _warned_first(self) -> Self:
        if 0 < self.warn_free_mib < self.min_free_mib:
            raise PlacedError(("min_free_mib",), "min_free_mib must not be above warn_free_mib, which warns before")
        return self


class AllowedPeer(Section):
    """A system that may send to this node."""

    ae_title: str = Field(description='calling AE title, or "*" for any')
    host: str = Field(description='address or name it calls from, or "*" for any')
    report_port: Port | None = Field(
        None, description="its DICOM port for storage commitment reports; null = only while its association is open"
    )


class ReceiveConfig(Section):
    """The DICOM listener."""

    ae_title: AeTitle = Field("IRONNODE", description="called AE title; other titles are rejected")
    host: str = Field("0.0.0.0", description="address to listen on")  # noqa: S104 - guarded by the allow-list
    port: Port = Field(11112, description="port to listen on; 0 takes a free one (written to run/listener.json)")
    tls: ListenerTls | None = Field(None, description="null = plain DICOM; given: TLS only")
    allow: tuple[AllowedPeer, ...] = Field((), description="who may send; empty means nobody")
    max_associations: int = Field(32, ge=1, description="associations at the same time")
    max_associations_per_host: int = Field(16, ge=1, description="of these from one address")
    max_pdu_bytes: int = Field(131072, ge=4096, le=4194304, description="largest PDU offered and accepted")
    max_instance_mib: int = Field(1024, ge=1, description="largest data set accepted")
    pdu_timeout_s: Seconds = Field(20, description="time for one whole PDU to arrive")
    idle_timeout_s: Seconds = Field(60, description="an association silent for this long is closed")
    association_timeout_s: Seconds = Field(14400, description="an association is ended after this time, busy or not")


class AssembleConfig(Section):
    """When an acquisition is taken to be whole."""

    settle_s: Seconds = Field(20, description="quiet time after which an incomplete grid is judged as it is")
    complete_quiet_s: float = Field(
        15,
        ge=0,
        description="quiet time after which a grid without holes counts as whole when no header promises more echoes",
    )


class QueueConfig(Section):
    """Jobs, leases and retries."""

    lease_s: Seconds = Field(30, description="a worker that has not reported for this long has lost its job")
    ring_again_s: Seconds = Field(60, description="a queued job is announced to the workers again after this time")
    time_limit_s: Seconds = Field(
        900, description="hard limit of one processing run; must stay below the visibility timeout"
    )
    visibility_timeout_s: Seconds = Field(
        3600, description="Redis redelivers an unacknowledged message after this time"
    )
    max_attempts: int = Field(5, ge=1, description="failed runs of a job before it is parked for an operator")
    retry_base_s: Seconds = Field(10, description="wait after the first failed run; doubles each time")
    concurrency: int = Field(1, ge=1, description="jobs processed at the same time by one worker")
    threads_per_job: int | None = Field(
        None, ge=1, description="threads of one job (fit and search); null = all cores divided by concurrency"
    )

    @model_validator(mode="after")
    def _limits(self) -> Self:
        if self.time_limit_s >= self.visibility_timeout_s:
            text = "time_limit_s must be below visibility_timeout_s, or a long job would run twice"
            raise PlacedError(("time_limit_s",), text)
        return self


class DestinationConfig(Section):
    """A system that gets the results."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$", description="short name, used in status and logs")
    kind: Literal["dicom"] = Field("dicom", description="how it is reached: dicom is C-STORE")
    ae_title: AeTitle = Field(description="called AE title of the destination")
    host: str = Field(description="address or name of the destination")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(description="its DICOM port")
    calling_ae_title: AeTitle | None = Field(None, description="AE title we call ourselves; null = receive.ae_title")
    objects: Literal["all"] | tuple[ObjectRole | Literal["all"], ...] = Field(
        "all",
        description="all = map (classic MR maps), page (picture), sr, seg, pm (float maps); or a list of these, pdf, "
        "pr (outline), ko (key objects), rejection (takes replaced objects back), e.g. [all, rejection]",
    )
    tls: CallerTls | None = Field(None, description="null = plain DICOM")
    timeout_s: Seconds = Field(30, description="connect and answer timeout")
    retry_base_s: Seconds = Field(5, description="wait after the first failure; doubles with jitter")
    retry_max_s: Seconds = Field(900, description="longest wait between tries; tries never end")
    commitment: bool = Field(
        False, description="ask for storage commitment of what was sent; receive.allow must let its report in"
    )
    commitment_again_s: Seconds = Field(
        3600, description="a request that is not answered is made anew after this time; doubles, up to a day"
    )

    @property
    def tls_key(self) -> str:
        """What stands before the names of the keys of ``tls`` in errors."""
        return f"destinations.{self.name}.tls."

    def wants(self, role: str) -> bool:
        """Whether an object with this role (its part before the first dot) is sent here."""
        kind = role.split(".")[0]
        return kind in self.objects if kind not in _OF_ALL else "all" in self.objects or kind in self.objects

    @property
    def is_to_tell(self) -> bool:
        """Whether it should get an object that tells a reader the result."""
        return any(map(self.wants, TELLING_KINDS))


class RetentionConfig(Section):
    """What is deleted, and when. Nothing is, unless a number of days is given."""

    keep_days: float | None = Field(
        None, ge=0, description="days that files of a measured, delivered and proved job are kept; null = for ever"
    )
    keep_refused_days: float | None = Field(
        None, ge=0, description="the same for jobs that were not measured; null = for ever"
    )
    keep_declined_days: float | None = Field(
        None, ge=0, description="days that images are kept that belong to no job; null = for ever"
    )
    keep_quarantine_days: float | None = Field(
        None, ge=0, description="days after they came that files in spool/quarantine and spool/unreadable are kept; "
        "null = until somebody removes them",
    )  # fmt: skip
    delete_without_proof: bool = Field(
        False, description="true: a destination without storage commitment is believed without asking it (C-FIND)"
    )


class SyslogConfig(Section):
    """Where audit messages go: a syslog server over TLS (RFC 5424, RFC 5425)."""

    host: str = Field(description="audit record repository")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(6514, description="6514 is the registered one")
    tls: CallerTls = Field(CallerTls(), description="whom to believe; our certificate where the server asks for one")
    source_id: str = Field(
        "ironnode", pattern=r"^[!-~]{1,48}$", description="AuditSourceID, the site's name for this node"
    )
    timeout_s: Seconds = Field(20, description="connect and answer timeout")


class AuditConfig(Section):
    """The audit trail; it is always written below storage.root."""

    syslog: SyslogConfig | None = Field(None, description="DICOM audit messages (PS3.15 A.5); null = none are sent")


Receiver = DestinationConfig | MessageReceiver


class BrokerConfig(Section):
    """The Celery broker."""

    url: Annotated[str, Field(pattern=r"^(rediss?|redis\+socket)://.+")] | None = Field(
        None, description="redis:// URL; null starts a private Valkey server under storage.root", repr=False
    )
    url_file: Path | None = Field(None, description="file that holds the URL and nothing else, instead of url")


class DatabaseConfig(Section):
    """The ledger."""

    url: str | None = Field(None, description="SQLAlchemy URL; null = SQLite under storage.root", repr=False)
    url_file: Path | None = Field(None, description="file that holds the URL and nothing else, instead of url")


class CalibrationConfig(Section):
    """Which published R2*-to-LIC equation applies at which field strength."""

    by_field: dict[str, str] = Field(
        default_factory=lambda: {"1.5": "garbowski-2014", "2.89": "hernando-2023", "3.0": "hernando-2023"},
        description="field strength in tesla -> calibration id",
    )


class GradingConfig(Section):
    """How an LIC is named."""

    scheme: str = Field("guglielmo-2023", description="grade scheme id")


class OrderReason(Section):
    """A reason that an order gives, as the site writes it: a code ``SCHEME:VALUE``, or the whole text."""

    reason: str = Field(pattern=r"\S", max_length=10240, description="code (SCT:127040003) or whole text of the reason")
    indication: str = Field(description="indication id of the policy")


class FollowUpConfig(Section):
    """The follow-up policy."""

    order_reasons: tuple[OrderReason, ...] = Field((), description="which reason of an order is which indication")
    default_indication: str | None = Field(
        None, description="indication id when the order gives no reason; null = not given"
    )
    policy_file: Path | None = Field(None, description="a site's own policy table; null = the shipped one")
    signed_off_by: str | None = Field(None, description="name of the person who approved the policy for this site")
    signed_off_on: date | None = Field(None, description="date of that approval, YYYY-MM-DD")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.signed_off_by is None) != (self.signed_off_on is None):
            given = "signed_off_by" if self.signed_off_on is None else "signed_off_on"
            raise PlacedError((given,), "signed_off_by and signed_off_on go together")
        return self


class UncertaintyConfig(Section):
    """What goes into the 95 % interval of LIC beside the fit itself."""

    repeatability_cov: float = Field(
        0.055,
        ge=0,
        le=0.5,
        description="scan-rescan coefficient of variation of R2* (10.1371/journal.pone.0214921)",
    )
    repeatability_floor_per_s: float = Field(
        5.0, ge=0, description="smallest repeatability standard deviation of R2*, /s"
    )


class SegmenterConfig(Section):
    """The site's own liver segmentation; the built-in region stays as second opinion (docs/methods/region.md)."""

    kind: Literal["none", "onnx", "command"] = Field("none", description="who outlines the liver")
    model: Path | None = Field(None, description="folder with model.onnx and model.json, for onnx")
    argv: tuple[str, ...] = Field((), description="program and arguments with {input} and {output}, for command")
    label: int = Field(1, ge=1, le=65535, description="number of the liver in the command's label file")
    timeout_s: Seconds = Field(300, description="the command is stopped after this time")
    on_failure: Literal["refuse", "built_in"] = Field(
        "refuse", description="when the model fails: no number, or the built-in region with a warning"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "onnx" and self.model is None:
            raise PlacedError(("kind",), "kind onnx needs the folder of the model (model)")
        if self.kind == "command" and not any("{output}" in part for part in self.argv):
            raise PlacedError(("kind",), "kind command needs a program that is told {output} (argv)")
        return self


class ReportConfig(Section):
    """What reports say about themselves."""

    intended_use_signed_by: str | None = Field(
        None,
        description='null keeps "for research use only, not for diagnosis"; a name (of who is responsible) removes it',
    )
    institution: str | None = Field(None, description="printed on the page and written to the result objects")
    language: Literal["en", "de", "fr"] = Field(
        "en", description="of the page and the HTML report; the objects for machines stay English"
    )
    texts_file: Path | None = Field(
        None, description="the site's own translations, before those of `language` (docs/translating.md)"
    )
    time_zone: str | None = Field(
        None, description="IANA name, e.g. Europe/Vienna: dates and times in the objects; null = this machine's"
    )

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        if name is not None and name not in available_timezones():
            raise ValueError(f"{name} is not an IANA time zone")
        return name

    @property
    def zone(self) -> ZoneInfo | None:
        """The time zone of the objects; ``None`` is this machine's, as ``datetime.astimezone`` takes it."""
        return None if self.time_zone is None else ZoneInfo(self.time_zone)


class SelfTestConfig(Section):
    """The node's own test: a phantom through the real path, its LIC against the truth."""

    every_h: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="hours between tests; null = only when `ironnode selftest` is called"
    )
    ae_title: AeTitle = Field("IRONNODE-TEST", description="how it calls the listener; receive.allow must list it")
    tls: CallerTls | None = Field(None, description="how it meets the listener's TLS; null = without")
    tolerance_percent: float = Field(5.0, gt=0, le=50, description="LIC may be this far from the phantom's truth")
    drift_percent: float = Field(
        0.5, gt=0, le=50, description="and this far from the first test of the same method and settings"
    )
    timeout_s: Seconds = Field(900, description="a test without a result after this time has failed")


class Config(Section):
    """The whole configuration."""

    storage: StorageConfig = StorageConfig()
    receive: ReceiveConfig = ReceiveConfig()
    assemble: AssembleConfig = AssembleConfig()
    queue: QueueConfig = QueueConfig()
    destinations: tuple[DestinationConfig, ...] = Field((), description="systems that get the results")
    messages: tuple[MessageReceiver, ...] = Field((), description="systems that get the numbers as messages")
    rules: tuple[Rule, ...] = Field((), description="what is declined, what goes where; the first that holds decides")
    retention: RetentionConfig = RetentionConfig()
    broker: BrokerConfig = BrokerConfig()
    database: DatabaseConfig = DatabaseConfig()
    web: WebConfig = WebConfig()
    audit: AuditConfig = AuditConfig()
    notify: NotifyConfig = NotifyConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    grading: GradingConfig = GradingConfig()
    follow_up: FollowUpConfig = FollowUpConfig()
    uncertainty: UncertaintyConfig = UncertaintyConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    priors: PriorsConfig = PriorsConfig()
    report: ReportConfig = ReportConfig()
    selftest: SelfTestConfig = SelfTestConfig()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        refuse_twice("destinations", [d.name for d in self.destinations])
        refuse_twice("messages", [m.name for m in self.messages])
        if taken := {d.name for d in self.destinations} & {m.name for m in self.messages}:
            raise PlacedError(("messages",), f"{', '.join(sorted(taken))}: a destination has this name")
        refuse_twice("rules", [rule.name for rule in self.rules])
        check_names(self.rules, {receiver.name for receiver in self.receivers})
        return self

    @model_validator(mode="after")
    def _self_test_may_send(self) -> Self:
        title = self.selftest.ae_title
        if self.selftest.every_h is not None and not any(p.ae_title in (title, "*") for p in self.receive.allow):
            text = f"receive.allow must list the test's caller: {{ae_title: {title}, host: 127.0.0.1}}"
            raise PlacedError(("selftest", "every_h"), text)
        return self

    @property
    def shared(self) -> bool:
        """Whether several gateways may work on this storage root: ledger and broker are servers that all reach."""
        return self.broker.url is not None and (self.database.url or "").startswith("postgresql")

    @property
    def receivers(self) -> "tuple[Receiver, ...]":
        """Everything that results are delivered to."""
        return (*self.destinations, *self.messages)

    def receivers_of(self, names: tuple[str, ...] | None) -> "tuple[Receiver, ...]":
        """Who gets a result that a rule sends to ``names``; ``None`` is everybody.

        Raises:
            ConfigError: the configuration knows none of them any more; the result would be sent to nobody.
        """
        found = tuple(r for r in self.receivers if names is None or r.name in names)
        if names and not found:
            raise ConfigError(f"a rule sent this to {', '.join(names)}, which the configuration no longer names")
        return found

    def gone_receivers(self, names: tuple[str, ...] | None) -> tuple[str, ...]:
        """Those of the ``names`` a rule sent a result to that the configuration no longer knows."""
        known = {receiver.name for receiver in self.receivers}
        return tuple(name for name in names or () if name not in known)

    def method_digest(self) -> str:
        """Digest (hex) of every setting that can change a result's content; part of the job key."""
        return settings_digest(method_settings(self))
