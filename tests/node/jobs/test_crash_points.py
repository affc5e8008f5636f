"""Killed between any two steps, the node ends with one job done and its objects delivered, the same bytes each time."""

import pytest

from node.deliver.outbox import Outbox
from node.intake.spool import Spool
from node.jobs.deliveries import DeliveryBook
from node.jobs.ledger import Ledger
from node.jobs.manifest import ManifestStore
from node.jobs.studies import StudyBook
from node.jobs.work import Workshop
from node.model import JobState
from tests.nodekit.quiet_node import Archive, QuietNode


class Kill(BaseException):
    """Stands for SIGKILL: no handler of the node may catch it."""


def kill_once(monkeypatch, owner, method, *, before: bool, call: int = 1) -> None:
    """Kill at the ``call``-th call of a method, just before it does its work or just after."""
    original = getattr(owner, method)
    calls = 0

    def killed(*args, **kwargs):
        nonlocal calls
        calls += 1
        if before and calls == call:
            raise Kill
        value = original(*args, **kwargs)
        if calls == call:
            raise Kill
        return value

    monkeypatch.setattr(owner, method, killed)


@pytest.fixture
def undisturbed(tmp_path, clock, config, study) -> dict[str, list[bytes]]:
    """What arrives when nothing goes wrong (received at the same moment as the disturbed node's)."""
    began = clock()
    node = QuietNode(tmp_path / "undisturbed", Archive(), clock, config)
    node.receive(study)
    clock.pass_s(30)
    node.step()
    node.step()
    node.close()
    clock.now = began
    assert len(node.archive.received) == 3
    return node.archive.received


POINTS = [
    ("read, nothing entered", StudyBook, "add_instances", True, 1),
    ("instances entered, none moved", StudyBook, "add_instances", False, 1),
    ("some moved out of the inbox", Spool, "admit", False, 3),
    ("planned, no manifest", ManifestStore, "keep", True, 1),
    ("manifest, no ledger row", ManifestStore, "keep", False, 1),
    ("ledger row, study not settled", Ledger, "add", False, 1),
    ("study settled, not rung", StudyBook, "settle", False, 1),
    ("rung, not marked", Ledger, "mark_rung", True, 1),
    ("message taken, no lease", Ledger, "claim", True, 1),
    ("lease, nothing done", Ledger, "claim", False, 1),
    ("measured, nothing written", Outbox, "put", True, 1),
    ("result written, ledger not told", Outbox, "put", False, 1),
    ("about to close the job", Ledger, "finish", True, 1),
    ("job closed, nothing sent", Ledger, "finish", False, 1),
    ("first object sent, not marked", DeliveryBook, "mark", True, 1),
    ("first object marked", DeliveryBook, "mark", False, 1),
    ("second object sent, not marked", DeliveryBook, "mark", True, 2),
    ("all marked", DeliveryBook, "mark", False, 3),
]


@pytest.mark.parametrize(("owner", "method", "before", "call"), [p[1:] for p in POINTS], ids=[p[0] for p in POINTS])
def test_killed_here(quiet_node, study, undisturbed, monkeypatch, owner, method, before, call) -> None:
    quiet_node.receive(study)
    quiet_node.clock.pass_s(30)
    with monkeypatch.context() as patch:
        kill_once(patch, owner, method, before=before, call=call)
        with pytest.raises(Kill):
            quiet_node.steps(4)
    quiet_node.restart()
    quiet_node.settle()
    (line,) = quiet_node.jobs()
    assert line.state == JobState.DONE
    assert line.n_sent == line.n_deliveries == 3
    received = quiet_node.archive.received
    assert received.keys() == undisturbed.keys()
    assert all(len(set(copies)) == 1 for copies in received.values())
    assert sum(len(copies) for copies in received.values()) <= 4  # one object at most went out twice
    assert not list(quiet_node.spool.inbox_folder.iterdir())


def test_a_killed_run_gives_the_same_bytes_as_an_undisturbed_one(quiet_node, study, undisturbed, monkeypatch) -> None:
    quiet_node.receive(study)
    quiet_node.clock.pass_s(30)
    with monkeypatch.context() as patch:
        kill_once(patch, Outbox, "put", before=True)
        with pytest.raises(Kill):
            quiet_node.step()
    quiet_node.restart()
    quiet_node.settle()
    received = {uid: copies[0] for uid, copies in quiet_node.archive.received.items()}
    assert received == {uid: copies[0] for uid, copies in undisturbed.items()}


def test_killed_after_the_manifest_while_more_images_arrive(quiet_node, study, monkeypatch) -> None:
    quiet_node.receive(study[:6])
    quiet_node.clock.pass_s(30)
    with monkeypatch.context() as patch:
        kill_once(patch, ManifestStore, "keep", before=False)
        with pytest.raises(Kill):
            quiet_node.step()
    quiet_node.receive(study)
    quiet_node.restart()
    quiet_node.settle()
    assert [(line.revision, line.n_instances, line.state) for line in quiet_node.jobs()] == [
        (1, 6, JobState.DONE),
        (2, 8, JobState.DONE),
    ]


def test_a_crash_loses_nothing_however_often_it_comes(quiet_node, study, monkeypatch) -> None:
    quiet_node.receive(study)
    quiet_node.clock.pass_s(30)
    for owner, method in ((StudyBook, "settle"), (Ledger, "claim"), (Workshop, "_make_result"), (Ledger, "finish")):
        with monkeypatch.context() as patch:
            kill_once(patch, owner, method, before=False)
            with pytest.raises(Kill):
                quiet_node.steps(4, each_s=40)
        quiet_node.restart()
    quiet_node.settle()
    assert [line.state for line in quiet_node.jobs()] == [JobState.DONE]
    assert all(len(copies) == 1 for copies in quiet_node.archive.received.values())


def test_emptied_broker_loses_nothing(quiet_node, study) -> None:
    quiet_node.receive(study)
    quiet_node.clock.pass_s(30)
    quiet_node.assembler.step()
    quiet_node.reconciler.step()
    assert len(quiet_node.bell.messages) == 1
    quiet_node.bell.messages.clear()
    quiet_node.settle()
    assert len(quiet_node.archive.received) == 3
