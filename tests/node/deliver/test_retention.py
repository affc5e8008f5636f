"""Retention: what goes needs its time and its proof, what is gone is said, and a crash in between changes nothing."""

import json
import os
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import select

from node.app import open_node
from node.config import Config, Hl7Receiver, RetentionConfig
from node.deliver import retention as retention_module
from node.errors import InputError, PeerError, StorageError
from node.jobs import schema
from node.jobs.deliveries import PlannedDelivery
from node.jobs.rebuild import rebuild_ledger
from node.model import CommitmentReport, JobState, RemovalState, SopReference, StoreStatus
from tests.node.deliver.retention_bench import DAY_S, PACS, Bench
from tests.node.deliver.test_dispatch import finish_job
from tests.node.jobs.test_self_test import own_study
from tests.nodekit.small_study import write_study


def test_files_go_after_their_time_when_the_archive_lists_every_object(make) -> None:
    bench = make()
    assert bench.node.dispatcher.deliver_due(PACS) == 3
    bench.node.clock.pass_s(7 * DAY_S - 1)
    assert (bench.retention.step(), bench.asked, bench.is_whole()) == (0, [], True)
    bench.node.clock.pass_s(1)
    assert bench.retention.step() == 1
    assert bench.asked == [sorted(f"{uid}.1" for uid in bench.node.archive.received)]
    assert (bench.spooled(), bench.left()) == (0, {"result.json", "removed.txt"})
    removal = bench.removal()
    assert (removal.state, removal.detail) == (RemovalState.REMOVED, "pacs: C-FIND lists all 3 objects")
    assert removal.freed_bytes > 8 * 128
    assert bench.retention.step() == 0


def test_files_of_a_self_test_go_after_their_time_though_it_is_sent_to_nobody(make, tmp_path) -> None:
    bench = make()
    bench.node.receive(own_study(tmp_path / "own"))
    bench.node.settle()
    own = next(line for line in bench.node.jobs() if line.self_test)
    assert bench.spooled() == 16
    bench.node.clock.pass_s(7 * DAY_S)
    bench.listed = frozenset  # nothing is proved for the other job
    assert (bench.retention.step(), bench.spooled()) == (1, 8)
    removal = bench.node.ledger.removals.of_job(own.job_id)
    assert (removal.state, removal.detail) == (RemovalState.REMOVED, "to nobody, it is a self-test")


def test_a_receiver_of_messages_neither_proves_nor_hinders(make) -> None:
    bench = make()
    ris = Hl7Receiver(name="ris", kind="hl7", host="127.0.0.1", port=1)
    bench.node.config = bench.node.config.model_copy(update={"messages": (ris,)})
    (first, *_) = bench.node.ledger.deliveries.of_job(bench.job_id)
    message = PlannedDelivery(
        destination="ris", sop_instance_uid=first.sop_instance_uid, role="sr", file=first.file, position=0
    )
    bench.node.ledger.deliveries.add(bench.job_id, [message], bench.node.clock())
    assert bench.node.dispatcher.deliver_due(ris) == 1
    bench.node.archive.received.clear()
    assert bench.node.dispatcher.deliver_due(PACS) == 3
    bench.node.clock.pass_s(7 * DAY_S)
    assert bench.retention.step() == 1
    assert bench.removal().detail == "pacs: C-FIND lists all 3 objects"


def test_nothing_goes_by_default_and_nothing_that_is_not_delivered(make) -> None:
    bench = make(keep_days=0)
    bench.node.clock.pass_s(1000 * DAY_S)
    assert (bench.retention.step(), bench.is_whole()) == (0, True)  # nothing was sent yet
    bench.node.archive.refuse = lambda path: StoreStatus.FAILED if path.name == "1.dcm" else None
    assert bench.node.dispatcher.deliver_due(PACS) == 2
    assert (bench.retention.step(), bench.is_whole(), bench.removal()) == (0, True, None)
    bench.node.archive.refuse = lambda path: StoreStatus.NO_CONTEXT
    bench.node.clock.pass_s(DAY_S)
    bench.node.dispatcher.deliver_due(PACS)
    bench.node.config = Config(storage=bench.node.config.storage, destinations=(PACS,))
    bench.node.clock.pass_s(1000 * DAY_S)
    assert (bench.retention.step(), bench.is_whole()) == (0, True)


