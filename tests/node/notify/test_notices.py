"""Troubles are found, told once, repeated late, tried again, and name no patient."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from node.app import open_node
from node.config import Config, DestinationConfig, EmailConfig, NotifyConfig, StorageConfig, WebhookConfig
from node.errors import PeerError
from node.model import StoreStatus
from node.notify.channels import post, send_email
from node.notify.desk import NoticeDesk
from node.notify.troubles import Trouble, find_troubles
from node.web.health import ready
from tests.nodekit.quiet_node import Archive, Clock, QuietNode
from tests.nodekit.small_study import write_study

NOW = datetime(2027, 1, 1, tzinfo=UTC)
DISK = Trouble(kind="disk_low", subject="storage", text="3 MiB free")


class Channel:
    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []
        self.away = False

    def __call__(self, kind: str, text: str) -> None:
        if self.away:
            raise PeerError("away")
        self.got.append((kind, text))


def desk(root: Path, channel: Channel, **settings: float) -> NoticeDesk:
    return NoticeDesk(root, NotifyConfig(**settings), {"mail": channel})


def test_a_trouble_is_told_once_and_again_after_a_time(tmp_path) -> None:
    channel = Channel()
    desk(tmp_path, channel).step([DISK], NOW)
    restarted = desk(tmp_path, channel)
    restarted.step([DISK], NOW + timedelta(hours=1))
    assert channel.got == [("disk_low", "3 MiB free")]
    restarted.step([DISK], NOW + timedelta(hours=5))
    assert len(channel.got) == 2


def test_a_notice_survives_a_channel_that_is_away_and_a_restart(tmp_path) -> None:
    channel = Channel()
    channel.away = True
    desk(tmp_path, channel).step([DISK], NOW)
    channel.away = False
    restarted = desk(tmp_path, channel)
    restarted.step([], NOW + timedelta(minutes=2))
    restarted.step([], NOW + timedelta(minutes=4))
    assert channel.got == [("disk_low", "3 MiB free")]


def test_a_flood_is_held_back_and_told_later(tmp_path) -> None:
    channel = Channel()
    many = [Trouble(kind="job_parked", subject=str(n), text=str(n)) for n in range(7)]
    full = desk(tmp_path, channel, max_per_hour=5)
    full.step(many, NOW)
    assert len(channel.got) == 5
    full.step([], NOW + timedelta(minutes=61))
    assert sorted(text for _, text in channel.got) == [str(n) for n in range(7)]


def test_a_destination_that_is_away_is_found_and_no_patient_named(tmp_path) -> None:
    pacs = DestinationConfig(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)
    config = Config(storage=StorageConfig(root=tmp_path / "root"), destinations=(pacs,))
    worked = QuietNode(config.storage.root, Archive(), Clock(), config)
    worked.receive(write_study(tmp_path / "study"))
    worked.archive.refuse = lambda path: StoreStatus.FAILED
    worked.settle()
    with open_node(config) as node:
        assert find_troubles(node, worked.clock.now) == []
        (trouble,) = find_troubles(node, worked.clock.pass_s(3600))
    worked.close()
    assert (trouble.kind, trouble.subject) == ("delivery_stuck", "pacs")
    assert "3 objects wait" in trouble.text
    assert "Doe" not in trouble.text


@pytest.mark.parametrize(("objects", "told"), [("all", True), (("map",), False)])
def test_a_result_that_nobody_reads_is_a_trouble_where_page_or_report_was_wanted(tmp_path, objects, told) -> None:
    pacs = DestinationConfig(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)
    config = Config(storage=StorageConfig(root=tmp_path / "root"), destinations=(pacs,))
    worked = QuietNode(config.storage.root, Archive(), Clock(), config)
    worked.receive(write_study(tmp_path / "study"))
    worked.archive.refuse = lambda path: StoreStatus.NO_CONTEXT if path.name == "2.dcm" else None  # the report
    worked.settle()
    later = config.model_copy(update={"destinations": (pacs.model_copy(update={"objects": objects}),)})
    with open_node(later) as node:
        troubles = find_troubles(node, worked.clock.now)
    worked.close()
    text = "destination pacs takes neither page, PDF nor report: nobody reads the result of 1 jobs"
    assert [(t.kind, t.subject, t.text) for t in troubles] == [("delivery_stuck", "pacs untold", text)] * told


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))  # type: ignore[attr-defined]  # set by the fixture
        self.send_response(302 if self.path == "/moved" else 204)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), _Hook) as server:
        server.got = []  # type: ignore[attr-defined]  # what was posted
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_webhook_gets_kind_and_text_and_cannot_send_elsewhere(hook) -> None:
    url = f"http://127.0.0.1:{hook.server_port}"
    post(WebhookConfig(url=f"{url}/token-abc"), "disk_low", "3 MiB free")
    assert hook.got == [{"source": "ironnode", "kind": "disk_low", "text": "3 MiB free"}]
    with pytest.raises(PeerError) as refused:
        post(WebhookConfig(url=f"{url}/moved"), "disk_low", "x")
    assert "moved" not in str(refused.value)
    assert len(hook.got) == 2


def test_a_mail_server_that_is_away_is_a_peer_error() -> None:
    settings = EmailConfig(host="127.0.0.1", port=1, sender="a@b.example", to=("c@d.example",))
    with pytest.raises(PeerError, match="mail server"):
        send_email(settings, "disk_low", "3 MiB free")


def test_little_space_is_told_before_nothing_is_received(tmp_path) -> None:
    config = Config(storage=StorageConfig(root=tmp_path, warn_free_mib=1 << 40))
    with open_node(config) as node:
        (trouble,) = find_troubles(node, datetime.now(UTC))
        assert (trouble.kind, trouble.subject) == ("disk_low", "storage low")
        assert "less than 1099511627776; below 512 nothing is received" in trouble.text
        _, answer = ready(node)
        assert (answer["disk_level"], answer["free_space"]) == ("low", True)
