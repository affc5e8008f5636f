"""The reconciler: what the broker lost is announced again, and the broker never holds more than it can use."""

import pytest

from node.config import Config
from node.errors import BrokerError, StorageError
from node.jobs.reconcile import MAX_WAITING, Reconciler
from node.model import JobState
from tests.nodekit.quiet_node import Bell


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def reconciler(ledger, bell, clock) -> Reconciler:
    return Reconciler(ledger, bell, Config(), clock)


def test_a_job_is_announced_once_until_its_time_is_up(ledger, bell, clock, make_manifest, reconciler) -> None:
    ledger.add(make_manifest(), clock())
    assert reconciler.step() == 1
    assert reconciler.step() == 0
    clock.pass_s(30)  # workers are busy: the message still waits
    assert reconciler.step() == 0
    clock.pass_s(31)
    assert reconciler.step() == 1
    assert bell.messages == [make_manifest().job_id] * 2


def test_an_emptied_broker_is_noticed_within_seconds(ledger, bell, clock, make_manifest, reconciler) -> None:
    ledger.add(make_manifest(), clock())
    reconciler.step()
    bell.messages.clear()
    clock.pass_s(6)
    assert reconciler.step() == 1


def test_a_broker_that_is_away_keeps_nothing_and_is_told_of_once(
    ledger, bell, clock, make_manifest, reconciler, caplog
) -> None:
    caplog.set_level("INFO", logger="ironnode")
    ledger.add(make_manifest(), clock())
    bell.away = BrokerError("nobody there")
    assert [reconciler.step() for _ in range(3)] == [0, 0, 0]
    bell.away = None
    assert reconciler.step() == 1
    events = [r.message for r in caplog.records]
    assert events.count("broker_away") == 1
    assert events.count("broker_back") == 1


def test_the_broker_never_holds_more_than_its_share(ledger, bell, clock, make_manifest, reconciler) -> None:
    manifests = [make_manifest((f"1.2.{n}",)) for n in range(MAX_WAITING + 20)]
    for manifest in manifests:
        ledger.add(manifest, clock())
    for _ in range(5):
        reconciler.step()
        clock.pass_s(70)
    assert len(bell.messages) == MAX_WAITING
    heard, bell.messages = bell.messages[:20], bell.messages[20:]
    assert reconciler.step() == 20
    assert {*heard, *bell.messages} == {m.job_id for m in manifests}


def test_a_silent_workers_job_is_queued_and_announced_in_one_step(
    ledger, bell, clock, make_manifest, reconciler
) -> None:
    job_id = make_manifest().job_id
    ledger.add(make_manifest(), clock())
    reconciler.step()
    bell.messages.clear()
    ledger.claim(job_id, "one", clock(), 30)
    clock.pass_s(29)
    assert reconciler.step() == 0
    clock.pass_s(2)
    assert reconciler.step() == 1
    assert ledger.find(job_id).state == JobState.QUEUED


@pytest.mark.parametrize("part", ["ledger", "broker"])
def test_outages_cost_a_job_no_attempt_and_its_own_deaths_do(
    ledger, bell, clock, make_manifest, reconciler, monkeypatch, part: str
) -> None:
    """Twice as many outages as attempts, each while a worker has the job; then as many deaths as it has attempts."""

    def away(*_):
        raise StorageError("the database is away")

    most, job_id = Config().queue.max_attempts, make_manifest().job_id
    ledger.add(make_manifest(), clock())
    for _ in range(2 * most):
        assert ledger.claim(job_id, "worker", clock(), 30) is not None
        ledger.add(make_manifest(("1.2.9",)), clock())  # something to announce
        with monkeypatch.context() as outage:
            if part == "ledger":
                outage.setattr(ledger, "expire", away)
                with pytest.raises(StorageError):
                    reconciler.step()
            else:
                bell.away = BrokerError("nobody there")
                reconciler.step()
        bell.away = None
        clock.pass_s(60)
        reconciler.step()
        assert ledger.find(job_id).state == JobState.RUNNING  # its worker may renew the lease yet
        clock.pass_s(31)
        reconciler.step()
        assert ledger.find(job_id).state == JobState.QUEUED
    for _ in range(most):
        assert ledger.claim(job_id, "worker", clock(), 30) is not None
        clock.pass_s(31)
        reconciler.step()
    assert ledger.find(job_id).state == JobState.PARKED


def test_a_worker_that_lives_through_an_outage_keeps_its_job(ledger, clock, make_manifest, reconciler) -> None:
    job_id = make_manifest().job_id
    ledger.add(make_manifest(), clock())
    ledger.claim(job_id, "worker", clock(), 30)
    reconciler._outage = True
    clock.pass_s(3600)
    reconciler.step()
    ledger.heartbeat(job_id, "worker", clock.pass_s(7), 30)
    clock.pass_s(25)
    reconciler.step()
    assert ledger.find(job_id).state == JobState.RUNNING
