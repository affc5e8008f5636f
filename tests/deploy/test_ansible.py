"""The Ansible role: what it uses is described, and the example is a configuration that the node takes."""

import re
from pathlib import Path
from typing import Any

import yaml

from node.config import Config

FOLDER = Path(__file__).resolve().parents[2] / "deploy/ansible"
ROLE = FOLDER / "roles/ironnode"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_every_variable_is_described() -> None:
    options = read(ROLE / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    text = "".join(path.read_text() for path in ROLE.rglob("*") if path.suffix in (".yml", ".j2"))
    registered = set(re.findall(r"register: (ironnode_\w+)", text))
    assert set(re.findall(r"\bironnode_\w+", text)) - registered == set(options)
    given = {name: option["default"] for name, option in options.items() if "default" in option}
    assert read(ROLE / "defaults/main.yml") == given
    assert all(option["description"] for option in options.values())


def test_the_example_is_taken() -> None:
    (play,) = read(FOLDER / "site.yaml")
    (role,) = play["roles"]
    config = Config.model_validate(role["vars"]["ironnode_config"])
    assert [peer.ae_title for peer in config.receive.allow] == ["MRSCANNER"]
    assert [destination.name for destination in config.destinations] == ["pacs"]


def test_every_notified_handler_is_there() -> None:
    tasks = (ROLE / "tasks/main.yml").read_text()
    handlers = {handler["name"] for handler in read(ROLE / "handlers/main.yml")}
    assert set(re.findall(r"notify: (.+)", tasks)) == handlers
