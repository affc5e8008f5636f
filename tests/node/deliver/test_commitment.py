"""Storage commitment of deliveries: what counts as committed, what is sent again, what outlives a restart."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from node.config import Config, DestinationConfig
from node.deliver.commitment import Committer
from node.errors import InputError, PeerError
from node.jobs.commitment_files import CommitmentFiles
from node.jobs.commitments import MOST_REFUSALS, Commitment
from node.model import CommitmentReport, CommitmentState, DeliveryState, SopReference
from tests.node.deliver.test_dispatch import finish_job
from tests.nodekit.quiet_node import Archive, Clock, QuietNode

PACS = DestinationConfig(name="pacs", ae_title="PACS", host="127.0.0.1", port=104, commitment=True)
NO_SUCH_OBJECT = 0x0112


class Bench:
    """A node that has delivered one job of three objects, and the requests that its destination was sent."""

    def __init__(self, node: QuietNode, job_id: str) -> None:
        self.node, self.job_id = node, job_id
        self.requests: list[tuple[str, list[SopReference]]] = []
        self.away = False
        self.files = CommitmentFiles(node.root)

    @property
    def committer(self) -> Committer:
        return Committer(
            book=self.node.ledger.commitments, files=self.files, ask=self._ask,
            clock=self.node.clock, uniform=lambda low, high: high,
        )  # fmt: skip

    def _ask(self, destination: DestinationConfig, transaction_uid: str, references: Sequence[SopReference]) -> None:
        if self.away:
            raise PeerError("PACS: nobody there")
        self.requests.append((transaction_uid, list(references)))

    def turn(self) -> None:
        """What the deliverer does for a destination that has something due."""
        committer = self.committer
        committer.take_answers()
        self.node.dispatcher.deliver_due(PACS)
        committer.ask_due(PACS)

    def report(self, number: int = -1, *, failed: Sequence[SopReference] = (), **other: object) -> None:
        """The destination answers one of the requests, and the report is entered."""
        transaction_uid, references = self.requests[number]
        values = {
            "transaction_uid": transaction_uid, "ae_title": "PACS",
            "committed": frozenset(references) - set(failed), "failed": dict.fromkeys(failed, NO_SUCH_OBJECT),
        }  # fmt: skip
        self.files.keep(CommitmentReport(**{**values, **other}))
        self.committer.take_answers()

    def commitments(self) -> list[Commitment]:
        return self.node.ledger.commitments.of_job(self.job_id)

    def states(self) -> set[CommitmentState]:
        return {c.state for c in self.commitments()}

    def sent(self) -> int:
        return sum(len(copies) for copies in self.node.archive.received.values())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    node = QuietNode(tmp_path / "root", Archive(), Clock(), Config(destinations=(PACS,)))
    bench = Bench(node, finish_job(node, tmp_path / "study"))
    bench.turn()
    yield bench
    node.close()


def test_what_was_delivered_is_asked_for_once_and_committed_by_the_report(bench: Bench) -> None:
    bench.turn()
    ((_, asked),) = bench.requests
    record = bench.node.outbox.record(bench.job_id)
    assert record is not None
    assert {(r.sop_class_uid, r.sop_instance_uid) for r in asked} == {
        (o["sop_class_uid"], o["sop_instance_uid"]) for o in record["objects"]
    }
    assert bench.states() == {CommitmentState.ASKED}
    bench.report()
    assert bench.states() == {CommitmentState.COMMITTED}
    counts = bench.node.ledger.commitments.counts()["pacs"]
    assert (counts.committed, counts.waiting, counts.refused, counts.last_detail) == (3, 0, 0, None)
    bench.node.clock.pass_s(1e6)
    bench.turn()
    assert (len(bench.requests), bench.sent()) == (1, 3)


def test_a_destination_that_is_not_to_commit_is_not_asked(bench: Bench) -> None:
    plain = PACS.model_copy(update={"commitment": False})
    bench.node.clock.pass_s(1e6)
    assert bench.committer.due_destinations([plain]) == []
    assert bench.committer.ask_due(plain) == 0
    assert bench.committer.due_destinations([PACS]) == ["pacs"]


def test_an_answer_outlives_a_restart_between_its_acknowledgement_and_the_ledger(bench: Bench) -> None:
    transaction_uid, references = bench.requests[0]
    bench.node.restart()
    bench.files = CommitmentFiles(bench.node.root)
    bench.files.keep(
        CommitmentReport(transaction_uid=transaction_uid, ae_title="PACS", committed=frozenset(references), failed={})
    )
    bench.node.restart()
    assert bench.committer.take_answers() == 1
    assert bench.states() == {CommitmentState.COMMITTED}
    assert bench.committer.take_answers() == 0


def test_a_failed_object_is_sent_and_asked_for_again_the_others_are_not(bench: Bench) -> None:
    lost = bench.requests[0][1][1]
    bench.report(failed=[lost])
    by_uid = {c.sop_instance_uid: c for c in bench.commitments()}
    assert by_uid.pop(lost.sop_instance_uid).last_detail == "0112 (no such object instance)"
    assert {c.state for c in by_uid.values()} == {CommitmentState.COMMITTED}
    bench.node.clock.pass_s(60)
    bench.turn()
    assert len(bench.node.archive.received[lost.sop_instance_uid]) == 2
    assert (bench.sent(), bench.requests[1][1]) == (4, [lost])
    bench.report()
    assert bench.states() == {CommitmentState.COMMITTED}


def test_what_is_refused_again_and_again_waits_for_an_operator(bench: Bench) -> None:
    lost = bench.requests[0][1][0]
    for _ in range(MOST_REFUSALS):
        bench.report(failed=[lost])
        bench.node.clock.pass_s(60)
        bench.turn()
    assert len(bench.requests) == MOST_REFUSALS
    assert bench.states() == {CommitmentState.COMMITTED, CommitmentState.REFUSED}
    bench.node.clock.pass_s(1e6)
    bench.turn()
    assert len(bench.requests) == MOST_REFUSALS
    assert bench.node.ledger.commitments.counts()["pacs"].refused == 1
    assert bench.node.ledger.commitments.retry(bench.job_id, bench.node.clock()) == 1
    bench.turn()
    bench.report()
    assert bench.states() == {CommitmentState.COMMITTED}
    assert len(bench.node.archive.received[lost.sop_instance_uid]) == MOST_REFUSALS + 1


def _nothing(asked: SopReference) -> dict[str, object]:
    return {"committed": frozenset()}


def _other_class(asked: SopReference) -> dict[str, object]:
    wrong = SopReference(sop_class_uid="1.2.840.10008.5.1.4.1.1.7", sop_instance_uid=asked.sop_instance_uid)
    return {"committed": frozenset({wrong})}


def _both(asked: SopReference) -> dict[str, object]:
    return {"committed": frozenset({asked}), "failed": {asked: 0x0110}}


@pytest.mark.parametrize("wrong", [_nothing, _other_class, _both])
def test_a_report_that_does_not_say_so_plainly_commits_nothing(bench: Bench, wrong: Callable) -> None:
    bench.report(**wrong(bench.requests[0][1][0]))
    assert bench.states() == {CommitmentState.DUE}
    assert {d.state for d in bench.node.ledger.deliveries.of_job(bench.job_id)} == {DeliveryState.PENDING}


def test_an_answer_from_before_the_objects_were_sent_again_does_not_count(bench: Bench) -> None:
    bench.node.ledger.deliveries.send_again(bench.job_id, bench.node.clock())
    bench.report()
    assert bench.states() == set()
    bench.turn()
    bench.report(0)
    assert bench.states() == {CommitmentState.ASKED}
    bench.report(1)
    assert bench.states() == {CommitmentState.COMMITTED}


def test_silence_is_asked_again_after_twice_the_time_each(bench: Bench) -> None:
    waits = []
    for number in range(1, 7):
        (at,) = {c.next_try_at for c in bench.commitments()}
        waits.append((at - bench.node.clock()).total_seconds())
        bench.node.clock.pass_s(waits[-1] - 1)
        bench.turn()
        assert len(bench.requests) == number
        bench.node.clock.pass_s(1)
        bench.turn()
    assert waits == [3600, 7200, 14400, 28800, 57600, 86400]
    assert len({uid for uid, _ in bench.requests}) == 7


def test_a_destination_that_is_away_is_tried_again_and_says_why(bench: Bench) -> None:
    bench.away = True
    bench.node.clock.pass_s(3600)
    committer = bench.committer
    waits = []
    for _ in range(3):
        assert committer.ask_due(PACS) == 0
        (waiting, *_) = bench.commitments()
        waits.append((waiting.next_try_at - bench.node.clock()).total_seconds())
        bench.node.clock.pass_s(waits[-1])
    assert (waits, waiting.state, waiting.last_detail) == ([5, 10, 20], CommitmentState.DUE, "PACS: nobody there")
    with pytest.raises(InputError, match="answers no request"):
        bench.files.keep(CommitmentReport(transaction_uid="1.2.3", ae_title="PACS", committed=frozenset(), failed={}))
    bench.report()  # of the first request: given up since
    assert bench.states() == {CommitmentState.DUE}


def test_only_the_system_that_was_asked_may_answer(bench: Bench) -> None:
    with pytest.raises(InputError, match="SCANNER; PACS was asked"):
        bench.report(ae_title="SCANNER")
    with pytest.raises(InputError, match="answers no request"):
        bench.report(transaction_uid="../answers/x")
    assert bench.files.answers() == []
    assert bench.states() == {CommitmentState.ASKED}
