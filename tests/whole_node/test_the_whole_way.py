"""Scanner push in, maps and report back in the PACS: real processes, DCMTK as the scanner, Orthanc as the PACS."""

import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from tests.node.drawn_regions import write_seg
from tests.whole_node.harness import Orthanc, RunningNode, wait_until

pytestmark = [pytest.mark.whole_node, pytest.mark.peer]

MakeNode = Callable[..., RunningNode]
Push = Callable[..., subprocess.CompletedProcess[str]]


def pacs_destination(pacs: Orthanc, **more: Any) -> dict[str, Any]:
    """The node's destination entry for an Orthanc."""
    return {
        "name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs.dicom_port, "retry_base_s": 0.5,
        "retry_max_s": 2, **more,
    }  # fmt: skip


def outbox_record(node: RunningNode, job_id: str) -> dict[str, Any]:
    """result.json of one job."""
    return json.loads((node.root / "data" / "outbox" / job_id / "result.json").read_text())


def sent_uids(record: dict[str, Any]) -> list[str]:
    """What goes to a destination that does not say what it wants: no options, one report."""
    kinds = re.compile(r"map\..+|pm\..+|page|sr|seg")
    return sorted(o["sop_instance_uid"] for o in record["objects"] if kinds.fullmatch(o["role"]))


def delivered(node: RunningNode, pacs: Orthanc) -> dict[str, Any]:
    """Wait until the one job's whole result set is in the PACS; its record."""
    (job,) = wait_until(lambda: [j for j in node.jobs() if j["state"] == "done"], "a job is done")
    record = outbox_record(node, job["job_id"])
    expected = sent_uids(record)
    wait_until(lambda: pacs.sop_uids() == expected, "the PACS holds exactly the result set")
    return record


def test_phantom_push_ends_in_a_report_in_the_pacs(
    make_node: MakeNode, orthanc: Orthanc, storescu: Push, peer: Callable[[str], Path], dciodvfy: Path,
    phantom_files: Callable[..., list[Path]], tmp_path: Path,
) -> None:  # fmt: skip
    allow = [
        {"ae_title": title, "host": "127.0.0.1"} for title in ("SCANNER", "PACS", "IRONNODE-TEST")
    ]  # PACS reports by itself
    node = make_node(destinations=[pacs_destination(orthanc, commitment=True)], receive={"allow": allow})
    orthanc.put("/modalities/node", {"AET": "IRONNODE", "Host": "127.0.0.1", "Port": node.port})
    files = phantom_files(r2star_per_s=67.73)
    source = pydicom.dcmread(files[0], stop_before_pixels=True)

    answer = storescu(node.port, files)
    assert answer.returncode == 0, answer.stderr
    record = delivered(node, orthanc)

    assert record["status"] == "measured", record["reasons"]
    assert 2.0 <= record["lic_mg_per_g"]["median"] <= 2.2
    (study,) = orthanc.get("/studies?expand")
    assert study["MainDicomTags"]["StudyInstanceUID"] == source.StudyInstanceUID
    stored = [pydicom.dcmread(io.BytesIO(orthanc.file(i["ID"]))) for i in orthanc.instances()]
    assert {d.Modality for d in stored} >= {"MR", "SR", "SEG"}
    assert {d.PatientID for d in stored} == {source.PatientID}
    for index, dataset in enumerate(stored):
        path = tmp_path / f"{index}.dcm"
        dataset.save_as(path)
        verdict = subprocess.run([dciodvfy, "-new", path], capture_output=True, text=True, check=False, timeout=60)
        assert not re.search(r"^Error", verdict.stderr + verdict.stdout, re.MULTILINE), verdict.stderr
    _report_prints_the_numbers(stored, record, peer("dsrdump"), tmp_path)
    _lic_map_agrees_with_the_record(stored, record)
    (job,) = node.jobs()
    wait_until(lambda: node.committed(job["job_id"]) == len(stored), "the PACS commits to all of it")
    assert f"storage commitment: {len(stored)} committed, 0 asked for, 0 refused" in node.command("status").stdout
    _self_test_stays_at_home(node, orthanc, record)
    _what_comes_back_is_declined_quietly(node, orthanc, storescu, tmp_path / "returned")


