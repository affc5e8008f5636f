"""The configuration: the example is complete and true, mistakes are named with their line."""

import re
from pathlib import Path

import pytest
import yaml

from node.config import Config, WebConfig, config_schema, load_config
from node.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "config.example.yaml"
PACS = "{name: pacs, ae_title: PACS, host: h, port: 104}"


def test_example_equals_the_defaults() -> None:
    config = load_config(EXAMPLE)
    assert config.model_dump(exclude={"storage": {"root"}}) == Config().model_dump(exclude={"storage": {"root"}})
    assert config.storage.root == REPOSITORY / Config().storage.root


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "config.yaml").write_text("storage: {root: data}\nfollow_up: {policy_file: p.yaml}\n")
    (tmp_path / "site" / "p.yaml").write_text("id: x\n")
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("site/config.yaml"))
    assert config.storage.root == tmp_path / "site" / "data"
    assert config.follow_up.policy_file == tmp_path / "site" / "p.yaml"
    assert load_config(None).storage.root == tmp_path / "ironnode-data"


def test_yaml_dates_and_empty_sections_are_taken(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("receive:\nfollow_up: {signed_off_by: Dr A, signed_off_on: 2026-01-31}\n")
    assert str(load_config(tmp_path / "c.yaml").follow_up.signed_off_on) == "2026-01-31"


def test_example_names_every_key() -> None:
    tree = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    for section, value in Config().model_dump().items():
        assert section in tree
        if isinstance(value, dict) and section != "calibration":
            assert set(tree[section]) == set(value), section


def test_commented_destination_in_the_example_is_valid_and_complete() -> None:
    text = EXAMPLE.read_text(encoding="utf-8").split("# destinations:\n", 1)[1].split("\n\n", 1)[0]
    block = "destinations:\n" + "\n".join(line.removeprefix("# ") for line in text.splitlines())
    (destination,) = Config.model_validate(yaml.safe_load(block)).destinations
    (raw,) = yaml.safe_load(block)["destinations"]
    assert set(raw) == set(destination.model_dump())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("receive:\n  port: 99999\n", "line 2: receive.port: Input should be less than or equal to 65535"),
        ("storage:\n  root: x\n  rooot: y\n", "line 3: storage.rooot: unknown key"),
        ("nonsense: 1\n", "line 1: nonsense: unknown key"),
        ("queue: {time_limit_s: 10, visibility_timeout_s: 10}\n", "time_limit_s must be below visibility_timeout_s"),
        ("destinations:\n  - {name: a, ae_title: A, host: h}\n", "line 2: destinations.0.port: Field required"),
        ("receive: [\n", "not valid YAML"),
        ("- 1\n", "the top level must be a mapping"),
        ("follow_up: {signed_off_by: Dr A}\n", "signed_off_by and signed_off_on go together"),
        ("follow_up:\n  policy_file: /nowhere/policy.yaml\n", "line 2: follow_up.policy_file: /nowhere/policy.yaml is"),
        ("web:\n  tls_key: a.pem\n  tls_certificate: b.pem\n", "line 3: web.tls_certificate"),
        ("segmenter:\n  kind: onnx\n  model: nowhere\n", "line 3: segmenter.model"),
        ("report:\n  texts_file: nowhere.yaml\n", "line 2: report.texts_file"),
        (
            "web:\n  trusted_proxies:\n    - ::1\n    - 10.0.0.1/8\n",
            "line 4: web.trusted_proxies.1: no IP address or n",
        ),
        (
            "web: {trusted_proxies: [0.0.0.0/0]}\n",
            "web.trusted_proxies.0: 0.0.0.0/0 is wider than /8 (IPv4) or /16 (IPv6)",
        ),
        ("web:\n  trusted_proxies:\n    - 10.0.0.1\n    - ::/0\n", "line 4: web.trusted_proxies.1: ::/0 is wider than"),
        ("web: {trusted_proxies: [128.0.0.0/7]}\n", "line 1: web.trusted_proxies.0: 128.0.0.0/7 is wider than"),
        ('web: {trusted_proxies: ["2000::/15"]}\n', "line 1: web.trusted_proxies.0: 2000::/15 is wider than"),
        ('web: {trusted_proxies: ["::ffff:0:0/96"]}\n', "line 1: web.trusted_proxies.0: ::ffff:0:0/96 is wider than"),
        ('web: {trusted_proxies: ["::/16"]}\n', "line 1: web.trusted_proxies.0: ::/16 is wider than"),
        ("web: {trusted_proxies: [proxy]}\n", "line 1: web.trusted_proxies.0: no IP address or network: 'proxy'"),
        ("web: {host: 0.0.0.0}\n", "line 1: web.host: users: somebody must be able to log in"),
        (f"destinations:\n  - {PACS}\n  - {PACS}\n", "line 3: destinations.1.name: pacs: every name may stand once"),
        ("broker:\n  url: redis://a\n  url_file: b\n", "line 3: broker.url_file: url stands there too"),
        ("notify:\n  webhook:\n    url_file: nowhere\n", "line 3: notify.webhook.url_file"),
        ("notify: {webhook: {}}\n", "notify.webhook: give url or url_file"),
        ("receive:\n  port: 1\n  port: 2\n", "line 3: port: the key stands twice"),
        ("follow_up: {signed_off_by: Dr A, signed_off_on: 2026-13-45}\n", "a date is wrong: month must be in 1..12"),
        ("storage:\n  min_free_mib: 3000\n", "line 2: storage.min_free_mib: min_free_mib must not be above warn"),
        ("broker: {url: nonsense}\n", "broker.url"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r".+") as caught:
        load_config(file)
    assert expected in str(caught.value)
    assert str(file) in str(caught.value)


def test_whole_private_networks_may_be_those_of_proxies() -> None:
    networks = ("10.0.0.0/8", "fd00::/8", "::ffff:10.0.0.0/104", "192.0.2.1")
    assert WebConfig(trusted_proxies=networks).trusted_proxies == networks


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        load_config(tmp_path / "absent.yaml")


def test_environment_places_the_storage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IRONNODE_STORAGE_ROOT", str(tmp_path))
    assert load_config(EXAMPLE).storage.root == tmp_path


@pytest.mark.parametrize("key", ["follow_up.policy_file", "report.texts_file"])
def test_of_a_named_file_the_content_counts_in_the_method_digest_and_not_the_place(tmp_path: Path, key: str) -> None:
    section, _, name = key.partition(".")
    for file, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / file).write_bytes(content)
    a, b, c = (Config.model_validate({section: {name: tmp_path / file}}).method_digest() for file in "abc")
    assert a == b != c
    assert Config().method_digest() not in (a, c)


