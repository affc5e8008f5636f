"""From the inbox to jobs: order of arrival, duplicates, late images, incomplete grids, what is not ours."""

import random
import time
from pathlib import Path

import pytest
from pydicom import dcmread

from node.errors import StorageError
from node.jobs import assemble
from node.model import AcquisitionState, Cause
from tests.nodekit.fast_node import make_result
from tests.nodekit.quiet_node import Archive, QuietNode
from tests.nodekit.small_study import write_study


def states(node: QuietNode) -> list[tuple[str, str | None, tuple[str, ...]]]:
    from node.jobs.overview import Overview

    return [(a.state, a.code, a.missing) for a in Overview(node.ledger.database).acquisitions()]


def test_a_whole_grid_becomes_one_job_after_the_short_quiet_time(quiet_node, study) -> None:
    quiet_node.receive(study)
    assert quiet_node.assembler.step() == 0
    assert states(quiet_node) == [(AcquisitionState.RECEIVING, None, ())]
    quiet_node.clock.pass_s(3)
    assert quiet_node.assembler.step() == 1
    (job,) = quiet_node.jobs()
    assert (job.revision, job.n_instances) == (1, 8)
    assert states(quiet_node) == [(AcquisitionState.JOBBED, None, ())]
    assert quiet_node.assembler.step() == 0
    assert all(quiet_node.spool.find(dcmread(f).SOPInstanceUID) for f in study)


def test_the_order_of_arrival_does_not_matter(tmp_path, clock, config, study) -> None:
    job_ids = set()
    for seed in range(3):
        node = QuietNode(tmp_path / f"root{seed}", Archive(), clock, config)
        shuffled = random.Random(seed).sample(study, len(study))
        for part in (shuffled[:3], shuffled[3:]):
            node.receive(part)
            node.assembler.step()
        clock.pass_s(3)
        assert node.assembler.step() == 1
        job_ids.add(node.jobs()[0].job_id)
        node.close()
    assert len(job_ids) == 1


def test_a_grid_with_holes_waits_for_the_settle_time_and_names_them(quiet_node, study) -> None:
    quiet_node.receive(study[:-1])
    quiet_node.clock.pass_s(10)
    assert quiet_node.assembler.step() == 0
    ((state, _, missing),) = states(quiet_node)
    assert state == AcquisitionState.RECEIVING
    assert len(missing) == 1
    assert "4.8" in missing[0]
    quiet_node.clock.pass_s(11)
    assert quiet_node.assembler.step() == 1
    (job,) = quiet_node.jobs()
    found = quiet_node.ledger.find(job.job_id)
    assert found is not None
    assert found.missing == missing


def test_late_images_make_a_new_revision_that_knows_its_predecessor(quiet_node, study) -> None:
    quiet_node.receive(study[:-1])
    quiet_node.clock.pass_s(30)
    quiet_node.assembler.step()
    quiet_node.receive(study[-1:])
    quiet_node.settle()
    first, second = quiet_node.jobs()
    assert [(j.revision, j.n_instances) for j in (first, second)] == [(1, 7), (2, 8)]
    found = quiet_node.ledger.find(second.job_id)
    assert found is not None
    assert found.predecessor_job_id == first.job_id


def test_the_revision_is_given_its_predecessors_objects(quiet_node, study) -> None:
    seen = []

    def run(job):
        seen.append((job.revision, job.cause, job.replaces))
        return make_result(job)

    quiet_node.run = run
    quiet_node.receive(study[:-1])
    quiet_node.clock.pass_s(30)
    quiet_node.assembler.step()
    quiet_node.receive(study[-1:])
    quiet_node.settle()
    first, _ = quiet_node.jobs()
    assert [entry[:2] for entry in seen] == [(1, Cause.FIRST), (2, Cause.LATE_IMAGES)]
    assert seen[0][2] == ()
    (earlier,) = seen[1][2]
    assert (earlier.job_id, earlier.revision) == (first.job_id, 1)
    assert [item.role for item in earlier.objects] == ["map.r2star", "map.lic", "sr"]


def test_images_that_come_again_change_nothing(quiet_node, study) -> None:
    quiet_node.receive(study)
    quiet_node.settle()
    quiet_node.receive(study[:3])  # as a listener without memory would
    quiet_node.settle()
    assert [j.revision for j in quiet_node.jobs()] == [1]
    assert not list(quiet_node.spool.inbox_folder.iterdir())


