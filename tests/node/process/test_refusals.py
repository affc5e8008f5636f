"""Acquisitions that were to be measured and cannot be: the study still gets its coded answer, from the headers."""

import io
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from node.config import load_config
from node.errors import DeclinedError, InputError, StorageError, UnreadableError
from node.intake.planes import planes_of
from node.model import JobInput, PipelineOutput
from node.process.geometry import loose_geometry
from node.process.pipeline import run
from node.process.refusal import refusal_reason, study_of_headers
from tests.further import further
from tests.node.header_edits import EDITS, Edit, edit_elements
from tests.node.mr_images import CORONAL, OBLIQUE, Scan, classic, classics, enhanced, save, save_all

ACCEPTED_AT = datetime(2026, 1, 2, 11, 30, tzinfo=UTC)
PATIENT_FACTS = ("Doe", "P1", "1980")


def _run(files: list[Path]) -> PipelineOutput:
    job = JobInput(job_id="b" * 32, files=tuple(files), accepted_at=ACCEPTED_AT)
    return run(job, load_config(None))


def _objects(output: PipelineOutput) -> dict[str, Dataset]:
    return {item["role"]: dcmread(io.BytesIO(output.files[item["file"]])) for item in output.record["objects"]}


def _items(container: Dataset) -> list[Dataset]:
    found = list(container.get("ContentSequence") or [])
    return [*found, *(deeper for item in found for deeper in _items(item))]


def _library(report: Dataset) -> list[tuple[str, int | None]]:
    """The images of the Image Library (TID 1600, DCM 111028): SOP Instance UID and frame."""
    (library,) = [
        i for i in _items(report) if i.get("ConceptNameCodeSequence", [Dataset()])[0].get("CodeValue") == "111028"
    ]
    refs = [item.ReferencedSOPSequence[0] for item in _items(library) if item.ValueType == "IMAGE"]
    return [(str(ref.ReferencedSOPInstanceUID), ref.get("ReferencedFrameNumber")) for ref in refs]


