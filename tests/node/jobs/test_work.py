"""What a worker does with a job: errors, retries, parking, lost leases, heartbeats."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

import node as node_package
from node.config import Config
from node.errors import InputError, StorageError
from node.jobs.overview import Overview
from node.jobs.work import Workshop
from node.model import JobState
from tests.nodekit.fast_node import make_result

POLICY = Path(node_package.__file__).parent / "policies" / "default.yaml"


@pytest.fixture
def job_id(quiet_node, study) -> str:
    quiet_node.receive(study)
    quiet_node.clock.pass_s(30)
    quiet_node.assembler.step()
    return quiet_node.jobs()[0].job_id


def test_a_job_is_done_once(quiet_node, job_id) -> None:
    assert quiet_node.workshop.do(job_id, "one") == JobState.DONE
    assert quiet_node.workshop.do(job_id, "two") is None
    assert quiet_node.workshop.do("unknown", "two") is None
    assert (quiet_node.outbox.path(job_id) / "result.json").is_file()


def _with_other_settings(quiet_node) -> Workshop:
    """The workshop of a worker that was not reloaded, and says which settings it measures with."""
    scheme = quiet_node.config.grading.model_copy(update={"scheme": "another"})
    own = quiet_node.config.model_copy(update={"grading": scheme})

    def run(job, config):
        return make_result(job, config.method_digest())

    return replace(quiet_node.workshop, config=own, run=run)


def test_a_worker_with_other_settings_than_the_jobs_measures_with_the_jobs_and_says_so(
    quiet_node, job_id, caplog
) -> None:
    others = _with_other_settings(quiet_node)
    assert others.do(job_id, "one") == JobState.DONE
    (told,) = (r for r in caplog.records if getattr(r, "event", "") == "settings_differ")
    digest = quiet_node.config.method_digest()
    assert told.fields == {"job_id": job_id, "of_job": digest, "of_worker": others.config.method_digest()}
    assert Overview(quiet_node.ledger.database).record(job_id)["settings_digest"] == digest
    assert quiet_node.ledger.find(job_id).settings_digest == digest


def test_a_job_whose_settings_are_gone_waits_is_parked_with_words_and_measured_with_others_by_a_retry(
    quiet_node, job_id
) -> None:
    others = _with_other_settings(quiet_node)
    (quiet_node.root / "settings" / f"{quiet_node.config.method_digest()}.json").unlink()
    runs = 0
    while quiet_node.jobs()[0].state == JobState.QUEUED:
        runs += 1
        others.do(job_id, "one")
        quiet_node.clock.pass_s(3600)
    assert runs == quiet_node.config.queue.max_attempts
    (line,) = quiet_node.jobs()
    assert line.state == JobState.PARKED
    assert "which it was made under" in line.error
    assert quiet_node.outbox.record(job_id) is None
    today = others.config.method_digest()
    assert quiet_node.ledger.requeue(job_id, quiet_node.clock(), today)
    assert others.do(job_id, "two") == JobState.DONE
    assert quiet_node.ledger.find(job_id).settings_digest == today
    assert quiet_node.outbox.record(job_id)["settings_digest"] == today


def test_a_result_that_stood_before_a_retry_keeps_the_settings_that_made_it(quiet_node, job_id) -> None:
    others = _with_other_settings(quiet_node)
    digest = quiet_node.config.method_digest()
    quiet_node.outbox.put(job_id, others.run(others._input(quiet_node.ledger.find(job_id)), quiet_node.config))
    quiet_node.ledger.park(job_id, quiet_node.clock())
    quiet_node.ledger.requeue(job_id, quiet_node.clock(), others.config.method_digest())
    assert others.do(job_id, "one") == JobState.DONE
    assert quiet_node.ledger.find(job_id).settings_digest == digest


def _under_a_policy_of_the_site(quiet_node, job_id, tmp_path) -> Config:
    """The kept settings, with a policy in a file, under which the job waits now."""
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(POLICY.read_bytes())
    follow_up = quiet_node.config.follow_up.model_copy(update={"policy_file": policy})
    config = quiet_node.settings.keep(quiet_node.config.model_copy(update={"follow_up": follow_up}))
    quiet_node.ledger.park(job_id, quiet_node.clock())
    quiet_node.ledger.requeue(job_id, quiet_node.clock(), config.method_digest())
    return config


def test_a_policy_that_is_changed_during_the_run_makes_no_result(quiet_node, job_id, tmp_path) -> None:
    config = _under_a_policy_of_the_site(quiet_node, job_id, tmp_path)

    def run(job, config):
        config.follow_up.policy_file.write_text("bands: []\n")
        return make_result(job)

    assert replace(quiet_node.workshop, config=config, run=run).do(job_id, "one") == JobState.QUEUED
    assert quiet_node.jobs()[0].error.endswith("a file of them was changed during the run")
    assert quiet_node.outbox.record(job_id) is None


def test_settings_on_a_disk_that_is_away_are_no_fault_of_the_job(quiet_node, job_id, tmp_path) -> None:
    config = _under_a_policy_of_the_site(quiet_node, job_id, tmp_path)
    settings, away = quiet_node.root / "settings", quiet_node.root / "away"

    def run(job, config):
        settings.rename(away)
        return make_result(job)

    worker = replace(quiet_node.workshop, config=config, run=run)
    for _ in ("during the run", "before it"):
        assert worker.do(job_id, "one") == JobState.QUEUED
        found = quiet_node.ledger.find(job_id)
        assert (found.error, found.attempts) == (f"{settings} is not there", found.excused)
        quiet_node.clock.pass_s(3600)
    away.rename(settings)
    assert replace(worker, run=lambda job, config: make_result(job)).do(job_id, "two") == JobState.DONE


def test_a_failing_job_is_tried_again_ever_later_and_then_parked_with_its_error(quiet_node, job_id) -> None:
    def broken(job):
        raise RuntimeError("the fit diverged")

    quiet_node.run = broken
    waits = []
    for attempt in range(1, 5):
        assert quiet_node.workshop.do(job_id, f"run {attempt}") == JobState.QUEUED
        (line,) = quiet_node.jobs()
        waits.append((line.not_before - quiet_node.clock()).total_seconds())
        assert quiet_node.workshop.do(job_id, "too early") is None
        quiet_node.clock.pass_s(waits[-1])
    assert waits == [10, 20, 40, 80]
    assert quiet_node.workshop.do(job_id, "run 5") == JobState.PARKED
    (line,) = quiet_node.jobs()
    assert line.error.startswith("a fault of the software, report it: RuntimeError at test_work.py:")
    assert line.attempts == 5


def test_what_cannot_heal_is_parked_at_once(quiet_node, job_id) -> None:
    def unreadable(job):
        raise InputError("a.dcm: no Pixel Spacing (0028,0030)")

    quiet_node.run = unreadable
    assert quiet_node.workshop.do(job_id, "one") == JobState.PARKED
    assert quiet_node.jobs()[0].error == "a.dcm: no Pixel Spacing (0028,0030)"


def test_an_instance_that_is_gone_from_the_spool_is_named(quiet_node, job_id, study) -> None:
    job = quiet_node.ledger.find(job_id)
    gone = job.sop_instance_uids[2]
    quiet_node.spool.find(gone).unlink()
    assert quiet_node.workshop.do(job_id, "one") == JobState.QUEUED
    assert quiet_node.jobs()[0].error == f"instance {gone} is not in the spool"


def test_a_result_that_stands_is_not_made_again(quiet_node, job_id) -> None:
    runs = []

    def run(job):
        runs.append(job.job_id)
        return make_result(job)

    quiet_node.run = run
    job = quiet_node.ledger.find(job_id)
    quiet_node.outbox.put(job_id, make_result(quiet_node.workshop._input(job)))
    assert quiet_node.workshop.do(job_id, "one") == JobState.DONE
    assert runs == []


def test_a_worker_that_lost_its_lease_changes_nothing(quiet_node, job_id) -> None:
    def slow(job):
        quiet_node.clock.pass_s(31)
        quiet_node.ledger.expire(quiet_node.clock(), 5)
        quiet_node.run = make_result
        assert quiet_node.workshop.do(job_id, "the other") == JobState.DONE
        return make_result(job)

    quiet_node.run = slow
    assert quiet_node.workshop.do(job_id, "the slow one") is None
    names = [t.name for t in Overview(quiet_node.ledger.database).trail(job_id)]
    assert names.count("job_done") == 1
    assert quiet_node.jobs()[0].n_deliveries == 3


def test_a_failure_after_the_lease_was_lost_changes_nothing(quiet_node, job_id) -> None:
    def slow(job):
        quiet_node.clock.pass_s(31)
        quiet_node.ledger.expire(quiet_node.clock(), 5)
        raise StorageError("too late")

    quiet_node.run = slow
    assert quiet_node.workshop.do(job_id, "the slow one") is None
    assert quiet_node.jobs()[0].state == JobState.QUEUED


def test_the_lease_is_renewed_while_a_job_runs(quiet_node, job_id, config) -> None:
    renewed = threading.Event()
    heartbeat = quiet_node.ledger.heartbeat

    def heard(*args) -> None:
        heartbeat(*args)
        renewed.set()

    quiet_node.ledger.heartbeat = heard

    def slow(job):
        quiet_node.clock.pass_s(0.3)
        assert renewed.wait(20)
        return make_result(job)

    quiet_node.run = slow
    short = config.model_copy(update={"queue": config.queue.model_copy(update={"lease_s": 0.4})})
    object.__setattr__(quiet_node.workshop, "config", short)
    assert quiet_node.workshop.do(job_id, "one") == JobState.DONE


def test_runs_that_the_disk_ended_do_not_count_against_a_job(quiet_node, job_id, config) -> None:
    most = config.queue.max_attempts
    failures = iter([*[StorageError("full")] * (most + 2), *[ValueError("odd")] * most])

    def run(job):
        raise next(failures)

    quiet_node.run = run
    for _ in range(2 * most + 2):
        assert quiet_node.jobs()[0].state == JobState.QUEUED
        quiet_node.clock.pass_s(4000)
        quiet_node.workshop.do(job_id, "one")
    assert quiet_node.jobs()[0].state == JobState.PARKED
