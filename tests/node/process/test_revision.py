"""What a later result says of the earlier one."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node.model import Cause, JobInput
from node.process.revision import with_revision
from node.report.content import report_content
from quant.result import Reason
from sr_templates.predecessor import EarlierResult
from tests.node.report.report_cases import refused

JOB = JobInput(
    job_id="c" * 32,
    files=(),
    accepted_at=datetime(2026, 1, 2, tzinfo=UTC),
    revision=2,
    cause=Cause.READER_REGION,
    region=Path("region.dcm"),
    replaces=(EarlierResult(job_id="b" * 32, revision=1, objects=()),),
)


@pytest.mark.parametrize(
    ("job", "title"),
    [(JOB, "as in the earlier report"), (replace(JOB, replaces=()), "no interval")],
    ids=["a report before it", "nothing before it"],
)
def test_a_region_that_cannot_be_used_leaves_the_earlier_follow_up(job: JobInput, title: str) -> None:
    reason = Reason(code="region_empty", text="The drawn region is empty.")
    content = report_content(with_revision(replace(refused().result, reasons=(reason,)), job))
    assert content.follow_up_title == title
    assert ("stays valid" in content.follow_up_text) == bool(job.replaces)
    assert ("The earlier report stays valid." in content.revision) == bool(job.replaces)


def test_a_refusal_of_the_measurement_takes_the_earlier_one_back() -> None:
    content = report_content(with_revision(refused().result, JOB))
    assert content.revision == "Result 2 replaces result 1: a reader drew the region."
    assert content.follow_up_title == "no interval"
