"""The sections of the web page and of the notices: who may look, who is told."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from node.config.parts import PlacedError, Port, Seconds, Section, refuse_twice
from node.config.tls import ListenerTls

Role = Literal["viewer", "operator"]
NoticeKind = Literal[
    "job_parked", "delivery_stuck", "disk_low", "role_down", "acquisition_refused", "stage_stuck", "self_test_failed"
]
NOTICE_KINDS: tuple[NoticeKind, ...] = (
    "job_parked",
    "delivery_stuck",
    "disk_low",
    "role_down",
    "acquisition_refused",
    "stage_stuck",
    "self_test_failed",
)
_WIDEST_PROXIES = {4: 8, 6: 16}  # by IP version, length of the network's prefix, bits
_MAPPED_IPV4 = ipaddress.IPv6Network("::ffff:0:0/96")  # RFC 4291 2.5.5.2: how callers by IPv4 look to a socket for both
_PRIVATE_IPV6 = ipaddress.IPv6Network("fd00::/8")  # RFC 4193 3.1: private as 10.0.0.0/8 is
_Hash = Annotated[str, Field(pattern=r"^\$argon2id\$.+", repr=False)]


class WebUser(Section):
    """Someone who may log in."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.@-]{1,64}$", description="log-in name")
    password_hash: _Hash = Field(description="from `ironnode web-password`; the password itself is kept nowhere")
    role: Role = Field("viewer", description="viewer looks; operator may also retry, re-send, re-run and park")


class WebConfig(Section):
    """The web page, health and metrics."""

    enabled: bool = Field(True, description="false: no page, no health and no metrics")
    host: str = Field("127.0.0.1", description="address to listen on; other than loopback needs users and TLS or proxy")
    port: Port = Field(8080, description="0 takes a free port (written to run/web.json)")
    allowed_hosts: tuple[str, ...] = Field(
        (), description="names under which browsers reach the page, beside the loopback names"
    )
    users: tuple[WebUser, ...] = Field((), description="who may log in; empty: no log-in, loopback only")
    show_identity: bool = Field(
        True, description="show the patient's identity (picture page, reports) on a job's page; never elsewhere"
    )
    tls_certificate: Path | None = Field(None, description="PEM file with the certificate chain")
    tls_key: Path | None = Field(None, description="PEM file with its key")
    behind_proxy: bool = Field(False, description="a proxy on this machine or network ends TLS and passes to this port")
    trusted_proxies: tuple[str, ...] = Field(
        ("127.0.0.1", "::1"),
        description="behind_proxy: addresses or networks of proxies whose X-Forwarded-For is believed",
    )
    session_s: Seconds = Field(28800, description="a log-in ends after this time")
    metrics_without_login: bool = Field(True, description="/metrics (no patient data) can be read without log-in")
    max_upload_mib: int = Field(
        1024, ge=1, description="largest series, unpacked, for the try page, and largest region"
    )
    upload_timeout_s: Seconds = Field(900, description="a measurement of the try page is ended after this time")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the page."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def tls(self) -> ListenerTls | None:
        """Certificate and key as one section, where there are any."""
        if self.tls_certificate is None or self.tls_key is None:
            return None
        return ListenerTls(certificate=self.tls_certificate, key=self.tls_key)

    @property
    def encrypted(self) -> bool:
        """Whether browsers speak TLS, here or to a proxy."""
        return self.behind_proxy or self.tls_certificate is not None

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            given = "tls_certificate" if self.tls_key is None else "tls_key"
            raise PlacedError((given,), "tls_certificate and tls_key go together")
        for index, proxy in enumerate(self.trusted_proxies):
            if fault := _proxy_fault(proxy):
                raise PlacedError(("trusted_proxies", index), fault)
        refuse_twice("users", [user.name for user in self.users])
        if not self.on_loopback and not self.users:
            raise PlacedError(
                ("host",), "users: somebody must be able to log in before the page may listen beyond loopback"
            )
        if not self.on_loopback and not self.encrypted:
            raise PlacedError(
                ("host",), "beyond loopback the page needs tls_certificate and tls_key, or behind_proxy: true"
            )
        if self.behind_proxy and not self.users:
            raise PlacedError(
                ("behind_proxy",), "users: behind a proxy the page is not local any more; somebody must log in"
            )
        return self


def _proxy_fault(text: str) -> str | None:
    """Why this cannot be where proxies are, in words."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        return f"no IP address or network: {error}"
    if network.version == 6 and network.overlaps(_MAPPED_IPV4):
        wide = network.prefixlen - _MAPPED_IPV4.prefixlen < _WIDEST_PROXIES[4]
    elif network.version == 6 and network.subnet_of(_PRIVATE_IPV6):
        wide = False
    else:
        wide = network.prefixlen < _WIDEST_PROXIES[network.version]
    if not wide:
        return None
    widest = " or ".join(f"/{bits} (IPv{version})" for version, bits in _WIDEST_PROXIES.items())
    return f"{text} is wider than {widest}: whoever calls from there could say what address it likes; name the proxies"


class EmailConfig(Section):
    """Notices by e-mail."""

    host: str = Field(description="mail server")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(587, description="its port")
    starttls: bool = Field(True, description="encrypt before anything is said; the certificate is checked")
    user: str | None = Field(None, description="log-in name at the mail server; null: none")
    password_file: Path | None = Field(None, description="file that holds the password and nothing else")
    sender: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", description="address that the notices come from")
    to: tuple[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")], ...] = Field(
        min_length=1, description="addresses of those who are told"
    )


class WebhookConfig(Section):
    """Notices as JSON to a URL."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] = Field(
        "", description="POST target; it may hold a secret and is never shown", repr=False
    )
    url_file: Path | None = Field(None, description="file that holds the URL and nothing else, instead of url")

    @model_validator(mode="after")
    def _given(self) -> Self:
        if not self.url:
            raise ValueError("give url or url_file")
        return self


class NotifyConfig(Section):
    """Who is told of what. Notices hold codes, counts and job ids, no patient data."""

    events: tuple[NoticeKind, ...] = Field(
        ("job_parked", "delivery_stuck", "disk_low", "role_down", "stage_stuck", "self_test_failed"),
        description="what is told",
    )
    email: EmailConfig | None = Field(None, description="null: nothing is told by e-mail")
    webhook: WebhookConfig | None = Field(None, description="null: nothing is told to a URL")
    stuck_after_s: Seconds = Field(1800, description="a delivery or job that waits longer than this is told")
    repeat_after_s: Seconds = Field(14400, description="the same trouble is told again after this time")
    max_per_hour: int = Field(20, ge=1, description="notices in one hour to one channel; the rest waits")
