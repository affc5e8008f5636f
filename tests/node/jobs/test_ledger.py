"""Moves of a job: who may make which, what a crash or a latecomer can do (nothing)."""

import multiprocessing
import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from node.errors import ConfigError, LeaseLostError, StorageError
from node.jobs.database import LEDGER_FILE, set_sqlite_aside
from node.jobs.deliveries import PlannedDelivery
from node.jobs.ledger import Ledger
from node.jobs.overview import Overview
from node.jobs.schema import LEDGER_VERSION
from node.model import JobState

RECORD = {"status": "measured", "objects": []}


def planned(destination: str = "pacs", uid: str = "9.1", position: int = 0) -> PlannedDelivery:
    return PlannedDelivery(destination=destination, sop_instance_uid=uid, role="sr", file="sr.dcm", position=position)


def due_ids(ledger: Ledger, now, *, again_s: float = 60) -> list[str]:
    return [d.job_id for d in ledger.due(now, rung_before=now - timedelta(seconds=again_s), limit=10)]


def state(ledger: Ledger, job_id: str) -> JobState:
    job = ledger.find(job_id)
    assert job is not None
    return job.state


def test_a_job_is_entered_once_and_comes_back_as_it_was(ledger, clock, make_manifest) -> None:
    manifest = make_manifest()
    assert ledger.add(manifest, clock())
    assert not ledger.add(manifest, clock.pass_s(5))
    job = ledger.find(manifest.job_id)
    assert job is not None
    assert (job.state, job.attempts, job.revision) == (JobState.QUEUED, 0, 1)
    assert job.accepted_at == manifest.accepted_at
    assert job.sop_instance_uids == ("1.2.1", "1.2.2")
    assert ledger.find("no such job") is None


def test_only_one_claim_wins_until_the_lease_runs_out(ledger, clock, make_manifest) -> None:
    job_id = make_manifest().job_id
    ledger.add(make_manifest(), clock())
    first = ledger.claim(job_id, "one", clock(), 30)
    assert first is not None
    assert first.attempts == 1
    assert ledger.claim(job_id, "two", clock(), 30) is None
    assert ledger.expire(clock.pass_s(29), 5) == []
    assert ledger.expire(clock.pass_s(2), 5) == [(job_id, JobState.QUEUED)]
    second = ledger.claim(job_id, "two", clock(), 30)
    assert second is not None
    assert second.attempts == 2


def test_a_heartbeat_keeps_the_lease_and_its_loss_is_told(ledger, clock, make_manifest) -> None:
    job_id = make_manifest().job_id
    ledger.add(make_manifest(), clock())
    ledger.claim(job_id, "one", clock(), 30)
    ledger.heartbeat(job_id, "one", clock.pass_s(25), 30)
    assert ledger.expire(clock.pass_s(25), 5) == []
    ledger.expire(clock.pass_s(10), 5)
    ledger.claim(job_id, "two", clock(), 30)
    with pytest.raises(LeaseLostError):
        ledger.heartbeat(job_id, "one", clock(), 30)
    with pytest.raises(LeaseLostError):
        ledger.finish(job_id, "one", clock(), RECORD, [planned()])
    with pytest.raises(LeaseLostError):
        ledger.fail(job_id, "one", clock(), "too late", None)
    assert state(ledger, job_id) == JobState.RUNNING
    assert ledger.deliveries.of_job(job_id) == []


def test_finish_enters_record_and_deliveries_together(ledger, clock, make_manifest) -> None:
    job_id = make_manifest().job_id
    ledger.add(make_manifest(), clock())
    ledger.claim(job_id, "one", clock(), 30)
    ledger.finish(job_id, "one", clock(), RECORD, [planned(), planned("archive")])
    assert state(ledger, job_id) == JobState.DONE
    assert [d.destination for d in ledger.deliveries.of_job(job_id)] == ["archive", "pacs"]
    assert Overview(ledger.database).record(job_id) == RECORD
    assert ledger.claim(job_id, "two", clock(), 30) is None
    with pytest.raises(LeaseLostError):
        ledger.finish(job_id, "one", clock(), RECORD, [])


