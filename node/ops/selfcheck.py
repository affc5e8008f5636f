"""What ``ironnode check`` tries: everything that a configuration names, each with what to do when it fails."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from node.app import open_node, wall_clock
from node.config import Config, DestinationConfig
from node.deliver.objects import ALTERNATIVES, RESULT_CLASSES
from node.dimse.access import AllowList
from node.dimse.archive import services
from node.dimse.contexts import COMMITMENT_SOP_CLASS
from node.dimse.requestor import Peer
from node.dimse.scu import accepted_classes, echo
from node.errors import IronnodeError
from node.jobs.broker import reach
from node.jobs.durable import write_durably
from node.ops.disk_watch import DiskLevel, disk_level, disk_words
from node.ops.file_system import broken_promises
from node.ops.syslog import send_frames
from node.process.settings import settings_of
from node.runtime import gateway_run
from node.tls import context_of, expires_at, tls_sections

Verdict = Literal["ok", "warning", "FAILED"]
_RENEW_WITHIN = timedelta(days=30)
_OTHERS_MAY_READ = 0o007
_RELEASED = datetime(2026, 11, 1, tzinfo=UTC)  # no clock that is right shows an earlier time


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing tried; ``fix`` says what to do, empty where all is well."""

    part: str
    verdict: Verdict
    text: str
    fix: str = ""


def run_checks(config: Config) -> list[Finding]:
    """Try everything, in the order in which a node would need it."""
    findings: list[Finding] = []
    for part, check in _CHECKS:
        try:
            findings.extend(check(config))
        except IronnodeError as error:
            findings.append(Finding(part=part, verdict="FAILED", text=str(error), fix=error.hint))
    return findings


def _storage(config: Config) -> Iterator[Finding]:
    root = config.storage.root
    with open_node(config) as node:
        free_mib = node.status().free_mib
    probe = root / "run" / ".check"
    write_durably(probe, b"ironnode check")
    probe.unlink()
    for words in broken_promises(root / "run"):
        yield Finding(
            part="disk",
            verdict="FAILED",
            text=f"{root}: {words}",
            fix="Use a local disk, NFS 4.1 or later mounted hard, or CephFS (docs/scaling.md); SMB will not do.",
        )
    if free_mib < config.storage.min_free_mib:
        yield Finding(
            part="disk",
            verdict="FAILED",
            text=f"{root}: {free_mib} MiB free, storage.min_free_mib asks for {config.storage.min_free_mib}",
            fix="Instances are refused until there is space: free some, or lower storage.min_free_mib.",
        )
    elif disk_level(free_mib, config.storage) is DiskLevel.LOW:
        fix = "Free space, set retention, or lower storage.warn_free_mib."
        yield Finding(part="disk", verdict="warning", text=f"{root}: {disk_words(free_mib, config.storage)}", fix=fix)
    else:
        yield Finding(part="disk", verdict="ok", text=f"{root} is writable, {free_mib} MiB free")


def _clock(_config: Config) -> Iterator[Finding]:
    now = wall_clock()
    if now < _RELEASED:
        fix = "Set the clock (NTP): every report carries its date."
        yield Finding(part="clock", verdict="FAILED", text=f"it shows {now:%Y-%m-%d %H:%M} UTC", fix=fix)
    else:
        yield Finding(part="clock", verdict="ok", text=f"{now:%Y-%m-%d %H:%M:%S} UTC")


def _method(config: Config) -> Iterator[Finding]:
    settings = settings_of(config)
    chosen = ", ".join(f"{field} T {name}" for field, name in config.calibration.by_field.items())
    yield Finding(part="calibration", verdict="ok", text=chosen)
    if settings.policy.signed_off_by is None:
        fix = "Have the responsible person approve it: follow_up.signed_off_by and signed_off_on."
        text = "not approved by the site; every report says so"
        yield Finding(part="follow-up", verdict="warning", text=text, fix=fix)
    else:
        yield Finding(part="follow-up", verdict="ok", text=f"approved by {settings.policy.signed_off_by}")


