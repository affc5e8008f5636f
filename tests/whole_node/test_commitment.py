"""Orthanc as the archive: storage commitment, reported on an association of its own, and C-FIND for retention."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.config import AllowedPeer, Config, DestinationConfig, ReceiveConfig, RetentionConfig
from node.deliver.commitment import Committer
from node.dimse.scp import Listener
from node.jobs.commitment_files import CommitmentFiles
from node.model import CommitmentState
from node.roles.deliverer import dicom_asker, dicom_finder, sender
from tests.node.deliver.test_dispatch import finish_job, with_sender
from tests.nodekit.quiet_node import Archive, Clock, QuietNode
from tests.whole_node.harness import Orthanc, wait_until

pytestmark = pytest.mark.peer


@pytest.fixture
def node(tmp_path: Path, orthanc: Orthanc) -> Iterator[QuietNode]:
    """A node with one finished job for Orthanc."""
    pacs = DestinationConfig(
        name="pacs", ae_title="PACS", host="127.0.0.1", port=orthanc.dicom_port, commitment=True, retry_base_s=1
    )
    node = QuietNode(tmp_path / "root", Archive(), Clock(), Config(destinations=(pacs,)))
    finish_job(node, tmp_path / "study")
    yield node
    node.close()


@pytest.fixture
def reports(node: QuietNode, orthanc: Orthanc) -> Iterator[CommitmentFiles]:
    """What Orthanc reports to the node's listener."""
    files = CommitmentFiles(node.root)
    receive = ReceiveConfig(host="127.0.0.1", port=0, allow=(AllowedPeer(ae_title="PACS", host="127.0.0.1"),))
    listener = Listener(receive, node.spool, files.keep)
    listener.start()
    orthanc.put("/modalities/node", {"AET": "IRONNODE", "Host": "127.0.0.1", "Port": listener.port})
    yield files
    listener.stop()


def test_what_orthanc_lost_is_sent_again_and_committed(
    node: QuietNode, reports: CommitmentFiles, orthanc: Orthanc
) -> None:
    (pacs,) = node.config.destinations
    dispatcher = with_sender(node, sender(node.config, node.ledger.deliveries))
    committer = Committer(
        book=node.ledger.commitments, files=reports, ask=dicom_asker(node.config, reports.keep, report_wait_s=0),
        clock=node.clock, uniform=lambda low, high: high,
    )  # fmt: skip
    assert dispatcher.deliver_due(pacs) == 3
    lost = orthanc.instances()[0]
    orthanc.delete(f"/instances/{lost['ID']}")

    assert committer.ask_due(pacs) == 3
    wait_until(reports.answers, "Orthanc reports")
    committer.take_answers()
    (job,) = node.jobs()
    states = {c.sop_instance_uid: (c.state, c.last_detail) for c in node.ledger.commitments.of_job(job.job_id)}
    refused = states.pop(lost["MainDicomTags"]["SOPInstanceUID"])
    assert refused == (CommitmentState.DUE, "0112 (no such object instance)")
    assert set(states.values()) == {(CommitmentState.COMMITTED, None)}

    assert dispatcher.deliver_due(pacs) == 1
    assert committer.ask_due(pacs) == 1
    wait_until(reports.answers, "Orthanc reports again")
    committer.take_answers()
    assert {c.state for c in node.ledger.commitments.of_job(job.job_id)} == {CommitmentState.COMMITTED}
    assert len(orthanc.instances()) == 3


def test_files_go_when_orthanc_lists_every_object(node: QuietNode, orthanc: Orthanc) -> None:
    orthanc.put("/modalities/node", {"AET": "IRONNODE", "Host": "127.0.0.1", "Port": 104})  # else it answers no query
    (pacs,) = node.config.destinations
    plain = pacs.model_copy(update={"commitment": False})
    node.config = node.config.model_copy(
        update={"destinations": (plain,), "retention": RetentionConfig.model_validate({"keep_days": 1})}
    )
    assert with_sender(node, sender(node.config, node.ledger.deliveries)).deliver_due(plain) == 3
    lost = orthanc.instances()[0]
    original = orthanc.file(lost["ID"])
    orthanc.delete(f"/instances/{lost['ID']}")
    retention = node.retention(dicom_finder(node.config))
    node.clock.pass_s(86400)
    assert retention.step() == 0
    (job,) = node.jobs()
    assert node.ledger.removals.of_job(job.job_id).detail == "pacs: C-FIND lists 2 of 3 objects"
    orthanc.store(original)
    node.clock.pass_s(3600)
    assert retention.step() == 1
    assert node.ledger.removals.of_job(job.job_id).detail == "pacs: C-FIND lists all 3 objects"
    assert list(node.spool.instances()) == []