def _self_test_stays_at_home(node: RunningNode, orthanc: Orthanc, record: dict[str, Any]) -> None:
    """The real path, the truth met, and not one object more in the PACS, whatever an operator does."""
    test = node.command("selftest")
    assert test.returncode == 0, test.stdout + test.stderr
    found = re.search(r"passed: LIC (\S+) mg/g, expected (\S+) ", test.stdout)
    assert found is not None
    assert float(found[1]) == pytest.approx(float(found[2]), rel=0.05)
    assert "self-test     passed" in node.command("status").stdout
    (own,) = [job for job in node.jobs() if job["self_test"]]
    assert own["state"] == "done"
    for command in ("retry", "show"):
        assert node.command(command, own["job_id"]).returncode == 0
    held = [line for line in node.command("show", own["job_id"]).stdout.splitlines() if line.startswith("pacs ")]
    assert held == []
    assert orthanc.sop_uids() == sent_uids(record)


def _report_prints_the_numbers(
    stored: list[pydicom.Dataset], record: dict[str, Any], dsrdump: Path, folder: Path
) -> None:
    (report,) = [d for d in stored if d.Modality == "SR"]
    report.save_as(folder / "report.dcm")
    text = subprocess.run(
        [dsrdump, "+Pl", folder / "report.dcm"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert f'"{round(record["lic_mg_per_g"]["median"], 3)}" (mg/g' in text
    for words in ("Liver iron concentration", "R2*", "10.1186/1532-429X-16-40", "Recommended Follow-up Interval"):
        assert words in text


def _lic_map_agrees_with_the_record(stored: list[pydicom.Dataset], record: dict[str, Any]) -> None:
    def position(dataset: pydicom.Dataset) -> float:
        return float(dataset.ImagePositionPatient[2])

    maps = sorted((d for d in stored if d.Modality == "MR" and "LIC" in d.SeriesDescription and "Rows" in d
                   and "NumberOfFrames" not in d), key=position)  # fmt: skip
    (segmentation,) = [d for d in stored if d.Modality == "SEG"]
    region = {
        round(float(group.PlanePositionSequence[0].ImagePositionPatient[2]), 3): plane > 0
        for group, plane in zip(
            segmentation.PerFrameFunctionalGroupsSequence, np.atleast_3d(segmentation.pixel_array), strict=True
        )
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1  # the one the report refers to
    }
    values = np.concatenate(
        [m.pixel_array[region[round(position(m), 3)]] for m in maps if round(position(m), 3) in region]
    )
    assert np.median(values[values > 0]) == pytest.approx(record["lic_mg_per_g"]["median"] * 1000, abs=2)


def _what_comes_back_is_declined_quietly(node: RunningNode, orthanc: Orthanc, storescu: Push, folder: Path) -> None:
    """A router sends our own results to us: no new measurement, and the reason is told."""
    folder.mkdir()
    for instance in orthanc.instances():
        dataset = pydicom.dcmread(io.BytesIO(orthanc.file(instance["ID"])))
        if dataset.Modality in {"MR", "SR", "SEG"}:
            dataset.save_as(folder / f"{dataset.SOPInstanceUID}.dcm")
    jobs = node.jobs()
    answer = storescu(node.port, sorted(folder.iterdir()), "-R")
    assert answer.returncode == 0, answer.stderr
    wait_until(
        lambda: any(a["code"] == "own_result" for a in node.acquisitions()), "our own results are declined as such"
    )
    assert len(node.jobs()) == len(jobs)


def test_late_slices_then_a_reader_make_new_revisions_while_another_destination_is_away(
    make_node: MakeNode, orthanc: Orthanc, storescu: Push, phantom_files: Callable[..., list[Path]], tmp_path: Path
) -> None:
    objects = ["sr", "seg", "rejection"]
    refuses = {**pacs_destination(orthanc, objects=objects), "name": "wrong", "ae_title": "NOTPACS"}
    node = make_node(destinations=[refuses, pacs_destination(orthanc, objects=objects)])
    files = phantom_files(slices=4)
    echoes = {file: pydicom.dcmread(file) for file in files}
    last = max(float(echo.ImagePositionPatient[2]) for echo in echoes.values())
    late = [file for file, echo in echoes.items() if float(echo.ImagePositionPatient[2]) == last]
    first = [file for file in files if file not in late]
    assert storescu(node.port, first).returncode == 0
    wait_until(lambda: len(orthanc.instances()) == 2, "the first report and its region")
    (job,) = node.jobs()
    wait_until(lambda: _failed_deliveries(node, job["job_id"]), "the refusing destination's failures are visible")
    assert len(_failed_deliveries(node, job["job_id"])) == 2
    assert storescu(node.port, late + first).returncode == 0
    wait_until(lambda: len(orthanc.instances()) == 6, "the second report, its region and a note on each of the first")
    _second_report_names_the_first(orthanc)
    assert sorted(j["revision"] for j in node.jobs()) == [1, 2]
    automatic = outbox_record(node, next(j["job_id"] for j in node.jobs() if j["revision"] == 2))
    assert automatic["status"] == "measured", automatic["reasons"]
    drawn = _draw_the_inner_slices(tmp_path / "drawn.dcm", list(echoes.values()), files[0].parent)
    assert storescu(node.port, [drawn[0]], "-R").returncode == 0
    wait_until(lambda: len(orthanc.instances()) == 10, "the third report, its region and a note on each of the second")
    _reader_overruled(node, orthanc, automatic, drawn[1])


def _second_report_names_the_first(orthanc: Orthanc) -> None:
    reports = [d for d in _stored(orthanc) if d.Modality == "SR"]
    predecessors = {
        ref.ReferencedSOPInstanceUID
        for report in reports
        for study in report.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for ref in series.ReferencedSOPSequence
    }
    assert len(predecessors & {r.SOPInstanceUID for r in reports}) == 1


def _stored(orthanc: Orthanc) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(io.BytesIO(orthanc.file(i["ID"]))) for i in orthanc.instances()]


def _failed_deliveries(node: RunningNode, job_id: str) -> list[dict[str, Any]]:
    return [
        d for d in node.deliveries(job_id) if d["destination"] == "wrong" and d["attempts"] > 0 and d["last_detail"]
    ]


def _draw_the_inner_slices(path: Path, echoes: list[pydicom.Dataset], phantom: Path) -> tuple[Path, int]:
    """A region drawn on the first echo by another maker, and how many voxels it has."""
    te1 = min(echo.EchoTime for echo in echoes)
    images = sorted((e for e in echoes if e.EchoTime == te1), key=lambda e: float(e.ImagePositionPatient[2]))
    mask = np.load(next(phantom.glob("truth_labels.npz")))["liver"] > 0
    mask[0] = mask[-1] = False
    return write_seg(path, images, mask), int(mask.sum())


def _reader_overruled(node: RunningNode, orthanc: Orthanc, automatic: dict[str, Any], drawn_voxels: int) -> None:
    """The report inside the drawn region, and the notes that reject the objects which it replaces."""
    third = next(j for j in node.jobs() if j["revision"] == 3)
    record = outbox_record(node, third["job_id"])
    assert record["status"] == "measured", record["reasons"]
    assert (record["roi"]["source"], record["roi"]["n_slices"]) == ("seg", 2)
    assert record["roi"]["n_voxels"] + sum(record["roi"]["excluded"].values()) == drawn_voxels
    beside = record["roi"]["reader"]["automatic"]
    assert beside["r2star_per_s"] == pytest.approx(automatic["r2star_per_s"]["median"])
    assert record["r2star_per_s"]["median"] == pytest.approx(67.73, rel=0.1)
    rejected = {
        ref.ReferencedSOPInstanceUID
        for note in _stored(orthanc)
        if note.Modality == "KO"
        for series in note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for ref in series.ReferencedSOPSequence
    }
    replaced = {item["sop_instance_uid"] for item in automatic["objects"] if item["role"] in ("sr", "seg")}
    assert rejected >= replaced  # its own rejection notes stay true
    assert rejected <= set(orthanc.sop_uids())  # archives refuse a note on what they do not hold
    assert not rejected & {item["sop_instance_uid"] for item in record["objects"]}
    texts = [
        element.value
        for report in _stored(orthanc)
        if report.Modality == "SR" and "PredecessorDocumentsSequence" in report
        for element in report.iterall()
        if element.keyword == "TextValue"
    ]
    assert "Result 3 replaces result 2: a reader drew the region." in texts
