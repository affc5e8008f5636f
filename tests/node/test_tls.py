"""Certificates as the configuration names them: what `ironnode check`, `send` and the web page make of them."""

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli import cli
from node.config import Config, load_config
from node.dimse.store_peer import StorePeer
from node.errors import ConfigError
from node.ops.selfcheck import Finding, run_checks
from node.tls import FollowedContext, expires_at
from tests.certificates import Site
from tests.node.intake.encoded_images import image, written


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "tls")


def certificate_findings(config: Config, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    from node.ops import selfcheck

    monkeypatch.setattr(selfcheck, "_CHECKS", [check for check in selfcheck._CHECKS if check[0] == "certificate"])
    return run_checks(config)


def test_check_tells_what_ends_soon_has_ended_or_does_not_fit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    good, soon, over = (
        site.issue(file=name, ends=now + timedelta(days=days))
        for name, days in (("good", 90), ("soon", 9), ("over", -1))
    )
    soon.key.chmod(0o644)
    destination = {"ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    config = Config.model_validate(
        {
            "receive": {"tls": {"certificate": good.certificate, "key": good.key, "client_ca": site.ca}},
            "web": {"tls_certificate": soon.certificate, "tls_key": soon.key},
            "destinations": [
                {"name": "a", "tls": {"ca": site.ca, "certificate": over.certificate, "key": over.key}, **destination},
                {"name": "b", "tls": {"ca": site.ca, "certificate": over.certificate, "key": good.key}, **destination},
                {"name": "c", "tls": {"ca": site.ca}, **destination},
            ],
        }
    )
    found = certificate_findings(config, monkeypatch)
    assert [(f.verdict, f.text.split(":")[0]) for f in found] == [
        ("ok", "receive.tls.certificate"),
        ("warning", "web.tls_certificate"),
        ("warning", "web.tls_key"),
        ("FAILED", "destinations.a.tls.certificate"),
        ("FAILED", "destinations.b.tls.key"),
    ]
    assert f"{now + timedelta(days=9):%Y-%m-%d}" in found[1].text
    assert abs(expires_at(soon.certificate) - (now + timedelta(days=9))) < timedelta(minutes=1)


def test_paths_are_beside_the_file_and_must_be_files(site: Site, tmp_path: Path) -> None:
    pair = site.issue()
    config = tmp_path / "config.yaml"
    config.write_text(f"receive: {{tls: {{certificate: tls/{pair.certificate.name}, key: tls/{pair.key.name}}}}}\n")
    tls = load_config(config).receive.tls
    assert tls is not None
    assert (tls.certificate, tls.key) == (pair.certificate, pair.key)
    config.write_text("destinations: [{name: a, ae_title: A, host: h, port: 1, tls: {ca: tls/none.pem}}]\n")
    with pytest.raises(ConfigError, match=r"destinations\.0\.tls\.ca: .*none\.pem is not a file"):
        load_config(config)
    config.write_text("destinations: [{name: a, ae_title: A, host: h, port: 1, tls: {check_host_name: false}}]\n")
    with pytest.raises(ConfigError, match="check_host_name: false needs a ca"):
        load_config(config)


def test_the_node_does_not_start_with_a_certificate_that_is_not_the_key_s(site: Site, tmp_path: Path) -> None:
    one, other = site.issue(file="one"), site.issue(file="other")
    config = tmp_path / "config.yaml"
    config.write_text(f"receive: {{tls: {{certificate: {one.certificate}, key: {other.key}}}}}\n")
    ended = CliRunner().invoke(cli, ["serve", "--config", str(config)])
    assert isinstance(ended.exception, ConfigError)  # one line and exit 2, as every IronnodeError (node/__main__)
    assert "receive.tls.key" in str(ended.exception)


def test_the_command_sends_over_tls(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(written(image("1.2.3.4")))
    with StorePeer(tmp_path / "pacs", tls=site.listener(mutual=True)) as pacs:
        known = site.issue("caller.example", file="caller")
        own = ["--tls-certificate", str(known.certificate), "--tls-key", str(known.key)]
        sent = CliRunner().invoke(
            cli, ["send", str(path), "--to", f"PACS@127.0.0.1:{pacs.port}", "--tls-ca", str(site.ca), *own]
        )
        assert sent.exit_code == 0, sent.output
        assert len(pacs.files()) == 1
        alone = CliRunner().invoke(cli, ["send", str(path), "--to", f"PACS@127.0.0.1:{pacs.port}", *own])
        assert "with --tls-ca" in str(alone.exception)


@pytest.fixture
def followed(site: Site) -> Iterator[tuple[FollowedContext, int]]:
    """A server that has one context for good, as the web page's has."""
    followed = FollowedContext(site.listener(), "web.tls_")
    context = followed.following()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with context.wrap_socket(connection, server_side=True) as secured:
                    secured.recv(1)

        serving = threading.Thread(target=serve)
        serving.start()
        yield followed, listening.getsockname()[1]
        serving.join()


def shown_by(port: int, ca: Path) -> str:
    """The serial number of the certificate that a server shows."""
    context = ssl.create_default_context(cafile=ca)
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        return str(secured.getpeercert()["serialNumber"])


def test_a_server_with_one_context_shows_the_new_certificate_too(
    site: Site, followed: tuple[FollowedContext, int]
) -> None:
    _, port = followed
    first = shown_by(port, site.ca)
    new = site.issue(file="new")
    shutil.copy(new.certificate, new.certificate.with_name("node.pem"))
    shutil.copy(new.key, new.key.with_name("node.key"))
    assert shown_by(port, site.ca) != first
