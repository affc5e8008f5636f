"""The audit trail: every audited event has its line, and no edit goes unnoticed."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli import cli
from node.jobs.manifest import JobManifest, ManifestStore
from node.ops.audit import AuditHandler, AuditTrail, Noted
from node.ops.events import Event, emit
from tests.loopback.callers import eventually

TIME = "2026-01-02T03:04:05.678+00:00"


@pytest.fixture
def trail(tmp_path: Path) -> AuditTrail:
    trail = AuditTrail(tmp_path)
    for number in range(1, 6):
        trail.append(Noted("job_done", TIME, {"job_id": f"{number:032x}", "outcome": "measured", "ports": {"web": 1}}))
    return trail


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[AuditTrail]:
    """Events of this process go to a trail."""
    trail = AuditTrail(tmp_path)
    handler = AuditHandler(trail)
    logger = logging.getLogger("ironnode")
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield trail
    logger.removeHandler(handler)
    handler.close()
    logger.setLevel(before)


def lines_of(trail: AuditTrail) -> list[bytes]:
    return trail.path.read_bytes().splitlines(keepends=True)


def test_a_trail_that_was_left_alone_is_as_it_was_written(trail: AuditTrail, tmp_path: Path) -> None:
    found = trail.verify()
    assert (found.entries, found.broken) == (5, None)
    assert trail.holds(found.head)
    assert [entry.number for entry in trail.after(0)] == [1, 2, 3, 4, 5]
    third = list(trail.after(0))[2]
    assert [entry.number for entry in trail.after(third.end)] == [4, 5]
    assert AuditTrail(tmp_path / "new").verify().broken is None


def changed(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b"measured", b"declined"), *lines[3:]]


def changed_with_its_hash(lines: list[bytes]) -> list[bytes]:
    """The forger computes the line's own hash anew, and leaves the next line alone."""
    from node.ops.audit import _digest

    body = json.loads(lines[2])
    body.pop("hash")
    body["fields"]["outcome"] = "declined"
    return [*lines[:2], json.dumps({**body, "hash": _digest(body)}).encode() + b"\n", *lines[3:]]


EDITS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "changed": (changed, "line 3: its content was changed"),
    "changed with its hash": (changed_with_its_hash, "line 4: it does not follow"),
    "taken out": (lambda lines: lines[:1] + lines[2:], "line 2: it does not follow"),
    "put in": (lambda lines: [*lines[:2], lines[1], *lines[2:]], "line 3: it does not follow"),
    "exchanged": (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "line 2: it does not follow"),
    "cut off": (lambda lines: lines[:3], "2 lines are missing at the end"),
    "emptied": (lambda lines: [], "5 lines are missing at the end"),
    "a key twice": (
        lambda lines: [lines[0].replace(b'{"n"', b'{"event": "forged", "n"'), *lines[1:]],
        "line 1: its content was changed",
    ),
    "blanks": (lambda lines: [lines[0].replace(b'": ', b'":  '), *lines[1:]], "line 1: its content was changed"),
    "nonsense": (lambda lines: [b"nonsense\n", *lines[1:]], "line 1: it is no line of the trail"),
}


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_is_found(trail: AuditTrail, name: str) -> None:
    edit, expected = EDITS[name]
    trail.path.write_bytes(b"".join(edit(lines_of(trail))))
    assert expected in str(trail.verify().broken)
    trail.append(Noted("job_done", TIME, {}))  # what comes after does not heal it
    assert trail.verify().broken is not None


def test_nothing_that_a_line_holds_ends_the_check_or_the_writing(trail: AuditTrail) -> None:
    deep = b"[" * 20_000 + b"\n"  # deeper than the reader follows
    lines = lines_of(trail)
    trail.path.write_bytes(b"".join([*lines[:2], deep, *lines[3:]]))
    assert trail.verify().broken == "line 3: it is no line of the trail"
    trail.path.write_bytes(b"".join([*lines[:4], deep]))
    trail.append(Noted("job_done", TIME, {"job_id": "later"}))
    assert [entry.fields for entry in trail.after(0)][-1] == {"job_id": "later"}
    trail.path.with_name("head.json").write_bytes(deep)
    trail.path.write_bytes(b"".join(lines))
    assert trail.verify().broken == "audit/head.json is damaged"