def test_a_failed_job_waits_and_is_then_due_at_once(ledger, clock, make_manifest) -> None:
    job_id = make_manifest().job_id
    ledger.add(make_manifest(), clock())
    assert due_ids(ledger, clock()) == [job_id]
    ledger.mark_rung(job_id, clock())
    assert due_ids(ledger, clock()) == []
    assert due_ids(ledger, clock.pass_s(61)) == [job_id]
    ledger.claim(job_id, "one", clock(), 30)
    assert ledger.fail(job_id, "one", clock(), "broken", clock() + timedelta(seconds=10)) == JobState.QUEUED
    assert due_ids(ledger, clock()) == []
    assert ledger.claim(job_id, "two", clock(), 30) is None
    assert due_ids(ledger, clock.pass_s(11)) == [job_id]


def test_too_many_silent_workers_park_the_job_until_an_operator_asks(ledger, clock, make_manifest) -> None:
    job_id = make_manifest().job_id
    ledger.add(make_manifest(), clock())
    for attempt in (1, 2, 3):
        assert ledger.claim(job_id, f"worker {attempt}", clock(), 30) is not None
        (outcome,) = ledger.expire(clock.pass_s(31), 3)
    assert outcome == (job_id, JobState.PARKED)
    parked = ledger.find(job_id)
    assert parked is not None
    assert parked.error.startswith("the worker worker 3 went silent during attempt 3: its process was killed, crashed")
    assert due_ids(ledger, clock.pass_s(1e6)) == []
    assert not ledger.hurry(job_id, clock())
    assert ledger.requeue(job_id, clock(), "today's")
    assert ledger.find(job_id).settings_digest == "today's"
    again = ledger.claim(job_id, "worker 4", clock(), 30)
    assert again is not None
    assert again.attempts == 1
    assert not ledger.requeue(job_id, clock(), "today's")
    (asked,) = (line for line in Overview(ledger.database).trail(job_id) if line.name == "job_rung_again")
    assert asked.fields == {"by": "operator", "settings_digest": "today's"}


def test_a_job_that_waits_is_only_hurried_by_an_operator(ledger, clock, make_manifest) -> None:
    job_id = make_manifest().job_id
    ledger.add(make_manifest(), clock())
    ledger.claim(job_id, "worker", clock(), 30)
    ledger.fail(job_id, "worker", clock(), "odd", clock.now + timedelta(hours=1))
    assert due_ids(ledger, clock()) == []
    assert not ledger.requeue(job_id, clock(), "today's")
    assert ledger.hurry(job_id, clock())
    assert due_ids(ledger, clock()) == [job_id]
    waits = ledger.find(job_id)
    assert waits is not None
    assert (waits.attempts, waits.settings_digest) == (0, make_manifest().settings_digest)


def test_a_revision_waits_for_the_job_it_replaces(ledger, clock, make_manifest) -> None:
    first = make_manifest()
    second = make_manifest(("1.2.1", "1.2.2", "1.2.3"), revision=2, predecessor=first.job_id)
    ledger.add(first, clock())
    ledger.add(second, clock.pass_s(1))
    assert due_ids(ledger, clock()) == [first.job_id]
    assert ledger.claim(second.job_id, "one", clock(), 30) is None
    ledger.claim(first.job_id, "one", clock(), 30)
    ledger.finish(first.job_id, "one", clock(), RECORD, [])
    assert due_ids(ledger, clock()) == [second.job_id]
    related = ledger.revisions.related_jobs("1.2", ["1.2.2", "7.7"])
    assert [(r.job_id, r.revision) for r in related] == [(first.job_id, 1), (second.job_id, 2)]
    assert ledger.revisions.related_jobs("1.2", ["7.7"]) == []
    assert ledger.revisions.related_jobs("other study", ["1.2.1"]) == []


