"""DICOM file meta information (PS3.10, 7.1) around data sets that are stored exactly as they were received.

Written and read by hand: it is in the path of every received instance, where a general DICOM library costs more
than everything else together.
"""

import struct
from dataclasses import dataclass

from node.errors import InputError

# PS3.7 D.3.3.2: names this implementation to peers and in the files it writes; derived from a UUID (PS3.5 B.2).
IMPLEMENTATION_CLASS_UID = "2.25.1493367612170835289653399089923246684"
IMPLEMENTATION_VERSION_NAME = "IRONNODE"

PREAMBLE_BYTES = 132
_LONGEST_META_BYTES = 4096  # ours take about 400; a foreign file may carry more private information than is sensible
_MEDIA_STORAGE_SOP_CLASS_UID = 0x0002
_MEDIA_STORAGE_SOP_INSTANCE_UID = 0x0003
_TRANSFER_SYNTAX_UID = 0x0010
_SOURCE_AE_TITLE = 0x0016
_SENDING_AE_TITLE = 0x0017
_RECEIVING_AE_TITLE = 0x0018
_LONG_FORM = frozenset({b"OB", b"OW", b"UN", b"SQ", b"UT", b"UC", b"UR", b"OD", b"OF", b"OL", b"OV", b"SV", b"UV"})


@dataclass(frozen=True, kw_only=True)
class FileMeta:
    """What the file meta information says about a data set.

    ``calling_ae_title`` is kept as Source (0002,0016) and Sending (0002,0017) AE Title, ``called_ae_title`` as
    Receiving AE Title (0002,0018).
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str = ""
    called_ae_title: str = ""


def encode_file_meta(meta: FileMeta) -> bytes:
    """Preamble, prefix and group 0002; the data set follows directly."""
    body = b"".join(
        (
            _VERSION,
            _uid(_MEDIA_STORAGE_SOP_CLASS_UID, meta.sop_class_uid),
            _uid(_MEDIA_STORAGE_SOP_INSTANCE_UID, meta.sop_instance_uid),
            _uid(_TRANSFER_SYNTAX_UID, meta.transfer_syntax_uid),
            _IMPLEMENTATION,
            _text(_SOURCE_AE_TITLE, b"AE", meta.calling_ae_title),
            _text(_SENDING_AE_TITLE, b"AE", meta.calling_ae_title),
            _text(_RECEIVING_AE_TITLE, b"AE", meta.called_ae_title),
        )
    )
    return _PREAMBLE + struct.pack("<HH2sHL", 0x0002, 0x0000, b"UL", 4, len(body)) + body


def _uid(element: int, value: str) -> bytes:
    return _element(element, b"UI", value.encode("ascii"), b"\x00")


def _text(element: int, vr: bytes, value: str) -> bytes:
    return _element(element, vr, value.encode("ascii"), b" ") if value else b""


def _element(element: int, vr: bytes, value: bytes, padding: bytes) -> bytes:
    if len(value) % 2:
        value += padding
    return struct.pack("<HH2sH", 0x0002, element, vr, len(value)) + value


_PREAMBLE = bytes(128) + b"DICM"
_VERSION = struct.pack("<HH2sHL2s", 0x0002, 0x0001, b"OB", 0, 2, b"\x00\x01")
_IMPLEMENTATION = _uid(0x0012, IMPLEMENTATION_CLASS_UID) + _text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME)


def decode_file_meta(head: bytes, name: str) -> tuple[FileMeta, int]:
    """File meta information at the start of a file, and the offset at which its data set begins.

    Args:
        head: the first bytes of the file (:func:`head_bytes` says how many are enough).
        name: how to call the file in an error.

    Raises:
        InputError: not a DICOM file (PS3.10), or its meta information is cut off.
    """
    if head[128:PREAMBLE_BYTES] != b"DICM":
        raise InputError(f"{name}: not a DICOM file: no DICM prefix at byte 128")
    values: dict[int, str] = {}
    position = PREAMBLE_BYTES
    while position + 8 <= len(head):
        group, element, vr, length = struct.unpack_from("<HH2sH", head, position)
        if group != 0x0002:
            return _meta(values, name), position
        position += 8
        if vr in _LONG_FORM:
            if position + 4 > len(head):
                break
            (length,) = struct.unpack_from("<L", head, position)
            position += 4
        values[element] = head[position : position + length].decode("ascii", "replace").strip("\x00 ")
        position += length
    if position == len(head):  # a file without any data set
        return _meta(values, name), position
    raise InputError(f"{name}: file meta information is cut off at byte {len(head)}")


def head_bytes() -> int:
    """How many bytes of a file are enough for :func:`decode_file_meta`."""
    return _LONGEST_META_BYTES


def _meta(values: dict[int, str], name: str) -> FileMeta:
    if not values.get(_TRANSFER_SYNTAX_UID):
        raise InputError(f"{name}: (0002,0010) Transfer Syntax UID is absent")
    return FileMeta(
        sop_class_uid=values.get(_MEDIA_STORAGE_SOP_CLASS_UID, ""),
        sop_instance_uid=values.get(_MEDIA_STORAGE_SOP_INSTANCE_UID, ""),
        transfer_syntax_uid=values[_TRANSFER_SYNTAX_UID],
        calling_ae_title=values.get(_SOURCE_AE_TITLE, ""),
        called_ae_title=values.get(_RECEIVING_AE_TITLE, ""),
    )
