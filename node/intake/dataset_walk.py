"""A structural walk over an encoded data set: is it whole to its last byte, and which instance does it say it is?

Only tags, value representations and lengths are read, never pixel data, from memory that may be a mapped file. A
value (a sequence too) of defined length is passed over as one; what is inside is looked at when the instance is
used. Sequences and items of undefined length are followed to their delimiters, without recursion.
PS3.5 7.1 (data elements), 7.5 (sequences), A.4 (encapsulated pixel data).
"""

import mmap
import struct
import tempfile
import zlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO, NamedTuple

from node.errors import InputError

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"

DEEPEST_NESTING = 64  # real enhanced images and structured reports stay below 20
LARGEST_INFLATED_BYTES = 256 << 20  # bounds what a small deflated data set can make of the memory of its readers

_UNDEFINED = 0xFFFFFFFF
_DELIMITERS = 0xFFFE  # the group of item and delimiter tags, which have no VR
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_STUDY_INSTANCE_UID = 0x0020000D
_SERIES_INSTANCE_UID = 0x0020000E
_WANTED = {
    _SOP_CLASS_UID: "SOP Class UID",
    _SOP_INSTANCE_UID: "SOP Instance UID",
    _STUDY_INSTANCE_UID: "Study Instance UID",
    _SERIES_INSTANCE_UID: "Series Instance UID",
}
_LONGEST_UID_FIELD = 66  # 64 characters and padding; PS3.5 table 6.2-1
# PS3.5 7.1.2: these have two reserved bytes and a four-byte length, and so has every VR not known here.
_SHORT_FORM = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_FRAGMENTS = frozenset({b"OB", b"OW"})
_INFLATE_STEP = 1 << 18
_HEAD_BYTES = 8  # of every element and item; a long form has four more


class _Heads(NamedTuple):
    """How to read the heads of elements in one byte order."""

    explicit: struct.Struct  # group, element, VR, 16-bit length
    implicit: struct.Struct  # group, element, 32-bit length; items too
    word: struct.Struct


_LITTLE_ENDIAN, _BIG_ENDIAN = (
    _Heads(struct.Struct(order + "HH2sH"), struct.Struct(order + "HHL"), struct.Struct(order + "L")) for order in "<>"
)

EncodedDataSet = bytes | bytearray | memoryview | mmap.mmap


class MalformedDataSetError(InputError):
    """The bytes are not a whole data set in the stated transfer syntax; the text names tag and offset."""

    code = "malformed"


class IncompleteIdentityError(InputError):
    """A whole data set that lacks a UID which every composite instance has, or has another than announced."""

    code = "identity"


