"""Rejection notes to archives that, as dcm4chee does, refuse one that names what they do not hold."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage

from node.config import Config, DestinationConfig
from node.deliver.outbox import DIGESTS_FILE
from node.jobs.overview import Overview
from node.model import DeliveryState, EarlierResult, JobInput, PipelineOutput, StoreStatus
from quant.result import ResultObject
from sr_templates.predecessor import rejected_uids
from tests.nodekit.fast_node import make_result
from tests.nodekit.quiet_node import Archive, Clock, QuietNode
from tests.nodekit.small_study import write_study

PACS = DestinationConfig(name="pacs", ae_title="PACS", host="127.0.0.1", port=104, objects=("map", "sr", "rejection"))


class StrictArchive(Archive):
    """Refuses a rejection note that comes before what it names; ``refuse`` is asked first."""

    def __init__(self) -> None:
        super().__init__()
        self.also: dict[str, StoreStatus] = {}
        self.early: list[str] = []
        self.refuse = self._judge

    def _judge(self, path: Path) -> StoreStatus | None:
        ds = dcmread(path)
        if "CurrentRequestedProcedureEvidenceSequence" in ds and not rejected_uids(ds) <= set(self.received):
            self.early.append(path.name)
            return StoreStatus.FAILED
        return self.also.get(ds.SeriesDescription)


def with_notes(job: JobInput) -> PipelineOutput:
    """The tests' result with a note for each object that it replaces, and one for a kind that nobody was sent."""
    output = make_result(job)
    files, objects = dict(output.files), list(output.record["objects"])
    for earlier in job.replaces:
        pdf = ResultObject(role="pdf", sop_class_uid="1", sop_instance_uid="2.1", file="")
        rejected = [*earlier_objects(earlier), pdf]
        for item in rejected:
            name = f"dicom/note-{len(files)}.dcm"
            files[name], uid = note(job, item.sop_instance_uid, len(files))
            objects.append(
                {"role": "rejection", "sop_class_uid": KeyObjectSelectionDocumentStorage, "sop_instance_uid": uid,
                 "file": name}
            )  # fmt: skip
    record = output.record | {"objects": objects}
    return PipelineOutput(record=record, files=files | {"result.json": json.dumps(record).encode()})


def earlier_objects(earlier: EarlierResult) -> list[ResultObject]:
    return [item for item in earlier.objects if item.role != "rejection"]


def note(job: JobInput, rejected: str, number: int) -> tuple[bytes, str]:
    """A note on one object, as bytes, and its SOP Instance UID."""
    ds, study, series, item = (Dataset() for _ in range(4))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = KeyObjectSelectionDocumentStorage, f"2.25.{int(job.job_id, 16)}.{number}"[:64]
    ds.SeriesDescription = "note"
    item.ReferencedSOPInstanceUID = rejected
    series.ReferencedSOPSequence, study.ReferencedSeriesSequence = [item], [series]
    ds.CurrentRequestedProcedureEvidenceSequence = [study]
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue(), ds.SOPInstanceUID


@pytest.fixture
def node(tmp_path: Path) -> Iterator[QuietNode]:
    node = QuietNode(tmp_path / "root", StrictArchive(), Clock(), Config(destinations=(PACS,)))
    node.run = with_notes
    yield node
    node.close()


def rounds(node: QuietNode, number: int) -> None:
    for _ in range(number):
        node.clock.pass_s(PACS.retry_max_s)
        node.dispatcher.deliver_due(PACS)


def notes(node: QuietNode, job_id: str) -> list[DeliveryState]:
    return [d.state for d in node.ledger.deliveries.of_job(job_id) if d.role == "rejection"]


def test_notes_come_after_what_they_name_and_never_for_what_was_not_sent(node: QuietNode, tmp_path: Path) -> None:
    images = write_study(tmp_path / "study")
    first = node.measured(images[:-1])
    assert isinstance(node.archive, StrictArchive)
    node.archive.also = {"map.lic": StoreStatus.FAILED, "sr": StoreStatus.NO_CONTEXT}
    rounds(node, 2)
    second = node.measured(images[-1:])
    rounds(node, 2)
    # The note on the map that is refused waits, and so does that on the kind which may still take another's place.
    sent, pending = DeliveryState.SENT, DeliveryState.PENDING
    assert notes(node, second) == [sent, pending, pending, pending]
    waiting = [d for d in node.ledger.deliveries.of_job(second) if d.state == pending and d.role == "rejection"]
    assert {(d.attempts, d.last_detail) for d in waiting} == {(0, "waits until what it takes back is there")}
    trail = [line.name for line in Overview(node.ledger.database).trail(second)]
    assert "delivery_superseded" not in trail
    node.archive.also = {}
    rounds(node, 3)
    assert notes(node, second) == [sent, sent, DeliveryState.SUPERSEDED, DeliveryState.SUPERSEDED]
    assert node.archive.early == []
    lines = {line.job_id: line for line in node.jobs()}
    assert (lines[second].n_sent, lines[second].n_deliveries) == (4, 5)  # its own report is of a class that is refused
    assert {d.state for d in node.ledger.deliveries.of_job(first)} == {sent, DeliveryState.UNSUPPORTED}


def test_a_note_that_is_cut_off_on_the_disk_holds_nobody_else_back(node: QuietNode, tmp_path: Path, caplog) -> None:
    first = write_study(tmp_path / "first")
    node.measured(first[:-1])
    rounds(node, 1)
    second = node.measured(first[-1:])
    rejections = [d for d in node.ledger.deliveries.of_job(second) if d.role == "rejection"]
    note_file = node.outbox.path(second) / rejections[0].file
    (node.outbox.path(second) / DIGESTS_FILE).unlink()  # as in a folder of an earlier version
    note_file.write_bytes(note_file.read_bytes()[:300])
    other = node.measured(write_study(tmp_path / "second", 2))
    with caplog.at_level("INFO", logger="ironnode"):
        rounds(node, 2)
    states = {d.file: d.state for d in node.ledger.deliveries.of_job(second)}
    assert [file for file, state in states.items() if state == DeliveryState.PENDING] == [rejections[0].file]
    assert {d.state for d in node.ledger.deliveries.of_job(other)} == {DeliveryState.SENT}
    (backlog,) = node.ledger.deliveries.backlogs()
    assert (backlog.pending, backlog.last_detail) == (1, "its file in the outbox is no rejection note that can be read")
    told = [r.fields for r in caplog.records if r.message == "delivery_failed"]
    assert {(line["detail"], *line["job_ids"]) for line in told} == {(backlog.last_detail, second)}