def _receiving(config: Config) -> Iterator[Finding]:
    receive = config.receive
    if not receive.allow:
        fix = "List the scanner or router under receive.allow."
        yield Finding(part="allow-list", verdict="FAILED", text="receive.allow is empty: nobody may send", fix=fix)
    for peer in receive.allow:
        if "*" in (peer.ae_title, peer.host):
            text = f"{peer.ae_title} at {peer.host}: anyone who matches may store patient data here"
            fix = "Name the AE title and the host of each sender."
            yield Finding(part="allow-list", verdict="warning", text=text, fix=fix)
        else:
            yield Finding(part="allow-list", verdict="ok", text=f"{peer.ae_title} at {peer.host}")
    if gateway_run(config).roles_alive().get("listener"):
        yield Finding(part="listener", verdict="ok", text="running")
    else:
        yield _port(receive.host, receive.port)


def _port(host: str, port: int) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            fix = "Choose another receive.port, end the program that holds it, or grant the right to ports below 1024."
            return Finding(part="listener", verdict="FAILED", text=f"{host}:{port}: {error.strerror}", fix=fix)
    return Finding(part="listener", verdict="ok", text=f"{host}:{port} can be opened")


def _certificates(config: Config) -> Iterator[Finding]:
    for key, tls in tls_sections(config):
        try:
            context_of(tls, key)
        except IronnodeError as error:
            yield Finding(part="certificate", verdict="FAILED", text=str(error), fix=error.hint)
            continue
        if tls.certificate is not None:
            yield _lifetime(f"{key}certificate", tls.certificate)
        if tls.key is not None and tls.key.stat().st_mode & _OTHERS_MAY_READ:
            text = f"{key}key: {tls.key} can be read by every user of this machine"
            fix = "Let only the service user read it (chmod 600)."
            yield Finding(part="certificate", verdict="warning", text=text, fix=fix)


def _lifetime(key: str, certificate: Path) -> Finding:
    end = expires_at(certificate)
    text = f"{key}: {certificate} ends on {end:%Y-%m-%d}"
    fix = "Replace certificate and key; running nodes take the new files by themselves."
    if end <= wall_clock():
        return Finding(part="certificate", verdict="FAILED", text=text, fix=fix)
    soon = end <= wall_clock() + _RENEW_WITHIN
    return Finding(part="certificate", verdict="warning" if soon else "ok", text=text, fix=fix if soon else "")


def _broker(config: Config) -> Iterator[Finding]:
    yield Finding(part="broker", verdict="ok", text=reach(config.broker.url))


def _destinations(config: Config) -> Iterator[Finding]:
    if not config.receivers:
        fix = "Name the PACS under destinations."
        yield Finding(part="destination", verdict="warning", text="none: results stay in the outbox", fix=fix)
    for destination in config.destinations:
        yield (answer := _echo(config, destination))
        if answer.verdict == "ok":
            yield _classes(config, destination)
        if answer.verdict == "ok" and destination.commitment:
            yield _commitment(config, destination)


def _messages(config: Config) -> Iterator[Finding]:
    from node.messages.send import try_receiver

    for receiver in config.messages:
        try:
            text = f"{receiver.name}: {receiver.address} {try_receiver(receiver)}"
        except IronnodeError as error:
            yield Finding(part="messages", verdict="FAILED", text=str(error), fix=error.hint)
        else:
            yield Finding(part="messages", verdict="ok", text=text)


def _echo(config: Config, destination: DestinationConfig) -> Finding:
    peer = Peer.of(destination)
    calling = destination.calling_ae_title or config.receive.ae_title
    try:
        echo(peer, calling_ae_title=calling, timeout_s=destination.timeout_s)
    except IronnodeError as error:
        return Finding(part="destination", verdict="FAILED", text=f"{destination.name}: {error}", fix=error.hint)
    return Finding(part="destination", verdict="ok", text=f"{destination.name}: {peer} answered C-ECHO")


def _is_taken(role: str, taken: frozenset[str]) -> bool:
    """Whether an object of the role arrives, itself or by what stands in for it."""
    return any(RESULT_CLASSES[name][0] in taken for name in (role, *ALTERNATIVES.get(role, ())))


