"""The image and the compose file: linted, valid by their schemas, and what they name exists."""

import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from node.config import load_config

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE = REPOSITORY / "deploy/compose"
TOOLS = Path(sys.executable).parent


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    return tree


def test_the_dockerfile_is_clean() -> None:
    found = run(TOOLS / "hadolint", "--failure-threshold", "style", REPOSITORY / "deploy/Dockerfile")
    assert (found.returncode, found.stdout) == (0, "")


def test_the_compose_file_is_valid() -> None:
    found = run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE / "compose.yaml")
    assert found.returncode == 0, found.stdout


def test_everything_that_the_image_copies_is_sent_to_the_builder() -> None:
    lines = (REPOSITORY / "deploy/Dockerfile").read_text().splitlines()
    copied = {
        name for line in lines if line.startswith("COPY ") and "--from" not in line for name in line.split()[1:-1]
    }
    sent = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied
    assert [name for name in copied if not any(name == path or name.startswith(f"{path}/") for path in sent)] == []
    assert [name for name in copied | sent if not (REPOSITORY / name).exists()] == []


def test_every_service_is_confined(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert "no-new-privileges:true" in service["security_opt"], name
        assert "privileged" not in service, name
    for name in ("gateway", "worker"):
        service = compose["services"][name]
        assert (service["read_only"], service["cap_drop"], service["user"]) == (True, ["ALL"], "10001:10001")


def test_what_the_compose_file_names_exists(compose: dict[str, Any]) -> None:
    for kind in ("configs", "secrets", "volumes", "networks"):
        used = {
            (use["source"] if isinstance(use, dict) else use.split(":")[0])
            for service in compose["services"].values()
            for use in service.get(kind, ())
        }
        assert used == set(compose[kind]), kind
    for item in compose["configs"].values():
        assert (COMPOSE / item["file"]).is_file()
    readme = (COMPOSE / "README.md").read_text()
    assert [item["file"] for item in compose["secrets"].values() if item["file"] not in readme] == []


def test_the_configuration_of_the_containers_is_taken(tmp_path: Path, compose: dict[str, Any]) -> None:
    secret = tmp_path / "database-url"
    secret.write_text("postgresql+psycopg://ironnode:pw@postgres/ironnode\n")
    text = (COMPOSE / "config.yaml").read_text()
    web = "".join(line.removeprefix("# ") for line in text[text.index("# web:") :].splitlines(keepends=True))
    for number, more in enumerate(("", web)):  # as shipped, and with the page beyond the container
        file = tmp_path / f"config-{number}.yaml"
        file.write_text(text.replace("/run/secrets/database-url", str(secret)) + more)
        config = load_config(file)
        assert config.broker.url is not None
        assert config.database.url == secret.read_text().strip()
        assert config.web.on_loopback is (more == "")
    assert config.web.trusted_proxies == (compose["services"]["proxy"]["networks"]["page"]["ipv4_address"],)


def test_the_proxy_reaches_the_page_from_the_address_that_is_believed(compose: dict[str, Any]) -> None:
    page, proxy, gateway = (
        compose["networks"]["page"],
        compose["services"]["proxy"]["networks"],
        compose["services"]["gateway"]["networks"],
    )
    assert page["internal"]
    (pool,) = page["ipam"]["config"]
    assert ip_address(proxy["page"]["ipv4_address"]) in ip_network(pool["subnet"])
    assert ip_address(proxy["page"]["ipv4_address"]) not in ip_network(pool["ip_range"])  # nobody else is given it
    (alias,) = gateway["page"]["aliases"]  # a name on that network alone
    assert f"proxy_pass http://{alias}:8080;" in (COMPOSE / "proxy.conf").read_text()
    assert [name for name, service in compose["services"].items() if "page" in service.get("networks", ())] == [
        "gateway",
        "proxy",
    ]