def _evidence(report: Dataset) -> set[str]:
    return {
        str(instance.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }


def _without_pixels(scan: Scan, folder: Path) -> list[Path]:
    every = classics(scan)
    del every[7].PixelData
    return save_all(every, folder)


def _empty_pixels(scan: Scan, folder: Path) -> list[Path]:
    every = classics(scan)
    every[0].PixelData = b""
    return save_all(every, folder)


def _enhanced_without_pixels(scan: Scan, folder: Path) -> list[Path]:
    ds = enhanced(scan)
    del ds.PixelData
    return save_all([ds], folder)


def _bad_codestream(scan: Scan, folder: Path) -> list[Path]:
    files = save_all(classics(scan), folder)
    ds = classics(scan)[3]
    ds.PixelData = encapsulate([b"\x01\x02" * 40])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    save(ds, files[3], JPEG2000Lossless)
    return files


def _fewer_columns(scan: Scan, folder: Path) -> list[Path]:
    return save_all(classics(scan.but(extra={"Columns": scan.columns - 1})), folder)


def _fewer_rows_enhanced(scan: Scan, folder: Path) -> list[Path]:
    return save_all([enhanced(scan.but(extra={"Rows": scan.rows - 1}))], folder)


def _cut_off(scan: Scan, folder: Path) -> list[Path]:
    files = save_all([enhanced(scan)], folder)
    files[0].write_bytes(files[0].read_bytes()[:-100])
    return files


def _irregular(scan: Scan, folder: Path) -> list[Path]:
    return save_all(_moved(classics(scan)), folder)


def _moved(every: list[Dataset]) -> list[Dataset]:
    for ds in every:
        if ds.ImagePositionPatient[2] == 46:
            ds.ImagePositionPatient[2] = 49
    return every


def _irregular_frames(scan: Scan, folder: Path) -> list[Path]:
    ds = enhanced(scan)
    for group in ds.PerFrameFunctionalGroupsSequence:
        _moved([group.PlanePositionSequence[0]])
    return save_all([ds], folder)


def _no_field(scan: Scan, folder: Path) -> list[Path]:
    return save_all(classics(scan.but(extra={"MagneticFieldStrength": None})), folder)


def _no_field_enhanced(scan: Scan, folder: Path) -> list[Path]:
    return save_all([enhanced(scan.but(extra={"MagneticFieldStrength": None}))], folder)


def _negative(scan: Scan, folder: Path) -> list[Path]:
    return save_all(classics(scan.but(extra={"RescaleSlope": "-2", "RescaleIntercept": "0"})), folder)


def _checkerboard(scan: Scan, folder: Path) -> list[Path]:
    """Every cell's neighbour is missing: no three echoes are complete in any slice."""
    times = scan.echo_times_ms
    kept = [classic(scan, z, t) for z in range(3) for e, t in enumerate(times) if e % 3 == z]
    return save_all(kept, folder)


def _broken_header(scan: Scan, folder: Path) -> list[Path]:
    files = save_all(classics(scan), folder)
    files[4].write_bytes(b"\x00" * 128 + b"DICM" + b"\xff" * 400)
    return files


def _single_slice_of_unknown_thickness(scan: Scan, folder: Path) -> list[Path]:
    return save_all(classics(scan.but(n_slices=1, extra={"SliceThickness": None})), folder)


def _two_orientations(scan: Scan, folder: Path) -> list[Path]:
    other = Scan(orientation=CORONAL, series="1.2.3.2", uid_prefix="1.2.3.2.1", n_slices=2)
    return save_all([*classics(scan), *classics(other)], folder)


CASES: dict[str, tuple[Callable[[Scan, Path], list[Path]], str, str]] = {
    "no pixel data": (_without_pixels, "no_pixel_data", "(7FE0,0010)"),
    "empty pixel data": (_empty_pixels, "no_pixel_data", "(7FE0,0010)"),
    "no pixel data, enhanced": (_enhanced_without_pixels, "no_pixel_data", "(7FE0,0010)"),
    "undecodable": (_bad_codestream, "pixels_unreadable", "JPEG 2000"),
    "fewer columns": (_fewer_columns, "pixels_unreadable", "(7FE0,0010)"),
    "fewer rows, enhanced": (_fewer_rows_enhanced, "pixels_unreadable", "Rows (0028,0010)"),
    "cut off, enhanced": (_cut_off, "pixels_unreadable", "are not of the size"),
    "irregular slices": (_irregular, "irregular_slices", "5.00 to 11.00 mm"),
    "irregular slices, enhanced": (_irregular_frames, "irregular_slices", "5.00 to 11.00 mm"),
    "no field strength": (_no_field, "no_field_strength", "(0018,0087)"),
    "no field strength, enhanced": (_no_field_enhanced, "no_field_strength", "(0018,0087)"),
    "negative magnitude": (_negative, "unknown_kind", "negative"),
    "no full echoes": (_checkerboard, "too_few_echoes", "complete in any slice"),
    "damaged header": (_broken_header, "header_unreadable", "header cannot be read"),
    "no thickness": (_single_slice_of_unknown_thickness, "no_geometry", "(0018,0050)"),
    "two orientations": (_two_orientations, "several_acquisitions", "2 acquisitions"),
}
SCAN = Scan(n_slices=4, rows=24, columns=20)


BY_ANOTHER_CASE = (
    "empty pixel data", "no pixel data, enhanced", "fewer columns", "cut off, enhanced", "irregular slices",
    "no field strength",
)  # fmt: skip
"""Refusals whose way to the study another case shows too."""


@pytest.mark.parametrize("name", [*(name for name in CASES if name not in BY_ANOTHER_CASE), *further(BY_ANOTHER_CASE)])
def test_refusal_reaches_the_study(name: str, tmp_path: Path, dciodvfy: Path) -> None:
    make, code, words = CASES[name]
    output = _run(make(SCAN, tmp_path / "in"))
    record = output.record
    assert record["status"] == "not_measurable"
    (reason,) = record["reasons"]
    assert reason["code"] == code
    assert words in reason["text"]
    assert record["study_instance_uid"] == SCAN.study
    assert [record[key] for key in ("acquisition", "fit", "roi", "lic_mg_per_g")] == [None] * 4
    assert record["follow_up"]["clinician_decides"] is True
    for secret in (*PATIENT_FACTS, str(tmp_path), ".dcm"):
        assert secret not in json.dumps({**record, "objects": []})
    objects = _objects(output)
    assert sorted(objects) == ["ko", "page", "pdf", "sr", "sr.comprehensive", "sr.enhanced"]
    for role, ds in objects.items():
        assert (ds.StudyInstanceUID, ds.PatientID, str(ds.PatientName)) == (SCAN.study, "P1", "Doe^Jane"), role
        path = tmp_path / f"{role}.dcm"
        path.write_bytes(output.files[f"dicom/{role.replace('.', '-')}-0001.dcm"])
        answer = subprocess.run([dciodvfy, "-new", path], capture_output=True, text=True, check=False)
        assert [line for line in (answer.stdout + answer.stderr).splitlines() if line.startswith("Error")] == [], role
    texts = [item.TextValue for item in _items(objects["sr"]) if item.ValueType == "TEXT"]
    assert any(text.endswith(f"[{code}]") and reason["text"] in text for text in texts)
    assert reason["text"] in output.files["report.txt"].decode().replace("\n  ", " ")


@pytest.mark.parametrize("name", ["undecodable", "irregular slices, enhanced"])
def test_refusal_has_a_page_and_the_same_bytes_again(name: str, tmp_path: Path) -> None:
    files = CASES[name][0](SCAN, tmp_path)
    first, second = _run(files), _run(list(reversed(files)))
    assert first.files == second.files
    assert {Path(file).suffix for file in first.files} == {".json", ".txt", ".html", ".pdf", ".png", ".dcm"}
    assert not {"anatomy.png", "map.png"} & set(first.files)
    shown = np.asarray(Image.open(io.BytesIO(first.files["page.png"])).convert("RGB"))
    page = _objects(first)["page"]
    assert np.array_equal(page.pixel_array, shown)
    assert len(set(map(tuple, shown[::3, ::3].reshape(-1, 3).tolist()))) > 20  # panels and text, no empty sheet
    assert "No image could be shown." in first.files["report.html"].decode()


@pytest.mark.parametrize("name", ["irregular slices", "no pixel data", "no field strength"])
def test_images_are_referred_to_slice_by_slice(name: str, tmp_path: Path) -> None:
    report = _objects(_run(CASES[name][0](SCAN, tmp_path)))["sr"]
    assert _library(report) == [(classic(SCAN, z, 1.2).SOPInstanceUID, None) for z in range(4)]
    assert {ds.SOPInstanceUID for ds in classics(SCAN)} <= _evidence(report)


def test_frames_are_referred_to_slice_by_slice(tmp_path: Path) -> None:
    ds = enhanced(SCAN.but(kinds=("phase", "magnitude")))
    for group in ds.PerFrameFunctionalGroupsSequence:
        _moved([group.PlanePositionSequence[0]])
    report = _objects(_run(save_all([ds], tmp_path)))["sr"]
    assert _library(report) == [(ds.SOPInstanceUID, frame) for frame in (5, 6, 7, 8)]


def test_larger_of_two_geometries_is_referred_to(tmp_path: Path) -> None:
    study = study_of_headers(_two_orientations(SCAN, tmp_path))
    assert study is not None
    assert len(study.source.frames) == 4
    assert study.source.geometry.normal == pytest.approx([0, 0, 1])
    assert study.series_instance_uids == ("1.2.3.1", "1.2.3.2")
    assert len(study.source.datasets) == 36


def test_object_of_mixed_orientation_and_repeated_position(tmp_path: Path) -> None:
    ds = enhanced(SCAN)
    shared = ds.SharedFunctionalGroupsSequence[0]
    orientation = shared.PlaneOrientationSequence
    del shared.PlaneOrientationSequence
    for index, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        turned = Dataset()
        turned.ImageOrientationPatient = list(CORONAL)
        group.PlaneOrientationSequence = [turned] if index % 4 == 3 else orientation
        if index % 4 == 2:
            group.PlanePositionSequence = ds.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    output = _run(save_all([ds], tmp_path))
    assert output.record["reasons"][0]["code"] == "mixed_geometry"
    assert _library(_objects(output)["sr"]) == [(ds.SOPInstanceUID, 1), (ds.SOPInstanceUID, 2)]


def test_echo_with_most_slices_is_referred_to(tmp_path: Path) -> None:
    every = [ds for ds in classics(SCAN) if not (ds.EchoTime == 1.2 and ds.ImagePositionPatient[2] > 40)]
    study = study_of_headers(save_all(every, tmp_path))
    assert study is not None
    assert {study.source.datasets[row[0].dataset_index].EchoTime for row in study.source.frames} == {2.4}
    assert len(study.source.frames) == 4


def test_magnitude_is_preferred_and_any_kind_will_do(tmp_path: Path) -> None:
    both = study_of_headers(save_all(classics(SCAN.but(kinds=("phase", "magnitude"))), tmp_path / "both"))
    parts = study_of_headers(save_all(classics(SCAN.but(kinds=("imaginary", "real"))), tmp_path / "parts"))
    for study, letter in ((both, "M"), (parts, "R")):
        assert study is not None
        assert {study.source.datasets[row[0].dataset_index].ImageType[2] for row in study.source.frames} == {letter}


def test_loose_geometry_of_irregular_oblique_slices() -> None:
    scan = SCAN.but(orientation=OBLIQUE)
    planes = [planes_of(classic(scan, z, 1.2))[0] for z in (3, 0, 0, 2)]
    kept, geometry = loose_geometry(planes)
    assert kept == (1, 3, 0)
    assert geometry.positions_mm == pytest.approx(np.array([scan.position(z) for z in (0, 2, 3)]))
    assert geometry.spacing_mm == pytest.approx((12.0, 2.0, 1.5))  # between 16 and 8
    assert geometry.slice_thickness_mm == 8.0


def test_file_that_the_system_does_not_give_is_no_refusal(tmp_path: Path) -> None:
    files = _no_field(SCAN, tmp_path)
    files[2].unlink()
    with pytest.raises(StorageError, match=r"0002\.dcm cannot be read: No such file"):
        _run(files)
    with pytest.raises(StorageError, match=r"0002\.dcm"):
        study_of_headers(files)


def test_file_that_goes_between_header_and_pixels_is_no_refusal(tmp_path: Path) -> None:
    files = save_all(classics(SCAN), tmp_path)

    def remove(stage: str) -> None:
        if stage == "reading pixels":
            files[2].unlink()
            files[2].mkdir()

    job = JobInput(job_id="b" * 32, files=tuple(files), accepted_at=ACCEPTED_AT)
    with pytest.raises(StorageError, match="Is a directory") as raised:
        run(job, load_config(None), remove)
    assert raised.value.retryable


def test_without_a_usable_header_there_is_no_object(tmp_path: Path) -> None:
    scout = classics(SCAN.but(extra={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}))
    output = _run(save_all(scout, tmp_path / "scout"))
    assert output.record["status"] == "declined"
    assert not any(name.startswith("dicom/") for name in output.files)
    no_study = save_all(classics(SCAN.but(extra={"StudyInstanceUID": None})), tmp_path / "no study")
    with pytest.raises(InputError, match=r"no Study Instance UID \(0020,000D\)"):
        _run(no_study)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DeclinedError("irregular_slices", "Slices lie at irregular distances."), "irregular_slices"),
        (UnreadableError("no_pixel_data", "Image 1.2 has none.", file_name="doe.dcm", detail="x"), "no_pixel_data"),
        (InputError("doe^jane.dcm is not a DICOM file"), "header_unreadable"),
    ],
)
def test_reason_names_no_file(error: InputError, code: str) -> None:
    reason = refusal_reason(error)
    assert reason.code == code
    assert "doe" not in reason.text


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(EDITS, min_size=1, max_size=3), everywhere=st.booleans())
def test_edited_headers_still_carry_a_refusal(tmp_path: Path, edits: list[Edit], everywhere: bool) -> None:
    files = save_all(classics(Scan(echo_times_ms=(1.2, 2.4, 3.6), n_slices=2)), tmp_path)
    for path in files if everywhere else files[2:3]:
        path.write_bytes(edit_elements(path.read_bytes(), edits))
    study = study_of_headers(files)
    assert study is not None or everywhere
    if study is not None:
        heights: Any = study.source.geometry.positions_mm @ study.source.geometry.normal
        assert (np.diff(heights) > 0).all()
        assert len(study.source.frames) == len(heights)
