"""A drawn region makes a new revision of the acquisition it belongs to; what it belongs to is never guessed."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from node.jobs.overview import Overview
from node.model import AcquisitionState, Cause, JobInput, PipelineOutput
from tests.node.drawn_regions import write_rtstruct, write_seg
from tests.nodekit.fast_node import make_result
from tests.nodekit.quiet_node import QuietNode
from tests.nodekit.small_study import write_study


def first_echoes(study: list[Path]) -> list:
    echoes = [dcmread(path) for path in study]
    return [ds for ds in echoes if ds.EchoTime == min(e.EchoTime for e in echoes)]


def draw(study: list[Path], path: Path, *, uid: str | None = None, **more) -> Path:
    images = first_echoes(study)
    return write_seg(path, images, np.ones((len(images), images[0].Rows, images[0].Columns), bool), uid=uid, **more)


def jobs_seen(node: QuietNode) -> list[JobInput]:
    seen: list[JobInput] = []

    def run(job: JobInput) -> PipelineOutput:
        seen.append(job)
        return make_result(job)

    node.run = run
    return seen


def region_states(node: QuietNode) -> dict[str, tuple[str, str | None]]:
    found = Overview(node.ledger.database).acquisitions()
    return {
        a.acquisition_key.removeprefix("region-"): (a.state, a.code)
        for a in found
        if a.acquisition_key.startswith("region-")
    }


def test_a_region_measures_again_and_the_last_one_counts(quiet_node, study, tmp_path) -> None:
    seen = jobs_seen(quiet_node)
    quiet_node.receive(study)
    quiet_node.settle()
    for uid in ("1.2.50", "1.2.51"):
        quiet_node.receive([draw(study, tmp_path / f"{uid}.dcm", uid=uid)])
        quiet_node.settle()
    quiet_node.receive([tmp_path / "1.2.50.dcm"])  # as a listener without memory would
    quiet_node.settle()
    assert [(j.revision, j.cause) for j in seen] == [
        (1, Cause.FIRST), (2, Cause.READER_REGION), (3, Cause.READER_REGION),
    ]  # fmt: skip
    assert [None if j.region is None else j.region.stem for j in seen] == [None, "1.2.50", "1.2.51"]
    assert [[e.revision for e in j.replaces] for j in seen] == [[], [1], [2]]
    assert region_states(quiet_node) == {
        "1.2.50": (AcquisitionState.DECLINED, "region_replaced"), "1.2.51": (AcquisitionState.JOBBED, None),
    }  # fmt: skip


def test_late_images_keep_the_readers_region(quiet_node, study, tmp_path) -> None:
    seen = jobs_seen(quiet_node)
    quiet_node.receive([*study[:-1], draw(study, tmp_path / "seg.dcm", uid="1.2.50")])
    quiet_node.settle()
    quiet_node.receive(study[-1:])
    quiet_node.settle()
    assert [(j.revision, j.cause, j.region is not None) for j in seen] == [
        (1, Cause.READER_REGION, True), (2, Cause.LATE_IMAGES, True),
    ]  # fmt: skip


def test_a_result_that_replaced_nothing_is_replaced_with_its_predecessor(quiet_node, study, tmp_path) -> None:
    """The second region's result takes back the first result too, which the refused region left standing."""
    seen: list[JobInput] = []

    def run(job: JobInput) -> PipelineOutput:
        seen.append(job)
        output = make_result(job)
        if job.revision == 2:
            output.record["revision"]["replaces"] = []
            return PipelineOutput(record=output.record, files={**output.files, "result.json": _json(output.record)})
        return output

    quiet_node.run = run
    quiet_node.receive(study)
    quiet_node.settle()
    for uid in ("1.2.50", "1.2.51", "1.2.52"):
        quiet_node.receive([draw(study, tmp_path / f"{uid}.dcm", uid=uid)])
        quiet_node.settle()
    assert [[e.revision for e in j.replaces] for j in seen] == [[], [1], [2, 1], [3]]


