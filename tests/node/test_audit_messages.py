"""DICOM audit messages: what they say, and that a syslog server gets all of them, also after it was away."""

import base64
import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from node.app import open_node
from node.cli import cli
from node.config import AuditConfig, CallerTls, Config, StorageConfig, SyslogConfig, load_config
from node.errors import PeerError
from node.intake.sender import sender_of
from node.ops import selfcheck
from node.ops.audit import AuditTrail, Noted
from node.ops.audit_messages import Subject, audit_messages
from node.ops.syslog import Forwarder, send_frames, syslog_frame, unsent_since
from node.roles.auditor import subject_of
from node.tls import listener_context
from node.web.metrics import Metrics
from tests.certificates import Site
from tests.loopback.callers import eventually
from tests.nodekit.quiet_node import Archive, Clock, QuietNode
from tests.nodekit.small_study import write_study

TIME = "2026-01-02T03:04:05.678+00:00"
PATIENT = Subject(study_instance_uid="1.2.3", patient_id="P<1>&2", sender="MR1")


@pytest.fixture
def trail(tmp_path: Path) -> AuditTrail:
    return AuditTrail(tmp_path / "root")


def messages(trail: AuditTrail, event: str, **fields: object) -> list[ElementTree.Element]:
    """The messages of one event, parsed."""
    trail.append(Noted(event, TIME, fields))
    entry = list(trail.after(0))[-1]
    made = audit_messages(entry, "node-1", "IRONNODE", lambda _: PATIENT)
    return [ElementTree.fromstring(message) for message in made]


def codes(message: ElementTree.Element) -> list[tuple[str, str]]:
    found = [message.find("EventIdentification/EventID"), message.find("EventIdentification/EventTypeCode")]
    assert all(code.get("codeSystemName") == "DCM" and code.get("originalText") for code in found if code is not None)
    return [(code.tag, code.get("csd-code")) for code in found if code is not None]


def outcome(message: ElementTree.Element) -> tuple[str | None, str | None]:
    head = message.find("EventIdentification")
    assert head is not None
    assert head.get("EventDateTime") == TIME
    return head.get("EventActionCode"), head.get("EventOutcomeIndicator")


def test_instances_received_name_sender_receiver_study_and_patient(trail: AuditTrail) -> None:
    (message,) = messages(trail, "job_accepted", job_id="a")
    assert (codes(message), outcome(message)) == ([("EventID", "110104")], ("C", "0"))
    people = {
        p.find("RoleIDCode").get("csd-code"): (p.get("AlternativeUserID"), p.get("UserIsRequestor"))
        for p in message.findall("ActiveParticipant")
    }
    assert people == {"110153": ("AETITLES=MR1", "true"), "110152": ("AETITLES=IRONNODE", "false")}
    subjects = {
        (o.find("ParticipantObjectIDTypeCode").get("csd-code"), o.get("ParticipantObjectTypeCode")): (
            o.get("ParticipantObjectID"), o.get("ParticipantObjectTypeCodeRole"),
        )
        for o in message.findall("ParticipantObjectIdentification")
    }  # fmt: skip
    assert subjects == {("110180", "2"): ("1.2.3", "3"), ("2", "1"): ("P<1>&2", "1")}
    # The order that the schema of A.5.1 prescribes.
    order = [child.tag for child in message]
    assert order == sorted(order, key=["EventIdentification", "ActiveParticipant", "AuditSourceIdentification",
                                       "ParticipantObjectIdentification"].index)  # fmt: skip
    assert message.find("AuditSourceIdentification").get("AuditSourceID") == "node-1"


def test_a_delivery_of_two_jobs_is_a_message_for_each_patient(trail: AuditTrail) -> None:
    sent = messages(trail, "delivery_sent", destination="pacs", objects=30, job_ids=["a", "b"])
    assert [outcome(message) for message in sent] == [("R", "0")] * 2


