"""The node's test of itself: its result goes to nobody, and a number that moves is an alarm."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import dcmread

from node.config import Config
from node.deliver.outbox import plan_deliveries
from node.intake.headers import SELF_TEST_PATIENT_ID, is_self_test, patient_pseudonym, read_header
from node.jobs.rebuild import rebuild_ledger
from node.jobs.self_tests import SelfTest, SelfTests, Verdict
from node.ops.self_test import judge
from tests.nodekit.quiet_node import QuietNode
from tests.nodekit.small_study import write_study

TEST = SelfTest(
    at=datetime(2026, 11, 1, tzinfo=UTC), verdict=Verdict.FAILED, text="", expected_lic_mg_per_g=4.0,
    settings_digest="s", method_version="2",
)  # fmt: skip


def own_study(folder: Path) -> list[Path]:
    files = write_study(folder, 7)
    for path in files:
        image = dcmread(path)
        image.PatientID = SELF_TEST_PATIENT_ID
        image.save_as(path)
    return files


def test_its_result_is_sent_to_nobody_whatever_happens(
    quiet_node: QuietNode, study: list[Path], tmp_path: Path
) -> None:
    quiet_node.receive([*study, *own_study(tmp_path / "own")])
    quiet_node.settle()
    real, own = sorted(quiet_node.jobs(), key=lambda line: line.self_test)
    assert (real.self_test, own.self_test, own.state) == (False, True, "done")
    sent = {file: list(data) for file, data in quiet_node.archive.received.items()}
    assert sent  # of the real study

    record = quiet_node.outbox.record(own.job_id)
    assert record is not None
    planned = plan_deliveries(record, quiet_node.config.destinations)
    assert planned  # the destination would want them
    book = quiet_node.ledger.deliveries
    book.add(own.job_id, planned, quiet_node.clock())
    book.make_due(own.job_id, quiet_node.clock())
    book.send_again(own.job_id, quiet_node.clock())
    quiet_node.settle()
    assert quiet_node.archive.received == sent

    quiet_node.close()
    for file in quiet_node.root.glob("ledger.sqlite*"):
        file.unlink()
    quiet_node.restart()
    found = rebuild_ledger(
        spool=quiet_node.spool, ledger=quiet_node.ledger, manifests=quiet_node.manifests, outbox=quiet_node.outbox,
        receivers_of=quiet_node.config.receivers_of, now=quiet_node.clock(),
    )  # fmt: skip
    quiet_node.settle()
    assert found
    assert set(quiet_node.archive.received) == set(sent)
    assert all(len(quiet_node.archive.received[uid]) == 2 for uid in sent)  # the real one anew, the own one never


def test_one_image_of_somebody_makes_it_a_patients(tmp_path: Path) -> None:
    own = [read_header(path) for path in own_study(tmp_path / "own")]
    somebody = read_header(write_study(tmp_path / "other")[0])
    assert is_self_test(own)
    assert not is_self_test([*own, somebody])
    assert not is_self_test([replace(own[0], patient_id_hash=patient_pseudonym("HOSPITAL", SELF_TEST_PATIENT_ID))])


@pytest.mark.parametrize(
    ("lic", "before", "verdict", "words"),
    [
        (4.02, [], Verdict.PASSED, "LIC 4.02 mg/g, expected 4.00 (+0.5 %)"),
        (4.3, [], Verdict.DRIFTED, "(+7.5 %)"),
        (4.02, [4.02, 4.0], Verdict.PASSED, "+0.00 % since"),
        (4.06, [4.02, 4.05], Verdict.DRIFTED, "+1.00 % since"),  # little by little, too
        (None, [4.02], Verdict.FAILED, "not measured"),
    ],
)
def test_a_number_that_moves_is_an_alarm(lic: float | None, before: list[float], verdict: Verdict, words: str) -> None:
    earlier = [replace(TEST, lic_mg_per_g=value) for value in before]
    others = [replace(TEST, lic_mg_per_g=1.0, method_version="1"), replace(TEST, lic_mg_per_g=1.0, settings_digest="t")]
    found = judge(replace(TEST, lic_mg_per_g=lic), [*others, *earlier], Config())
    assert found.verdict == verdict
    assert words in found.text


def test_tests_are_kept(tmp_path: Path) -> None:
    tests = SelfTests(tmp_path)
    assert tests.latest() is None
    for number in range(3):
        tests.add(replace(TEST, text=str(number), lic_mg_per_g=4.0))
    assert [test.text for test in SelfTests(tmp_path).all()] == ["0", "1", "2"]
    assert tests.latest() == replace(TEST, text="2", lic_mg_per_g=4.0)
    (tmp_path / "selftests.json").write_text("{")
    assert tests.all() == []
