"""Headers: what is found in objects of every make, and why others are declined. Expected values are those of the
data sets' own descriptions (README files of the real sets) or of the objects that the tests write."""

import hashlib
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from node.errors import InputError
from node.intake.headers import read_header
from node.model import InstanceHeader
from tests.node.header_edits import EDITS, Edit, edit_elements
from tests.node.mr_images import Scan, classic, enhanced, override, save

SharedData = Callable[[str], Path]


def _header(ds: Dataset, folder: Path, syntax: str = "1.2.840.10008.1.2.1") -> InstanceHeader:
    return read_header(save(ds, folder / "image.dcm", syntax))


def _code(ds: Dataset, folder: Path) -> str | None:
    declined = _header(ds, folder).declined
    return declined and declined[0]


def _plain(**changes: Any) -> Dataset:
    return override(classic(Scan(), 1, 2.4), changes)


def test_classic_image_gives_its_plane_in_seconds_and_millimetres(tmp_path: Path) -> None:
    header = _header(_plain(), tmp_path)
    assert header.declined is None
    (plane,) = header.planes
    assert plane.kind == "magnitude"
    assert plane.echo_time_s == pytest.approx(0.0024, rel=1e-12)
    assert plane.position_mm == (-10.0, -20.0, 38.0)
    assert plane.orientation == (1, 0, 0, 0, 1, 0)
    assert plane.frame_number is None


def test_pseudonym_is_the_published_hash(tmp_path: Path) -> None:
    header = _header(_plain(IssuerOfPatientID="H1"), tmp_path)
    assert header.patient_id_hash == hashlib.sha256(b"ironnode\x00H1\x00P1").hexdigest()[:16]
    assert "P1" not in header.patient_id_hash


@pytest.mark.parametrize("legacy", [False, True])
def test_every_frame_of_a_multi_frame_object_is_a_plane(tmp_path: Path, legacy: bool) -> None:
    scan = Scan(kinds=("magnitude", "phase"))
    header = _header(enhanced(scan, legacy=legacy), tmp_path)
    assert len(header.planes) == 2 * 3 * 6
    assert Counter(plane.kind for plane in header.planes) == {"magnitude": 18, "phase": 18}
    assert {round(plane.echo_time_s * 1000, 6) for plane in header.planes} == set(scan.echo_times_ms)
    assert [plane.frame_number for plane in header.planes] == list(range(1, 37))
    assert {plane.position_mm[2] for plane in header.planes} == {30.0, 38.0, 46.0}


def test_frame_goes_before_shared_goes_before_top_level(tmp_path: Path) -> None:
    ds = enhanced(Scan(n_slices=1, echo_times_ms=(1.0, 2.0, 3.0)))
    ds.EchoTime = "99"
    shared = Dataset()
    shared.EffectiveEchoTime = 50.0
    ds.SharedFunctionalGroupsSequence[0].MREchoSequence = [shared]
    del ds.PerFrameFunctionalGroupsSequence[1].MREchoSequence
    header = _header(ds, tmp_path)
    assert [plane.echo_time_s for plane in header.planes] == pytest.approx([0.001, 0.05, 0.003])


@pytest.mark.parametrize(
    ("image_type", "kind"),
    [
        (["ORIGINAL", "PRIMARY", "M", "ND"], "magnitude"),
        (["ORIGINAL", "PRIMARY", "P", "ND"], "phase"),
        (["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"], "magnitude"),
        (["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"], "phase"),
        (["ORIGINAL", "PRIMARY", "R_FFE", "R", "FFE"], "real"),
        (["ORIGINAL", "PRIMARY", "I_FFE", "I", "FFE"], "imaginary"),
        (["ORIGINAL", "PRIMARY", "M", "UCA", "IF"], "magnitude"),
        (["ORIGINAL", "PRIMARY", "GDC"], "magnitude"),
        (["ORIGINAL", "PRIMARY"], "magnitude"),
    ],
)
def test_kind_from_the_image_types_that_vendors_write(tmp_path: Path, image_type: list[str], kind: str) -> None:
    assert _header(_plain(ImageType=image_type), tmp_path).planes[0].kind == kind