def test_method_digest_follows_what_can_change_a_result() -> None:
    default = Config().method_digest()
    moved = Config.model_validate({"receive": {"port": 1104}, "storage": {"root": "elsewhere"}})
    chosen = Config.model_validate({"calibration": {"by_field": {"1.5": "hernando-2023"}}})
    assert moved.method_digest() == default
    assert chosen.method_digest() != default


SECRETS = {"broker": "redis://:pw@b/0", "database": "postgresql://u:pw@d/l", "webhook": "https://h.example/pw"}


@pytest.mark.parametrize("source", ["file", "environment"])
def test_urls_with_passwords_come_from_files_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    given = {name: {"url_file": name} for name in SECRETS}
    tree = {"broker": given["broker"], "database": given["database"], "notify": {"webhook": given["webhook"]}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree if source == "file" else {"broker": {"url": "redis://old"}}))
    for name, url in SECRETS.items():
        if source == "file":
            (tmp_path / name).write_text(url + "\n")
        else:
            monkeypatch.setenv(f"IRONNODE_{name.upper()}_URL", url)
    config = load_config(tmp_path / "c.yaml")
    assert config.notify.webhook is not None
    assert {
        "broker": config.broker.url, "database": config.database.url, "webhook": config.notify.webhook.url
    } == SECRETS  # fmt: skip
    assert "pw@" not in repr(config)
    (tmp_path / "frozen.json").write_text(config.model_dump_json())  # what the node's processes read
    assert load_config(tmp_path / "frozen.json") == config


def test_schema_describes_every_key() -> None:
    schema = config_schema()
    assert set(schema["properties"]) == set(Config.model_fields)
    assert schema["additionalProperties"] is False
    sections = [schema, *schema["$defs"].values()]
    described = {
        f"{s.get('title')}.{k}": "description" in v or "$ref" in v for s in sections for k, v in s["properties"].items()
    }
    assert [key for key, is_described in described.items() if not is_described] == []


@pytest.mark.parametrize(
    "text",
    [
        'broker:\n  url: "redis://:hunter2@h/0\nreceive: {}\n', "broker:\n  url: redis: //:hunter2@h\n",
        "a: *hunter2\n", "a: !hunter2 x\n", "- a\nb: hunter2\n", "a: {b: hunter2\n", "a: 'hunter2\n",
        "a: hunter2: b: c\n", "a: !<hunter2\n", "a: hunter2\x07\n", "a: !!int hunter2\n", "a: !!bool hunter2\n",
        "a: !!timestamp hunter2\n", "a: !!float hunter2\n", "a: !!int '<hunter2'\n", "a: !!int ''\n",
    ],
)  # fmt: skip
def test_what_is_said_of_wrong_yaml_quotes_nothing(tmp_path: Path, text: str) -> None:
    """It may be a password, and goes into logs and onto a page."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "hunter2" not in str(caught.value)
    assert re.search(r"line \d, column \d|a character that YAML|its tag|a date", str(caught.value))


@pytest.mark.parametrize(
    "text",
    [
        "database: {url_file: 'postgresql://u:hunter2@db/x'}\n",
        "notify: {email: {host: h, sender: a@h, recipients: [b@h], user: u, password_file: hunter2}}\n",
        "web:\n  users:\n    - {name: a, role: viewer, password_hash:$argon2id$hunter2}\n",
        "web:\n  'hunter2://': 1\n  'hunter2://': 2\n",
    ],
)
def test_a_secret_at_the_wrong_place_is_not_repeated(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="line ") as caught:
        load_config(path)
    assert "hunter2" not in str(caught.value)