def lists_two(bench: Bench) -> frozenset[str]:
    return frozenset(sorted(bench.node.archive.received)[:2])


def cannot(bench: Bench) -> frozenset[str]:
    raise PeerError("PACS: does not offer C-FIND (Study Root)")


@pytest.mark.parametrize(
    ("answer", "missing"),
    [(lists_two, "pacs: C-FIND lists 2 of 3 objects"), (cannot, "pacs: PACS: does not offer C-FIND (Study Root)")],
)
def test_without_proof_files_stay_and_it_is_said_once_an_hour_is_asked_again(make, answer, missing, caplog) -> None:
    bench = make()
    bench.node.dispatcher.deliver_due(PACS)
    bench.listed = lambda: answer(bench)
    bench.node.clock.pass_s(7 * DAY_S)
    assert bench.retention.outlooks() == {bench.job_id: (True, "pacs: to be asked by C-FIND")}
    with caplog.at_level("INFO", logger="ironnode"):
        for _ in range(3):
            assert bench.retention.step() == 0
        bench.node.clock.pass_s(3600)
        assert bench.retention.step() == 0
    assert (len(bench.asked), bench.is_whole(), bench.removal().detail) == (2, True, missing)
    assert [r.message for r in caplog.records] == ["files_kept"]
    assert bench.node.ledger.removals.counts().last_detail == missing
    assert bench.retention.outlooks() == {bench.job_id: (False, missing)}  # also while nobody looks again
    assert bench.node.ledger.deliveries.send_again(bench.job_id, bench.node.clock()) == 3  # nothing is gone yet
    bench.node.dispatcher.deliver_due(PACS)
    bench.listed = lambda: frozenset(bench.node.archive.received)
    bench.node.clock.pass_s(7 * DAY_S)
    assert bench.retention.step() == 1


def test_a_destination_that_commits_must_have_committed_whatever_the_site_waives(make) -> None:
    bench = make(delete_without_proof=True)
    committing = PACS.model_copy(update={"commitment": True})
    bench.node.config = bench.node.config.model_copy(update={"destinations": (committing,)})
    bench.node.dispatcher.deliver_due(committing)
    book, now = bench.node.ledger.commitments, bench.node.clock.pass_s(7 * DAY_S)
    asked = book.due("pacs", now, 9)
    book.mark_asked("pacs", asked, "1.2.3", now, now)
    assert (bench.retention.step(), bench.removal().detail) == (0, "pacs: committed to 0 of 3 objects")
    kept: frozenset[SopReference] = frozenset(d.reference for d in asked)
    book.enter(CommitmentReport(transaction_uid="1.2.3", ae_title="PACS", committed=kept, failed={}), now)
    bench.node.clock.pass_s(3600)
    assert bench.retention.step() == 1
    assert (bench.asked, bench.removal().detail) == ([], "pacs: storage commitment of 3 objects")


def test_the_site_may_do_without_proof_and_a_lost_destination_cannot_be_asked(make) -> None:
    bench = make()
    bench.node.dispatcher.deliver_due(PACS)
    bench.node.clock.pass_s(7 * DAY_S)
    bench.node.config = bench.node.config.model_copy(update={"destinations": ()})
    assert bench.retention.step() == 0
    assert bench.removal().detail == "pacs: no longer configured, so it cannot be asked"
    waived = bench.node.config.retention.model_copy(update={"delete_without_proof": True})
    bench.node.config = bench.node.config.model_copy(update={"retention": waived})
    bench.node.clock.pass_s(3600)
    assert bench.retention.step() == 1
    assert bench.removal().detail == "pacs: 3 objects sent, no proof wanted by the site"


def removed(make: Callable[..., Bench]) -> Bench:
    bench = make()
    bench.node.dispatcher.deliver_due(PACS)
    bench.node.clock.pass_s(7 * DAY_S)
    assert bench.retention.step() == 1
    return bench