@pytest.mark.parametrize(
    ("event", "fields", "expected", "result"),
    [
        ("node_started", {}, [("EventID", "110100"), ("EventTypeCode", "110120")], "0"),
        ("node_stopped", {}, [("EventID", "110100"), ("EventTypeCode", "110121")], "0"),
        (
            "web_login",
            {"user": "anna", "address": "::1"},
            [("EventID", "110114"), ("EventTypeCode", "110122")],
            "0",
        ),
        ("web_logout", {"user": "anna"}, [("EventID", "110114"), ("EventTypeCode", "110123")], "0"),
        ("web_login_failed", {"address": "10.1.1.1"}, [("EventID", "110114"), ("EventTypeCode", "110122")], "4"),
        (
            "association_rejected",
            {"calling_ae_title": "X\x01<", "address": "10.1.1.1", "text": "not recognised"},
            [("EventID", "110113"), ("EventTypeCode", "110126")],
            "4",
        ),
        ("tls_failed", {"address": "10.1.1.1", "text": "x"}, [("EventID", "110113"), ("EventTypeCode", "110126")], "4"),
        ("files_removed", {"job_id": "a"}, [("EventID", "110105")], "0"),
        ("certificate_renewed", {"certificate": "c"}, [("EventID", "110113"), ("EventTypeCode", "110129")], "0"),
    ],
)
def test_each_event_has_its_codes(
    trail: AuditTrail, event: str, fields: dict[str, str], expected: list[tuple[str, str]], result: str
) -> None:
    (message,) = messages(trail, event, **fields)
    assert (codes(message), outcome(message)[1]) == (expected, result)
    assert all(p.get("UserID") for p in message.findall("ActiveParticipant"))
    if "text" in fields:
        detail = message.find("ParticipantObjectIdentification/ParticipantObjectDetail")
        assert base64.b64decode(detail.get("value")).decode() == fields["text"]


def test_what_the_standard_has_no_message_for_makes_none(trail: AuditTrail) -> None:
    assert messages(trail, "job_started", job_id="a") == []


def test_a_frame_is_rfc_5424_with_its_length_before_it() -> None:
    frame = syslog_frame("<a>é</a>".encode(), TIME, "node.example")
    length, _, rest = frame.partition(b" ")
    assert int(length) == len(rest)
    head = rb"<85>1 2026-01-02T03:04:05\.678\+00:00 node\.example ironnode - DICOM\+RFC3881 - \xef\xbb\xbf(.*)"
    assert re.fullmatch(head, rest, re.DOTALL).group(1).decode() == "<a>é</a>"


def test_the_subject_comes_from_the_spool(tmp_path: Path) -> None:
    config = Config(storage=StorageConfig(root=tmp_path / "root"))
    worked = QuietNode(config.storage.root, Archive(), Clock(), config)
    worked.receive(write_study(tmp_path / "study", 7))
    worked.settle()
    (job,) = worked.jobs()
    with open_node(config) as node:
        found = subject_of(node, job.job_id)
        assert found is not None
        assert found.patient_id == "P7"
        assert subject_of(node, "ffff") is None
        for instance in node.spool.instances():
            instance.path.unlink()
        gone = subject_of(node, job.job_id)
        assert gone is not None
        assert (gone.study_instance_uid, gone.patient_id) == (found.study_instance_uid, "unknown")
    worked.close()
    (tmp_path / "junk").write_bytes(b"no DICOM")
    assert sender_of(tmp_path / "junk") == ("unknown", "unknown")


# ------------------------------------------------------------------ the way to the server


class SyslogServer:
    """A syslog server over TLS; ``hang_up`` makes it reset a connection after its first bytes."""

    def __init__(self, context: ssl.SSLContext, port: int = 0) -> None:
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listening.getsockname()[1])
        self.hang_up = False
        self.got: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as secured:
                self._read(secured)

    def _read(self, secured: ssl.SSLSocket) -> None:
        received = b""
        while piece := secured.recv(65536):
            if self.hang_up:
                secured.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                return
            received += piece
        while received:
            length, _, rest = received.partition(b" ")
            self.got.append(rest[: int(length)])
            received = rest[int(length) :]
        secured.unwrap()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "tls")


@pytest.fixture
def server(site: Site) -> Iterator[SyslogServer]:
    server = SyslogServer(listener_context(site.listener(mutual=True), "test."))
    yield server
    server.close()


def forwarder(trail: AuditTrail, port: int, tls: CallerTls) -> Forwarder:
    settings = SyslogConfig(host="127.0.0.1", port=port, tls=tls, timeout_s=5)
    made: Callable[..., Iterator[bytes]] = partial(
        audit_messages, source_id="n", ae_title="IRONNODE", subject_of=lambda _: PATIENT
    )
    return Forwarder(trail, made, partial(send_frames, settings), "host")