@dataclass(frozen=True, kw_only=True)
class DataSetIdentity:
    """Which instance a data set says it is."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


class _Level(Enum):
    """What surrounds the next tag; each is open until its delimiter."""

    SEQUENCE = "sequence"  # of items
    ITEM = "item"  # of data elements
    FRAGMENTS = "fragments"  # of encapsulated pixel data


def walk_data_set(data: EncodedDataSet, transfer_syntax_uid: str, *, start: int = 0) -> DataSetIdentity:
    """Walk an encoded data set from ``start`` to the end of ``data``.

    Raises:
        MalformedDataSetError: it is cut off, or not encoded in this transfer syntax.
        IncompleteIdentityError: SOP Class, SOP Instance, Study or Series Instance UID is absent or empty.
    """
    if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        with tempfile.TemporaryFile() as file:
            _inflate(data, start, file)
            return _walk_open_file(file, 0, EXPLICIT_VR_LITTLE_ENDIAN)
    walk = _Walk(data, start, transfer_syntax_uid)
    walk.run()
    return _identity(walk.uids)


def walk_file(path: Path, data_set_offset: int, transfer_syntax_uid: str) -> DataSetIdentity:
    """The same for a file whose data set starts at ``data_set_offset``."""
    with path.open("rb") as file:
        return _walk_open_file(file, data_set_offset, transfer_syntax_uid)


def _walk_open_file(file: IO[bytes], start: int, transfer_syntax_uid: str) -> DataSetIdentity:
    if file.seek(0, 2) == start:
        return _identity({})
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        return walk_data_set(memory, transfer_syntax_uid, start=start)


def _identity(uids: dict[int, str]) -> DataSetIdentity:
    for tag, name in _WANTED.items():
        if not uids.get(tag):
            raise IncompleteIdentityError(f"{_name(tag)} {name} is absent")
    return DataSetIdentity(
        sop_class_uid=uids[_SOP_CLASS_UID],
        sop_instance_uid=uids[_SOP_INSTANCE_UID],
        study_instance_uid=uids[_STUDY_INSTANCE_UID],
        series_instance_uid=uids[_SERIES_INSTANCE_UID],
    )


def _inflate(data: EncodedDataSet, start: int, file: IO[bytes]) -> None:
    """Unpack a deflated data set (PS3.5 A.5: raw deflate, RFC 1951) into a file, bounded in size and in memory."""
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    position, size = start, 0
    pending = b""
    try:
        while not inflater.eof and (pending or position < len(data)):
            if not pending:
                pending = bytes(data[position : position + _INFLATE_STEP])
                position += len(pending)
            piece = inflater.decompress(pending, _INFLATE_STEP)
            pending = inflater.unconsumed_tail
            size += file.write(piece)
            if size > LARGEST_INFLATED_BYTES:
                raise MalformedDataSetError(f"deflated data set: inflates to more than {LARGEST_INFLATED_BYTES} bytes")
    except zlib.error as error:
        raise MalformedDataSetError(f"deflated data set: {error}") from error
    if not inflater.eof:
        raise MalformedDataSetError(f"deflated data set: cut off after {len(data) - start} bytes")
    file.flush()


class _Walk:
    """The state of one walk: where it is and which undefined lengths are open."""

    def __init__(self, data: EncodedDataSet, start: int, transfer_syntax_uid: str) -> None:
        self.uids: dict[int, str] = {}
        self._data = data
        self._start = start
        self._position = start
        self._end = len(data)
        self._explicit = transfer_syntax_uid != IMPLICIT_VR_LITTLE_ENDIAN
        self._heads = _BIG_ENDIAN if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else _LITTLE_ENDIAN
        self._levels: list[tuple[_Level, int, bool]] = []  # what is open, its tag, whether VRs are explicit outside

    def run(self) -> None:
        """Walk to the end of the data."""
        while self._position < self._end:
            if self._levels and self._levels[-1][0] is not _Level.ITEM:
                self._step_item()
            else:
                self._step_elements()
        if self._levels:
            level, tag, _ = self._levels[-1]
            raise self._malformed(tag, self._end, f"the data set ends inside this {level.value}")

    def _step_elements(self) -> None:
        """Pass over data elements until a level opens or closes, or the data end: the inner loop of the walk."""
        data, end, position = self._data, self._end, self._position
        explicit, unpack_explicit, unpack_implicit = (
            self._explicit,
            self._heads.explicit.unpack_from,
            self._heads.implicit.unpack_from,
        )
        wanted = {} if self._levels else _WANTED
        last_head = end - _HEAD_BYTES
        vr = b""
        while position <= last_head:
            if explicit:
                group, element, vr, length = unpack_explicit(data, position)
            else:
                group, element, length = unpack_implicit(data, position)
            tag = (group << 16) | element
            if not explicit or vr in _SHORT_FORM:
                position += _HEAD_BYTES
            else:
                position, length = self._long_length(position, tag, vr)
            if length == _UNDEFINED or group == _DELIMITERS:
                self._position = position
                self._open_or_close(tag, vr, length)
                return
            start, position = position, position + length
            if position > end:
                left = end - start
                raise self._malformed(tag, start, f"its value of {length} bytes runs past the end, {left} are left")
            if tag in wanted:
                self.uids[tag] = self._uid(tag, start, length)
        if position < end:
            raise self._cut_off(position)
        self._position = position

    def _long_length(self, position: int, tag: int, vr: bytes) -> tuple[int, int]:
        """Where the value of an element without a 16-bit length starts, and its length."""
        if tag >> 16 == _DELIMITERS:
            return position + _HEAD_BYTES, self._heads.word.unpack_from(self._data, position + 4)[0]
        if not (vr.isalpha() and vr.isupper()):
            raise self._malformed(tag, position, f"{vr!r} is not a value representation")
        if position + 12 > self._end:
            raise self._cut_off(position)
        return position + 12, self._heads.word.unpack_from(self._data, position + 8)[0]

    def _open_or_close(self, tag: int, vr: bytes, length: int) -> None:
        """An element of undefined length opens a level; an item delimiter closes one."""
        if tag == _ITEM_END and self._levels:
            _, _, self._explicit = self._levels.pop()
        elif tag >> 16 == _DELIMITERS or length != _UNDEFINED:
            raise self._malformed(tag, self._position - _HEAD_BYTES, "a delimiter where a data element belongs")
        elif vr in _FRAGMENTS:
            self._open(_Level.FRAGMENTS, tag)
        else:
            self._open(_Level.SEQUENCE, tag)
            if vr == b"UN":  # PS3.5 6.2.2 note 2: its content is implicit VR little endian
                self._explicit = False

    def _step_item(self) -> None:
        """Read one item tag of a sequence or of encapsulated pixel data, or the delimiter that ends it."""
        level, owner, explicit_outside = self._levels[-1]
        if self._position + _HEAD_BYTES > self._end:
            raise self._cut_off(self._position)
        group, element, length = self._heads.implicit.unpack_from(self._data, self._position)
        tag = (group << 16) | element
        position = self._position
        self._position += _HEAD_BYTES
        if tag == _SEQUENCE_END:
            self._levels.pop()
            self._explicit = explicit_outside
        elif tag != _ITEM:
            raise self._malformed(tag, position, f"an item of {_name(owner)} belongs here")
        elif length != _UNDEFINED:
            if length > self._end - self._position:
                raise self._malformed(owner, position, f"an item of {length} bytes runs past the end")
            self._position += length
        elif level is _Level.FRAGMENTS:
            raise self._malformed(owner, position, "a fragment of undefined length")
        else:
            self._open(_Level.ITEM, owner)

    def _open(self, level: _Level, tag: int) -> None:
        if len(self._levels) >= 2 * DEEPEST_NESTING:
            raise self._malformed(tag, self._position, f"sequences nest deeper than {DEEPEST_NESTING}")
        self._levels.append((level, tag, self._explicit))

    def _uid(self, tag: int, position: int, length: int) -> str:
        if length > _LONGEST_UID_FIELD:
            raise self._malformed(tag, position, f"a UID of {length} bytes")
        value = bytes(self._data[position : position + length])
        try:
            return value.decode("ascii").strip("\x00 ")
        except UnicodeDecodeError as error:
            raise self._malformed(tag, position, "a UID that is not ASCII") from error

    def _cut_off(self, position: int) -> MalformedDataSetError:
        left = self._end - position
        return MalformedDataSetError(
            f"the data set is cut off: {left} bytes of a header at byte {position - self._start}"
        )

    def _malformed(self, tag: int, position: int, text: str) -> MalformedDataSetError:
        return MalformedDataSetError(f"{_name(tag)} at byte {position - self._start}: {text}")


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
