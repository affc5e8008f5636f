"""Nothing without log-in once there are users; roles; rates; names."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import ValidationError
from sqlalchemy import select
from starlette.testclient import TestClient

from node.app import open_node
from node.config import Config, WebConfig, WebUser
from node.errors import StorageError
from node.jobs import schema
from node.web.application import make_application
from node.web.passwords import hash_password
from tests.node.web.test_pages import token
from tests.nodekit.quiet_node import Clock


@pytest.fixture(scope="module")
def users() -> tuple[WebUser, ...]:
    return (
        WebUser(name="anna", role="operator", password_hash=hash_password("correct horse")),
        WebUser(name="ben", role="viewer", password_hash=hash_password("battery staple")),
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def gateway(config: Config, clock: Clock, users: tuple[WebUser, ...]) -> Iterator[TestClient]:
    """A browser at the page of one gateway over the ledger of ``config``."""
    web = WebConfig(users=users, behind_proxy=True, allowed_hosts=("node.example",), host="0.0.0.0")
    config = config.model_copy(update={"web": web})
    with open_node(config) as node:

        def clock_s() -> float:  # one clock for log-ins and rates
            return clock().timestamp()

        application = make_application(node, config.storage.root / "config.json", clock=clock, clock_s=clock_s)
        with TestClient(application, "https://node.example") as client:
            client.headers["accept"] = "text/html"
            yield client


@pytest.fixture
def guarded(config: Config, worked, users, clock) -> Iterator[TestClient]:
    with gateway(config, clock, users) as client:
        yield client


COOKIE = "__Host-ironnode"


def let_in(client: TestClient) -> bool:
    return client.get("/", follow_redirects=False).status_code == 200


def log_in(client: TestClient, name: str, password: str):
    return client.post("/login", data={"name": name, "password": password})


def test_every_route_but_the_open_ones_asks_for_log_in(guarded) -> None:
    for route in guarded.app.routes:
        path = re.sub(r"\{[^}]+\}", "0", route.path)
        if path in ("/live", "/ready", "/login", "/metrics", "/static"):
            continue
        answer = guarded.get(path, headers={"accept": "*/*"}, follow_redirects=False)
        assert answer.status_code == 401, path
    assert guarded.get("/live").json() == {"live": True}
    assert guarded.get("/", follow_redirects=False).headers["location"] == "/login"


def test_an_operator_may_act_and_a_viewer_only_look(guarded, worked) -> None:
    (job,) = worked.jobs()
    log_in(guarded, "ben", "battery staple")
    assert "Send everything again" not in guarded.get(f"/jobs/{job.job_id}").text
    session = guarded.app.state.sessions.find(guarded.cookies["__Host-ironnode"])
    assert guarded.post(f"/jobs/{job.job_id}/resend", data={"csrf": session.csrf}).status_code == 403
    assert guarded.post("/try", data={"csrf": session.csrf}).status_code == 403
    guarded.post("/logout")
    assert guarded.get("/", follow_redirects=False).status_code == 303
    log_in(guarded, "anna", "correct horse")
    page = guarded.get(f"/jobs/{job.job_id}").text
    assert "sent again" in guarded.post(f"/jobs/{job.job_id}/resend", data={"csrf": token(page)}).text


def test_the_cookie_is_for_this_host_and_ends(guarded, clock) -> None:
    answer = guarded.post("/login", data={"name": "anna", "password": "correct horse"}, follow_redirects=False)
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("__host-ironnode=")
    assert all(word in cookie for word in ("httponly", "secure", "samesite=strict", "path=/"))
    assert answer.headers["strict-transport-security"]
    assert guarded.get("/").status_code == 200
    clock.pass_s(28801)
    assert guarded.get("/", follow_redirects=False).status_code == 303


def test_a_log_in_holds_on_every_gateway_and_through_a_restart_and_a_log_out_on_all(
    config, worked, users, clock
) -> None:
    with gateway(config, clock, users) as first, gateway(config, clock, users) as second:
        log_in(first, "anna", "correct horse")
        kept = first.cookies[COOKIE]
        second.cookies.set(COOKIE, kept)
        (job,) = worked.jobs()
        sent = {"csrf": token(first.get(f"/jobs/{job.job_id}").text)}  # a form of one gateway, pressed on the other
        assert "sent again" in second.post(f"/jobs/{job.job_id}/resend", data=sent).text
    with gateway(config, clock, users) as first, gateway(config, clock, users) as second:
        for client in (first, second):
            client.cookies.set(COOKIE, kept)
            assert let_in(client)
        second.post("/logout")
        first.cookies.set(COOKIE, kept)  # who kept a copy of the cookie has nothing
        assert not let_in(first)


def test_another_password_role_or_no_user_counts_at_once(config, worked, users, clock) -> None:
    anna, ben = users
    with gateway(config, clock, users) as client:
        log_in(client, "anna", "correct horse")
        kept = client.cookies[COOKIE]
    viewer = anna.model_copy(update={"role": "viewer"})
    for others, expected in (((viewer, ben), 200), ((ben,), 303)):
        with gateway(config, clock, others) as client:
            client.cookies.set(COOKIE, kept)
            answer = client.get("/try", follow_redirects=False)
            assert (answer.status_code, "may look but not measure" in answer.text) == (expected, expected == 200)
    changed = anna.model_copy(update={"password_hash": ben.password_hash})
    with gateway(config, clock, (changed,)) as client:
        client.cookies.set(COOKIE, kept)
        assert not let_in(client)


def test_the_ledger_holds_no_token(guarded, worked) -> None:
    log_in(guarded, "anna", "correct horse")
    with worked.ledger.database.reading() as connection:
        (row,) = connection.execute(select(schema.web_session)).all()
    assert guarded.cookies[COOKIE] not in str(row)
    assert row.name == "anna"


def test_without_the_ledger_nobody_is_known_and_the_process_still_answers(guarded, monkeypatch) -> None:
    log_in(guarded, "anna", "correct horse")

    def away(_token: str) -> None:
        raise StorageError("ledger: away")

    monkeypatch.setattr(guarded.app.state.node.log_ins, "find", away)
    assert guarded.get("/").status_code == 503
    assert guarded.get("/live").json() == {"live": True}


def test_guessing_has_to_wait(guarded, clock) -> None:
    assert [log_in(guarded, "anna", f"guess {n}").status_code for n in range(6)] == [401] * 5 + [429]
    assert log_in(guarded, "anna", "correct horse").status_code == 429
    clock.pass_s(301)
    assert log_in(guarded, "anna", "correct horse").status_code == 200


def test_a_flood_is_answered_shortly(guarded) -> None:
    codes = [guarded.get("/live").status_code for _ in range(601)]
    assert (set(codes[:600]), codes[600]) == ({200}, 429)


def test_another_hosts_name_is_refused(guarded) -> None:
    for name in ("evil.example", "", "["):
        assert guarded.get("/live", headers={"host": name}).status_code == 403


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "0.0.0.0"},
        {"host": "0.0.0.0", "behind_proxy": True},
        {"behind_proxy": True},
        {"tls_key": "key.pem"},
        {"users": [{"name": "a", "password_hash": "plain"}]},
    ],
)
def test_an_open_page_is_not_a_configuration(wrong) -> None:
    with pytest.raises(ValidationError):
        WebConfig.model_validate(wrong)


def test_users_without_encryption_may_not_listen_beyond_loopback(users) -> None:
    with pytest.raises(ValidationError, match="tls_certificate"):
        WebConfig(host="192.0.2.1", users=users)


def test_the_configuration_page_hides_hashes(guarded) -> None:
    log_in(guarded, "anna", "correct horse")
    text = guarded.get("/configuration").text
    assert "(hidden)" in text
    assert "argon2" not in text
