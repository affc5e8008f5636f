"""How large a compressed frame is by its own bytes: decoders that take it from the header wrap rows wrongly."""

import struct

from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

STATE_THEIR_SIZE = frozenset({*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes})
"""Transfer syntaxes whose frames state rows and columns."""

_SIZ = b"\xff\x4f\xff\x51"  # the first two markers of JPEG 2000, ISO/IEC 15444-1 A.4.1 and A.5.1
_HEAD_BYTES = 1 << 12
_START_OF_IMAGE = b"\xff\xd8"
# ISO/IEC 10918-1 table B.1 without DHT, JPG and DAC, and SOF55 of JPEG-LS (ISO/IEC 14495-1 C.1.1).
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_RLE_NOTHING = 128  # the control byte that stands for no pixel


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


def rle_segment_bytes(frame: bytes) -> list[int]:
    """How many bytes each segment of an RLE frame unpacks to (PS3.5 G.3, G.5).

    Raises:
        struct.error: the frame's header is cut off, or counts more segments than it can hold.
    """
    count, *offsets = struct.unpack_from("<16L", frame)
    starts = struct.unpack_from(f"<{count}L", struct.pack("<15L", *offsets))
    return [_rle_bytes(frame[at:end]) for at, end in zip(starts, (*starts[1:], len(frame)), strict=True)]


def _rle_bytes(segment: bytes) -> int:
    """A run that is cut off counts as far as it is there, as decoders take it: so does a padding byte, for nothing."""
    at = total = 0
    while at < len(segment):
        control, left = segment[at], len(segment) - at - 1
        if control < _RLE_NOTHING:
            total += min(control + 1, left)
            at += control + 2
        elif control == _RLE_NOTHING:
            at += 1
        else:
            total += 257 - control if left else 0
            at += 2
    return total