def test_a_lost_or_foreign_head_is_found(trail: AuditTrail) -> None:
    head = trail.path.with_name("head.json")
    head.write_text(json.dumps({"n": 5, "hash": "f" * 64}))
    assert "does not name line 5" in str(trail.verify().broken)
    for damaged in ("{", json.dumps({"n": -5, "hash": "f" * 64})):
        head.write_text(damaged)
        assert "damaged" in str(trail.verify().broken)
    head.unlink()
    assert "is gone" in str(trail.verify().broken)


def test_the_command_tells_a_trail_that_was_made_anew(trail: AuditTrail, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"storage: {{root: {tmp_path}}}\n")
    words = ["audit", "verify", "--config", str(config)]
    good = CliRunner().invoke(cli, words)
    assert (good.exit_code, "5 entries" in good.output) == (0, True)
    noted = trail.verify().head
    trail.append(Noted("job_done", TIME, {}))
    assert CliRunner().invoke(cli, [*words, "--head", f" {noted.upper()}"]).exit_code == 0
    half = CliRunner().invoke(cli, [*words, "--head", noted[:12]])
    assert (half.exit_code, "give the whole one" in half.output) == (2, True)
    for path in (trail.path, trail.path.with_name("head.json")):
        path.unlink()
    trail.append(Noted("job_done", TIME, {"job_id": "forged"}))
    assert CliRunner().invoke(cli, words).exit_code == 0
    anew = CliRunner().invoke(cli, [*words, "--head", noted])
    assert (anew.exit_code, "made anew" in anew.output) == (3, True)


def keep_job(root: Path, accepted_at: datetime) -> str:
    """A job that is on the disk; its id."""
    manifest = JobManifest(
        job_id="a" * 32, acquisition_key="k", study_instance_uid="1.2", sop_instance_uids=("1.2.3",),
        accepted_at=accepted_at, revision=1, predecessor_job_id=None, missing=(), method_version="1",
        settings_digest="d",
    )  # fmt: skip
    ManifestStore(root / "jobs").keep(manifest)
    return manifest.job_id


def test_the_command_tells_a_trail_that_begins_after_the_first_job(trail: AuditTrail, tmp_path: Path) -> None:
    """Trail and head removed together leave a whole chain, of fewer lines, or of none."""
    config = tmp_path / "config.yaml"
    config.write_text(f"storage: {{root: {tmp_path}}}\n")
    accepted_at = datetime.fromisoformat(TIME) + timedelta(minutes=1)
    keep_job(tmp_path, accepted_at)
    words = ["audit", "verify", "--config", str(config)]
    assert CliRunner().invoke(cli, words).exit_code == 0
    damaged = tmp_path / "jobs" / "b.json"
    damaged.write_text("{")
    beside = CliRunner().invoke(cli, words)
    assert (beside.exit_code, "5 entries" in beside.output, "not compared" in beside.output) == (0, True, True)
    damaged.unlink()
    for path in (trail.path, trail.path.with_name("head.json")):
        path.unlink()
    gone = CliRunner().invoke(cli, words)
    assert (gone.exit_code, "the trail is gone" in gone.output) == (3, True)
    trail.append(Noted("job_done", (accepted_at + timedelta(hours=2)).isoformat(), {}))
    late = CliRunner().invoke(cli, words)
    assert (late.exit_code, "the trail begins at" in late.output) == (3, True)


@pytest.mark.parametrize(
    ("name", "job_id", "after", "as_written"),
    [
        ("job_accepted", "a" * 32, timedelta(0), True),
        ("job_accepted", "b" * 32, timedelta(0), False),
        ("job_done", "a" * 32, timedelta(0), False),
        ("job_accepted", "a" * 32, timedelta(hours=6), False),  # once more, when ledger and trail were lost together
    ],
)
def test_a_trail_that_a_clock_began_that_was_ahead_is_told_from_one_that_was_made_anew(
    tmp_path: Path, name: str, job_id: str, after: timedelta, as_written: bool
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"storage: {{root: {tmp_path}}}\n")
    accepted_at = datetime.fromisoformat(TIME)
    assert keep_job(tmp_path, accepted_at) == "a" * 32
    trail = AuditTrail(tmp_path)
    trail.append(Noted("node_started", (accepted_at + timedelta(hours=5)).isoformat(), {}))
    trail.append(Noted(name, (accepted_at + after).isoformat(), {"job_id": job_id}))
    found = CliRunner().invoke(cli, ["audit", "verify", "--config", str(config)])
    assert found.exit_code == (0 if as_written else 3), found.output
    assert ("by a clock that was ahead" in found.output) == as_written


