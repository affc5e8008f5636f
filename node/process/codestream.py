"""The size that a compressed frame states itself: decoders that take it from the header wrap rows wrongly."""

import struct

_SIZ = b"\xff\x4f\xff\x51"  # the first two markers of JPEG 2000, ISO/IEC 15444-1 A.4.1 and A.5.1
_HEAD_BYTES = 1 << 12
_START_OF_IMAGE = b"\xff\xd8"
# ISO/IEC 10918-1 table B.1 without DHT, JPG and DAC, and SOF55 of JPEG-LS (ISO/IEC 14495-1 C.1.1).
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})


def stated_shape(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) of a JPEG, JPEG-LS or JPEG 2000 codestream; ``None`` where it does not state both."""
    at = frame.find(_SIZ, 0, _HEAD_BYTES)
    try:
        if at >= 0:
            right, bottom, left, top = struct.unpack_from(">4L", frame, at + 8)
            return bottom - top, right - left
        if not frame.startswith(_START_OF_IMAGE):
            return None
        return _of_jpeg(frame)
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