def test_every_message_arrives_once_in_order_after_a_server_was_away(
    trail: AuditTrail, server: SyslogServer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.ops.syslog._BATCH", 20)
    for number in range(45):
        trail.append(Noted("job_accepted", TIME, {"job_id": str(number)}))
        trail.append(Noted("job_started", TIME, {"job_id": str(number)}))
    trail.append(Noted("node_stopped", TIME, {}))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nobody = forwarder(trail, port, site.caller(known=True))
    with pytest.raises(PeerError, match=r"audit\.syslog: 127\.0\.0\.1:\d+: .*nothing listens"):
        nobody.step()
    server.hang_up = True
    with pytest.raises(PeerError):
        forwarder(trail, server.port, site.caller(known=True)).step()
    assert server.got == []
    assert unsent_since(trail) == datetime.fromisoformat(TIME)
    server.hang_up = False
    there = forwarder(trail, server.port, site.caller(known=True))
    steps = 1
    while there.step():
        steps += 1
    assert steps == 5
    eventually(lambda: len(server.got) == 46)
    assert unsent_since(trail) is None
    assert b"Application Stop" in server.got[-1]
    assert not forwarder(trail, server.port, site.caller(known=True)).step()  # after a restart: nothing twice
    assert len(server.got) == 46


def test_a_damaged_line_holds_up_no_other_and_is_told(
    trail: AuditTrail, server: SyslogServer, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        trail.append(Noted("job_accepted", TIME, {"job_id": str(number)}))
    first, second, third = trail.path.read_bytes().splitlines(keepends=True)
    trail.path.write_bytes(first + b"\xff" * (len(second) - 1) + b"\n" + third)
    assert not forwarder(trail, server.port, site.caller(known=True)).step()
    eventually(lambda: len(server.got) == 2)
    (told,) = [record.fields["error"] for record in caplog.records if record.msg == "audit_failed"]
    assert f"byte {len(first + second)} is damaged" in told
    assert not forwarder(trail, server.port, site.caller(known=True)).step()
    assert len(server.got) == 2


def test_a_trail_that_was_made_anew_is_sent_from_its_start(trail: AuditTrail, server: SyslogServer, site: Site) -> None:
    trail.append(Noted("job_accepted", TIME, {"job_id": "a"}))
    forwarder(trail, server.port, site.caller(known=True)).step()
    for path in (trail.path, trail.path.with_name("head.json")):
        path.unlink()
    trail.append(Noted("job_accepted", TIME, {"job_id": "longer than the line before"}))
    forwarder(trail, server.port, site.caller(known=True)).step()
    eventually(lambda: len(server.got) == 2)


def test_status_and_metrics_tell_what_the_server_has_not_got(tmp_path: Path) -> None:
    root, file = tmp_path / "root", tmp_path / "config.yaml"
    file.write_text(f"storage: {{root: {root}}}\naudit: {{syslog: {{host: audit.example, tls: {{}}}}}}\n")
    words = ["status", "--config", str(file)]
    assert "audit server" not in CliRunner().invoke(cli, words).output
    AuditTrail(root).append(Noted("node_started", TIME, {}))
    assert "audit server  has nothing since 2026-01-0" in CliRunner().invoke(cli, words).output
    with open_node(load_config(file)) as node:
        (age,) = re.findall(rb"^ironnode_audit_unsent_age_seconds (\S+)", Metrics().exposition(node), re.MULTILINE)
    assert float(age) > 3600


def test_a_server_that_is_not_the_site_s_or_refuses_us_gets_nothing(
    trail: AuditTrail, server: SyslogServer, site: Site, tmp_path: Path
) -> None:
    trail.append(Noted("node_stopped", TIME, {}))
    other = Site(tmp_path / "other", "other")
    with pytest.raises(PeerError, match="certificate is not accepted"):
        forwarder(trail, server.port, other.caller()).step()
    with pytest.raises(PeerError):
        forwarder(trail, server.port, site.caller()).step()  # the server asks for a certificate of ours
    assert server.got == []


def test_check_tries_the_audit_server_and_sends_it_nothing(
    server: SyslogServer, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selfcheck, "_CHECKS", [check for check in selfcheck._CHECKS if check[0] == "audit"])

    def verdicts(tls: CallerTls | None) -> list[str]:
        syslog = tls and SyslogConfig(host="127.0.0.1", port=server.port, tls=tls, timeout_s=5)
        config = Config(storage=StorageConfig(root=tmp_path), audit=AuditConfig(syslog=syslog))
        return [finding.verdict for finding in selfcheck.run_checks(config)]

    assert verdicts(None) == []
    assert verdicts(site.caller(known=True)) == ["ok"]
    assert verdicts(site.caller()) == verdicts(Site(tmp_path / "other", "other").caller()) == ["FAILED"]
    assert server.got == []
