"""What the archive answered is asked once a job and kept: a repeat is given the same."""

import pytest

from node.errors import StorageError
from node.jobs.priors import PriorStore
from node.model import JobState
from quant.prior import PriorAnswer
from tests.node.report.report_cases import earlier
from tests.nodekit.fast_node import make_result

ANSWER = PriorAnswer(
    earlier=(earlier("2024-08-30", 260.0), earlier("2023-01-01", 900.0, bound="at_least")), other_person=1, left_out=2
)


def test_a_repeat_after_a_crash_is_given_the_first_answer(quiet_node, study) -> None:
    answers = iter([ANSWER, PriorAnswer(not_checked="PACS: away")])
    quiet_node.ask_archive = lambda image, config: next(answers)
    given = []

    def dies_once(job):
        given.append(job.priors)
        if len(given) == 1:
            raise RuntimeError("killed")
        return make_result(job)

    quiet_node.run = dies_once
    quiet_node.receive(study)
    quiet_node.clock.pass_s(30)
    quiet_node.assembler.step()
    job_id = quiet_node.jobs()[0].job_id
    assert quiet_node.workshop.do(job_id, "one") == JobState.QUEUED
    quiet_node.restart()
    quiet_node.clock.pass_s(60)
    assert quiet_node.workshop.do(job_id, "two") == JobState.DONE
    assert given == [ANSWER, ANSWER]


def test_that_nothing_could_be_checked_is_kept_too(tmp_path) -> None:
    away = PriorAnswer(not_checked="PACS: no complete answer within 10 s")
    store = PriorStore(tmp_path / "priors")
    assert store.answer("ab", lambda: away) == away
    assert store.answer("ab", lambda: ANSWER) == away


def test_without_an_archive_nothing_is_kept(tmp_path) -> None:
    store = PriorStore(tmp_path / "priors")
    assert store.answer("ab", lambda: None) is None
    assert store.answer("ab", lambda: ANSWER) == ANSWER


def test_a_damaged_answer_is_named(tmp_path) -> None:
    (tmp_path / "ab.json").write_text("{}")
    with pytest.raises(StorageError, match=r"ab\.json"):
        PriorStore(tmp_path).answer("ab", lambda: ANSWER)
