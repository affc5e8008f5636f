"""Nothing without log-in once there are users; roles; rates; names."""

import re
from collections.abc import Iterator

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from node.app import open_node
from node.config import Config, WebConfig, WebUser
from node.web.application import make_application
from node.web.passwords import hash_password
from tests.node.web.test_pages import token


@pytest.fixture(scope="module")
def users() -> tuple[WebUser, ...]:
    return (
        WebUser(name="anna", role="operator", password_hash=hash_password("correct horse")),
        WebUser(name="ben", role="viewer", password_hash=hash_password("battery staple")),
    )


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guarded(config: Config, worked, users, clock, tmp_path) -> Iterator[TestClient]:
    web = WebConfig(users=users, behind_proxy=True, allowed_hosts=("node.example",), host="0.0.0.0")
    config = config.model_copy(update={"web": web})
    with open_node(config) as node:
        application = make_application(node, tmp_path / "config.json", clock)
        with TestClient(application, "https://node.example") as client:
            client.headers["accept"] = "text/html"
            yield client


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
    assert "Send again" not in guarded.get(f"/jobs/{job.job_id}").text
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
    clock.now += 28801
    assert guarded.get("/", follow_redirects=False).status_code == 303


def test_guessing_has_to_wait(guarded, clock) -> None:
    assert [log_in(guarded, "anna", f"guess {n}").status_code for n in range(6)] == [401] * 5 + [429]
    assert log_in(guarded, "anna", "correct horse").status_code == 429
    clock.now += 301
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
