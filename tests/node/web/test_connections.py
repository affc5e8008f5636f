"""Real connections to the web role: those that keep it waiting are ended, and hide it from nobody."""

import contextlib
import http.client
import logging
import queue
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from node.config import Config, StorageConfig, WebConfig
from node.ops.events import Event
from node.roles import web
from node.roles.stage import Stage
from node.runtime import RunFolder
from node.web import connections
from tests.certificates import Site

PATIENCE_S = 60.0
HALF = b"GET / HTTP/1.1\r\nHost: local"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9"
NO_BODY = b"POST /login HTTP/1.1\r\nHost: localhost\r\n" + FORM + b"\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class QuietStage(Stage):
    """Tells its port to the test."""

    ports: "queue.Queue[int]" = field(default_factory=queue.Queue)

    def ready(self, **facts: Any) -> None:
        self.ports.put(facts["port"])


@contextlib.contextmanager
def web_role(root: Path, settings: WebConfig) -> Iterator[int]:
    """The port of a web role that plays in this process."""
    config = Config(storage=StorageConfig(root=root / "root"), web=settings)
    stage = QuietStage(role="web", config=config, run=RunFolder(root / "run"))
    playing = threading.Thread(target=web.play, args=(stage,))
    playing.start()
    try:
        yield stage.ports.get(timeout=PATIENCE_S)
    finally:
        stage.stop.set()
        playing.join()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    with web_role(tmp_path, WebConfig(port=0)) as port:
        yield port


@contextlib.contextmanager
def holding(port: int, number: int, said: bytes, *hosts: str) -> Iterator[list[socket.socket]]:
    """That many connections that say no more, from each of the hosts."""
    with contextlib.ExitStack() as stack:
        held = []
        for host in hosts or ("127.0.0.1",):
            for _ in range(number):
                caller = socket.create_connection(("127.0.0.1", port), PATIENCE_S, (host, 0))
                held.append(stack.enter_context(caller))
                caller.sendall(said)
        yield held


def asked(port: int, path: str, host: str = "127.0.0.1") -> int:
    browser = http.client.HTTPConnection("127.0.0.1", port, PATIENCE_S, (host, 0))
    with contextlib.closing(browser):
        browser.request("GET", path)
        return browser.getresponse().status


@pytest.mark.parametrize(
    "said",
    [
        b"",
        HALF,
        NO_BODY,
        b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["nothing", "half a head", "no body", "no next request"],
)
@pytest.mark.parametrize("others", [("127.0.0.1",), tuple(f"127.0.1.{n}" for n in range(1, 6))], ids=["one", "five"])
def test_silent_connections_hide_the_page_from_nobody(port: int, said: bytes, others, caplog) -> None:
    caplog.set_level(logging.WARNING, "ironnode")
    with holding(port, 300 // len(others), said, *others):
        for path in ("/live", "/metrics", "/login"):
            assert asked(port, path) == asked(port, path, "127.0.0.9") == 200, path
    told = [record.fields for record in caplog.records if record.event == Event.WEB_CROWDED]
    assert len(told) == 1
    assert told[0]["address"] in others


def test_handshakes_that_are_not_finished_hide_the_page_from_nobody(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.WARNING, "ironnode")
    site = Site(tmp_path / "tls")
    own, trusting = site.issue(), ssl.create_default_context(cafile=site.ca)
    settings = WebConfig(port=0, tls_certificate=own.certificate, tls_key=own.key)
    with (
        web_role(tmp_path, settings) as port,
        holding(port, 1, b"", "127.0.0.9") as (slow,),
        holding(port, 300, b"") as held,
    ):
        for caller in held[:100]:
            caller.settimeout(5.0)
            assert ended(caller)
        for caller in (slow, held[-1]):  # the only one of its address, and the latest of the other
            browser = http.client.HTTPSConnection("localhost", port)
            browser.sock = trusting.wrap_socket(caller, server_hostname="localhost")
            with contextlib.closing(browser):
                browser.request("GET", "/live")
                assert browser.getresponse().read() == b'{"live":true}'
    told = [record.fields for record in caplog.records if record.event == Event.WEB_CROWDED]
    assert [fields["address"] for fields in told] == ["127.0.0.1"]


def test_the_connections_of_whoever_has_most_go_first(port: int) -> None:
    browser = http.client.HTTPConnection("127.0.0.1", port, PATIENCE_S, ("127.0.0.9", 0))
    with contextlib.closing(browser):
        browser.connect()
        first = browser.sock
        for number in (0, 300):  # on one connection, which waits for its next request meanwhile
            with holding(port, number, HALF):
                browser.request("GET", "/live")
                assert browser.getresponse().read() == b'{"live":true}'
        assert browser.sock is first


@pytest.mark.parametrize("said", [HALF, NO_BODY])
def test_a_request_that_does_not_come_to_its_end_is_not_waited_for(port: int, said: bytes, monkeypatch) -> None:
    monkeypatch.setattr(connections, "WAIT_S", 0.2)
    with holding(port, 1, said) as (caller,):
        assert ended(caller)


def test_a_head_that_trickles_in_gets_no_more_time(port: int, monkeypatch) -> None:
    monkeypatch.setattr(connections, "WAIT_S", 0.5)
    with holding(port, 1, HALF) as (caller,):
        caller.settimeout(0.05)
        for _ in range(int(PATIENCE_S / 0.05)):
            try:
                caller.sendall(b"h")
                if ended(caller):
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
    pytest.fail("still open")


def test_an_answer_that_is_not_read_is_not_waited_for(port: int, monkeypatch) -> None:
    monkeypatch.setattr(connections, "WAIT_S", 0.5)
    request = b"GET /static/style.css HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with holding(port, 1, request) as (caller,), contextlib.suppress(ConnectionError):
        while True:  # until the system's buffers are full, and the node ends the connection
            caller.sendall(request)


def ended(caller: socket.socket) -> bool:
    try:
        return caller.recv(1) == b""
    except ConnectionError:
        return True