def _json(record) -> bytes:
    import json

    return json.dumps(record).encode()


def test_a_region_on_our_maps_finds_its_acquisition(quiet_node, study, tmp_path) -> None:
    seen = jobs_seen(quiet_node)
    quiet_node.receive([*study, *write_study(tmp_path / "other", number=1, slices=0)])
    quiet_node.settle()
    (job,) = quiet_node.jobs()
    record = quiet_node.outbox.record(job.job_id)
    assert record is not None
    images = first_echoes(study)
    for image in images:
        image.SOPInstanceUID, image.SeriesInstanceUID = record["objects"][0]["sop_instance_uid"], "1.2.60"
    path = tmp_path / "seg.dcm"
    write_seg(path, images[:1], np.ones((1, images[0].Rows, images[0].Columns), bool), FrameOfReferenceUID="1.2.99")
    quiet_node.receive([path])
    quiet_node.settle()
    assert [j.cause for j in seen] == [Cause.FIRST, Cause.READER_REGION]


def test_regions_of_nothing_here_are_told_and_measure_nothing(quiet_node, study, tmp_path) -> None:
    seen = jobs_seen(quiet_node)
    source = dcmread(study[0])
    stranger = write_rtstruct(
        tmp_path / "1.dcm", {"Liver": [np.eye(3)]}, study=source.StudyInstanceUID, frame="1.2.99", uid="1.2.50"
    )
    images = first_echoes(study)
    for image in images:
        image.PatientID = "SOMEBODY"
    other = write_seg(tmp_path / "2.dcm", images, np.ones((len(images), 8, 8), bool), uid="1.2.51")
    quiet_node.receive([*study, stranger, other])
    quiet_node.settle()
    assert [j.cause for j in seen] == [Cause.FIRST]
    assert region_states(quiet_node) == {
        "1.2.50": (AcquisitionState.DECLINED, "region_not_matched"),
        "1.2.51": (AcquisitionState.DECLINED, "region_other_patient"),
    }


def test_our_own_segmentation_that_comes_back_is_no_readers(quiet_node, study, tmp_path) -> None:
    seen = jobs_seen(quiet_node)
    path = draw(study, tmp_path / "seg.dcm", Manufacturer="ironnode", ManufacturerModelName="ironnode liver iron")
    quiet_node.receive([*study, path])
    quiet_node.settle()
    assert [j.cause for j in seen] == [Cause.FIRST]


@pytest.mark.parametrize("restart", [False, True])
def test_a_rebuilt_or_restarted_node_knows_the_region(quiet_node, study, tmp_path, restart) -> None:
    seen = jobs_seen(quiet_node)
    quiet_node.receive([*study, draw(study, tmp_path / "seg.dcm", uid="1.2.50")])
    quiet_node.assembler.step()
    if restart:
        quiet_node.restart()
    quiet_node.settle()
    assert [(j.cause, j.region is not None) for j in seen] == [(Cause.READER_REGION, True)]


def refusing(node: QuietNode, *unusable: str) -> list[JobInput]:
    """Runs that refuse the regions named and measure everything else."""
    seen: list[JobInput] = []

    def run(job: JobInput) -> PipelineOutput:
        seen.append(job)
        output = make_result(job)
        if job.region is None or job.region.stem not in unusable:
            return output
        record = {**output.record, "status": "not_measurable", "reasons": [{"code": "region_empty", "text": "Empty."}]}
        record["revision"] = {**record["revision"], "replaces": []}
        return PipelineOutput(record=record, files={**output.files, "result.json": _json(record)})

    node.run = run
    return seen


def told(seen: list[JobInput]) -> list[tuple[Cause, str | None, int]]:
    return [(j.cause, None if j.region is None else j.region.stem, len(j.files)) for j in seen]


