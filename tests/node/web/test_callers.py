"""Real callers of the web role: guesses sent at once, and whose address is believed."""

import contextlib
import http.client
import logging
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Lock
from typing import Any
from urllib.parse import urlencode

import pytest

from node.config import WebConfig, WebUser
from node.ops.events import Event
from node.web import actions
from node.web.passwords import hash_password, password_fits
from tests.node.web.test_connections import PATIENCE_S, web_role

USERS = (WebUser(name="anna", role="operator", password_hash=hash_password("correct horse")),)
PROXY, OTHER = "127.0.2.1", "127.0.3.1"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    proxied = WebConfig(port=0, users=USERS, behind_proxy=True, trusted_proxies=(f"{PROXY}/32",))
    with web_role(tmp_path, proxied) as port:
        yield port


def log_in(port: int, password: str, host: str, *, forwarded: str | None = None, name: str = "anna") -> int:
    """The status that a caller with this address is answered."""
    browser = http.client.HTTPConnection("127.0.0.1", port, PATIENCE_S, (host, 0))
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if forwarded is not None:
        headers["X-Forwarded-For"] = forwarded
    with contextlib.closing(browser):
        browser.request("POST", "/login", urlencode({"name": name, "password": password}), headers)
        return browser.getresponse().status


def at_once(number: int, port: int, password: str) -> Counter[int]:
    """How often each status is answered to that many log-ins, each from an address of its own."""
    ready = Barrier(number)

    def one(caller: int) -> int:
        ready.wait(PATIENCE_S)
        return log_in(port, password, f"127.0.4.{caller + 1}")

    with ThreadPoolExecutor(number) as callers:
        return Counter(callers.map(one, range(number)))


def test_of_guesses_sent_at_once_five_are_looked_at_two_at_a_time(port: int, monkeypatch) -> None:
    lock, running, most = Lock(), 0, 0

    def counted(*words: Any) -> bool:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return password_fits(*words)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(actions, "password_fits", counted)
    assert at_once(40, port, "guess") == {401: 5, 429: 35}
    assert most == 2
    assert log_in(port, "correct horse", OTHER) == 429


def test_right_passwords_sent_at_once_are_all_let_in_and_leave_no_count(port: int) -> None:
    assert at_once(12, port, "correct horse") == {303: 12}
    assert [log_in(port, "guess", OTHER) for _ in range(6)] == [401] * 5 + [429]


def test_callers_of_a_trusted_proxy_are_counted_and_logged_by_their_own_address(port: int, caplog) -> None:
    caplog.set_level(logging.INFO, "ironnode")
    for number in range(6):  # the left part is what the caller said of itself
        answer = log_in(port, "guess", PROXY, forwarded=f"10.9.9.{number}, 10.1.1.1", name=f"user-{number}")
        assert answer == (401 if number < 5 else 429)
    assert log_in(port, "correct horse", PROXY, forwarded="10.1.1.2") == 303
    told = [(r.event, r.fields["address"]) for r in caplog.records if "address" in r.fields]
    assert told == [(Event.WEB_LOGIN_FAILED, "10.1.1.1")] * 5 + [(Event.WEB_LOGIN, "10.1.1.2")]


def test_what_another_caller_says_of_its_address_is_not_believed(port: int, caplog) -> None:
    caplog.set_level(logging.INFO, "ironnode")
    for number in range(6):
        answer = log_in(port, "guess", OTHER, forwarded=f"10.1.1.{number}", name=f"user-{number}")
        assert answer == (401 if number < 5 else 429)
    told = [(r.event, r.fields["address"]) for r in caplog.records if "address" in r.fields]
    assert told == [(Event.WEB_LOGIN_FAILED, OTHER)] * 5