def test_new_settings_do_not_measure_old_studies_again(quiet_node, study, config) -> None:
    quiet_node.receive(study)
    quiet_node.settle()
    quiet_node.config = config.model_copy(
        update={"report": config.report.model_copy(update={"institution": "elsewhere"})}
    )
    assert quiet_node.config.method_digest() != config.method_digest()
    quiet_node.restart()
    with quiet_node.ledger.database.writing() as connection:
        connection.exec_driver_sql("UPDATE study SET open = 1")
    quiet_node.settle()
    assert len(quiet_node.jobs()) == 1


def test_own_results_coming_back_are_declined_with_a_code_and_told_once(quiet_node, study, caplog) -> None:
    caplog.set_level("INFO", logger="ironnode")
    image = dcmread(study[0])
    image.ImageType = ["DERIVED", "PRIMARY", "OTHER"]
    image.SOPInstanceUID, image.SeriesInstanceUID = "1.2.3.4", "1.2.3"
    image.save_as(study[0])
    quiet_node.receive(study[:1])
    quiet_node.settle()
    ((state, code, _),) = states(quiet_node)
    assert (state, code) == (AcquisitionState.DECLINED, "derived_image")
    assert quiet_node.jobs() == []
    assert [r.message for r in caplog.records].count("acquisition_declined") == 1
    assert quiet_node.ledger.studies.open_studies() == []


def test_a_file_that_cannot_be_read_is_set_aside_and_holds_nobody_back(quiet_node, study) -> None:
    (quiet_node.spool.inbox_folder / "1.2.3.dcm").write_bytes(b"no DICOM")
    quiet_node.receive(study)
    quiet_node.settle()
    assert len(quiet_node.jobs()) == 1
    (aside,) = quiet_node.spool.unreadable_folder.iterdir()
    assert aside.name.startswith("1.2.3.")
    assert not list(quiet_node.spool.inbox_folder.iterdir())


def test_a_file_under_another_instances_name_is_set_aside(quiet_node, study) -> None:
    (quiet_node.spool.inbox_folder / "1.2.3.dcm").write_bytes(study[0].read_bytes())
    quiet_node.assembler.step()
    assert len(list(quiet_node.spool.unreadable_folder.iterdir())) == 1


def test_two_studies_do_not_disturb_each_other(quiet_node, study, tmp_path) -> None:
    other = write_study(tmp_path / "other", 2)
    for a, b in zip(study, other, strict=True):
        quiet_node.receive([a, b])
        quiet_node.assembler.step()
    quiet_node.settle()
    assert [j.n_instances for j in quiet_node.jobs()] == [8, 8]
    assert len({j.study_instance_uid for j in quiet_node.jobs()}) == 2


@pytest.mark.timeout(60)
def test_a_whole_abdomen_is_indexed_in_a_few_seconds(quiet_node, tmp_path: Path) -> None:
    quiet_node.receive(write_study(tmp_path / "abdomen", slices=90))
    began = time.process_time()
    quiet_node.assembler.step()
    quiet_node.clock.pass_s(3)
    assert quiet_node.assembler.step() == 1
    assert quiet_node.jobs()[0].n_instances == 360
    assert time.process_time() - began < 5  # processor time; measured 0.6 s


def _scanner_map(image: Path, folder: Path) -> Path:
    ds = dcmread(image)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID}.9"
    ds.SeriesInstanceUID = f"{ds.SeriesInstanceUID}.9"
    ds.ImageType = ["DERIVED", "PRIMARY", "R2", "STAR MAP", "ND"]
    folder.mkdir(exist_ok=True)
    ds.save_as(folder / "map.dcm")
    return folder / "map.dcm"


def test_the_scanners_map_goes_with_the_job_when_it_is_there(quiet_node, study, tmp_path) -> None:
    quiet_node.receive([*study, _scanner_map(study[0], tmp_path / "map")])
    quiet_node.settle()
    (job,) = quiet_node.jobs()
    assert job.n_instances == 9


def test_a_map_that_comes_later_is_no_reason_to_measure_again(quiet_node, study, tmp_path) -> None:
    quiet_node.receive(study)
    quiet_node.settle()
    quiet_node.receive([_scanner_map(study[0], tmp_path / "map")])
    quiet_node.settle()
    (job,) = quiet_node.jobs()
    assert job.n_instances == 8


