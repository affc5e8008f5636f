"""The result folder: maps and record state the same numbers, and a result that contradicts itself is withheld."""

import io
import json
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.config import load_config
from node.model import JobInput, PipelineOutput
from node.process import outputs
from node.process.pipeline import run
from node.simulate.writer import write_phantom
from quant.map_values import R2StarValues, r2star_values
from quant.phantom import make_abdomen
from sr_templates.check import ObjectError
from tests.further import further

STORED_PER_UNIT = {"r2star_per_s": 1, "lic_mg_per_g": 1000, "t2star_ms": 100, "pdff_percent": 10}
ROLES = {"r2star_per_s": "r2star", "lic_mg_per_g": "lic", "t2star_ms": "t2star", "pdff_percent": "pdff"}


def job_of(files: list[Path]) -> JobInput:
    accepted_at = datetime(2026, 1, 2, 11, 30, tzinfo=UTC)
    return JobInput(job_id="c" * 32, files=tuple(files), accepted_at=accepted_at)


def measured(folder: Path, r2star_per_s: float, field_t: float) -> PipelineOutput:
    phantom = make_abdomen(r2star_per_s=r2star_per_s, field_t=field_t, n_slices=3, matrix=128)
    return run(job_of(write_phantom(phantom, folder)), load_config(None))


@pytest.fixture(scope="module")
def plain_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_phantom(make_abdomen(n_slices=3, matrix=128), tmp_path_factory.mktemp("plain"))


def objects_of(output: PipelineOutput) -> list[tuple[str, Dataset]]:
    return [(item["role"], dcmread(io.BytesIO(output.files[item["file"]]))) for item in output.record["objects"]]


def under_region(output: PipelineOutput, role: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Stored values of a classic map at the voxels of the segmentation, matched by position as a viewer does."""
    objects = objects_of(output)
    (segmentation,) = [ds for found, ds in objects if found == "seg"]
    planes = np.atleast_3d(segmentation.pixel_array)
    region = {
        tuple(group.PlanePositionSequence[0].ImagePositionPatient): plane > 0
        for group, plane in zip(segmentation.PerFrameFunctionalGroupsSequence, planes, strict=True)
    }
    maps = [ds for found, ds in objects if found == role]
    return np.concatenate([ds.pixel_array[region[tuple(ds.ImagePositionPatient)]] for ds in maps]).astype(float)


def test_suppressed_fat_gives_no_fat_fraction(plain_files: list[Path], tmp_path: Path) -> None:
    plain = run(job_of(plain_files), load_config(None)).record
    for file in plain_files:
        ds = dcmread(file)
        ds.ScanOptions = "FS"
        ds.save_as(tmp_path / file.name)
    record = run(job_of(sorted(tmp_path.iterdir())), load_config(None)).record
    assert plain["pdff_percent"] is not None
    assert (record["pdff_percent"], record["r2star_per_s"]) == (None, plain["r2star_per_s"])
    assert "fat_suppressed" in {line["code"] for line in record["qc"]}
    roles, plain_roles = ({item["role"] for item in one["objects"]} for one in (record, plain))
    assert plain_roles - roles == {"map.pdff", "pm.pdff"}


@pytest.mark.parametrize(
    ("r2star_per_s", "field_t", "bound"),
    [(400.0, 1.5, None), (1500.0, 3.0, "at_least"), *further([(20.0, 3.0, None), (1500.0, 1.5, "at_least")])],
)
def test_the_region_of_every_map_reads_what_the_record_states(
    r2star_per_s: float, field_t: float, bound: str | None, tmp_path: Path
) -> None:
    output = measured(tmp_path, r2star_per_s, field_t)
    record = output.record
    assert record["status"] == "measured"
    assert record["lic_mg_per_g"]["bound"] == bound
    roi = record["roi"]
    assert [part["slice_index"] for part in roi["slices"]] == [0, 1, 2][: roi["n_slices"]]
    assert sum(part["n_voxels"] for part in roi["slices"]) == roi["n_voxels"]
    assert sum(lobe["n_voxels"] for lobe in roi["lobes"].values() if lobe) <= roi["n_voxels"]
    if bound is None:
        assert roi["lobes"]["right"]["r2star_median_per_s"] == pytest.approx(r2star_per_s, rel=0.1)
    for name, per_unit in STORED_PER_UNIT.items():
        statistics = record[name]
        mapped = any(item["role"] == f"map.{ROLES[name]}" for item in record["objects"])
        assert mapped == (statistics is not None)
        if statistics is None:
            continue
        stored = under_region(output, f"map.{ROLES[name]}")
        assert np.mean(stored == 0) < 0.005  # 0 is no value: a viewer's mean must not sink
        median, stated = float(np.median(stored)), statistics["median"] * per_unit
        if statistics["bound"] is None:
            assert median == pytest.approx(stated, abs=0.51 + 1e-6 * stated)
        elif statistics["bound"] == "at_least":
            assert median >= stated - 0.51
        else:
            assert median <= stated + 0.51


def test_voxels_too_high_to_measure_read_the_ceiling_that_the_image_names(tmp_path: Path) -> None:
    output = measured(tmp_path, 1500.0, 1.5)
    stored = under_region(output, "map.lic")
    assert np.mean(stored == stored.max()) > 0.2
    image = next(ds for role, ds in objects_of(output) if role == "map.lic")
    assert f"{stored.max():.0f} means 43 mg/g or more" in image.ImageComments


def shift_map(by: float) -> Callable[..., R2StarValues]:
    def shifted(*arguments: Any) -> R2StarValues:
        found = r2star_values(*arguments)
        return R2StarValues(values=found.values * np.float32(by), range_per_s=found.range_per_s)

    return shifted


def test_a_result_that_contradicts_its_maps_is_withheld_and_the_study_told(
    plain_files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    dciodvfy: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(outputs, "r2star_values", shift_map(1.2))
    with caplog.at_level("INFO", logger="ironnode"):
        output = run(job_of(plain_files), load_config(None))
    record = output.record
    assert record["status"] == "not_measurable"
    assert record["settings_digest"] == load_config(None).method_digest()
    assert [reason["code"] for reason in record["reasons"]] == ["internal_check_failed"]
    for name in (*STORED_PER_UNIT, "lic_umol_per_g", "calibration", "grade", "views", "roi", "fit"):
        assert record[name] is None, name
    assert record["follow_up"]["clinician_decides"] is True
    objects = dict(objects_of(output))
    assert sorted(objects) == ["ko", "page", "pdf", "sr", "sr.comprehensive", "sr.enhanced"]
    for role in objects:
        path = tmp_path / f"{role}.dcm"
        path.write_bytes(output.files[f"dicom/{role.replace('.', '-')}-0001.dcm"])
        answer = subprocess.run([dciodvfy, "-new", path], capture_output=True, text=True, check=False)
        assert "Error" not in answer.stdout + answer.stderr
    for file in ("report.txt", "report.html"):
        words = re.sub(r"\s+", " ", output.files[file].decode())
        assert "did not pass this software" in words
        assert "mg/g (" not in words
    (event,) = [r for r in caplog.records if r.message == "result_withheld"]
    assert event.levelname == "ERROR"
    assert "median R2* is" in json.dumps(vars(event)["fields"])


def test_when_not_even_the_refusal_passes_the_job_fails(
    plain_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(**_parts: object) -> None:
        raise ObjectError("LIC map #1: PixelSpacing has no value")

    monkeypatch.setattr(outputs, "build_result_set", never)
    with pytest.raises(ObjectError, match="PixelSpacing"):
        run(job_of(plain_files), load_config(None))
