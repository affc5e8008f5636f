"""Deliveries: an outcome for each object, no try that gives up, nobody held back by somebody else."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from node.config import Config, DestinationConfig
from node.deliver.dispatch import Dispatcher
from node.deliver.outbox import plan_alternative, plan_deliveries
from node.dimse.store_peer import StorePeer
from node.errors import PeerError
from node.jobs.deliveries import Delivery, DeliveryTrial, PlannedDelivery
from node.jobs.overview import Overview
from node.model import DeliveryState, JobState, StoreOutcome, StoreStatus
from node.roles.deliverer import sender
from tests.nodekit.quiet_node import Archive, Clock, QuietNode
from tests.nodekit.small_study import write_study

PACS = DestinationConfig(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def node(tmp_path: Path, clock: Clock) -> Iterator[QuietNode]:
    """A node with one finished job whose three objects wait for ``pacs``."""
    node = QuietNode(tmp_path / "root", Archive(), clock, Config(destinations=(PACS,)))
    finish_job(node, tmp_path / "study")
    yield node
    node.close()


def finish_job(node: QuietNode, folder: Path, number: int = 1) -> str:
    node.receive(write_study(folder, number))
    node.clock.pass_s(30)
    node.assembler.step()
    (queued,) = [j for j in node.jobs() if j.state == JobState.QUEUED]
    assert node.workshop.do(queued.job_id, "one") == JobState.DONE
    return queued.job_id


def deliveries(node: QuietNode) -> list[Delivery]:
    return [d for j in node.jobs() for d in node.ledger.deliveries.of_job(j.job_id)]


def test_everything_goes_out_in_order_on_one_association(node) -> None:
    assert node.dispatcher.deliver_due(PACS) == 3
    assert node.archive.associations == [["0.dcm", "1.dcm", "2.dcm"]]
    assert {d.state for d in deliveries(node)} == {DeliveryState.SENT}
    assert all(d.sent_at == node.clock() and d.attempts == 1 for d in deliveries(node))
    assert node.dispatcher.deliver_due(PACS) == 0
    assert len(node.archive.associations) == 1


def test_a_refused_object_holds_nobody_back_and_is_tried_for_ever(node) -> None:
    status = StoreStatus.FAILED
    node.archive.refuse = lambda path: status if path.name == "1.dcm" else None
    assert node.dispatcher.deliver_due(PACS) == 2
    waits = []
    for _ in range(12):
        (waiting,) = [d for d in deliveries(node) if d.state == DeliveryState.PENDING]
        assert waiting.last_detail == f"answered {status}"
        waits.append((waiting.next_try_at - node.clock()).total_seconds())
        node.clock.pass_s(waits[-1])
        assert node.dispatcher.deliver_due(PACS) == 0
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900, 900, 900]
    node.archive.refuse = lambda path: None
    node.clock.pass_s(900)
    assert node.dispatcher.deliver_due(PACS) == 1


def test_a_damaged_object_is_not_sent_until_its_file_is_put_back(node, tmp_path, caplog) -> None:
    (job,) = node.jobs()
    page, report = (node.outbox.path(job.job_id) / "dicom" / name for name in ("0.dcm", "2.dcm"))
    sound = {path: path.read_bytes() for path in (page, report)}
    page.write_bytes(sound[page][:-20])
    report.write_bytes(sound[report][:-1] + bytes([sound[report][-1] ^ 1]))
    with StorePeer(tmp_path / "pacs") as peer, caplog.at_level("INFO", logger="ironnode"):
        destination = PACS.model_copy(update={"port": peer.port})
        over_dicom = replace(node.dispatcher, send=sender(node.config, node.ledger.deliveries))
        assert over_dicom.deliver_due(destination) == 1
        (backlog,) = node.ledger.deliveries.backlogs()
        assert (backlog.pending, backlog.last_detail) == (2, "its file in the outbox is damaged (SHA-256)")
        (told,) = (r.fields for r in caplog.records if r.message == "delivery_failed")
        assert (told["objects"], told["detail"], told["job_ids"]) == (2, backlog.last_detail, [job.job_id])
        assert len(peer.files()) == 1
        for path, content in sound.items():
            path.write_bytes(content)
        node.clock.pass_s(PACS.retry_max_s)
        assert over_dicom.deliver_due(destination) == 2
        assert len(peer.files()) == 3


def test_a_sop_class_that_is_never_taken_is_told_once_and_not_tried_again(node, caplog) -> None:
    node.archive.refuse = lambda path: StoreStatus.NO_CONTEXT if path.name == "1.dcm" else None
    with caplog.at_level("INFO", logger="ironnode"):
        assert node.dispatcher.deliver_due(PACS) == 2
        for _ in range(5):
            node.clock.pass_s(2000)
            assert node.dispatcher.deliver_due(PACS) == 0
    assert len(node.archive.associations) == 1
    assert [record.message for record in caplog.records].count("delivery_unsupported") == 1
    (backlog,) = node.ledger.deliveries.backlogs()
    assert (backlog.pending, backlog.sent, dict(backlog.unsupported)) == (0, 2, {"map.lic": 1})
    assert node.ledger.deliveries.due_destinations(node.clock()) == []
    node.archive.refuse = lambda path: None  # the archive was told to take it, the operator asks for it
    (job,) = node.jobs()
    assert node.ledger.deliveries.make_due(job.job_id, node.clock()) == 1
    assert node.dispatcher.deliver_due(PACS) == 1


def test_a_result_of_which_neither_page_nor_report_is_taken_is_untold_until_one_is(node) -> None:
    """The maps alone reach the archive: nobody there reads the result."""
    (job,) = node.jobs()
    book = node.ledger.deliveries
    book.add(job.job_id, [planned(role) for role in ("page", "sr.enhanced", "pdf")], node.clock())
    for role, untold in (("page", 0), ("sr", 0), ("sr.enhanced", 0), ("pdf", 1)):
        (delivery,) = [d for d in book.of_job(job.job_id) if d.role == role]
        trial = DeliveryTrial(delivery=delivery, detail="no context", retry_at=None, unsupported=True)
        book.mark([trial], node.clock())
        assert [backlog.untold for backlog in book.backlogs()] == [untold]
    book.make_due(job.job_id, node.clock())
    assert [backlog.untold for backlog in book.backlogs()] == [0]


def test_a_result_that_a_later_one_followed_is_not_untold_for_ever(node, tmp_path) -> None:
    node.archive.refuse = lambda path: StoreStatus.NO_CONTEXT if path.name == "2.dcm" else None
    node.settle()
    assert [backlog.untold for backlog in node.ledger.deliveries.backlogs()] == [1]
    node.archive.refuse = lambda path: None
    node.receive(write_study(tmp_path / "late", 1, slices=3)[-4:])
    node.settle()
    assert len(node.jobs()) == 2
    assert [backlog.untold for backlog in node.ledger.deliveries.backlogs()] == [0]


def planned(role: str) -> PlannedDelivery:
    return PlannedDelivery(destination="pacs", sop_instance_uid=f"2.25.{len(role)}", role=role, file=role, position=9)


def test_what_stands_in_for_what() -> None:
    record = {"objects": [{"role": role, "sop_instance_uid": role, "file": role}
                          for role in ("page", "sr", "seg", "sr.comprehensive", "sr.enhanced", "pdf")]}  # fmt: skip

    def instead(role: str) -> str | None:
        found = plan_alternative(record, "pacs", role)
        return None if found is None else found.role

    assert [instead(r) for r in ("sr", "sr.comprehensive", "sr.enhanced", "page", "pdf", "seg")] == [
        "sr.comprehensive", "sr.enhanced", None, "pdf", None, None,
    ]  # fmt: skip
    assert [p.role for p in plan_deliveries(record, [PACS])] == ["page", "sr", "seg"]


def test_a_destination_that_is_away_costs_one_try_for_all(node) -> None:
    def away(files, destination, on_outcome):
        raise PeerError("PACS@127.0.0.1:104: connection refused")

    dispatcher = with_sender(node, away)
    assert dispatcher.deliver_due(PACS) == 0
    assert {(d.attempts, d.last_detail) for d in deliveries(node)} == {(1, "PACS@127.0.0.1:104: connection refused")}
    assert len({d.next_try_at for d in deliveries(node)}) == 1
    (backlog,) = node.ledger.deliveries.backlogs()
    assert (backlog.pending, backlog.sent, backlog.last_detail) == (3, 0, "PACS@127.0.0.1:104: connection refused")
    node.clock.pass_s(5)
    assert node.dispatcher.deliver_due(PACS) == 3


def test_an_object_that_breaks_the_association_goes_last_next_time(node) -> None:
    def breaks(files: Sequence[Path], destination, on_outcome) -> list[StoreOutcome]:
        outcomes, broken = [], False
        for path in files:
            status = StoreStatus.NOT_TRIED if broken else StoreStatus.SUCCESS
            if path.name == "0.dcm" and not broken:
                status, broken = StoreStatus.FAILED, True
            outcomes.append(StoreOutcome(path=path, status=status, detail="aborted" if broken else ""))
            on_outcome(outcomes[-1])
        return outcomes

    dispatcher = with_sender(node, breaks)
    assert dispatcher.deliver_due(PACS) == 0
    assert [(d.attempts, d.last_detail) for d in deliveries(node)] == [(1, "aborted"), (0, "aborted"), (0, "aborted")]
    node.clock.pass_s(5)
    assert dispatcher.deliver_due(PACS) == 2
    assert [d.state for d in deliveries(node)] == [DeliveryState.PENDING, DeliveryState.SENT, DeliveryState.SENT]


def test_a_file_that_is_gone_is_told_and_the_others_go(node) -> None:
    (job,) = node.jobs()
    (node.outbox.path(job.job_id) / "dicom" / "0.dcm").unlink()
    assert node.dispatcher.deliver_due(PACS) == 2
    (waiting,) = [d for d in deliveries(node) if d.state == DeliveryState.PENDING]
    assert waiting.last_detail == "its file is gone from the outbox"


def test_a_destination_that_left_the_configuration_stays_visible(node) -> None:
    node.config = Config()
    node.step()
    (backlog,) = node.ledger.deliveries.backlogs()
    assert (backlog.destination, backlog.pending) == ("pacs", 3)


def test_what_failed_is_in_the_trail_once_however_often_it_fails(node) -> None:
    node.archive.refuse = lambda path: StoreStatus.FAILED if path.name == "1.dcm" else None
    node.settle()
    (job,) = node.jobs()
    trail = [(t.name, t.fields.get("role")) for t in Overview(node.ledger.database).trail(job.job_id)]
    assert [t for t in trail if t[0].startswith("delivery")] == [
        ("delivery_sent", "map.r2star"), ("delivery_failed", "map.lic"), ("delivery_sent", "sr"),
    ]  # fmt: skip


def test_over_a_real_association(node, tmp_path) -> None:
    with StorePeer(tmp_path / "pacs") as peer:
        there = PACS.model_copy(update={"port": peer.port})
        dispatcher = with_sender(node, sender(node.config, node.ledger.deliveries))
        assert dispatcher.deliver_due(there) == 3
        assert {d.state for d in deliveries(node)} == {DeliveryState.SENT}
        (job,) = node.jobs()
        record = json.loads((node.outbox.path(job.job_id) / "result.json").read_text())
        arrived = {str(dcmread(f).SOPInstanceUID) for f in peer.files()}
        assert arrived == {o["sop_instance_uid"] for o in record["objects"]}
        assert node.ledger.deliveries.due("pacs", node.clock(), 10) == []


def test_a_repeat_after_a_crash_is_the_same_to_a_real_peer(node, tmp_path) -> None:
    send = sender(node.config, node.ledger.deliveries)

    def killed_after_the_last_answer(files, destination, on_outcome):
        send(files, destination, lambda outcome: None)
        raise KeyboardInterrupt

    with StorePeer(tmp_path / "pacs") as peer:
        there = PACS.model_copy(update={"port": peer.port})
        with pytest.raises(KeyboardInterrupt):
            with_sender(node, killed_after_the_last_answer).deliver_due(there)
        assert len(peer.files()) == 3
        assert {d.state for d in deliveries(node)} == {DeliveryState.PENDING}
        assert with_sender(node, send).deliver_due(there) == 3
        assert len(peer.files()) == 3
        assert peer.conflicts() == []


def test_nobody_there_is_a_failure_that_names_the_place(node) -> None:
    with StorePeer(node.root / "gone") as peer:
        nobody = PACS.model_copy(update={"port": peer.port})
    assert with_sender(node, sender(node.config, node.ledger.deliveries)).deliver_due(nobody) == 0
    detail = deliveries(node)[0].last_detail
    assert detail is not None
    assert f"127.0.0.1:{nobody.port}" in detail


def with_sender(node: QuietNode, send: Callable) -> Dispatcher:
    return Dispatcher(
        book=node.ledger.deliveries, outbox=node.outbox, send=send, clock=node.clock,
        uniform=lambda low, high: high,
    )  # fmt: skip


def test_jitter_spreads_what_failed_together(node, tmp_path) -> None:
    finish_job(node, tmp_path / "second", 2)
    node.archive.refuse = lambda path: StoreStatus.FAILED
    dispatcher = Dispatcher(
        book=node.ledger.deliveries, outbox=node.outbox, send=node.archive.send, clock=node.clock,
        uniform=random.Random(3).uniform,
    )  # fmt: skip
    dispatcher.deliver_due(PACS)
    waits = [(d.next_try_at - node.clock()).total_seconds() for d in deliveries(node)]
    assert len(set(waits)) == 6
    assert all(0 <= w <= 5 for w in waits)
