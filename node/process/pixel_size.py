"""Whether the pixel data are as large as the header says: of larger ones decoders read the first part, rows wrapped."""

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames, get_frame
from pydicom.uid import UID, RLELossless

from node.intake.tags import text, whole
from node.process.codestream import STATE_THEIR_SIZE, rle_segment_bytes, stated_shape

SIZE_TAGS = "Rows (0028,0010), Columns (0028,0011), Number of Frames (0028,0008) and Bits Allocated (0028,0100)"
"""What states the size of Pixel Data (7FE0,0010)."""


class OtherSizeError(ValueError):
    """The pixel data are not of the size that the header states."""


def check_size(ds: Dataset, frames: Iterable[int]) -> None:
    """That the pixel data of an object are as large as its header says; ``frames`` (from 0) are the ones wanted.

    Padding passes: one byte to an even length (PS3.5 8.1.1), and behind whole bytes what older senders append, as long
    as one row or column more would not fit into it. Bit-packed pixels get no more than the one byte, for frames that
    are padded each to whole bytes lie shifted.

    Raises:
        OtherSizeError: not so.
    """
    syntax = UID(text(ds.file_meta, "TransferSyntaxUID"))
    if not syntax.is_encapsulated:
        _check_uncompressed(ds)
    elif syntax == RLELossless:
        _check_frame_count(ds)
        for index in frames:
            _check_rle(ds, index)
    elif syntax in STATE_THEIR_SIZE:
        for index in frames:
            _check_stated(ds, index)


def _check_uncompressed(ds: Dataset) -> None:
    rows, columns = _shape(ds)
    bits = (whole(ds, "SamplesPerPixel") or 0) * (whole(ds, "BitsAllocated") or 0)
    expected = (rows * columns * _frames(ds) * bits + 7) // 8
    most_padding = max(expected % 2, min(rows, columns) * bits // 8 - 1 if bits >= 8 else 0)
    found = len(ds.PixelData)
    if not expected <= found <= expected + most_padding:
        raise OtherSizeError(f"They have {found} bytes, not {expected}.")


def _check_frame_count(ds: Dataset) -> None:
    found = sum(1 for _ in generate_frames(ds.PixelData, number_of_frames=_frames(ds), extended_offsets=_offsets(ds)))
    if found != _frames(ds):
        raise OtherSizeError(f"They have {found} frames, not {_frames(ds)}.")


def _check_rle(ds: Dataset, index: int) -> None:
    rows, columns = _shape(ds)
    for found in rle_segment_bytes(_frame(ds, index)):
        if not rows * columns <= found < rows * columns + min(rows, columns):
            raise OtherSizeError(f"A segment of frame {index + 1} has {found} bytes, not {rows * columns}.")


def _check_stated(ds: Dataset, index: int) -> None:
    stated = stated_shape(_frame(ds, index))
    if stated not in (None, _shape(ds)):
        raise OtherSizeError(f"The codestream of frame {index + 1} states {stated} pixels, the header {_shape(ds)}.")


def _frame(ds: Dataset, index: int) -> bytes:
    return get_frame(ds.PixelData, index, number_of_frames=_frames(ds), extended_offsets=_offsets(ds))


def _offsets(ds: Dataset) -> tuple[bytes, bytes] | None:
    offsets, lengths = (ds.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"))
    return (offsets, lengths) if offsets and lengths else None


def _frames(ds: Dataset) -> int:
    return whole(ds, "NumberOfFrames") or 1


def _shape(ds: Dataset) -> tuple[int, int]:
    return whole(ds, "Rows") or 0, whole(ds, "Columns") or 0
