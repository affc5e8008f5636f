"""The scanner's own maps: never an echo, compared inside our region."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from node.config import load_config
from node.intake.headers import read_dataset
from node.process.batch import process_files
from node.process.pixels import read_acquisition
from node.simulate import write_phantom
from quant.phantom import Phantom, make_abdomen
from tests.node.mr_images import Scan, classic, classics, enhanced, override, save, save_all, set_pixels

SIEMENS_R2STAR = ["DERIVED", "PRIMARY", "R2", "STAR MAP", "ND", "NORM"]


def vendor_map(scan: Scan, z: int, values: np.ndarray, **changes: Any) -> Dataset:
    """A map image at a slice of the scan, in a series of its own; it carries echo 1's time as Siemens' does."""
    ds = classic(scan, z, scan.echo_times_ms[0])
    ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.ImageType = f"1.2.9.{z}", "1.2.9", SIEMENS_R2STAR
    set_pixels(ds, values.astype(np.uint16))
    return override(ds, changes)


def plane(scan: Scan, value: float) -> np.ndarray:
    return np.full((scan.rows, scan.columns), value)


@pytest.mark.parametrize(
    ("image_type", "units", "stored", "quantity", "value"),
    [
        (SIEMENS_R2STAR, None, 50, "r2star", 50.0),
        (["ORIGINAL", "PRIMARY", "R2_STAR_UNSPECI", "R2", "FFE"], "1/s", 50, "r2star", 50.0),
        (["DERIVED", "PRIMARY", "T2_STAR_MAP"], "ms", 20, "t2star", 50.0),
        (["DERIVED", "PRIMARY", "FAT_FRACTION"], "%", 7, "fat_fraction", 7.0),
        (["DERIVED", "PRIMARY", "FAT_FRACTION"], None, 70, "fat_fraction", None),
        (["DERIVED", "PRIMARY", "T2_STAR_MAP"], "furlong", 20, "t2star", None),
    ],
)
def test_maps_are_read_on_our_grid_and_never_as_an_echo(
    tmp_path: Path, image_type: list[str], units: str | None, stored: int, quantity: str, value: float | None
) -> None:
    scan = Scan()
    extra: dict[str, Any] = {"ImageType": image_type}
    if units is not None:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = units, "UCUM", units
        mapping = Dataset()
        mapping.MeasurementUnitsCodeSequence = [code]
        extra["RealWorldValueMappingSequence"] = [mapping]
    images = [vendor_map(scan, z, plane(scan, stored), **extra) for z in range(scan.n_slices)]
    loaded = read_acquisition(save_all([*classics(scan), *images], tmp_path))
    assert_allclose(loaded.acquisition.magnitude / 10, np.abs(scan.truth), atol=0.051)
    (found,) = loaded.vendor_maps
    assert found.quantity == quantity
    assert "vendor_map" in {line.code for line in loaded.qc}
    if value is None:
        assert found.values is None
        assert "unit" in found.why_not
    else:
        assert found.values is not None
        assert_allclose(found.values, value)


@pytest.mark.parametrize(
    ("image_type", "unit", "stored", "value"),
    [
        (["ORIGINAL", "PRIMARY", "T2_STAR_UNSPECI", "T2_STAR", "UNSPECIFIED"], "ms", 20, 50.0),
        (["ORIGINAL", "PRIMARY", "R2_STAR_UNSPECI", "R2_STAR", "UNSPECIFIED"], "Hz", 50, 50.0),
        (["DERIVED", "PRIMARY", "FAT_FRACTION"], "%", 7, 7.0),
    ],
)
def test_unit_that_only_the_rescale_type_tells(
    tmp_path: Path, image_type: list[str], unit: str, stored: int, value: float
) -> None:
    scan = Scan()
    changes: dict[str, Any] = {
        "ImageType": image_type,
        "RescaleType": unit,
        "RescaleSlope": "1",
        "RescaleIntercept": "0",
    }
    images = [vendor_map(scan, z, plane(scan, stored), **changes) for z in range(scan.n_slices)]
    (found,) = read_acquisition(save_all([*classics(scan), *images], tmp_path)).vendor_maps
    assert found.unit_told
    assert_allclose(found.values, value)


def test_map_of_another_geometry_is_not_laid_over(tmp_path: Path) -> None:
    scan = Scan()
    elsewhere = vendor_map(scan, 0, plane(scan, 50), ImagePositionPatient=[0.0, 0.0, 31.5])
    (found,) = read_acquisition(save_all([*classics(scan), elsewhere], tmp_path)).vendor_maps
    assert found.values is None
    assert "grid" in found.why_not


def test_slices_without_a_map_say_nothing(tmp_path: Path) -> None:
    scan = Scan()
    (found,) = read_acquisition(save_all([*classics(scan), vendor_map(scan, 1, plane(scan, 50))], tmp_path)).vendor_maps
    assert found.values is not None
    assert np.isfinite(found.values).all(axis=(1, 2)).tolist() == [False, True, False]


def two_maps_in_one_object(scan: Scan) -> Dataset:
    """An enhanced object, compressed: R2* (51, 52, ... /s by slice), then T2* (20 ms), a frame for each slice."""
    ds = enhanced(scan.but(echo_times_ms=(1.2, 2.4), uid_prefix="1.2.9", series="1.2.9"))
    kinds = [("R2_STAR", "1/s", 51 + z) for z in range(scan.n_slices)] + [("T2_STAR", "ms", 20)] * scan.n_slices
    for group, (kind, unit, _) in zip(ds.PerFrameFunctionalGroupsSequence, kinds, strict=True):
        group.MRImageFrameTypeSequence[0].FrameType = ["DERIVED", "PRIMARY", f"{kind}_MAP", kind]
        group.RealWorldValueMappingSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = unit
        group.PixelValueTransformationSequence[0].RescaleSlope = "1"
    set_pixels(ds, np.stack([plane(scan, value) for _, _, value in kinds]).astype(np.uint16))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.compress(RLELossless, generate_instance_uid=False)
    return ds


def test_an_object_of_several_maps_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Scan()
    path = save(two_maps_in_one_object(scan), tmp_path / "maps.dcm", RLELossless)
    read: list[Path] = []
    decoded: list[list[int]] = []

    def reading(path: Path, **options: Any) -> Dataset:
        read.append(path)
        return read_dataset(path, **options)

    def decoding(source: Any, *, indices: list[int], **options: Any) -> Iterator[np.ndarray]:
        decoded.append(indices)
        return iter_pixels(source, indices=indices, **options)

    images = save_all(classics(scan), tmp_path / "images")
    monkeypatch.setattr("node.process.frames.read_dataset", reading)
    monkeypatch.setattr("node.process.frames.iter_pixels", decoding)
    r2star, t2star = read_acquisition([*images, path]).vendor_maps
    assert read.count(path) == 1
    assert [indices for indices in decoded if len(indices) > 1] == [[0, 1, 2, 3, 4, 5]]
    assert (r2star.quantity, t2star.quantity) == ("r2star", "t2star")
    assert r2star.values is not None
    assert t2star.values is not None
    assert_allclose(r2star.values[:, 0, 0], [51, 52, 53])
    assert_allclose(t2star.values, 50.0)


def test_an_object_that_cannot_be_decoded_gives_no_map(tmp_path: Path) -> None:
    scan = Scan()
    ds = two_maps_in_one_object(scan)
    frames = list(generate_frames(ds.PixelData, number_of_frames=2 * scan.n_slices))
    ds.PixelData = encapsulate([*frames[:-1], frames[-1][:20]])
    path = save(ds, tmp_path / "maps.dcm", RLELossless)
    loaded = read_acquisition([*save_all(classics(scan), tmp_path / "images"), path])
    assert [found.why_not for found in loaded.vendor_maps] == ["it cannot be decoded"] * 2
    assert [found.values for found in loaded.vendor_maps] == [None, None]


@pytest.fixture(scope="module")
def abdomen() -> Phantom:
    return make_abdomen(n_slices=4, matrix=96, snr=50)


@pytest.mark.parametrize(("factor", "severity"), [(1.05, "info"), (1.6, "warning")])
def test_scanner_map_is_a_quality_line_beside_our_number(
    abdomen: Phantom, tmp_path: Path, factor: float, severity: str
) -> None:
    paths = write_phantom(abdomen, tmp_path / "in", dialect="siemens")
    echo_one = [ds for ds in map(dcmread, paths) if ds.EchoNumbers == 1]
    for number, ds in enumerate(sorted(echo_one, key=lambda ds: ds.ImagePositionPatient[2])):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.{number}"
        ds.SeriesInstanceUID, ds.ImageType = "1.2.9", SIEMENS_R2STAR
        set_pixels(ds, np.nan_to_num(np.minimum(factor * abdomen.truth.r2star_per_s[number], 1000)).astype(np.uint16))
        ds.save_as(tmp_path / "in" / f"map{number}.dcm")
    (result,) = process_files([tmp_path / "in"], tmp_path / "out", load_config(None), indication=None, show=print)
    assert result.record["status"] == "measured"
    ours = result.record["r2star_per_s"]["median"]
    assert ours == pytest.approx(67.7, rel=0.02)
    (line,) = [line for line in result.record["qc"] if line["code"] == "vendor_map_compared"]
    assert line["severity"] == severity
    assert line["value"] == pytest.approx(factor * 67.73 / ours - 1, abs=0.02)
    assert "scanner's own R2* map" in " ".join(result.text.split())
