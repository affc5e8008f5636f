"""Pixel data of another size than the header states: no sheared picture, but a refusal that names the elements."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from node.errors import UnreadableError
from node.process.codestream import rle_segment_bytes
from node.process.pixels import read_acquisition
from tests.node.mr_images import Scan, classic, classics, enhanced, save, save_all

SCAN = Scan(rows=32, columns=24, n_slices=1)
SMALLER_SIDE_BYTES = 24 * 2
UNCOMPRESSED = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
NAMES = ("(7FE0,0010)", "(0028,0008)", "(0028,0010)", "(0028,0011)", "(0028,0100)")
Edit = Callable[[Dataset], None]


def written(folder: Path, syntax: str, edit: Edit) -> list[Path]:
    """The images of a scan in a transfer syntax, each edited."""
    files = []
    for number, ds in enumerate(classics(SCAN)):
        if syntax == RLELossless:
            save(ds, folder / "plain")
            ds.compress(RLELossless, generate_instance_uid=False)
        edit(ds)
        files.append(save(ds, folder / f"{number}.dcm", syntax))
    return files


def sized(**elements: int) -> Edit:
    def edit(ds: Dataset) -> None:
        for keyword, value in elements.items():
            setattr(ds, keyword, value)

    return edit


def appended(more: bytes) -> Edit:
    def edit(ds: Dataset) -> None:
        ds.PixelData += more

    return edit


def appended_to_frame(more: bytes) -> Edit:
    def edit(ds: Dataset) -> None:
        (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
        ds.PixelData = encapsulate([frame + more])

    return edit


def refused(files: list[Path]) -> str:
    with pytest.raises(UnreadableError, match="are not of the size") as caught:
        read_acquisition(files)
    assert caught.value.code == "pixels_unreadable"
    assert [name for name in NAMES if name not in caught.value.text] == []
    assert ".dcm" not in caught.value.text
    return str(caught.value)


@pytest.mark.parametrize("syntax", [*UNCOMPRESSED, RLELossless])
@pytest.mark.parametrize("size", [(31, 24), (32, 23), (16, 24), (16, 16), (33, 24), (32, 25), (64, 64)])
def test_another_size_is_refused(tmp_path: Path, syntax: str, size: tuple[int, int]) -> None:
    words = refused(written(tmp_path, syntax, sized(Rows=size[0], Columns=size[1])))
    assert words.startswith("0.dcm: ")
    held, stated = (2 * 32 * 24, 2 * size[0] * size[1]) if syntax != RLELossless else (32 * 24, size[0] * size[1])
    assert f"{held} bytes, not {stated}" in words


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_another_pixel_or_frame_count_is_refused(tmp_path: Path, syntax: str) -> None:
    for edit in (sized(BitsAllocated=8, BitsStored=8), sized(BitsAllocated=32), sized(NumberOfFrames=2)):
        refused(written(tmp_path, syntax, edit))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_fewer_frames_than_there_are_is_refused(tmp_path: Path, syntax: str) -> None:
    ds = enhanced(Scan(rows=16, columns=16))
    save(ds, tmp_path / "frames.dcm")
    if syntax == RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
    ds.NumberOfFrames -= 1
    ds.PerFrameFunctionalGroupsSequence = ds.PerFrameFunctionalGroupsSequence[:-1]
    path = save(ds, tmp_path / "frames.dcm", syntax)
    found = "18 frames, not 17" if syntax == RLELossless else f"{18 * 512} bytes, not {17 * 512}"
    assert found in refused([path])


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_padding_that_holds_no_row_or_column_is_left_aside(tmp_path: Path, syntax: str) -> None:
    plain = read_acquisition(written(tmp_path, syntax, sized()))
    for padding in (2, SMALLER_SIDE_BYTES - 2):
        padded = read_acquisition(written(tmp_path, syntax, appended(bytes(padding))))
        assert_array_equal(padded.acquisition.signal, plain.acquisition.signal)
    refused(written(tmp_path, syntax, appended(bytes(SMALLER_SIDE_BYTES))))


@pytest.mark.parametrize("more", [b"\x00", b"\x00\x00", b"\x80\x80", b"\x00\x07\x80", b"\x16" + bytes(23)])
def test_padding_of_an_rle_segment_is_left_aside(tmp_path: Path, more: bytes) -> None:
    plain = read_acquisition(written(tmp_path, RLELossless, sized()))
    padded = read_acquisition(written(tmp_path, RLELossless, appended_to_frame(more)))
    assert_array_equal(padded.acquisition.signal, plain.acquisition.signal)


def test_an_rle_segment_with_a_row_more_is_refused(tmp_path: Path) -> None:
    refused(written(tmp_path, RLELossless, appended_to_frame(b"\x17" + bytes(24))))


def test_pixel_data_cut_off_with_other_elements_behind_them(tmp_path: Path) -> None:
    """What lies behind the pixel data is no pixel."""

    def cut(ds: Dataset) -> None:
        ds.PixelData = ds.PixelData[:-100]
        ds.DataSetTrailingPadding = bytes(200)

    refused(written(tmp_path, ExplicitVRLittleEndian, cut))


@pytest.mark.parametrize("behind", [bytes(700), b"\xff" * 300])
def test_rubbish_behind_the_pixel_data_is_not_read(tmp_path: Path, behind: bytes) -> None:
    plain = save_all(classics(SCAN), tmp_path)
    signal = read_acquisition(plain).acquisition.signal
    for path in plain:
        path.write_bytes(path.read_bytes() + behind)
    assert_array_equal(read_acquisition(plain).acquisition.signal, signal)


@pytest.mark.parametrize(
    ("segment", "length"),
    [
        (b"\x02abc", 3), (b"\xffz", 2), (b"\x81z", 128), (b"\x80", 0), (b"\x02abc\xfez\x80\x00q", 7),
        (b"\x02abc\x00", 3), (b"\x05abc", 3), (b"\x02abc\xfe", 3), (b"", 0),
    ],
)  # fmt: skip
def test_bytes_of_a_segment_by_the_standard(segment: bytes, length: int) -> None:
    """PS3.5 G.3.1; what is cut off or pads is nothing."""
    header = np.array([2, 64, 64 + 4, *[0] * 13], "<u4").tobytes()
    assert rle_segment_bytes(header + b"\x01xy\x80" + segment) == [2, length]


def test_an_image_of_odd_length_with_its_padding_byte(tmp_path: Path) -> None:
    scan = Scan(rows=9, columns=7, n_slices=1)
    files = []
    for number, time in enumerate(scan.echo_times_ms):
        ds = classic(scan, 0, time)
        stored = np.frombuffer(ds.PixelData, "<u2") // 20
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.PixelData = stored.astype(np.uint8).tobytes() + b"\x00"
        ds["PixelData"].VR = "OB"
        files.append(save(ds, tmp_path / f"{number}.dcm"))
    found = read_acquisition(files).acquisition.magnitude[0, :, :, -1]
    assert len(dcmread(files[-1]).PixelData) == 64
    assert_array_equal(found.ravel(), stored)
