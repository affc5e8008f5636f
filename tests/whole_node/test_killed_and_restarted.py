"""SIGKILL at bad moments: whatever was acknowledged is delivered exactly once after the restart."""

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from tests.whole_node.harness import Orthanc, wait_until
from tests.whole_node.test_the_whole_way import MakeNode, Push, delivered, pacs_destination, sent_uids

pytestmark = [pytest.mark.whole_node, pytest.mark.peer]


def test_whole_tree_killed_while_receiving(
    make_node: MakeNode, orthanc: Orthanc, storescu: Push, phantom_files: Callable[..., list[Path]]
) -> None:
    node = make_node(destinations=[pacs_destination(orthanc)])
    files = phantom_files(slices=6)
    answers: list[subprocess.CompletedProcess[str]] = []
    sender = threading.Thread(target=lambda: answers.append(storescu(node.port, files, "-v")))
    sender.start()
    spool = node.root / "data" / "spool"
    wait_until(lambda: sum(1 for _ in spool.rglob("*.dcm")) >= 10, "ten instances are stored")
    node.kill_tree()
    sender.join(60)
    acknowledged = answers[0].stdout.count("Received Store Response (Success)") + answers[0].stderr.count(
        "Received Store Response (Success)"
    )
    kept = {pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID for f in spool.rglob("*.dcm")}
    assert len(kept) >= acknowledged
    assert answers[0].returncode != 0, "the push should have been cut off; make it longer"

    for ready_file in (node.root / "data" / "run").glob("*.json"):
        ready_file.write_bytes(b"")  # a loss of power leaves these so
    node.start()
    assert storescu(node.port, files).returncode == 0
    record = delivered(node, orthanc)
    assert record["status"] == "measured"


def test_ledger_lost_is_rebuilt_and_nothing_is_sent_as_new(
    make_node: MakeNode, orthanc: Orthanc, storescu: Push, phantom_files: Callable[..., list[Path]]
) -> None:
    node = make_node(destinations=[pacs_destination(orthanc)])
    assert storescu(node.port, phantom_files()).returncode == 0
    record = delivered(node, orthanc)
    before = node.jobs()
    node.stop()
    for file in (node.root / "data").glob("ledger.sqlite*"):
        file.unlink()
    answer = node.command("rebuild")
    assert answer.returncode == 0, answer.stderr
    node.start()
    after = wait_until(lambda: [j for j in node.jobs() if j["state"] == "done"], "the job is known again")
    assert [j["job_id"] for j in after] == [j["job_id"] for j in before]

    def all_sent() -> bool:
        deliveries = node.deliveries(before[0]["job_id"])
        return bool(deliveries) and all(d["state"] == "sent" for d in deliveries)

    wait_until(all_sent, "everything is sent again under the same identifiers")
    assert orthanc.sop_uids() == sent_uids(record)