@pytest.mark.parametrize(("value", "kind"), [(0, "magnitude"), (1, "phase"), (2, "real"), (3, "imaginary")])
@pytest.mark.parametrize("offset", [0x10, 0x14])
def test_ge_kind_is_found_by_its_creator_also_without_a_vr(tmp_path: Path, value: int, kind: str, offset: int) -> None:
    """Implicit VR loses the type of private elements, and archives move blocks."""
    ds = _plain(ImageType=["ORIGINAL", "PRIMARY", "OTHER"])
    ds.add_new((0x0043, offset), "LO", "GEMS_PARM_01")
    ds.add_new((0x0043, 0x2F + (offset << 8)), "UN", struct.pack("<h", value))
    assert _header(ds, tmp_path, ImplicitVRLittleEndian).planes[0].kind == kind


def test_philips_private_kind_serves_where_image_type_does_not(tmp_path: Path) -> None:
    ds = _plain(ImageType=["ORIGINAL", "PRIMARY", "OTHER"])
    ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x11, "CS", "P")
    assert _header(ds, tmp_path).planes[0].kind == "phase"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ImageType": ["DERIVED", "PRIMARY", "R2", "STAR MAP", "ND", "NORM"]}, "derived_map"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "T2 MAP", "T2", "UNSPECIFIED"]}, "derived_map"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "B0 MAP", "B0", "UNSPECIFIED"]}, "field_map"),
        ({"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, "diffusion"),
        ({"ImageType": ["DERIVED", "PRIMARY", "DIXON", "WATER"]}, "derived_map"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MEAN"]}, "mean_echo"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}, "epi_mosaic"),
        ({"SpectrallySelectedSuppression": "WATER"}, "water_suppressed"),
        ({"Columns": [5, 5]}, "no_geometry"),
        ({"PixelSpacing": ["0.0015", "0.0015"]}, "no_geometry"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER", "M"]}, "localiser"),
        ({"ImageType": ["DERIVED", "PRIMARY", "M"]}, "derived_image"),
        ({"ImageType": ["DERIVED", "PRIMARY", "M"], "LossyImageCompression": "01"}, None),
        ({"ImageType": ["DERIVED", "PRIMARY", "R2 MAP"], "LossyImageCompression": "01"}, "derived_map"),
        ({"DiffusionBValue": 800.0}, "diffusion"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "OPP_PHASE"]}, "derived_map"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "R2_UNSPECIFIED", "R2", "UNSPECIFIED"]}, "derived_map"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "T2MAP", "UNSPECIFIED"]}, "derived_map"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P"], "ComplexImageComponent": "MAGNITUDE"}, "unknown_kind"),
        ({"ScanningSequence": "SE"}, "spin_echo"),
        ({"ScanningSequence": "IR"}, "spin_echo"),
        ({"ScanningSequence": ["EP", "SE"]}, "echo_planar"),
        ({"EchoTime": None}, "no_echo_time"),
        ({"EchoTime": "0"}, "no_echo_time"),
        ({"EchoTime": "4600000"}, "no_echo_time"),
        ({"ImagePositionPatient": None}, "no_geometry"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "no_geometry"),
        ({"PixelSpacing": [0, 1]}, "no_geometry"),
        ({"Rows": 0}, "no_geometry"),
        ({"Rows": 60000}, "no_geometry"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"Modality": "CT"}, "not_mr"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "not_mr"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "region_object"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3"}, "region_object"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.22", "Rows": None}, "not_an_image"),
        ({"Manufacturer": "ironnode", "ManufacturerModelName": "ironnode liver iron"}, "own_result"),
        ({"ScanningSequence": "RM"}, None),
        ({"ScanningSequence": ["GR", "SE"]}, None),
        ({"ScanningSequence": None}, None),
    ],
)
def test_what_is_not_input_is_declined_with_its_code(tmp_path: Path, changes: dict[str, Any], code: str | None) -> None:
    assert _code(_plain(**changes), tmp_path) == code