@pytest.mark.parametrize("patients", [("P1", "P1"), ("P1", "P2"), ("", "")])
def test_echoes_that_came_as_a_study_of_their_own_are_named_and_not_joined(
    tmp_path, quiet_node, study, patients
) -> None:
    """As some exporters do it: the last echo has another study; without one patient there is nothing to name."""
    for path in study:
        ds = dcmread(path)
        lost = path.stem.endswith("-03")
        ds.PatientID = patients[lost]
        ds.AcquisitionDate, ds.AcquisitionTime = "20260102", "101500"
        if lost:
            ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.77", "1.2.77.1"
        ds.save_as(path)
    quiet_node.receive(study)
    quiet_node.settle()
    (job,) = quiet_node.jobs()
    found = quiet_node.ledger.find(job.job_id)
    assert found is not None
    texts = [a.text for a in _declined(quiet_node)]
    if patients == ("P1", "P1"):
        assert "1.2.77 series 1.2.77.1" in found.missing[0]
        assert "differ in study" in texts[0]
    else:
        assert found.missing == ()
        assert "differ" not in texts[0]


def _declined(node: QuietNode):
    from node.jobs.overview import Overview

    return [a for a in Overview(node.ledger.database).acquisitions() if a.state == AcquisitionState.DECLINED]


def failing_for(original, wanted: str, error: Exception):
    """``original``, which fails once ``wanted`` is in what it is given."""

    def fails(given, **further):
        given = given if isinstance(given, Path) else list(given)
        if wanted in str(given):
            raise error
        return original(given, **further)

    return fails


def test_a_fault_over_one_study_leaves_it_waiting_and_the_others_go_on(
    tmp_path, quiet_node, study, monkeypatch
) -> None:
    other = write_study(tmp_path / "other", 2)
    with monkeypatch.context() as patch:
        failing = failing_for(assemble.plan_study, "10.999.1.1", KeyError("Doe^Jo"))
        patch.setattr(assemble, "plan_study", failing)
        quiet_node.receive([*study, *other])
        quiet_node.clock.pass_s(30)
        assert quiet_node.assembler.step() == 1
        ((state, _, missing),) = [s for s in states(quiet_node) if s[0] != AcquisitionState.JOBBED]
        assert state == AcquisitionState.RECEIVING
        assert missing[0].startswith("a fault of the software, report it: KeyError at test_assemble.py:")
        quiet_node.steps(3)
    quiet_node.clock.pass_s(301)
    assert quiet_node.assembler.step() == 1
    assert [s[0] for s in states(quiet_node)] == [AcquisitionState.JOBBED] * 2


def test_a_fault_over_one_image_sets_it_aside_and_the_others_go_on(quiet_node, study, monkeypatch) -> None:
    bad = dcmread(study[0]).SOPInstanceUID
    failing = failing_for(assemble.stored_header, f"{bad}.dcm", RecursionError("Doe^Jo"))
    monkeypatch.setattr(assemble, "stored_header", failing)
    quiet_node.receive(study)
    quiet_node.clock.pass_s(30)
    assert quiet_node.assembler.step() == 1
    assert [line.n_instances for line in quiet_node.jobs()] == [7]
    assert [p.name.startswith(bad) for p in quiet_node.spool.unreadable_folder.iterdir()] == [True]


def test_an_image_that_the_disk_does_not_give_is_not_set_aside(quiet_node, study, monkeypatch) -> None:
    bad = dcmread(study[0]).SOPInstanceUID
    with monkeypatch.context() as patch:
        failing = failing_for(assemble.stored_header, f"{bad}.dcm", StorageError("Input/output error"))
        patch.setattr(assemble, "stored_header", failing)
        quiet_node.receive(study)
        quiet_node.assembler.step()
    quiet_node.clock.pass_s(30)
    assert quiet_node.assembler.step() == 1
    assert [line.n_instances for line in quiet_node.jobs()] == [8]
    assert not list(quiet_node.spool.unreadable_folder.iterdir())


def test_a_file_that_cannot_be_read_is_said_once_and_then_at_intervals(quiet_node, study, caplog) -> None:
    caplog.set_level("INFO", logger="ironnode")

    def said() -> list[str]:
        return [r.fields["sop_instance_uid"] for r in caplog.records if r.event == "storage_trouble"]

    (quiet_node.spool.inbox_folder / "1.2.9.dcm").mkdir()
    quiet_node.receive(study)
    quiet_node.steps(10, each_s=1)
    assert said() == ["1.2.9"]
    assert len(quiet_node.jobs()) == 1, "the others are not kept waiting"
    quiet_node.steps(3, each_s=150)
    assert said() == ["1.2.9"] * 2
    quiet_node.clock.pass_s(-86400)  # set back
    quiet_node.assembler.step()
    assert said() == ["1.2.9"] * 3
