"""Retention keeps what has just come again, and removes nothing while the clock cannot be believed."""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest

from node.errors import StorageError
from node.intake.file_meta import decode_file_meta, head_bytes
from node.intake.incoming import Kept
from tests.node.deliver.retention_bench import DAY_S, PACS, Bench
from tests.nodekit.small_study import write_study


def declined(bench: Bench, folder: Path) -> tuple[list[Path], list[Path]]:
    """A study of which two echoes came and were declined long ago; these, and the rest that never came."""
    whole = write_study(folder, 2)
    first = [path for path in whole if path.stem[-2:] in ("00", "01")]
    bench.node.receive(first)
    bench.node.settle()
    bench.node.clock.pass_s(3 * DAY_S)
    assert sum(len(uids) for uids in bench.retention.strays().values()) == 4
    return first, [path for path in whole if path not in first]


def keep(bench: Bench, files: Sequence[Path]) -> list[Kept]:
    """What the listener does with files; what it made young came at the node's time."""
    answers = []
    for file in files:
        data = file.read_bytes()
        meta, offset = decode_file_meta(data[: head_bytes()], file.name)
        there = bench.node.spool.find(meta.sop_instance_uid)
        came_ns = there.stat().st_mtime_ns if there else None
        with bench.node.spool.begin(meta) as incoming:
            incoming.write(data[offset:])
            answers.append(incoming.keep())
        path = bench.node.spool.find(meta.sop_instance_uid)
        if path.stat().st_mtime_ns != came_ns:
            os.utime(path, (bench.node.clock().timestamp(),) * 2)
    return answers


def all_measured(bench: Bench) -> bool:
    bench.node.settle()
    (job,) = [line for line in bench.node.jobs() if line.job_id != bench.job_id]
    return (job.n_instances, bench.spooled()) == (8, 16)


def test_a_study_that_comes_again_after_a_removal_that_was_cut_off_stays(make, tmp_path, monkeypatch) -> None:
    """The ledger is away between the removal of the files and of the rows."""
    bench = make(keep_days=None, keep_declined_days=3)
    first, rest = declined(bench, tmp_path / "two")

    def away(*_: object) -> None:
        raise StorageError("the ledger is away")

    with monkeypatch.context() as broken:
        broken.setattr(bench.node.ledger.removals, "forget", away)
        with pytest.raises(StorageError):
            bench.retention.step()
    assert bench.spooled() == 8
    assert keep(bench, first) == [Kept.STORED] * 4
    bench.node.step()
    bench.retention.step()
    keep(bench, rest)
    assert all_measured(bench)


@pytest.mark.parametrize("moment", ["before the look", "after the files", "after the files, and indexed"])
def test_images_that_come_again_while_retention_looks_stay(make, tmp_path, monkeypatch, moment) -> None:
    bench = make(keep_days=None, keep_declined_days=3)
    first, rest = declined(bench, tmp_path / "two")
    if moment == "before the look":
        strays = bench.node.ledger.removals.strays
        looks: list[list[Kept]] = []

        def strays_then_again(before: datetime) -> dict[str, list[str]]:
            found = strays(before)
            looks.append(keep(bench, first))
            return found

        monkeypatch.setattr(bench.node.ledger.removals, "strays", strays_then_again)
        bench.retention.step()
        assert looks[0] == [Kept.KNOWN] * 4
        monkeypatch.undo()
    else:
        forget = bench.node.ledger.removals.forget

        def again_then_forget(*arguments: object) -> None:
            assert keep(bench, first) == [Kept.STORED] * 4
            if "indexed" in moment:
                bench.node.assembler.step()
            forget(*arguments)

        monkeypatch.setattr(bench.node.ledger.removals, "forget", again_then_forget)
        bench.retention.step()
        monkeypatch.undo()
    keep(bench, rest)
    assert all_measured(bench)


def jump(bench: Bench, seconds: float) -> None:
    bench.node.clock.pass_s(seconds)
    bench.node.jumped_s += seconds


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "with a start in between"])
def test_a_clock_that_jumps_ahead_removes_nothing(make, tmp_path, caplog, restarted) -> None:
    bench = make(keep_days=7, keep_declined_days=7, keep_quarantine_days=7)
    bench.node.dispatcher.deliver_due(PACS)
    bench.node.receive(write_study(tmp_path / "two echoes", 3, echoes=2))
    bench.node.settle()
    path = bench.node.spool.quarantine_folder / "1.2.0123456789abcdef.dcm"
    path.write_bytes(b"x")
    os.utime(path, (bench.node.clock().timestamp(),) * 2)
    assert bench.retention.step() == 0
    for seconds in (31 * DAY_S, -31 * DAY_S):
        jump(bench, seconds)
        if restarted:
            bench.node.restart()
        for _ in range(3):
            bench.retention.step()
            bench.node.clock.pass_s(600)
        if restarted:
            bench.node.restart()  # a second start does not forget
            bench.retention.step()
    assert (bench.spooled(), path.exists(), len(bench.left())) == (12, True, 6)
    assert [r.event for r in caplog.records].count("retention_held") == 2
    for _ in range(7 * 24):
        bench.node.clock.pass_s(3600)
        bench.retention.step()
    assert (bench.spooled(), path.exists(), len(bench.left())) == (0, False, 2), "its time goes on all the same"