def test_of_many_threads_one_gets_each_job(ledger, clock, make_manifest) -> None:
    manifests = [make_manifest((f"1.2.{n}",)) for n in range(5)]
    for manifest in manifests:
        ledger.add(manifest, clock())
    start = threading.Barrier(4)
    won: list[str] = []

    def race(name: str) -> None:
        start.wait()
        won.extend(m.job_id for m in manifests if ledger.claim(m.job_id, name, clock(), 30))

    threads = [threading.Thread(target=race, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(m.job_id for m in manifests)


def _claim_all(root: Path, job_ids: list[str], clock, queue) -> None:
    own = Ledger(root)
    queue.put([job_id for job_id in job_ids if own.claim(job_id, str(threading.get_native_id()), clock(), 30)])
    own.close()


def test_of_several_processes_one_gets_each_job(tmp_path, clock, make_manifest) -> None:
    ledger = Ledger(tmp_path)
    manifests = [make_manifest((f"1.2.{n}",)) for n in range(8)]
    for manifest in manifests:
        ledger.add(manifest, clock())
    ledger.close()
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    job_ids = [m.job_id for m in manifests]
    processes = [spawn.Process(target=_claim_all, args=(tmp_path, job_ids, clock, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    won = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    queue.close()
    queue.join_thread()
    assert sorted(won[0] + won[1]) == sorted(job_ids)


def test_every_transition_is_in_the_trail(ledger, clock, make_manifest) -> None:
    job_id = make_manifest().job_id
    ledger.add(make_manifest(), clock())
    ledger.claim(job_id, "one", clock(), 30)
    ledger.expire(clock.pass_s(31), 5)
    ledger.claim(job_id, "two", clock(), 30)
    ledger.fail(job_id, "two", clock(), "broken", clock())
    ledger.claim(job_id, "three", clock(), 30)
    ledger.finish(job_id, "three", clock(), RECORD, [])
    names = [line.name for line in Overview(ledger.database).trail(job_id)]
    assert names == [
        "job_accepted", "job_started", "lease_expired", "job_started", "job_failed", "job_started", "job_done",
    ]  # fmt: skip


def test_the_database_is_set_up_to_survive_a_power_cut(ledger, tmp_path) -> None:
    with ledger.database.writing() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "cache_size")
        }
    kept = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 20_000, "cache_size": -512}
    assert found == kept


@pytest.mark.parametrize(("version", "advice"), [(1, "run `ironnode rebuild`"), (99, "a newer ironnode wrote it")])
def test_a_ledger_of_another_version_is_refused_by_name(tmp_path, version: int, advice: str) -> None:
    Ledger(tmp_path).close()
    with sqlite3.connect(tmp_path / LEDGER_FILE) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'ledger_version'", (str(version),))
    connection.close()
    with pytest.raises(
        ConfigError, match=rf"ledger\.sqlite has version {version}, this software needs {LEDGER_VERSION}: .*{advice}"
    ):
        Ledger(tmp_path)


def test_a_broken_ledger_file_is_one_clear_error_and_can_be_set_aside(tmp_path, clock) -> None:
    (tmp_path / LEDGER_FILE).write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageError, match=r"ledger\.sqlite.*not a database"):
        Ledger(tmp_path)
    aside = set_sqlite_aside(tmp_path, clock())
    assert aside is not None
    assert aside.read_bytes().startswith(b"this is no database")
    Ledger(tmp_path).close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/db", "nosuch://x"])
def test_an_unusable_database_url_is_named(tmp_path, url) -> None:
    with pytest.raises(ConfigError, match=r"database\.url"):
        Ledger(tmp_path, url)


def test_the_tables_are_valid_postgresql() -> None:
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.schema import CreateTable

    from node.jobs import schema

    texts = [str(CreateTable(t).compile(dialect=postgresql.dialect())) for t in schema.metadata.sorted_tables]
    assert len(texts) == 12
    assert all("CREATE TABLE" in text for text in texts)
