"""Pixel data in every encoding, damaged ones, and edited headers: the same arrays, or an error that names the file."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from node.errors import InputError
from node.process.pixels import LoadedAcquisition, read_acquisition
from tests.node.header_edits import EDITS, Edit, edit_elements
from tests.node.mr_images import (
    Scan,
    classics,
    enhanced,
    save,
    save_all,
)
from tests.node.process.pixel_checks import agrees
from tests.node.transcoding import transcode


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_uncompressed_encodings(tmp_path: Path, syntax: str) -> None:
    scan = Scan()
    files = []
    for number, ds in enumerate(classics(scan)):
        if syntax == ExplicitVRBigEndian:
            ds["PixelData"].value = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        files.append(save(ds, tmp_path / f"{number}.dcm", syntax))
    agrees(read_acquisition(files), scan)


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEGLSLossless", "JPEG2000Lossless", "JPEGLosslessProcess14_1"])
def test_compressed_images(tmp_path: Path, syntax: str) -> None:
    scan = Scan(rows=32, columns=24, n_slices=1)
    plain = save_all(classics(scan), tmp_path)
    packed = [transcode(path, path.with_suffix(".packed"), syntax) for path in plain]
    assert all(dcmread(path).file_meta.TransferSyntaxUID.is_compressed for path in packed)
    assert_array_equal(read_acquisition(packed).acquisition.signal, read_acquisition(plain).acquisition.signal)


@pytest.mark.parametrize("syntax", ["JPEGLSLossless", "JPEG2000Lossless", "JPEGLosslessProcess14_1"])
@pytest.mark.parametrize("size", [(16, 16), (64, 64), (32, 4000), (24, 32)])
def test_a_header_that_states_another_size_than_the_codestream(
    tmp_path: Path, syntax: str, size: tuple[int, int]
) -> None:
    plain = save_all(classics(Scan(rows=32, columns=24, n_slices=1)), tmp_path)
    packed = [transcode(path, path.with_suffix(".packed"), syntax) for path in plain]
    for path in packed:
        ds = dcmread(path)
        ds.Rows, ds.Columns = size
        ds.save_as(path)
    with pytest.raises(InputError, match="are not of the size"):
        read_acquisition(packed)


def test_a_comment_that_looks_like_the_head_of_another_codestream(tmp_path: Path) -> None:
    plain = save_all(classics(Scan(rows=32, columns=24, n_slices=1)), tmp_path)
    packed = [transcode(path, path.with_suffix(".packed"), "JPEGLSLossless") for path in plain]
    comment = b"\xff\xfe\x00\x1e\xff\x4f\xff\x51" + bytes(24)
    for path in packed:
        ds = dcmread(path)
        frame = next(generate_frames(ds.PixelData, number_of_frames=1))
        ds.PixelData = encapsulate([frame[:2] + comment + frame[2:]])
        ds.save_as(path)
    assert_array_equal(read_acquisition(packed).acquisition.signal, read_acquisition(plain).acquisition.signal)


def test_one_frame_in_many_fragments(tmp_path: Path) -> None:
    """As some archives send it (dcm_qa_frag)."""
    scan = Scan(rows=32, columns=24, n_slices=1)
    plain = save_all(classics(scan), tmp_path)
    for path in plain:
        packed = dcmread(transcode(path, path.with_suffix(".packed"), "JPEG2000Lossless"))
        (frame,) = generate_frames(packed.PixelData, number_of_frames=1)
        packed.PixelData = encapsulate([frame], fragments_per_frame=5, has_bot=False)
        packed.save_as(path.with_suffix(".packed"))
    found = read_acquisition([path.with_suffix(".packed") for path in plain])
    assert_array_equal(found.acquisition.signal, read_acquisition(plain).acquisition.signal)


def test_frames_packed_into_one_object_are_read_each(tmp_path: Path) -> None:
    scan = Scan(rows=16, columns=16)
    ds = enhanced(scan)
    plain = read_acquisition([save(ds, tmp_path / "plain.dcm")])
    packed = dcmread(tmp_path / "plain.dcm")
    packed.compress(RLELossless)
    packed.save_as(tmp_path / "packed.dcm")
    found = read_acquisition([tmp_path / "packed.dcm"])
    assert_array_equal(found.acquisition.signal, plain.acquisition.signal)


@pytest.mark.parametrize("damage", ["short", "none", "garbage", "truncated"])
def test_broken_pixel_data_is_an_error_that_names_the_file(tmp_path: Path, damage: str) -> None:
    every = classics(Scan())
    if damage == "short":
        every[7].PixelData = every[7].PixelData[:-10]
    elif damage == "none":
        del every[7].PixelData
    files = save_all(every, tmp_path)
    if damage == "garbage":
        every[7].PixelData = every[7].PixelData
        files[7].write_bytes(files[7].read_bytes().replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.5\x00"))
    elif damage == "truncated":
        files[7].write_bytes(files[7].read_bytes()[:-30])
    with pytest.raises(InputError, match=r"0007\.dcm"):
        read_acquisition(files)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(EDITS, min_size=1, max_size=2), everywhere=st.booleans())
def test_edited_headers_give_a_result_or_a_refusal(tmp_path: Path, edits: list[Edit], everywhere: bool) -> None:
    files = save_all(classics(Scan(echo_times_ms=(1.2, 2.4, 3.6), n_slices=2)), tmp_path)
    for path in files if everywhere else files[2:3]:
        path.write_bytes(edit_elements(path.read_bytes(), edits))
    found = _read_or_complaint(files)
    if isinstance(found, str):
        assert found
    else:
        assert np.isfinite(found.acquisition.magnitude).all()
        assert found.acquisition.magnitude.max() > 0


def _read_or_complaint(files: list[Path]) -> LoadedAcquisition | str:
    try:
        return read_acquisition(files)
    except InputError as error:
        return str(error)