def test_own_maps_are_known_by_the_contributing_equipment(tmp_path: Path) -> None:
    maker = override(Dataset(), {"Manufacturer": "ironnode", "ManufacturerModelName": "ironnode liver iron: fit"})
    assert _code(_plain(ContributingEquipmentSequence=[maker]), tmp_path) == "own_result"


def test_map_in_hertz_is_no_signal(tmp_path: Path) -> None:
    ds = enhanced(Scan())
    for groups in ds.PerFrameFunctionalGroupsSequence:
        groups.RealWorldValueMappingSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = "Hz"
    assert _code(ds, tmp_path) == "derived_map"


def test_frames_that_are_maps_ride_along_without_becoming_echoes(tmp_path: Path) -> None:
    """Philips puts T2* and R2* maps into the echoes' own object (reference: ukat side-cars)."""
    ds = enhanced(Scan(n_slices=1, echo_times_ms=(1.0, 2.0, 3.0, 4.0)))
    ds.PerFrameFunctionalGroupsSequence[3].MRImageFrameTypeSequence[0].FrameType = ["DERIVED", "PRIMARY", "R2_MAP", "M"]
    header = _header(ds, tmp_path)
    assert [plane.frame_number for plane in header.planes] == [1, 2, 3]


def test_one_receive_channel_of_siemens_is_declined(tmp_path: Path) -> None:
    ds = _plain()
    ds.private_block(0x0021, "SIEMENS MR SDI 02", create=True).add_new(0x06, "LO", "3_1_1_1_1")
    assert _code(ds, tmp_path) == "single_channel"


def test_object_without_functional_groups_is_declined(tmp_path: Path) -> None:
    ds = enhanced(Scan())
    del ds.PerFrameFunctionalGroupsSequence
    assert _code(ds, tmp_path) == "no_functional_groups"
    short = enhanced(Scan())
    short.PerFrameFunctionalGroupsSequence = short.PerFrameFunctionalGroupsSequence[:-1]
    assert _code(short, tmp_path) == "no_functional_groups"


def test_unknown_transfer_syntax_is_named(tmp_path: Path) -> None:
    path = save(_plain(), tmp_path / "image.dcm")
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.9\x00"))
    header = read_header(path)
    assert header.declined is not None
    assert header.declined[0] == "unsupported_transfer_syntax"
    assert "1.2.840.10008.1.2.9" in header.declined[1]


@pytest.mark.parametrize(
    ("keyword", "tag"),
    [
        ("StudyInstanceUID", "(0020,000D)"),
        ("SeriesInstanceUID", "(0020,000E)"),
        ("SOPInstanceUID", "(0008,0018)"),
        ("SOPClassUID", "(0008,0016)"),
    ],
)
def test_missing_identity_is_an_error_that_names_file_and_tag(tmp_path: Path, keyword: str, tag: str) -> None:
    with pytest.raises(InputError, match=r"image\.dcm") as caught:
        _header(_plain(**{keyword: None}), tmp_path)
    assert tag in str(caught.value)


def test_files_that_are_not_dicom_are_errors(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("text", b"hello" * 100), ("zeros", b"\x00" * 4096)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_header(tmp_path / name)
    with pytest.raises(InputError, match="absent"):
        read_header(tmp_path / "absent")


def test_group_key_tells_acquisitions_apart_but_not_series(tmp_path: Path) -> None:
    here = _header(_plain(), tmp_path).group_key
    assert _header(_plain(SeriesInstanceUID="1.2.3.77", EchoTime="9"), tmp_path).group_key == here
    for changes in (
        {"RepetitionTime": "500"},
        {"FlipAngle": "5"},
        {"Rows": 4},
        {"PixelSpacing": [2, 2]},
        {"FrameOfReferenceUID": "1.2.3.10"},
        {"MagneticFieldStrength": "3"},
        {"InversionTime": "150"},
    ):
        assert _header(_plain(**changes), tmp_path).group_key != here, changes


def test_big_endian_reads_alike(tmp_path: Path) -> None:
    little = _header(_plain(), tmp_path)
    ds = _plain()
    ds.PixelData = bytes(len(ds.PixelData))
    assert _header(ds, tmp_path, ExplicitVRBigEndian) == little


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(EDITS, min_size=1, max_size=4),
    multi_frame=st.booleans(),
)
def test_no_edit_of_a_header_crashes_the_reader(tmp_path: Path, edits: list[Edit], multi_frame: bool) -> None:
    ds = enhanced(Scan(n_slices=1)) if multi_frame else _plain()
    raw = save(ds, tmp_path / "whole.dcm").read_bytes()
    (tmp_path / "edited.dcm").write_bytes(edit_elements(raw, edits))
    found = _header_or_complaint(tmp_path / "edited.dcm")
    if isinstance(found, str):
        assert "edited.dcm" in found
    else:
        assert (found.declined is None) == bool(found.planes)


