"""From files to arrays: the signal and geometry that were written come back, whatever the make, order and encoding."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.errors import DeclinedError
from node.process.pixels import LoadedAcquisition, read_acquisition
from node.simulate import DIALECTS, write_phantom
from quant.phantom import make_abdomen
from tests.node.mr_images import (
    AXIAL,
    CORONAL,
    OBLIQUE,
    SAGITTAL,
    Scan,
    classic,
    classics,
    enhanced,
    override,
    save_all,
    set_pixels,
)
from tests.node.process.pixel_checks import agrees

SharedData = Callable[[str], Path]


def _read(every: list[Dataset], folder: Path) -> LoadedAcquisition:
    return read_acquisition(save_all(every, folder))


def _codes(loaded: LoadedAcquisition) -> set[str]:
    return {line.code for line in loaded.qc}


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL, OBLIQUE])
def test_signal_and_geometry_of_plain_images(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    scan = Scan(orientation=orientation)
    files = save_all(classics(scan), tmp_path)
    random.Random(4).shuffle(files)
    loaded = read_acquisition(files)
    agrees(loaded, scan)
    geometry = loaded.acquisition.geometry
    assert_allclose(geometry.positions_mm, [scan.position(z) for z in range(3)], atol=1e-9)
    assert_allclose(geometry.row_direction, orientation[:3], atol=1e-9)
    assert_allclose(geometry.column_direction, orientation[3:], atol=1e-9)
    assert_allclose(geometry.spacing_mm, (8.0, 2.0, 1.5))
    assert_allclose(loaded.acquisition.echo_times_s, np.array(scan.echo_times_ms) / 1000)
    assert loaded.summary.rows == 6
    assert loaded.summary.columns == 5
    assert _codes(loaded) == set()


def test_facts_for_record_and_page(tmp_path: Path) -> None:
    reason = override(Dataset(), {"CodeValue": "127040003", "CodingSchemeDesignator": "SCT", "CodeMeaning": "SCD"})
    request = override(Dataset(), {"ReasonForTheRequestedProcedure": "iron?"})
    request.ReasonForRequestedProcedureCodeSequence = [reason]
    scan = Scan(extra={"RequestAttributesSequence": [request]})
    loaded = _read(classics(scan), tmp_path)
    assert loaded.study.study_instance_uid == "1.2.3"
    assert loaded.study.series_instance_uids == ("1.2.3.1",)
    assert loaded.study.study_date is not None
    assert loaded.study.study_date.isoformat() == "2026-01-02"
    assert loaded.indication.texts == ("iron?",)
    assert loaded.indication.codes == (("127040003", "SCT", "SCD"),)
    assert loaded.study.patient.name == "Doe^Jane"
    assert loaded.study.patient.patient_id == "P1"
    assert str(loaded.study.patient.birth_date) == "1980-05-01"
    assert loaded.summary.manufacturer == "Maker"
    assert loaded.refusals == ()


def test_evidence_refers_to_the_very_planes(tmp_path: Path) -> None:
    scan = Scan(kinds=("magnitude", "phase"))
    loaded = _read([*reversed(classics(scan))], tmp_path)
    source = loaded.study.source
    assert len(source.frames) == 3
    for z, row in enumerate(source.frames):
        for e, ref in enumerate(row):
            ds = source.datasets[ref.dataset_index]
            assert float(ds.EchoTime) == scan.echo_times_ms[e]
            assert [float(v) for v in ds.ImagePositionPatient] == scan.position(z)
            assert ds.ImageType[2] == "M"
            assert "PixelData" not in ds
    assert len(source.further) == 18
    assert {source.datasets[ref.dataset_index].ImageType[2] for ref in source.further} == {"P"}


def test_multi_frame_object_with_a_rescale_per_frame(tmp_path: Path) -> None:
    scan = Scan(kinds=("magnitude", "phase"))
    loaded = _read([enhanced(scan)], tmp_path)
    assert loaded.acquisition.is_complex
    assert_allclose(loaded.acquisition.signal, scan.truth, rtol=2e-3)
    frames = [ref.frame_number for row in loaded.study.source.frames for ref in row]
    assert frames == [1 + z + 6 * e for z in range(3) for e in range(6)]


def test_one_multi_frame_object_per_echo_in_any_file_order(tmp_path: Path) -> None:
    scan = Scan()
    objects = [enhanced(scan.but(echo_times_ms=(t,))) for t in reversed(scan.echo_times_ms)]
    loaded = _read(objects, tmp_path)
    assert_allclose(loaded.acquisition.magnitude, np.abs(scan.truth), rtol=2e-4)
    assert len(loaded.study.source.datasets) == 6


def test_legacy_converted_object(tmp_path: Path) -> None:
    scan = Scan()
    loaded = _read([enhanced(scan, legacy=True)], tmp_path)
    assert_allclose(loaded.acquisition.magnitude, np.abs(scan.truth), rtol=2e-4)


@pytest.mark.parametrize("kinds", [("magnitude", "phase"), ("real", "imaginary"), ("magnitude", "real", "imaginary")])
def test_complex_signal_from_either_pair(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    scan = Scan(kinds=kinds)
    loaded = _read(classics(scan), tmp_path)
    assert loaded.summary.kind == "complex"
    assert loaded.acquisition.signal.dtype == np.complex64
    assert_allclose(loaded.acquisition.signal / 10, scan.truth, atol=0.8)  # half a phase step at the largest signal


def test_phase_without_a_known_unit_is_left_aside(tmp_path: Path) -> None:
    every = classics(Scan(kinds=("magnitude", "phase")))
    for ds in every:
        if ds.ImageType[2] == "P":
            del ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType
    loaded = _read(every, tmp_path)
    assert loaded.summary.kind == "magnitude"
    assert _codes(loaded) == {"phase_not_used"}
    assert loaded.study.source.further == ()
    for ds in every:
        ds.Manufacturer = "SIEMENS"
    assert _read(every, tmp_path / "siemens").summary.kind == "complex"


def test_parts_that_contradict_the_magnitude_are_left_aside(tmp_path: Path) -> None:
    every = classics(Scan(kinds=("magnitude", "real", "imaginary")))
    for ds in every:
        if ds.ImageType[2] == "R":
            ds.RescaleSlope, ds.RescaleIntercept = "1.2", "0"
    loaded = _read(every, tmp_path)
    assert loaded.summary.kind == "magnitude"
    assert _codes(loaded) == {"phase_not_used"}


def test_cell_without_magnitude_is_filled_from_its_parts(tmp_path: Path) -> None:
    scan = Scan(kinds=("magnitude", "real", "imaginary"))
    every = [ds for ds in classics(scan) if not (ds.ImageType[2] == "M" and ds.EchoTime == 2.4)]
    loaded = _read(every, tmp_path)
    agrees(loaded, scan, step=0.1)


def test_one_missing_image_drops_its_echo_and_says_so(tmp_path: Path) -> None:
    scan = Scan(n_slices=3)
    every = [ds for ds in classics(scan) if not (ds.EchoTime == 4.8 and ds.ImagePositionPatient[2] == 38.0)]
    loaded = _read(every, tmp_path)
    assert_allclose(loaded.acquisition.echo_times_s * 1000, [1.2, 2.4, 3.6, 6.0, 7.2])
    (line,) = [line for line in loaded.qc if line.code == "incomplete_grid"]
    assert line.severity == "warning"
    assert "echo 4 (4.8 ms)" in line.text


def test_missing_first_echo_drops_the_slice_instead(tmp_path: Path) -> None:
    scan = Scan(n_slices=4)
    every = [ds for ds in classics(scan) if not (ds.EchoTime == 1.2 and ds.ImagePositionPatient[2] == 38.0)]
    loaded = _read(every, tmp_path)
    assert loaded.acquisition.echo_times_s[0] == pytest.approx(0.0012)
    assert_allclose(loaded.acquisition.geometry.positions_mm[:, 2], [30.0, 46.0, 54.0])
    assert loaded.acquisition.geometry.spacing_mm[0] == pytest.approx(8.0)
    assert {"incomplete_grid", "slice_gaps"} <= _codes(loaded)


def test_irregular_slices_are_declined(tmp_path: Path) -> None:
    every = [*classics(Scan(n_slices=2)), *classics(Scan(n_slices=1, origin_mm=(-10, -20, 49), uid_prefix="1.2.3.8"))]
    with pytest.raises(DeclinedError, match=r"irregular distances \(8\.00 to 11\.00 mm\)") as caught:
        _read(every, tmp_path)
    assert caught.value.code == "irregular_slices"


def test_two_geometries_are_two_acquisitions(tmp_path: Path) -> None:
    other = Scan(orientation=CORONAL, uid_prefix="1.2.3.7", series="1.2.3.7")
    with pytest.raises(DeclinedError, match="2 acquisitions") as caught:
        _read([*classics(Scan()), *classics(other)], tmp_path)
    assert caught.value.code == "several_acquisitions"


def test_single_slice_stands_for_its_thickness(tmp_path: Path) -> None:
    loaded = _read(classics(Scan(n_slices=1, extra={"SliceThickness": "10"})), tmp_path)
    assert loaded.acquisition.geometry.spacing_mm == (10.0, 2.0, 1.5)
    loaded = _read(classics(Scan(n_slices=1, extra={"SpacingBetweenSlices": "12"})), tmp_path / "gap")
    assert loaded.acquisition.geometry.spacing_mm[0] == 12.0


def test_gaps_between_slices_count_as_spacing(tmp_path: Path) -> None:
    loaded = _read(classics(Scan(extra={"SliceThickness": "6"})), tmp_path)
    assert loaded.acquisition.geometry.spacing_mm[0] == pytest.approx(8.0)
    assert loaded.acquisition.geometry.slice_thickness_mm == 6.0


def test_negative_pixels_are_no_magnitude(tmp_path: Path) -> None:
    every = classics(Scan(extra={"ImageType": ["ORIGINAL", "PRIMARY", "OTHER"]}))
    every[3].RescaleSlope, every[3].RescaleIntercept = "-1", "0"
    with pytest.raises(DeclinedError, match="no header element names") as caught:
        _read(every, tmp_path)
    assert caught.value.code == "unknown_kind"


def test_signed_magnitude_of_an_unnamed_kind_is_accepted_and_said(tmp_path: Path) -> None:
    scan = Scan(extra={"ImageType": ["ORIGINAL", "PRIMARY", "GDC"]})
    every = classics(scan)
    for ds in every:
        ds.PixelRepresentation, ds.BitsStored, ds.HighBit = 1, 16, 15
    loaded = _read(every, tmp_path)
    agrees(loaded, scan)
    assert _codes(loaded) == {"kind_assumed"}


@pytest.mark.parametrize(("maker", "assumed"), [("CANON_MEC", True), ("UIH", True), ("SIEMENS", False)])
def test_phase_of_a_maker_never_seen_is_an_assumption_that_is_said(tmp_path: Path, maker: str, assumed: bool) -> None:
    loaded = _read(classics(Scan(kinds=("magnitude", "phase"), extra={"Manufacturer": maker})), tmp_path)
    assert loaded.acquisition.is_complex
    assert [line.code for line in loaded.qc if line.code == "phase_unit_assumed" and maker in line.text] == (
        ["phase_unit_assumed"] if assumed else []
    )


def test_saturated_voxels_are_marked(tmp_path: Path) -> None:
    every = classics(Scan())
    stored = np.frombuffer(every[0].PixelData, "<u2").reshape(6, 5).copy()
    stored[2, 3] = 4095
    stored[1, 1] = 4094
    set_pixels(every[0], np.minimum(stored, 4095))
    every[0].BitsStored, every[0].HighBit = 12, 11
    loaded = _read(every, tmp_path)
    assert loaded.acquisition.saturated is not None
    assert np.argwhere(loaded.acquisition.saturated).tolist() == [[0, 2, 3]]
    assert _codes(loaded) == {"saturated"}


def test_few_and_uneven_echoes_and_lossy_images_are_said(tmp_path: Path) -> None:
    loaded = _read(classics(Scan(echo_times_ms=(1.2, 2.4, 4.9), extra={"LossyImageCompression": "01"})), tmp_path)
    assert _codes(loaded) == {"few_echoes", "uneven_echo_spacing", "lossy_compression"}


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_echoes_after_dropping(tmp_path: Path, count: int) -> None:
    every = classics(Scan(echo_times_ms=(1.2, 2.4, 3.6), n_slices=1))
    with pytest.raises(DeclinedError) as caught:
        _read(every[:count], tmp_path)
    assert caught.value.code == "too_few_echoes"


def test_duplicate_files_change_nothing(tmp_path: Path) -> None:
    every = classics(Scan())
    once = _read(every, tmp_path / "once")
    twice = read_acquisition([*save_all(every, tmp_path / "a"), *save_all(every, tmp_path / "b")])
    assert_allclose(twice.acquisition.signal, once.acquisition.signal)
    assert len(twice.study.source.datasets) == len(once.study.source.datasets)


@pytest.mark.parametrize(("slope", "text"), [("0", "Every pixel is 0"), ("1e300", "not finite"), ("-2", "negative")])
def test_absurd_scaling_is_refused(tmp_path: Path, slope: str, text: str) -> None:
    with pytest.raises(DeclinedError, match=text):
        _read(classics(Scan(extra={"RescaleSlope": slope, "RescaleIntercept": "0"})), tmp_path)


def test_different_slopes_are_applied_and_said(tmp_path: Path) -> None:
    scan = Scan()
    every = classics(scan)
    for ds in every[::2]:
        ds.RescaleSlope, ds.RescaleIntercept = "1", "0"
    for ds in every[1::2]:
        ds.RescaleSlope, ds.RescaleIntercept = "0.5", "0"
        ds.PixelData = (2 * np.frombuffer(ds.PixelData, "<u2")).astype("<u2").tobytes()
    loaded = _read(every, tmp_path)
    agrees(loaded, scan)
    assert _codes(loaded) == {"rescale_varies"}


def test_no_files_is_a_plain_refusal() -> None:
    with pytest.raises(DeclinedError):
        read_acquisition([])


# The simulator's dialects: written by another module from its own reading of the vendors' habits.


@pytest.mark.parametrize("kind", ["magnitude", "complex"])
def test_every_dialect_gives_the_same_acquisition(tmp_path: Path, kind: Any) -> None:
    phantom = make_abdomen(n_slices=2, matrix=32, kind=kind)
    truth = phantom.acquisition
    for dialect in DIALECTS:
        loaded = read_acquisition(write_phantom(phantom, tmp_path / dialect, dialect=dialect))
        found = loaded.acquisition
        scale = np.vdot(found.magnitude, truth.magnitude) / np.vdot(found.magnitude, found.magnitude)
        assert_allclose(found.magnitude * scale, truth.magnitude, atol=2e-4 * truth.magnitude.max())
        assert_allclose(found.geometry.positions_mm, truth.geometry.positions_mm, atol=1e-3)  # XA: six digits
        assert_allclose(found.geometry.spacing_mm, truth.geometry.spacing_mm, rtol=1e-4)
        assert_allclose(found.geometry.row_direction, truth.geometry.row_direction, atol=1e-6)
        assert_allclose(found.echo_times_s, truth.echo_times_s, atol=1e-8)
        assert found.field_t == truth.field_t
        assert found.is_complex == (kind == "complex")


# Real data.


def test_real_ge_abdomen(shared_data: SharedData) -> None:
    files = sorted(shared_data("ge-mfgre-abdomen").rglob("*.dcm"))
    loaded = read_acquisition(files)
    acquisition = loaded.acquisition
    assert acquisition.signal.shape == (5, 256, 256, 12)
    assert acquisition.is_complex
    assert len(loaded.study.source.datasets) == 180
    assert len(loaded.study.source.further) == 120
    assert acquisition.field_t == 3.0
    assert_allclose(acquisition.geometry.spacing_mm, (5.0, 1.5, 1.5), atol=1e-4)
    stored = _stored_magnitude(loaded)
    bright = stored > 0.3 * stored.max()  # tissue
    apart = np.median(np.abs(acquisition.magnitude[bright] / stored[bright] - 1))
    assert apart < 0.002  # the set's description says 0.1 %
    assert _codes(loaded) == {"fat_suppressed"}  # its Scan Options say FS


def _stored_magnitude(loaded: LoadedAcquisition) -> np.ndarray[Any, Any]:
    """The scanner's own magnitude images, read by another path."""
    grid = loaded.study.source.frames
    return np.stack([np.stack([_pixels(loaded, ref.dataset_index) for ref in row], axis=-1) for row in grid])