def test_a_region_that_cannot_be_used_takes_no_place_and_status_says_so(quiet_node, study, tmp_path) -> None:
    seen = refusing(quiet_node, "1.2.51")
    quiet_node.receive(study[:-1])
    quiet_node.settle()
    for uid in ("1.2.50", "1.2.51"):
        quiet_node.receive([draw(study, tmp_path / f"{uid}.dcm", uid=uid)])
        quiet_node.settle()
    assert region_states(quiet_node) == {
        "1.2.50": (AcquisitionState.JOBBED, None), "1.2.51": (AcquisitionState.DECLINED, "region_empty"),
    }  # fmt: skip
    refused = quiet_node.jobs()[-1].job_id
    (line,) = (a for a in Overview(quiet_node.ledger.database).acquisitions() if a.acquisition_key == "region-1.2.51")
    assert line.text is not None
    assert refused[:12] in line.text
    quiet_node.receive(study[-1:])
    quiet_node.settle()
    n = len(study)
    assert told(seen) == [
        (Cause.FIRST, None, n - 1), (Cause.READER_REGION, "1.2.50", n), (Cause.READER_REGION, "1.2.51", n),
        (Cause.LATE_IMAGES, "1.2.50", n + 1),
    ]  # fmt: skip
    assert [e.revision for e in seen[-1].replaces] == [3, 2]


def test_images_that_come_before_a_region_is_refused_are_measured_without_it(quiet_node, study, tmp_path) -> None:
    """The refusal is known only after the late images have a job with that region too."""
    seen = refusing(quiet_node, "1.2.51")
    quiet_node.receive([*study[:-1], draw(study, tmp_path / "1.2.50.dcm", uid="1.2.50")])
    quiet_node.settle()
    for arrival in (draw(study, tmp_path / "1.2.51.dcm", uid="1.2.51"), study[-1]):
        quiet_node.receive([arrival])
        quiet_node.assembler.step()
        quiet_node.clock.pass_s(40)
        quiet_node.assembler.step()
    quiet_node.settle()
    n = len(study)
    assert told(seen) == [
        (Cause.READER_REGION, "1.2.50", n), (Cause.READER_REGION, "1.2.51", n), (Cause.LATE_IMAGES, "1.2.51", n + 1),
        (Cause.REGION_REFUSED, "1.2.50", n + 1),
    ]  # fmt: skip
    assert [job.state for job in quiet_node.jobs()] == ["done"] * 4


@pytest.mark.parametrize("restart", [False, True])
def test_images_with_nothing_but_an_unusable_region_are_measured_without_one(
    quiet_node, study, tmp_path, restart
) -> None:
    seen = refusing(quiet_node, "1.2.50")
    quiet_node.receive([*study, draw(study, tmp_path / "1.2.50.dcm", uid="1.2.50")])
    quiet_node.steps(2, each_s=30)
    if restart:
        quiet_node.restart()
    quiet_node.settle()
    assert told(seen) == [
        (Cause.READER_REGION, "1.2.50", len(study) + 1), (Cause.REGION_REFUSED, None, len(study)),
    ]  # fmt: skip
    assert region_states(quiet_node) == {"1.2.50": (AcquisitionState.DECLINED, "region_empty")}


def test_a_refusal_while_the_assembler_judges_is_not_overlooked(quiet_node, study, tmp_path, monkeypatch) -> None:
    """The study is not closed over a refusal that came after its regions were assigned."""
    seen = refusing(quiet_node, "1.2.50")
    quiet_node.receive([*study, draw(study, tmp_path / "1.2.50.dcm", uid="1.2.50")])
    studies = quiet_node.ledger.studies
    settle = studies.settle

    def settle_late(*outcomes):
        for job in quiet_node.jobs():
            quiet_node.workshop.do(job.job_id, "run")
        return settle(*outcomes)

    monkeypatch.setattr(studies, "settle", settle_late)
    quiet_node.clock.pass_s(40)
    quiet_node.assembler.step()
    monkeypatch.undo()
    quiet_node.settle()
    assert region_states(quiet_node) == {"1.2.50": (AcquisitionState.DECLINED, "region_empty")}
    assert told(seen)[-1] == (Cause.REGION_REFUSED, None, len(study))
