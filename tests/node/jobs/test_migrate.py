"""A ledger of each older version, made by that version's own tables, brought up: nothing lost, nothing sent twice."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node.backup import back_up, restore
from node.config import Config, DestinationConfig, StorageConfig
from node.errors import ConfigError, InputError, StorageError
from node.jobs import schema
from node.jobs.database import LEDGER_FILE, Database
from node.jobs.migrate import migrate_ledger
from node.maintenance import migrate
from node.runtime import exclusive
from tests.nodekit.quiet_node import Archive, Clock, QuietNode
from tests.nodekit.small_study import write_study

PACS = DestinationConfig(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)
TABLES_OF_3 = Path(__file__).with_name("ledger_version_3.sql").read_text()
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[QuietNode]:
    config = Config(storage=StorageConfig(root=tmp_path / "root"), destinations=(PACS,))
    node = QuietNode(config.storage.root, Archive(), Clock(), config)
    node.receive(write_study(tmp_path / "1"))
    node.settle()
    node.close()
    return node


def rows(file: Path) -> dict[str, list[dict[str, object]]]:
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: [dict(row) for row in connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2")]
            for name in names
            if not name.startswith("sqlite_")
        }


def columns(file: Path) -> dict[str, set[tuple[object, ...]]]:
    with closing(sqlite3.connect(file)) as connection:
        return {
            name: {tuple(row)[1:4] for row in connection.execute(f"PRAGMA table_info({name})")}
            for name in schema.metadata.tables
        }


def indexes(file: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(file)) as connection:
        return set(connection.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'"))


def make_older(root: Path, version: int) -> dict[str, list[dict[str, object]]]:
    """Put the rows of the ledger under ``root`` into the tables of an older version; the rows."""
    file = root / LEDGER_FILE
    found = rows(file)
    for suffix in ("", "-wal", "-shm"):
        (root / f"{LEDGER_FILE}{suffix}").unlink(missing_ok=True)
    gone = {"removal", "duty", "web_session"} | ({"commitment"} if version == 2 else set())
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(TABLES_OF_3)
        if version == 2:
            connection.execute("DROP TABLE commitment")
        if version >= 4:
            connection.execute("ALTER TABLE job ADD COLUMN self_test BOOLEAN NOT NULL DEFAULT FALSE")
        if version >= 5:
            connection.execute("ALTER TABLE job ADD COLUMN destinations JSON")
        for statement in schema.MIGRATIONS[6] if version >= 7 else ():
            connection.execute(statement)
        for name in found.keys() - gone:
            for row in found[name]:
                _make_older_row(name, row, version)
                marks = ", ".join("?" * len(row))
                line = f"INSERT INTO {name} ({', '.join(row)}) VALUES ({marks})"
                connection.execute(line, tuple(row.values()))
        connection.commit()
    return {name: lines for name, lines in found.items() if name not in gone}


def _make_older_row(table: str, row: dict[str, object], version: int) -> None:
    if table == "job" and version < 7:
        assert (row.pop("indication"), row.pop("excused")) == (None, 0)
    if table == "job" and version < 5:
        assert row.pop("destinations") is None
    if table == "job" and version < 4:
        row.pop("self_test")
    if table == "meta" and row["key"] == "ledger_version":
        row["value"] = str(version)


@pytest.mark.parametrize("version", sorted(schema.MIGRATIONS))
def test_each_older_version_is_brought_up_with_a_copy_of_what_it_was(node, version: int, tmp_path) -> None:
    before = make_older(node.root, version)
    with pytest.raises(ConfigError, match=f"has version {version}, .*run `ironnode migrate`"):
        Database(node.root, None)
    done = migrate(node.config)
    assert done.version_before == version
    assert done.copy is not None
    assert rows(done.copy) == before

    Database(tmp_path, None).close()
    assert columns(node.root / LEDGER_FILE) == columns(tmp_path / LEDGER_FILE)  # as a new one has them
    assert indexes(node.root / LEDGER_FILE) == indexes(tmp_path / LEDGER_FILE)
    after = rows(node.root / LEDGER_FILE)
    new = {"indication": None, "excused": 0} if version < 7 else {}
    new |= {"destinations": None} if version < 5 else {}
    new |= {"self_test": 0} if version < 4 else {}
    assert [{name: row.pop(name) for name in new} for row in after["job"]] == [new] * len(before["job"])
    facts = {row["key"]: row["value"] for row in before["meta"]}
    assert {row["key"]: row["value"] for row in after.pop("meta")} == {
        **facts,
        "ledger_version": str(schema.LEDGER_VERSION),
    }
    assert {name: after[name] for name in before if name != "meta"} == {
        name: lines for name, lines in before.items() if name != "meta"
    }
    sent = {uid: list(copies) for uid, copies in node.archive.received.items()}
    second = QuietNode(node.root, node.archive, node.clock, node.config)
    second.settle()
    assert node.archive.received == sent
    assert len(second.jobs()) == len(before["job"])
    second.close()
    assert migrate(node.config).copy is None  # nothing to do


@pytest.mark.parametrize("version", sorted(schema.MIGRATIONS))
def test_a_backup_of_an_older_ledger_comes_back_migrated(node, version: int, tmp_path) -> None:
    make_older(node.root, version)
    back_up(node.config, tmp_path / "backup.tar")
    elsewhere = Config(storage=StorageConfig(root=tmp_path / "elsewhere"), destinations=(PACS,))
    restored = restore(elsewhere, tmp_path / "backup.tar")
    assert (restored.ledger, restored.rebuilt.jobs) == (True, 0)
    assert not list(elsewhere.storage.root.glob("ledger-before-*"))
    sent = {uid: list(copies) for uid, copies in node.archive.received.items()}
    second = QuietNode(elsewhere.storage.root, node.archive, node.clock, elsewhere)
    second.settle()
    assert node.archive.received == sent
    second.close()


def test_every_version_but_the_first_leads_here() -> None:
    assert sorted(schema.MIGRATIONS) == list(range(2, schema.LEDGER_VERSION))


@pytest.mark.parametrize(("version", "advice"), [(1, "run `ironnode rebuild`"), (99, "a newer ironnode wrote it")])
def test_what_cannot_be_migrated_is_refused_and_left_alone(node, version: int, advice: str) -> None:
    with closing(sqlite3.connect(node.root / LEDGER_FILE)) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'ledger_version'", (str(version),))
        connection.commit()
    before = rows(node.root / LEDGER_FILE)
    with pytest.raises(ConfigError, match=advice):
        migrate(node.config)
    assert rows(node.root / LEDGER_FILE) == before
    assert not list(node.root.glob("ledger-before-*"))


def test_a_migration_that_fails_changes_nothing(node, monkeypatch) -> None:
    before = make_older(node.root, 3)
    monkeypatch.setitem(schema.MIGRATIONS, 3, (*schema.MIGRATIONS[3], "ALTER TABLE absent ADD COLUMN a INTEGER"))
    with pytest.raises(StorageError, match="absent"):
        migrate_ledger(node.root, None, NOW)
    assert rows(node.root / LEDGER_FILE) == before


def test_what_a_killed_migration_left_is_removed_by_the_next(node) -> None:
    make_older(node.root, 7)
    for left in ("ledger-before-1.sqlite.part", "ledger-before-1.sqlite.part-journal"):
        (node.root / left).touch()
    whole = node.root / "ledger-before-0.sqlite"
    whole.touch()
    copy = migrate(node.config).copy
    assert set(node.root.glob("ledger-before-*")) == {whole, copy}


def test_no_migration_while_a_node_runs_or_without_a_ledger(node, tmp_path) -> None:
    with exclusive(node.root / "run"), pytest.raises(ConfigError, match="in use by another ironnode"):
        migrate(node.config)
    with pytest.raises(InputError, match="there is none"):
        migrate_ledger(tmp_path / "absent", None, NOW)