def test_what_is_gone_is_said_plainly_and_not_sent(make) -> None:
    bench = removed(make)
    with open_node(bench.node.config) as node:
        for ask in (node.send_again, node.retry):
            with pytest.raises(InputError, match=r"result objects were removed by retention on 20.*study sent again"):
                ask(bench.job_id)
        with pytest.raises(InputError, match="images of it were removed by retention"):
            node.measure_again(bench.job_id)
        assert node.show(bench.job_id).removal.text.startswith("Its images and result objects were removed")
        assert node.status().retention.removed == 1
        assert node.show(bench.job_id).record["status"] == "measured"
    assert bench.node.ledger.deliveries.due_destinations(bench.node.clock()) == []


def test_a_late_image_of_a_removed_acquisition_parks_its_job_with_the_reason(make, tmp_path) -> None:
    bench = removed(make)
    bench.node.receive(write_study(tmp_path / "more", slices=3)[8:])
    bench.node.clock.pass_s(30)
    bench.node.step()
    (late,) = [job for job in bench.node.jobs() if job.revision == 2]
    assert late.state == JobState.PARKED
    assert "removed by retention" in late.error
    bench.node.receive(write_study(tmp_path / "again"))
    bench.node.step()
    assert bench.removal().state == RemovalState.RETURNED
    assert bench.node.ledger.requeue(late.job_id, bench.node.clock(), bench.node.config.method_digest())
    bench.node.settle()
    assert {job.state for job in bench.node.jobs()} == {JobState.DONE}


def test_images_that_another_job_needs_stay(make, tmp_path) -> None:
    bench = make()
    bench.node.dispatcher.deliver_due(PACS)
    bench.node.receive(write_study(tmp_path / "more", slices=3)[8:])
    bench.node.clock.pass_s(30)
    bench.node.assembler.step()
    (waiting,) = [job for job in bench.node.jobs() if job.state == JobState.QUEUED]
    bench.node.clock.pass_s(7 * DAY_S)
    assert bench.retention.step() == 1
    assert (bench.spooled(), bench.left()) == (12, {"result.json", "removed.txt"})
    assert bench.node.workshop.do(waiting.job_id, "late") == JobState.DONE
    bench.node.dispatcher.deliver_due(PACS)
    bench.node.clock.pass_s(7 * DAY_S)
    assert (bench.retention.step(), bench.spooled()) == (1, 0)


def test_images_that_came_again_go_again_after_their_time(make) -> None:
    bench = removed(make)
    bench.node.receive(write_study(bench.study))
    bench.node.step()
    assert (bench.spooled(), bench.removal().state) == (8, RemovalState.RETURNED)
    bench.node.clock.pass_s(7 * DAY_S - 1)
    assert bench.retention.step() == 0
    bench.node.clock.pass_s(1)
    assert (bench.retention.step(), bench.spooled()) == (1, 0)


@pytest.mark.parametrize("part", ["strip", "remove", "done"])
def test_a_crash_while_files_go_is_finished_by_the_next_look(make, part, monkeypatch) -> None:
    bench = make()
    bench.node.dispatcher.deliver_due(PACS)
    bench.node.clock.pass_s(7 * DAY_S)
    owner = {"strip": bench.node.outbox, "remove": bench.node.spool, "done": bench.node.ledger.removals}[part]

    def killed(*_: object) -> int:
        raise StorageError("as if killed here")

    monkeypatch.setattr(owner, part, killed)
    with pytest.raises(StorageError, match="as if killed"):
        bench.retention.step()
    monkeypatch.undo()
    assert bench.removal().state == RemovalState.MARKED
    bench.node.restart()
    with pytest.raises(InputError, match="removed by retention"):
        bench.node.ledger.deliveries.send_again(bench.job_id, bench.node.clock())
    bench.retention.step()
    assert (bench.spooled(), bench.left()) == (0, {"result.json", "removed.txt"})
    assert bench.removal().state == RemovalState.REMOVED


def test_a_rebuilt_ledger_knows_what_was_removed_and_sends_nothing(make) -> None:
    bench = removed(make)
    bench.node.close()
    for file in bench.node.root.glob("ledger.sqlite*"):
        file.unlink()
    bench.node._wire()
    rebuild_ledger(
        spool=bench.node.spool, ledger=bench.node.ledger, manifests=bench.node.manifests, outbox=bench.node.outbox,
        receivers_of=bench.node.config.receivers_of, now=bench.node.clock(),
    )  # fmt: skip
    assert bench.removal().detail == "pacs: C-FIND lists all 3 objects"
    bench.node.settle()
    (job,) = bench.node.jobs()
    assert (job.state, job.n_deliveries, bench.removal().state) == (JobState.DONE, 0, RemovalState.REMOVED)


