"""The site's rules on the way from the inbox to the destinations."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from node.app import Node
from node.config import Config, StorageConfig
from node.intake.headers import SELF_TEST_PATIENT_ID
from node.jobs.overview import Overview
from node.jobs.rebuild import rebuild_ledger
from node.model import DeliveryState, JobState
from tests.nodekit.quiet_node import Archive, QuietNode

WITHOUT_STUDY_ID = {"not": {"tag": "StudyID", "present": True}}
DECLINE = {"name": "no-id", "when": WITHOUT_STUDY_ID, "decline": True}
TO_LIVER = {"name": "late", "when": {"tag": "EchoTime", "at_least": 4.8}, "destinations": ["liver"]}
Make = Callable[..., QuietNode]


@pytest.fixture
def make(tmp_path: Path, clock) -> Iterator[Make]:
    """Start the node over the same disk with other rules, as a reload does."""
    running: list[QuietNode] = []

    def start(*rules: dict[str, Any], names: tuple[str, ...] = ("pacs", "liver")) -> QuietNode:
        if running:
            running.pop().close()
        config = Config.model_validate(
            {
                "assemble": {"settle_s": 20, "complete_quiet_s": 2},
                "destinations": [{"name": n, "ae_title": "A", "host": "127.0.0.1", "port": 104} for n in names],
                "rules": rules,
            }
        )
        node = QuietNode(tmp_path / "root", Archive(), clock, config)
        node.assembler.recover()
        running.append(node)
        return node

    yield start
    running.pop().close()


def fates(node: QuietNode) -> list[tuple[str, str | None, str | None]]:
    return [(a.state, a.code, a.text) for a in Overview(node.ledger.database).acquisitions()]


def sent_to(node: QuietNode, job_id: str) -> set[str]:
    return {d.destination for d in node.ledger.deliveries.of_job(job_id) if d.state == DeliveryState.SENT}


def test_a_declined_acquisition_is_kept_and_named_until_the_rules_change(make: Make, study) -> None:
    node = make(DECLINE)
    node.receive(study)
    node.settle()
    text = 'The rule "no-id" of this site\'s configuration declines it.'
    assert fates(node) == [("declined", "declined_by_rule", text)]
    assert node.jobs() == []
    assert all(node.spool.find(dcmread(f).SOPInstanceUID) for f in study)
    node = make(DECLINE)
    node.settle()
    assert node.jobs() == []
    node = make()
    node.settle()
    (job,) = node.jobs()
    assert (job.state, sent_to(node, job.job_id)) == (JobState.DONE, {"pacs", "liver"})
    assert fates(node) == [("jobbed", None, None)]


def test_results_go_where_the_rule_says_and_those_of_later_revisions_too(make: Make, study) -> None:
    """A result that stands is replaced wherever it stands, whatever the rules say by then."""
    node = make(TO_LIVER)
    node.receive(study[:-2])
    node.settle()
    node = make({**DECLINE, "name": "now"})
    node.receive(study[-2:])
    node.settle()
    first, second = node.jobs()
    assert (first.revision, second.revision) == (1, 2)
    assert sent_to(node, first.job_id) == sent_to(node, second.job_id) == {"liver"}
    found = node.ledger.find(second.job_id)
    assert found is not None
    assert found.destinations == ("liver",)


def test_no_matching_rule_sends_everywhere(make: Make, study) -> None:
    node = make({**TO_LIVER, "when": {"tag": "EchoTime", "at_least": 4.81}})
    node.receive(study)
    node.settle()
    (job,) = node.jobs()
    assert sent_to(node, job.job_id) == {"pacs", "liver"}


def test_a_job_tells_where_a_rule_sends_it_and_is_sent_nowhere_else_by_hand(make: Make, study, tmp_path: Path) -> None:
    node = make(TO_LIVER)
    node.receive(study)
    node.settle()
    (job,) = node.jobs()
    parts = Node(node.config.model_copy(update={"storage": StorageConfig(root=tmp_path / "root")}))
    assert parts.show(job.job_id).route == "a rule sends its results to liver only"
    assert parts.retry(job.job_id).endswith("is done and delivered")
    parts.send_again(job.job_id)
    node.settle()
    assert {d.destination for d in parts.show(job.job_id).deliveries} == {"liver"}
    parts.config = parts.config.model_copy(update={"destinations": parts.config.destinations[:1]})
    told = "a rule sends its results to liver only; the configuration no longer names liver"
    assert parts.show(job.job_id).route == told
    parts.close()


def test_a_job_that_loses_a_part_of_its_receivers_says_so_and_goes_to_the_others(make: Make, study, caplog) -> None:
    caplog.set_level("WARNING", logger="ironnode")
    node = make({**TO_LIVER, "destinations": ["pacs", "liver"]})
    node.receive(study)
    node.clock.pass_s(40)
    node.assembler.step()
    (job,) = node.jobs()
    left = node.config.model_copy(update={"destinations": node.config.destinations[:1], "rules": ()})
    object.__setattr__(node.workshop, "config", left)
    node.workshop.do(job.job_id, "one")
    assert {d.destination for d in node.ledger.deliveries.of_job(job.job_id)} == {left.destinations[0].name}
    (told,) = (r.fields for r in caplog.records if r.message == "receivers_gone")
    assert told["receivers"] == ("liver",)


def test_a_rebuilt_ledger_sends_nowhere_else(make: Make, study, tmp_path: Path) -> None:
    node = make(TO_LIVER)
    node.receive(study)
    node.settle()
    node.close()
    (tmp_path / "root" / "ledger.sqlite").unlink()
    for names, state, receivers in ((("pacs",), JobState.PARKED, set()), (("pacs", "liver"), JobState.DONE, {"liver"})):
        (tmp_path / "root" / "ledger.sqlite").unlink(missing_ok=True)
        node = make(names=names)
        rebuild_ledger(
            spool=node.spool, ledger=node.ledger, manifests=node.manifests, outbox=node.outbox,
            receivers_of=node.config.receivers_of, now=node.clock(),
        )  # fmt: skip
        node.settle()
        (job,) = node.jobs()
        assert (job.state, sent_to(node, job.job_id)) == (state, receivers)
        assert (job.error or "").startswith("a rule sent this to liver") == (state == JobState.PARKED)


def test_a_rule_that_names_only_who_is_gone_parks_the_job_with_the_reason(make: Make, study) -> None:
    node = make(TO_LIVER)
    node.receive(study)
    node.clock.pass_s(30)
    node.assembler.step()
    node = make(names=("pacs",))
    node.settle()
    (job,) = node.jobs()
    assert job.state == JobState.PARKED
    assert job.error == "a rule sent this to liver, which the configuration no longer names"
    assert node.archive.received == {}


def test_the_nodes_own_test_is_not_asked_about(make: Make, study) -> None:
    for file in study:
        ds = dcmread(file)
        ds.PatientID = SELF_TEST_PATIENT_ID
        ds.save_as(file)
    node = make(DECLINE)
    node.receive(study)
    node.settle()
    assert [job.self_test for job in node.jobs()] == [True]


def test_images_that_are_gone_cannot_be_asked_about(make: Make, study) -> None:
    node = make(DECLINE)
    node.receive(study)
    node.settle()
    node.spool.remove([str(dcmread(study[0]).SOPInstanceUID)])
    node = make({**DECLINE, "when": {"tag": "StudyID", "present": True}})
    node.settle()
    ((state, code, text),) = fates(node)
    assert (state, code) == ("declined", "rules_not_asked")
    assert text is not None
    assert text.startswith("1 of its images")
    assert node.jobs() == []
