"""Damage to header elements: random on the bytes of those that the reader touches, or written into one as it is."""

import struct
from collections.abc import Callable, Iterable

from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

Edit = tuple[tuple[int, int], str, bytes | None]
"""Tag, value representation, and the new content; ``None`` deletes the element."""

_TOUCHED = (
    *((0x0008, e) for e in (0x0005, 0x0008, 0x0022, 0x0032, 0x0060, 0x0070, 0x1090)),
    *((0x0018, e) for e in (0x0020, 0x0050, 0x0080, 0x0081, 0x0087, 0x1314, 0x9087)),
    *((0x0020, e) for e in (0x0012, 0x0032, 0x0037, 0x0052, 0x0100, 0x1002)),
    *((0x0028, e) for e in (0x0002, 0x0010, 0x0011, 0x0030, 0x0100, 0x0101, 0x0103, 0x1052, 0x1053)),
    *((0x5200, e) for e in (0x9229, 0x9230)),
    *((0x0043, e) for e in (0x0010, 0x102F, 0x1039)),
)
_VRS = st.sampled_from(["UN", "CS", "DS", "IS", "SH", "LO", "US", "FD"])
_NONSENSE = st.one_of(
    st.none(),
    st.just(b""),
    st.binary(max_size=12),
    st.sampled_from([b"***", b"1e999", b"1e30", b"nan", b"-1", b"\\\\", b"9" * 40]),
)
EDITS = st.tuples(st.sampled_from(_TOUCHED), _VRS, _NONSENSE)


def raw(tag: int, vr: str, value: bytes) -> Callable[[Dataset], None]:
    """Puts bytes into an element of a data set as they are, legal or not."""

    def edit(ds: Dataset) -> None:
        padded = value + b" " * (len(value) % 2)
        ds._dict[Tag(tag)] = RawDataElement(Tag(tag), vr, len(padded), padded, 0, False, True)

    return edit


def edit_elements(raw: bytes, edits: Iterable[Edit]) -> bytes:
    """The bytes of an explicit little-endian file with elements replaced."""
    for (group, element), vr, content in edits:
        raw = _replace_element(raw, group, element, vr.encode(), content)
    return raw


def _replace_element(raw: bytes, group: int, element: int, vr: bytes, content: bytes | None) -> bytes:
    """The bytes with one short-form element replaced (or put before the pixel data)."""
    tag = struct.pack("<HH", group, element)
    new = b""
    if content is not None:
        content += b" " * (len(content) % 2)
        long_form = vr == b"UN"
        length = struct.pack("<HI", 0, len(content)) if long_form else struct.pack("<H", len(content))
        new = tag + vr + length + content
    at = raw.find(tag, 132)
    if at < 0 or raw[at + 4 : at + 6] in (b"SQ", b"UN", b"OW"):
        at = raw.rfind(struct.pack("<HH", 0x7FE0, 0x0010))
        return raw[:at] + new + raw[at:]
    (old,) = struct.unpack_from("<H", raw, at + 6)
    return raw[:at] + new + raw[at + 8 + old :]
