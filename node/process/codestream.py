"""The size that a compressed frame states itself: decoders that take it from the header wrap rows wrongly."""

import struct
from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from node.intake.tags import whole

STATE_THEIR_SIZE = frozenset({*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes})
"""Transfer syntaxes whose frames do."""

_SIZ = b"\xff\x4f\xff\x51"  # the first two markers of JPEG 2000, ISO/IEC 15444-1 A.4.1 and A.5.1
_HEAD_BYTES = 1 << 12
_START_OF_IMAGE = b"\xff\xd8"
# ISO/IEC 10918-1 table B.1 without DHT, JPG and DAC, and SOF55 of JPEG-LS (ISO/IEC 14495-1 C.1.1).
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})


def check_stated_shapes(ds: Dataset, frames: Iterable[int]) -> None:
    """That the compressed ``frames`` (from 0) of an object with its pixel data are as large as its header says.

    Raises:
        ValueError: not so.
    """
    shape, number = (whole(ds, "Rows"), whole(ds, "Columns")), whole(ds, "NumberOfFrames") or 1
    offsets, lengths = (ds.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"))
    extended = (offsets, lengths) if offsets and lengths else None
    for index in frames:
        stated = stated_shape(get_frame(ds.PixelData, index, number_of_frames=number, extended_offsets=extended))
        if stated not in (None, shape):
            raise ValueError(f"the codestream of frame {index + 1} states {stated} pixels, the header {shape}")


def stated_shape(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) of a JPEG, JPEG-LS or JPEG 2000 codestream; ``None`` where it does not state both."""
    try:
        if frame.startswith(_START_OF_IMAGE):
            return _of_jpeg(frame)
        at = frame.find(_SIZ, 0, _HEAD_BYTES)  # behind the boxes of a JP2 file, where one was taken over whole
        if at < 0:
            return None
        right, bottom, left, top = struct.unpack_from(">4L", frame, at + 8)
        return bottom - top, right - left
    except struct.error:  # cut off
        return None


def _of_jpeg(frame: bytes) -> tuple[int, int] | None:
    at = len(_START_OF_IMAGE)
    while True:
        fill, marker, length = struct.unpack_from(">BBH", frame, at)
        if fill != 0xFF:
            return None
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _START_OF_FRAME:
            rows, columns = struct.unpack_from(">HH", frame, at + 5)
            return (rows, columns) if rows and columns else None
        else:
            at += 2 + length