def _pixels(loaded: LoadedAcquisition, index: int) -> np.ndarray[Any, Any]:
    path = Path(str(loaded.study.source.datasets[index].filename))
    return dcmread(path).pixel_array.astype(np.float64)


def test_real_sets_are_declined_in_words(shared_data: SharedData) -> None:
    expected = {
        "siemens-gre-2echo": "too_few_echoes",
        "philips-enhanced-2echo": "too_few_echoes",
        "philips-enhanced-b0map": "field_map",
        "transfer-syntaxes": "epi_mosaic",
    }
    for folder, code in expected.items():
        root = shared_data(folder)
        with pytest.raises(DeclinedError) as caught:
            read_acquisition([p for p in root.rglob("*") if p.is_file() and p.suffix == ".dcm"])
        assert caught.value.code == code, folder


def test_amplitude_of_the_phase_is_kept(tmp_path: Path) -> None:
    """Magnitude and phase make exactly the magnitude again."""
    scan = Scan(kinds=("magnitude", "phase"))
    loaded = _read(classics(scan), tmp_path)
    agrees(loaded, scan)
    turn = np.angle(loaded.acquisition.signal[..., 1] / loaded.acquisition.signal[..., 0])
    assert_allclose(turn, 200 * 0.0012, atol=2 * math.pi / 4096)


def test_plane_of_one_slice_is_not_taken_for_another(tmp_path: Path) -> None:
    """Instance numbers and file names that lie change nothing."""
    scan = Scan()
    every = classics(scan)
    for number, ds in enumerate(every):
        ds.InstanceNumber, ds.EchoNumbers = 1 + number % 4, 7
    loaded = _read(random.Random(1).sample(every, len(every)), tmp_path)
    agrees(loaded, scan)
    assert classic(scan, 0, 1.2).SOPInstanceUID in {ds.SOPInstanceUID for ds in loaded.study.source.datasets}
