"""The ledger in a real PostgreSQL: opened by many, migrated, backed up beside its dump, restored, and started again."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from node.backup import back_up, restore
from node.config import Config, DatabaseConfig, DestinationConfig, StorageConfig
from node.errors import ConfigError, StorageError
from node.jobs import schema
from node.jobs.database import Database
from node.jobs.duties import Duty
from node.jobs.figures import Figures
from node.jobs.ledger import Ledger
from node.jobs.order import Turn
from node.jobs.sessions import LogIn, LogInBook
from node.maintenance import migrate
from node.model import DeliveryState, JobState
from tests.conftest import lacking
from tests.node.deliver.test_message_order import RIS, away, report, rounds, state
from tests.nodekit.postgresql import Server, programs
from tests.nodekit.quiet_node import Archive, Clock, QuietNode
from tests.nodekit.small_study import write_study

PACS = DestinationConfig(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if programs() is None:
        lacking("PostgreSQL")
    server = Server()
    server.start()
    yield server
    server.close()


def config_on(url: str, root: Path) -> Config:
    return Config(storage=StorageConfig(root=root), database=DatabaseConfig(url=url), destinations=(PACS,))


@pytest.fixture
def node(server: Server, tmp_path: Path) -> Iterator[QuietNode]:
    config = config_on(server.new_database(), tmp_path / "root")
    node = QuietNode(config.storage.root, Archive(), Clock(), config)
    node.receive(write_study(tmp_path / "1"))
    node.settle()
    yield node
    node.close()


def test_a_log_in_is_seen_and_ended_by_another_gateway(server: Server, tmp_path: Path) -> None:
    url = server.new_database()
    here, there = Database(tmp_path, url), Database(tmp_path, url)
    log_in = LogIn(name="anna", password_digest="0" * 64, ends_at=datetime(2026, 1, 2, tzinfo=UTC))
    LogInBook(here).add("token", log_in, LONG_AGO)
    assert LogInBook(there).find("token") == log_in
    LogInBook(there).remove("token")
    assert LogInBook(here).find("token") is None
    here.close()
    there.close()


def test_many_open_a_new_ledger_at_the_same_time(server: Server, tmp_path: Path) -> None:
    url = server.new_database()
    with ThreadPoolExecutor(6) as pool:
        for opened in pool.map(lambda _: Database(tmp_path, url), range(6)):
            opened.close()


def test_of_several_machines_one_gets_the_job(server: Server, tmp_path: Path, make_manifest) -> None:
    url, job_id = server.new_database(), make_manifest().job_id
    ledgers = [Ledger(tmp_path, url) for _ in range(4)]
    now = ledgers[0].database.now(lambda: LONG_AGO)
    ledgers[0].add(make_manifest(), now)
    with ThreadPoolExecutor(len(ledgers)) as pool:
        claimed = list(pool.map(lambda ledger: ledger.claim(job_id, f"worker {id(ledger)}", now, 30), ledgers))
    assert sum(job is not None for job in claimed) == 1
    for ledger in ledgers:
        ledger.close()


def test_attempts_that_an_outage_ended_are_excused(server: Server, tmp_path: Path, make_manifest, clock) -> None:
    ledger, job_id = Ledger(tmp_path, server.new_database()), make_manifest().job_id
    ledger.add(make_manifest(), clock())
    ledger.claim(job_id, "one", clock(), 30)
    ledger.fail(job_id, "one", clock(), "the disk is away", clock(), excused=True)
    for excused, outage in ((2, True), (2, False)):
        ledger.claim(job_id, "one", clock.pass_s(1), 30)
        now = clock.pass_s(31)
        assert ledger.expire(now, 5, now if outage else None) == [(job_id, JobState.QUEUED)]
        found = ledger.find(job_id)
        assert found is not None
        assert found.excused == excused
    ledger.close()


def test_statistics_and_retention_ask_what_the_server_understands(node: QuietNode) -> None:
    ledger, figures = node.ledger, Figures(node.ledger.database)
    (job,) = figures.jobs(committing=["pacs"])
    assert (job.delivered, job.committed, job.n_to_commit) == (True, False, job.n_deliveries)
    (line,) = node.jobs()
    assert set(figures.senders([line.study_instance_uid])) == {line.study_instance_uid}
    (due,) = ledger.removals.due(node.clock.pass_s(9e5), measured_before=node.clock(), refused_before=None)
    assert (due.job_id, due.self_test) == (line.job_id, False)


def test_results_of_one_acquisition_go_out_in_order(server: Server, tmp_path: Path) -> None:
    config = config_on(server.new_database(), tmp_path / "root").model_copy(update={"messages": (RIS,)})
    node = QuietNode(config.storage.root, Archive(), Clock(), config)
    images = write_study(tmp_path / "study", slices=3)
    first = node.measured(images[:-2])
    assert node.dispatcher.deliver_due(RIS) == 1
    node.archive.refuse = away
    second = node.measured(images[-2:-1])
    assert node.dispatcher.deliver_due(RIS) == 0
    third = node.measured(images[-1:])
    node.archive.refuse = lambda path: None
    assert rounds(node, 1) == [report(third)]
    assert state(node, second) == DeliveryState.SUPERSEDED
    assert node.ledger.deliveries.last_received("ris", third) == report(first)
    uid = report(first)
    (note,) = [d for d in node.ledger.deliveries.of_job(third) if (d.destination, d.role) == ("pacs", "sr")]
    book = node.ledger.deliveries
    node.dispatcher.deliver_due(PACS)
    assert book.turn(note, [uid]) is Turn.NOW
    assert book.turn(note, [uid, "1.2.3"]) is Turn.NEVER
    book.send_again(first, node.clock())
    assert book.turn(note, [uid]) is Turn.LATER
    book.send_again(third, node.clock())
    book.drop(note, node.clock())
    (note,) = [d for d in book.of_job(third) if (d.destination, d.role) == ("pacs", "sr")]
    assert note.state == DeliveryState.SUPERSEDED
    node.close()


def test_an_older_ledger_is_refused_and_then_migrated(node: QuietNode) -> None:
    url = node.config.database.url
    database = Database(node.root, url)
    with database.writing() as connection:
        connection.execute(text("DROP TABLE duty"))
        connection.execute(text("DROP INDEX instance_arrived, event_by_name"))
        connection.execute(
            text(
                "ALTER TABLE job DROP COLUMN indication, DROP COLUMN excused, "
                "DROP COLUMN destinations, DROP COLUMN self_test"
            )
        )
        connection.execute(text("UPDATE meta SET value = '3' WHERE key = 'ledger_version'"))
    database.close()
    with pytest.raises(ConfigError, match=r"has version 3, .*run `ironnode migrate`"):
        Database(node.root, url)
    assert (migrate(node.config).version_before, migrate(node.config).version_before) == (3, schema.LEDGER_VERSION)
    again = QuietNode(node.root, node.archive, node.clock, node.config)
    again.settle()
    assert [job.state for job in again.jobs()] == [JobState.DONE]
    assert all(len(copies) == 1 for copies in node.archive.received.values())
    again.close()


def test_with_the_dump_a_restore_sends_nothing_again_and_without_it_the_same_bytes(
    node: QuietNode, server: Server, tmp_path: Path
) -> None:
    url = node.config.database.url
    assert url is not None
    with_dump, without = server.copy_of(url), server.new_database()  # the dump comes first, as the guide says
    assert not back_up(node.config, tmp_path / "backup.tar").ledger
    for copies, new in ((1, with_dump), (2, without)):
        config = config_on(new, tmp_path / f"elsewhere{copies}")
        restored = restore(config, tmp_path / "backup.tar")
        assert (restored.ledger, restored.rebuilt.jobs) == (False, copies - 1)
        second = QuietNode(config.storage.root, node.archive, node.clock, config)
        second.settle()
        assert [(job.state, job.n_sent) for job in second.jobs()] == [(JobState.DONE, 3)]
        assert all(len(found) == copies for found in node.archive.received.values())
        assert all(len(set(found)) == 1 for found in node.archive.received.values())
        second.close()


def test_leases_go_by_the_clock_of_the_server(server: Server, tmp_path: Path) -> None:
    database = Database(tmp_path, server.new_database())
    assert abs(database.now(lambda: LONG_AGO) - datetime.now(UTC)) < timedelta(seconds=5)
    first, second = (Duty(database, "assembler", name, 15, lambda: LONG_AGO) for name in ("gw1", "gw2"))
    assert (first.take(), second.take()) == (True, False)
    database.close()


def test_a_server_that_was_started_again_is_used_again(server: Server, tmp_path: Path) -> None:
    database = Database(tmp_path, server.new_database())
    with database.reading() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    server.kill()
    with pytest.raises(StorageError), database.reading() as connection:
        connection.scalar(text("SELECT 1"))
    server.start()
    with database.reading() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    database.close()