def _header_or_complaint(path: Path) -> InstanceHeader | str:
    try:
        return read_header(path)
    except InputError as error:
        return str(error)


# Real sets: what their own descriptions say.


def _headers(folder: Path) -> list[InstanceHeader]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_dicom(path)]
    return [read_header(path) for path in files]


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def test_ge_abdomen(shared_data: SharedData) -> None:
    headers = _headers(shared_data("ge-mfgre-abdomen"))
    assert all(header.declined is None for header in headers)
    assert Counter(header.planes[0].kind for header in headers) == {"magnitude": 60, "real": 60, "imaginary": 60}
    echo_times_ms = sorted({round(1000 * header.planes[0].echo_time_s, 3) for header in headers})
    assert echo_times_ms == [round(4.6 + 4.612 * n, 3) for n in range(12)]
    assert len({header.group_key for header in headers}) == 1
    assert {(h.expected_echoes, h.expected_slices, h.expected_images) for h in headers} == {(12, 5, 180)}


def test_siemens_field_map(shared_data: SharedData) -> None:
    headers = _headers(shared_data("siemens-gre-2echo"))
    assert Counter(h.planes[0].kind for h in headers) == {"magnitude": 36, "phase": 18}
    assert {(h.expected_echoes, h.expected_slices) for h in headers} == {(2, 36)}


def test_philips_enhanced(shared_data: SharedData) -> None:
    headers = _headers(shared_data("philips-enhanced-2echo"))
    image = next(header for header in headers if header.planes)
    assert len(image.planes) == 212
    assert Counter((p.kind, round(1000 * p.echo_time_s, 3)) for p in image.planes) == {
        (kind, echo_time): 53 for kind in ("magnitude", "phase") for echo_time in (2.3, 4.6)
    }
    assert image.planes[0].position_mm == pytest.approx((-109.45833779498, -122.11533891037, -54.516754575888))
    assert [h.declined[0] for h in headers if h.declined] == ["not_an_image"]


@pytest.mark.parametrize(
    ("folder", "codes"),
    [
        ("philips-enhanced-b0map", {"field_map": 1}),
        ("transfer-syntaxes", {"epi_mosaic": 9}),
        ("nist-t2-ge", {"spin_echo": 8}),
        ("nist-t2-siemens", {"spin_echo": 32}),
        ("compressed-and-odd", {"no_functional_groups": 4, "not_mr": 5, "derived_image": 4, "spin_echo": 1}),
    ],
)
def test_real_sets_that_are_not_ours(shared_data: SharedData, folder: str, codes: dict[str, int]) -> None:
    assert Counter(h.declined and h.declined[0] for h in _headers(shared_data(folder))) == codes


def test_hostile_files_are_declined_or_refused(shared_data: SharedData) -> None:
    outcomes: Counter[str] = Counter()
    for path in sorted(shared_data("hostile-part1").rglob("*.dcm")):
        found = _header_or_complaint(path)
        if isinstance(found, str):
            assert path.name in found
            outcomes["refused"] += 1
        else:
            assert found.declined is not None
            outcomes[found.declined[0]] += 1
    assert set(outcomes) <= {"refused", "not_mr", "unsupported_transfer_syntax", "colour"}
    assert outcomes["not_mr"] >= 45