def test_a_line_that_a_crash_cut_off_is_replaced_and_told(trail: AuditTrail) -> None:
    with trail.path.open("ab") as file:
        file.write(b'{"n": 6, "time": ')
    assert trail.verify().broken is None  # it was never reported as written
    trail.append(Noted("job_done", TIME, {}))
    assert trail.verify().broken is None
    assert [(e.number, e.event) for e in trail.after(0)][-2:] == [(6, "audit_torn"), (7, "job_done")]


@pytest.mark.parametrize("lines", [1, 3])
def test_a_crash_between_lines_and_head_is_no_edit(trail: AuditTrail, lines: int) -> None:
    head = trail.path.with_name("head.json")
    before = head.read_text()
    trail.append(*[Noted("job_done", TIME, {})] * lines)
    head.write_text(before)
    assert trail.verify().broken is None


def test_several_processes_make_one_chain(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from node.ops.audit import AuditTrail, Noted\n"
        "trail = AuditTrail(Path(sys.argv[1]))\n"
        "for n in range(60): trail.append(Noted('job_done', '2026-01-01', {'n': n, 'by': sys.argv[2]}))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name]) for name in "abc"]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    found = AuditTrail(tmp_path).verify()
    assert (found.entries, found.broken) == (180, None)


def test_audited_events_are_written_and_others_are_not(audited: AuditTrail) -> None:
    emit(Event.JOB_ACCEPTED, job_id="a", study_instance_uid="1.2.3", missing=("x",), folder=Path("/x"))
    emit(Event.BROKER_AWAY, error="x")
    eventually(lambda: bool(list(audited.after(0))))
    (entry,) = audited.after(0)
    assert (entry.event, entry.fields["study_instance_uid"], entry.fields["missing"]) == (
        "job_accepted",
        "1.2.3",
        ["x"],
    )
    assert audited.verify().broken is None


def test_what_the_disk_refuses_is_written_with_the_next(
    audited: AuditTrail, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "audit").write_text("a file where the folder should be")
    emit(Event.JOB_ACCEPTED, job_id="a")
    eventually(lambda: {r.event for r in caplog.records} == {"job_accepted", "audit_failed"})
    (tmp_path / "audit").unlink()
    emit(Event.JOB_DONE, job_id="a")
    eventually(lambda: [entry.event for entry in audited.after(0)] == ["job_accepted", "job_done"])
    assert [r.event for r in caplog.records].count("audit_failed") == 1


def test_what_is_too_much_to_wait_is_counted(
    audited: AuditTrail, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.ops.audit._MOST_WAITING", 3)
    (tmp_path / "audit").write_text("a file where the folder should be")
    for number in range(5):
        emit(Event.JOB_DONE, job_id=str(number))
    eventually(lambda: "audit_failed" in {r.event for r in caplog.records})
    (tmp_path / "audit").unlink()
    eventually(lambda: len(list(audited.after(0))) == 4)
    first, *others = audited.after(0)
    assert (first.event, first.fields) == ("audit_lost", {"events": 2})
    assert [entry.fields["job_id"] for entry in others] == ["2", "3", "4"]
    assert audited.verify().broken is None


def test_a_forked_process_writes_its_own_events_only(audited: AuditTrail) -> None:
    """Celery's pool forks after the trail was attached."""
    emit(Event.JOB_ACCEPTED, job_id="parent")
    eventually(lambda: len(list(audited.after(0))) == 1)
    program = (
        "import logging, os, sys; from pathlib import Path\n"
        "from node.ops.audit import audit_events; from node.ops.events import Event, emit\n"
        "logging.getLogger('ironnode').setLevel(logging.INFO); audit_events(Path(sys.argv[1]))\n"
        "emit(Event.JOB_ACCEPTED, job_id='a')\n"
        "child = os.fork()\n"
        "emit(Event.JOB_DONE, job_id='child' if child == 0 else 'a')\n"
        "if child: os.waitpid(child, 0)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(audited.path.parents[1])], check=True, timeout=60)
    assert sorted((e.event, e.fields["job_id"]) for e in audited.after(0)) == [
        ("job_accepted", "a"), ("job_accepted", "parent"), ("job_done", "a"), ("job_done", "child"),
    ]  # fmt: skip
    assert audited.verify().broken is None