def test_refused_jobs_and_images_of_no_job_have_times_of_their_own(make, tmp_path) -> None:
    bench = make(keep_days=None, keep_refused_days=2, keep_declined_days=3)

    def refuse(job) -> object:
        output = fast(job)
        record = {**output.record, "status": "not_measurable"}
        return type(output)(record=record, files={**output.files, "result.json": json.dumps(record).encode()})

    fast, bench.node.run = bench.node.run, refuse
    refused = finish_job(bench.node, tmp_path / "second", 2)
    bench.node.receive(write_study(tmp_path / "two echoes", 3, echoes=2))  # declined
    bench.node.settle()
    before = bench.spooled()
    bench.node.clock.pass_s(2 * DAY_S)
    assert bench.retention.step() == 1
    assert bench.node.ledger.removals.of_job(refused).state == RemovalState.REMOVED
    assert bench.spooled() == before - 8
    bench.node.clock.pass_s(DAY_S)
    bench.retention.step()
    assert bench.node.ledger.studies.headers("1.2.826.0.1.3680043.10.999.3") == []
    assert bench.is_whole()


def test_what_is_set_apart_goes_after_its_own_time_and_is_counted_first(make, caplog, monkeypatch) -> None:
    caplog.set_level("INFO", "ironnode")
    bench = make(keep_days=None, keep_quarantine_days=30)
    spool, now_s = bench.node.spool, bench.node.clock().timestamp()
    for folder, ages in ((spool.quarantine_folder, (31, 29)), (spool.unreadable_folder, (40, 31))):
        for number, days in enumerate(ages):
            path = folder / f"1.2.{number}.0123456789abcdef.dcm"
            path.write_bytes(bytes(100))
            os.utime(path, (now_s - days * DAY_S,) * 2)

    def cut_off(*_: object) -> None:
        raise StorageError("the disk is away")

    with monkeypatch.context() as broken:
        broken.setattr(retention_module, "remove_set_apart", cut_off)
        with pytest.raises(StorageError):
            bench.retention.step()
    numbers = {"quarantine": 1, "unreadable": 2, "freed_bytes": 300}
    assert told(bench) == [numbers]
    assert bench.retention.step() == 0
    assert told(bench) == [numbers, numbers]
    assert [r.fields for r in caplog.records if r.event == "set_apart_removed"] == [numbers]
    assert [path.name for path in spool.quarantine_folder.iterdir()] == ["1.2.1.0123456789abcdef.dcm"]
    assert list(spool.unreadable_folder.iterdir()) == []
    bench.node.clock.pass_s(400 * DAY_S)
    kept = replace(bench.retention, config=RetentionConfig())  # the default: nothing goes
    assert (kept.step(), len(list(spool.quarantine_folder.iterdir()))) == (0, 1)


def told(bench: Bench) -> list[dict[str, int]]:
    """The numbers of what was set apart and went, from the ledger's history."""
    with bench.node.ledger.database.reading() as connection:
        query = select(schema.event.c.fields).where(schema.event.c.name == "set_apart_removed")
        return list(connection.scalars(query))


def test_a_result_that_nobody_reads_is_kept(make) -> None:
    """Of the three objects the archive takes the maps, and no report: `ironnode retry` must find it."""
    bench = make(keep_days=0)
    bench.node.archive.refuse = lambda path: StoreStatus.NO_CONTEXT if path.name == "2.dcm" else None  # the report
    assert bench.node.dispatcher.deliver_due(PACS) == 2
    bench.node.clock.pass_s(DAY_S)
    assert bench.retention.step() == 0
    removal = bench.removal()
    assert removal is not None
    assert (removal.state, "nobody reads the result" in removal.detail) == (RemovalState.UNPROVED, True)
    assert bench.is_whole()
    no_report = replace(bench.retention, destinations=(PACS.model_copy(update={"objects": ("map",)}),))
    bench.node.clock.pass_s(3600)
    assert no_report.step() == 1, "the site wants neither page nor report there"
