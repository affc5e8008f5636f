"""The clock was ahead for a while and is set right: nothing waits for the time that it showed."""

from datetime import timedelta

import pytest

from node.model import JobState, StoreStatus

AHEAD = timedelta(hours=30)


@pytest.fixture
def set_right(quiet_node):
    """``set_right()`` ends what the fixture's beginning made: a clock that is 30 hours ahead."""
    quiet_node.clock.now += AHEAD

    def end() -> None:
        quiet_node.clock.now -= AHEAD

    return end


def finished(quiet_node) -> bool:
    (line,) = quiet_node.jobs()
    return line.state == JobState.DONE and line.n_sent == line.n_deliveries == 3


def test_images_that_came_while_it_was_ahead_are_measured(quiet_node, study, set_right) -> None:
    quiet_node.receive(study)
    quiet_node.step()  # entered in the ledger, not quiet for long enough
    set_right()
    quiet_node.steps(6, each_s=5)
    assert finished(quiet_node)


def test_images_that_were_not_even_entered_are_measured(quiet_node, study, set_right) -> None:
    quiet_node.receive(study)
    set_right()
    quiet_node.steps(6, each_s=5)
    assert finished(quiet_node)


def test_a_job_whose_message_was_lost_is_announced_again(quiet_node, study, set_right) -> None:
    quiet_node.receive(study)
    quiet_node.clock.pass_s(30)
    quiet_node.assembler.step()
    quiet_node.reconciler.step()
    quiet_node.bell.messages.clear()
    set_right()
    quiet_node.steps(6, each_s=5)
    assert finished(quiet_node)


def test_a_job_whose_worker_died_is_taken_from_it(quiet_node, study, set_right) -> None:
    quiet_node.receive(study)
    quiet_node.clock.pass_s(30)
    quiet_node.assembler.step()
    (line,) = quiet_node.jobs()
    quiet_node.ledger.claim(line.job_id, "a worker that dies", quiet_node.clock(), quiet_node.config.queue.lease_s)
    set_right()
    quiet_node.steps(10, each_s=10)
    assert finished(quiet_node)


def test_a_job_that_waits_after_a_failure_runs_again(quiet_node, study, set_right) -> None:
    quiet_node.receive(study)
    quiet_node.clock.pass_s(30)
    run, quiet_node.run = quiet_node.run, None  # calling it fails
    quiet_node.step()
    quiet_node.run = run
    set_right()
    quiet_node.steps(6, each_s=20)
    assert finished(quiet_node)


def _accepted(quiet_node, study) -> str:
    quiet_node.receive(study)
    quiet_node.clock.pass_s(30)
    quiet_node.assembler.step()
    (line,) = quiet_node.jobs()
    return line.job_id


def test_an_hour_is_not_waited_for_when_a_lease_ran_out_while_it_was_an_hour_ahead(quiet_node, study) -> None:
    """The longest wait after a failure is an hour: the time that was written passed for one."""
    job_id = _accepted(quiet_node, study)
    quiet_node.ledger.claim(job_id, "a worker that dies", quiet_node.clock(), quiet_node.config.queue.lease_s)
    quiet_node.clock.now += timedelta(hours=1)
    quiet_node.reconciler.step()
    quiet_node.clock.now -= timedelta(hours=1)
    quiet_node.steps(6, each_s=5)
    assert finished(quiet_node)


def test_nor_when_a_run_failed_then(quiet_node, study) -> None:
    _accepted(quiet_node, study)
    quiet_node.clock.now += timedelta(minutes=50)
    run, quiet_node.run = quiet_node.run, None  # calling it fails
    quiet_node.step()
    quiet_node.run = run
    quiet_node.clock.now -= timedelta(minutes=50)
    quiet_node.steps(6, each_s=5)
    assert finished(quiet_node)


def test_what_a_destination_refused_is_sent_again(quiet_node, study, set_right) -> None:
    quiet_node.archive.refuse = lambda path: StoreStatus.FAILED
    quiet_node.receive(study)
    quiet_node.clock.pass_s(30)
    quiet_node.steps(2)
    quiet_node.archive.refuse = lambda path: None
    set_right()
    quiet_node.steps(6, each_s=20)
    assert finished(quiet_node)


def test_times_that_are_only_as_far_ahead_as_they_should_be_are_left_alone(quiet_node, study) -> None:
    quiet_node.archive.refuse = lambda path: StoreStatus.FAILED
    quiet_node.receive(study)
    quiet_node.clock.pass_s(30)
    quiet_node.steps(2)
    tries = len(quiet_node.archive.associations)
    quiet_node.steps(5)
    assert len(quiet_node.archive.associations) == tries
