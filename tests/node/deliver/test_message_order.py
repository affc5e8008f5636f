"""Results of one acquisition to a receiver of messages: never an older one after a newer one, whatever was away."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.config import Config, DestinationConfig, Hl7Receiver
from node.jobs.overview import Overview
from node.model import DeliveryState, JobInput, PipelineOutput, StoreStatus
from tests.nodekit.fast_node import make_result
from tests.nodekit.quiet_node import Archive, Clock, QuietNode
from tests.nodekit.small_study import write_study

RIS = Hl7Receiver(name="ris", kind="hl7", host="127.0.0.1", port=1)
PACS = DestinationConfig(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[QuietNode]:
    node = QuietNode(tmp_path / "root", Archive(), Clock(), Config(destinations=(PACS,), messages=(RIS,)))
    yield node
    node.close()


def report(job_id: str) -> str:
    return f"2.25.{int(job_id, 16) % 10**30}.2"


def state(node: QuietNode, job_id: str) -> DeliveryState:
    (mine,) = [d for d in node.ledger.deliveries.of_job(job_id) if d.destination == "ris"]
    return mine.state


def rounds(node: QuietNode, number: int) -> list[str]:
    """What the receiver got in so many rounds, in its order."""
    known = list(node.archive.received)
    for _ in range(number):
        node.clock.pass_s(RIS.retry_max_s)
        node.dispatcher.deliver_due(RIS)
    return [uid for uid in node.archive.received if uid not in known]


def away(path: Path) -> StoreStatus:
    return StoreStatus.FAILED


def test_after_an_outage_only_the_latest_revision_comes(node: QuietNode, tmp_path: Path) -> None:
    images = write_study(tmp_path / "study")
    node.archive.refuse = away
    first = node.measured(images[:-1])
    assert rounds(node, 3) == []
    second = node.measured(images[-1:])
    assert rounds(node, 3) == []
    node.archive.refuse = lambda path: None
    assert rounds(node, 3) == [report(second)]
    assert state(node, first) == DeliveryState.SUPERSEDED


def test_a_correction_names_the_last_result_that_came(node: QuietNode, tmp_path: Path) -> None:
    images = write_study(tmp_path / "study")
    first = node.measured(images[:-2])
    rounds(node, 1)
    node.archive.refuse = away
    second = node.measured(images[-2:-1])
    rounds(node, 1)
    third = node.measured(images[-1:])
    node.archive.refuse = lambda path: None
    assert rounds(node, 1) == [report(third)]
    assert state(node, second) == DeliveryState.SUPERSEDED
    book = node.ledger.deliveries
    assert [book.last_received("ris", job_id) for job_id in (first, second, third)] == [None, *[report(first)] * 2]


def test_what_is_refused_for_good_does_not_hold_back_its_correction(node: QuietNode, tmp_path: Path) -> None:
    images = write_study(tmp_path / "study")
    first = node.measured(images[:-1])
    node.archive.refuse = lambda path: StoreStatus.FAILED if first in str(path) else None
    assert rounds(node, 1) == []
    second = node.measured(images[-1:])
    assert rounds(node, 1) == [report(second)]


def test_what_was_replaced_there_is_not_sent_again(node: QuietNode, tmp_path: Path) -> None:
    images = write_study(tmp_path / "study")
    first = node.measured(images[:-1])
    rounds(node, 1)
    second = node.measured(images[-1:])
    rounds(node, 1)
    assert node.ledger.deliveries.send_again(first, node.clock()) == 4  # an operator sends the first once more
    before = len(node.archive.associations)
    rounds(node, 2)
    assert len(node.archive.associations) == before
    assert (state(node, first), state(node, second)) == (DeliveryState.SUPERSEDED, DeliveryState.SENT)
    (told,) = [line for line in Overview(node.ledger.database).trail(first) if line.name == "delivery_superseded"]
    assert (told.fields["destination"], told.fields["detail"]) == (
        "ris", "not sent: a later result replaces it",
    )  # fmt: skip
    assert node.dispatcher.deliver_due(PACS) == 6  # an archive keeps every revision


def test_a_result_that_stands_beside_the_first_does_not_end_it(node: QuietNode, tmp_path: Path) -> None:
    images = write_study(tmp_path / "study")
    first = node.measured(images[:-1])

    def beside(job: JobInput) -> PipelineOutput:
        output = make_result(job)
        record = output.record | {"revision": {"replaces": []}}  # as one whose drawn region cannot be used
        return PipelineOutput(record=record, files=output.files | {"result.json": json.dumps(record).encode()})

    node.run = beside
    node.measured(images[-1:])
    rounds(node, 2)
    node.ledger.deliveries.send_again(first, node.clock())
    node.dispatcher.deliver_due(RIS)
    assert state(node, first) == DeliveryState.SENT
