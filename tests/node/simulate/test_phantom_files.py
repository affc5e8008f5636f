"""Phantom files read back through pydicom alone: geometry, scaling, kinds, identifiers, validity."""

import json
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import EnhancedMRImageStorage, ImplicitVRLittleEndian, MRImageStorage

from node.simulate import (
    DIALECTS,
    LABELS_FILE,
    TRUTH_FILE,
    Dialect,
    StudyFacts,
    write_diffusion,
    write_localiser,
    write_phantom,
)
from quant.phantom import Label, Phantom, default_echo_times_s, make_abdomen

ENHANCED = ("enhanced", "philips-enhanced", "siemens-xa")
CLASSIC = [dialect for dialect in DIALECTS if dialect not in ENHANCED]


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_abdomen(
        n_slices=3, matrix=(40, 64), tilt_deg=12, echo_times_s=default_echo_times_s(1.5, echoes=4), kind="complex"
    )


@pytest.fixture(scope="module")
def written(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    root = tmp_path_factory.mktemp("phantoms")
    return {dialect: write_phantom(phantom, root / dialect, dialect=dialect) for dialect in DIALECTS}


@dataclass(frozen=True)
class Image:
    """One image as an independent reader sees it; values after rescale, phase in radians."""

    kind: str
    echo_time_ms: float
    position: np.ndarray
    orientation: np.ndarray
    spacing: tuple[float, ...]
    stored: np.ndarray
    values: np.ndarray


def kind_of(ds: pydicom.Dataset) -> str:
    if "GEMS_PARM_01" in [e.value for e in ds.group_dataset(0x0043) if e.tag.is_private_creator]:
        return {0: "M", 1: "P", 2: "R", 3: "I"}[ds[0x0043, 0x102F].value]
    return "P" if "P" in ds.ImageType else "M"


def classic_images(paths: list[Path]) -> list[Image]:
    images = []
    for path in paths:
        ds = pydicom.dcmread(path)
        kind, stored = kind_of(ds), ds.pixel_array
        values = stored * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
        if kind == "P":
            values = values / 1000 if ds.RescaleType == "mrad" else values / 4096 * np.pi
        images.append(
            Image(
                kind,
                float(ds.EchoTime),
                np.array(ds.ImagePositionPatient, dtype=float),
                np.array(ds.ImageOrientationPatient, dtype=float),
                (float(ds.SpacingBetweenSlices), *(float(v) for v in ds.PixelSpacing)),
                stored,
                values,
            )
        )
    return images


def enhanced_images(paths: list[Path]) -> list[Image]:
    return [image for path in paths for image in frames_of(pydicom.dcmread(path))]


def frames_of(ds: pydicom.Dataset) -> list[Image]:
    images, (shared,) = [], ds.SharedFunctionalGroupsSequence
    for groups, stored in zip(ds.PerFrameFunctionalGroupsSequence, ds.pixel_array, strict=True):
        rescale = groups.PixelValueTransformationSequence[0]
        values = stored * float(rescale.RescaleSlope) + float(rescale.RescaleIntercept)
        kind = groups.MRImageFrameTypeSequence[0].ComplexImageComponent[0]
        measures = (groups if "PixelMeasuresSequence" in groups else shared).PixelMeasuresSequence[0]
        plane = groups if "PlaneOrientationSequence" in groups else shared
        images.append(
            Image(
                kind,
                groups.MREchoSequence[0].EffectiveEchoTime,
                np.array(groups.PlanePositionSequence[0].ImagePositionPatient, dtype=float),
                np.array(plane.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float),
                (float(measures.SpacingBetweenSlices), *(float(v) for v in measures.PixelSpacing)),
                stored,
                values * ({-4096: np.pi / 4096}.get(rescale.RescaleIntercept, 0.001) if kind == "P" else 1),
            )
        )
    return images


def images_of(dialect: str, paths: list[Path]) -> list[Image]:
    return enhanced_images(paths) if dialect in ENHANCED else classic_images(paths)


def stack_of(phantom: Phantom, images: list[Image], kind: str) -> np.ndarray:
    """Values (z, y, x, e) of one kind, placed by position and echo time."""
    acquisition = phantom.acquisition
    out = np.full(acquisition.signal.shape, np.nan)
    for image in (image for image in images if image.kind == kind):
        distance = np.linalg.norm(acquisition.geometry.positions_mm - image.position, axis=1)
        echo_error = np.abs(acquisition.echo_times_s * 1000 - image.echo_time_ms)
        assert distance.min() < 1e-3  # Siemens XA writes six significant digits
        assert echo_error.min() < 1e-6
        cell = out[distance.argmin(), :, :, echo_error.argmin()]
        assert np.isnan(cell).all()
        cell[:] = image.values
    assert not np.isnan(out).any()
    return out


@pytest.mark.parametrize("dialect", DIALECTS)
def test_magnitude_comes_back_within_quantisation(
    phantom: Phantom, written: dict[str, list[Path]], dialect: str
) -> None:
    magnitude = phantom.acquisition.magnitude.astype(float)
    values = stack_of(phantom, images_of(dialect, written[dialect]), "M")
    scale = (values * magnitude).sum() / (magnitude**2).sum()
    assert np.abs(values / scale - magnitude).max() < 0.6 * magnitude.max() / 4000
    assert scale == pytest.approx(1, rel=1e-3) or dialect in ("generic", "siemens", "siemens-xa", "ge", "canon")


@pytest.mark.parametrize("dialect", [dialect for dialect in DIALECTS if dialect != "ge"])
def test_phase_comes_back_within_its_step(phantom: Phantom, written: dict[str, list[Path]], dialect: str) -> None:
    values = stack_of(phantom, images_of(dialect, written[dialect]), "P")
    error = np.angle(np.exp(1j * (values - np.angle(phantom.acquisition.signal))))
    assert np.abs(error).max() < 1.01 * np.pi / 4096
    assert values.min() >= -np.pi - 1e-6


def test_ge_real_and_imaginary_are_the_conjugate_with_alternating_sign(
    phantom: Phantom, written: dict[str, list[Path]]
) -> None:
    images = classic_images(written["ge"])
    real, imaginary, magnitude = (stack_of(phantom, images, kind) for kind in "RIM")
    assert np.abs(np.hypot(real, imaginary) - magnitude).max() < 1.3
    signs = np.array([1, -1, 1])[:, None, None, None]
    expected = signs * np.conj(phantom.acquisition.signal)
    scale = magnitude.max() / np.abs(phantom.acquisition.signal).max()
    assert np.abs(real + 1j * imaginary - scale * expected).max() < 1.0
    assert (real < 0).mean() > 0.2


@pytest.mark.parametrize("dialect", DIALECTS)
def test_geometry_comes_back(phantom: Phantom, written: dict[str, list[Path]], dialect: str) -> None:
    geometry = phantom.acquisition.geometry
    for image in images_of(dialect, written[dialect]):
        assert image.spacing == pytest.approx(geometry.spacing_mm)
        assert image.orientation == pytest.approx([*geometry.row_direction, *geometry.column_direction], abs=1e-9)
        assert image.values.shape == (40, 64)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_pixel_saturates_or_wraps(written: dict[str, list[Path]], dialect: str) -> None:
    for image in images_of(dialect, written[dialect]):
        if image.kind == "M":
            assert image.stored.min() >= 0
            assert image.stored.max() <= {"generic": 30001, "ge": 12001, "canon": 12001}.get(dialect, 4001)
    first = pydicom.dcmread(written[dialect][0])
    assert first.BitsStored == (16 if dialect in ("generic", "ge", "canon") else 12)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kind", ["complex", "magnitude"])
def test_validator_finds_no_error(
    phantom: Phantom, dialect: Dialect, kind: str, tmp_path: Path, dciodvfy: Path
) -> None:
    paths = write_phantom(phantom, tmp_path, dialect=dialect, kind=kind)
    for path in {paths[0], paths[-1]}:
        answer = subprocess.run([dciodvfy, "-new", str(path)], capture_output=True, text=True, check=False)
        errors = [line for line in (answer.stdout + answer.stderr).splitlines() if line.startswith("Error")]
        assert errors == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_headers_tell_the_acquisition_and_an_invented_patient(written: dict[str, list[Path]], dialect: str) -> None:
    ds = pydicom.dcmread(written[dialect][0], stop_before_pixels=True)
    assert str(ds.PatientName) == "Phantom^Liver"
    assert ds.PatientID == "IRONNODE-PHANTOM"
    assert float(ds.MagneticFieldStrength) == 1.5
    assert ds.MRAcquisitionType == "2D"
    assert ds.BodyPartExamined == "ABDOMEN"
    assert ds.StudyDate == "20260105"
    assert ds.SOPClassUID == (EnhancedMRImageStorage if dialect in ENHANCED else MRImageStorage)
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID


def test_kind_markers_are_those_of_the_vendor(written: dict[str, list[Path]]) -> None:
    found: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    series: dict[str, set[str]] = defaultdict(set)
    for dialect in CLASSIC:
        for path in written[dialect]:
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            found[dialect].add(tuple(ds.ImageType))
            series[dialect].add(ds.SeriesInstanceUID)
    assert found["siemens"] == {("ORIGINAL", "PRIMARY", "M", "ND"), ("ORIGINAL", "PRIMARY", "P", "ND")}
    assert found["ge"] == {("ORIGINAL", "PRIMARY", "OTHER")}
    assert found["philips"] == {
        ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"),
        ("ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"),
    }
    assert {dialect: len(uids) for dialect, uids in series.items()} == {
        "generic": 2,
        "siemens": 2,
        "ge": 1,
        "philips": 1,
        "canon": 2,
    }
    assert found["canon"] == {("ORIGINAL", "PRIMARY", "GDC"), ("ORIGINAL", "PRIMARY", "P", "GDC")}


def test_ge_is_implicit_and_signed_and_philips_scales_every_image(written: dict[str, list[Path]]) -> None:
    ge = pydicom.dcmread(written["ge"][0])
    assert ge.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert ge.PixelRepresentation == 1
    assert "RescaleSlope" not in ge
    assert ge.ScanningSequence == "RM"
    slopes = {float(pydicom.dcmread(p).RescaleSlope) for p in written["philips"]}
    assert len(slopes) == 3 * 4 + 1
    philips = pydicom.dcmread(written["philips"][0])
    assert philips[0x2005, 0x1011].value == "M"
    assert philips[0x2001, 0x1014].value == 4


def test_enhanced_keeps_everything_per_frame(written: dict[str, list[Path]]) -> None:
    ds = pydicom.dcmread(written["enhanced"][0])
    assert ds.NumberOfFrames == 3 * 4 * 2
    assert len(ds.SharedFunctionalGroupsSequence[0]) == 0
    for keyword in ("EchoTime", "RepetitionTime", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope"):
        assert keyword not in ds
    indices = {tuple(g.FrameContentSequence[0].DimensionIndexValues) for g in ds.PerFrameFunctionalGroupsSequence}
    assert len(indices) == 24
    units = {
        g.RealWorldValueMappingSequence[0].MeasurementUnitsCodeSequence[0].CodeValue
        for g in ds.PerFrameFunctionalGroupsSequence
    }
    assert units == {"1", "mrad"}


def test_siemens_xa_has_an_object_per_echo_and_tells_the_time_per_frame_only(written: dict[str, list[Path]]) -> None:
    objects = [pydicom.dcmread(path) for path in written["siemens-xa"]]
    assert len(objects) == 4 * 2
    assert len({ds.SeriesInstanceUID for ds in objects}) == 2
    for ds in objects:
        assert "EchoTime" not in ds
        assert "EchoNumbers" not in ds
        groups = ds.PerFrameFunctionalGroupsSequence
        assert len({g.MREchoSequence[0].EffectiveEchoTime for g in groups}) == 1
        assert groups[0][0x0021, 0x11FE].value[0][0x0021, 0x1106].value.startswith("X_")
    times = [ds.PerFrameFunctionalGroupsSequence[0].MREchoSequence[0].EffectiveEchoTime for ds in objects]
    assert times != sorted(times)


def test_identifiers_are_unique_and_repeatable(
    phantom: Phantom, written: dict[str, list[Path]], tmp_path: Path
) -> None:
    for dialect in DIALECTS:
        again = write_phantom(phantom, tmp_path / dialect, dialect=dialect)
        assert [p.read_bytes() for p in again] == [p.read_bytes() for p in written[dialect]]
        headers = [pydicom.dcmread(p, stop_before_pixels=True) for p in again]
        assert len({ds.SOPInstanceUID for ds in headers}) == len(headers)
        assert len({ds.StudyInstanceUID for ds in headers}) == 1
        assert len({ds.FrameOfReferenceUID for ds in headers}) == 1
        assert all(ds.SOPInstanceUID.is_valid and ds.SOPInstanceUID.startswith("2.25.") for ds in headers)
    studies = {pydicom.dcmread(written[d][0], stop_before_pixels=True).StudyInstanceUID for d in DIALECTS}
    assert len(studies) == len(DIALECTS)


def test_other_facts_make_another_study(phantom: Phantom, written: dict[str, list[Path]], tmp_path: Path) -> None:
    facts = StudyFacts(study_date="20250201", accession_number="A2")
    (path, *_) = write_phantom(phantom, tmp_path, facts=facts)
    ds, usual = (pydicom.dcmread(p, stop_before_pixels=True) for p in (path, written["generic"][0]))
    assert (ds.StudyDate, ds.AccessionNumber) == ("20250201", "A2")
    assert ds.StudyInstanceUID != usual.StudyInstanceUID


def test_truth_lies_beside_the_images(phantom: Phantom, written: dict[str, list[Path]]) -> None:
    folder = written["siemens"][0].parent
    truth = json.loads((folder / TRUTH_FILE).read_text())
    assert (truth["r2star_per_s"], truth["pdff_percent"], truth["field_t"], truth["seed"]) == (67.73, 2.0, 1.5, 0)
    assert (truth["dialect"], truth["kind"]) == ("siemens", "complex")
    assert truth["echo_times_ms"] == [1.0, 2.4, 3.8, 5.2]
    headers = [pydicom.dcmread(p, stop_before_pixels=True) for p in written["siemens"]]
    assert truth["study_uid"] == headers[0].StudyInstanceUID
    assert set(truth["series_uids"]) == {ds.SeriesInstanceUID for ds in headers}
    assert {i["sop_instance_uid"] for i in truth["instances"]} == {ds.SOPInstanceUID for ds in headers}
    assert truth["tissues"]["liver"]["r2star_per_s"] == 67.73
    with np.load(folder / LABELS_FILE) as arrays:
        assert np.array_equal(arrays["labels"], phantom.truth.labels)
        assert np.median(arrays["r2star_per_s"][arrays["liver"]]) == pytest.approx(67.73, rel=2e-3)
        assert (arrays["labels"] == Label.LIVER).sum() == truth["tissues"]["liver"]["voxels"]


def test_magnitude_kind_writes_no_phase(phantom: Phantom, tmp_path: Path) -> None:
    for dialect in DIALECTS:
        images = images_of(dialect, write_phantom(phantom, tmp_path / dialect, dialect=dialect, kind="magnitude"))
        assert {image.kind for image in images} == {"M"}
        assert len(images) == 12


def test_a_magnitude_phantom_has_no_phase_to_write(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no phase"):
        write_phantom(make_abdomen(n_slices=1, matrix=32), tmp_path, kind="complex")


def test_unknown_dialect_is_named(phantom: Phantom, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="esperanto"):
        write_phantom(phantom, tmp_path, dialect="esperanto")


def test_companions_belong_to_the_study_but_not_to_the_series(
    phantom: Phantom, written: dict[str, list[Path]], tmp_path: Path, dciodvfy: Path
) -> None:
    ours = [pydicom.dcmread(p, stop_before_pixels=True) for p in written["generic"]]
    scouts = [pydicom.dcmread(p) for p in write_localiser(phantom, tmp_path / "scout")]
    diffusion = [pydicom.dcmread(p) for p in write_diffusion(phantom, tmp_path / "diffusion")]
    for ds in (*scouts, *diffusion):
        assert ds.StudyInstanceUID == ours[0].StudyInstanceUID
        assert ds.FrameOfReferenceUID == ours[0].FrameOfReferenceUID
        assert ds.SeriesInstanceUID not in {o.SeriesInstanceUID for o in ours}
        answer = subprocess.run([dciodvfy, "-new", ds.filename], capture_output=True, text=True, check=False)
        assert "Error" not in answer.stdout + answer.stderr
    assert len({tuple(ds.ImageOrientationPatient) for ds in scouts}) == 3
    assert {ds.EchoTime for ds in scouts} == {4.6}
    assert len({ds.SOPInstanceUID for ds in (*ours, *scouts, *diffusion)}) == len(ours) + len(scouts) + len(diffusion)
    assert {ds.DiffusionBValue for ds in diffusion} == {0.0, 800.0}
    assert {ds.ScanningSequence for ds in diffusion} == {"EP"}


@pytest.mark.parametrize(("orientation", "position"), [("axial", "HFS"), ("feet_first", "FFS"), ("prone", "HFP")])
def test_patient_position_is_written(orientation: str, position: str, tmp_path: Path) -> None:
    phantom = make_abdomen(n_slices=1, matrix=32, orientation=orientation)
    (path, *_) = write_phantom(phantom, tmp_path)
    assert pydicom.dcmread(path, stop_before_pixels=True).PatientPosition == position