def _classes(config: Config, destination: DestinationConfig) -> Finding:
    """What the destination takes of what is configured for it; kinds that can stand in count."""
    wanted = {role: found for role, found in RESULT_CLASSES.items() if destination.wants(role)}
    calling = destination.calling_ae_title or config.receive.ae_title
    peer = Peer.of(destination)
    try:
        taken = accepted_classes(
            peer,
            list(dict.fromkeys(uid for uid, _ in RESULT_CLASSES.values())),
            calling_ae_title=calling,
            timeout_s=destination.timeout_s,
        )
    except IronnodeError as error:
        return Finding(part="destination", verdict="FAILED", text=f"{destination.name}: {error}", fix=error.hint)
    lines = [f"{role} ({name}) {'yes' if uid in taken else 'NO'}" for role, (uid, name) in wanted.items()]
    refused = [role for role in wanted if "." not in role and not _is_taken(role, taken)]
    text = f"{destination.name} takes: {'; '.join(lines)}"
    if not refused:
        return Finding(part="destination", verdict="ok", text=text)
    if not taken:
        fix = "Nothing can be delivered there: have the SOP classes enabled for this AE title."
        return Finding(part="destination", verdict="FAILED", text=text, fix=fix)
    fix = f"Delivered without: {', '.join(refused)}. Have the classes enabled there, or leave them out of objects."
    return Finding(part="destination", verdict="warning", text=text, fix=fix)


def _commitment(config: Config, destination: DestinationConfig) -> Finding:
    """Whether the destination takes storage commitment requests, and the listener lets its report in."""
    calling = destination.calling_ae_title or config.receive.ae_title
    peer = Peer.of(destination)
    try:
        taken = accepted_classes(
            peer, [COMMITMENT_SOP_CLASS], calling_ae_title=calling, timeout_s=destination.timeout_s
        )
    except IronnodeError as error:
        return Finding(part="commitment", verdict="FAILED", text=f"{destination.name}: {error}", fix=error.hint)
    if not taken:
        fix = "Have storage commitment enabled there, or set commitment: false."
        text = f"{destination.name}: does not accept storage commitment requests"
        return Finding(part="commitment", verdict="FAILED", text=text, fix=fix)
    if not AllowList(config.receive.allow).knows_title(destination.ae_title):
        fix = (
            f"List {destination.ae_title} and its host under receive.allow: archives report on a connection of theirs."
        )
        text = f"{destination.name}: its report would be rejected"
        return Finding(part="commitment", verdict="FAILED", text=text, fix=fix)
    return Finding(part="commitment", verdict="ok", text=f"{destination.name} accepts storage commitment requests")


def _priors(config: Config) -> Iterator[Finding]:
    archive = config.priors.archive
    if archive is None:
        yield Finding(part="priors", verdict="ok", text="no archive: nothing is compared with earlier measurements")
        return
    peer = Peer.of(archive)
    calling = archive.calling_ae_title or config.receive.ae_title
    found = services(
        peer, calling_ae_title=calling, timeout_s=config.priors.timeout_s, may_move=archive.move_to is not None
    )
    yield Finding(part="priors", verdict="ok", text=f"{peer} offers C-FIND and {' and '.join(found)}")


def _audit(config: Config) -> Iterator[Finding]:
    """Whether the audit server comes together with us over TLS, and ends it in order; it gets no message."""
    syslog = config.audit.syslog
    if syslog is None:
        return
    try:
        send_frames(syslog, ())
    except IronnodeError as error:
        fix = (
            "Set host, port and tls under audit.syslog, and what the server must know of us. The trail waits meanwhile."
        )
        yield Finding(part="audit", verdict="FAILED", text=str(error), fix=fix)
    else:
        yield Finding(part="audit", verdict="ok", text=f"{syslog.host}:{syslog.port} takes audit messages")


_CHECKS: tuple[tuple[str, Callable[[Config], Iterator[Finding]]], ...] = (
    ("disk", _storage),
    ("clock", _clock),
    ("method", _method),
    ("receive", _receiving),
    ("certificate", _certificates),
    ("broker", _broker),
    ("destination", _destinations),
    ("messages", _messages),
    ("priors", _priors),
    ("audit", _audit),
)
