"""Edits of DICOM headers: one element in one data set deleted, emptied, scaled, or given another type or value."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag, Tag

PER_FRAME = Tag(0x52009230)

OPERATIONS = (
    "delete", "empty", "twice", "text", "stars", "bytes", "sequence", "zero", "minus", "huge", "tiny", "nan",
    "double", "thousand", "thousandth", "percent", "negate", "borrow",
)  # fmt: skip
ANOTHER_SCAN = frozenset(
    {"double", "thousand", "thousandth", "percent", "borrow", "zero", "huge", "tiny", "minus", "negate"}
)
"""Operations that make another statement; in every image at once they describe another scan."""
SCOPES = ("image", "echo", "slice", "every")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an element lies: ``path`` are the sequences above it, inside the frame's functional groups or at top."""

    per_frame: bool
    path: tuple[BaseTag, ...]
    tag: BaseTag

    def __str__(self) -> str:
        return "/".join(map(str, (*(("frame",) if self.per_frame else ()), *self.path, self.tag)))


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One edit: what is done, where, and to which images."""

    operation: str
    scope: str
    place: Place
    pick: int


def holder_of(ds: Dataset, frame: int, place: Place) -> Dataset | None:
    """The item that holds (or would hold) the element."""
    found = ds[PER_FRAME].value[frame - 1] if place.per_frame else ds
    for tag in place.path:
        if tag not in found or not found[tag].value:
            return None
        found = found[tag].value[0]
    return found


def apply_edit(ds: Dataset, frame: int, edit: Edit, other: Dataset | None) -> bool:
    """Edit the element in ``ds`` or the numbered frame of it, borrowing from ``other``; whether anything changed."""
    holder, tag = holder_of(ds, frame, edit.place), edit.place.tag
    if holder is None:
        return False
    if edit.operation == "delete":
        return holder.pop(tag, None) is not None
    old = holder.get(tag)
    element = _new_element(tag, old, edit.operation, None if other is None else other.get(tag))
    if element is None or (isinstance(element, DataElement) and element == old):
        return False
    holder._dict[tag] = element  # as it is: setting an item would decode it
    return True


_WRITTEN = {
    "empty": b"", "text": b"ABC ", "stars": b"*** ", "bytes": b"\x00\xff\x01\x80", "zero": b"0 ", "minus": b"-1",
    "huge": b"1e30", "tiny": b"1e-9", "nan": b"nan ",
}  # fmt: skip
_FACTOR = {"double": 2.0, "thousand": 1000.0, "thousandth": 0.001, "percent": 1.01, "negate": -1.0}


def _new_element(tag: BaseTag, old: Any, operation: str, other: Any) -> DataElement | RawDataElement | None:
    """The element that takes the old one's place; ``None`` when the operation has no meaning for it."""
    if operation in _WRITTEN:
        return _raw(tag, _WRITTEN[operation], old)
    if operation == "sequence":
        return DataElement(tag, "SQ", Items([Dataset()]))
    if old is None:
        return None
    if operation == "borrow":
        return None if other is None else deepcopy(other)
    if operation == "twice":
        return _twice(tag, old)
    return _scaled(tag, old, _FACTOR[operation])


def _twice(tag: BaseTag, old: Any) -> DataElement | None:
    if old.VR == "SQ":
        return DataElement(tag, "SQ", Items([*old.value, *deepcopy(list(old.value))]))
    if old.VR in ("OB", "OW", "UN") or old.value is None:
        return None
    values = list(old.value) if old.VM > 1 else [old.value]
    return DataElement(tag, old.VR, [*values, *values])


def _scaled(tag: BaseTag, old: Any, factor: float) -> DataElement | RawDataElement | None:
    try:
        values = [float(value) * factor for value in (old.value if old.VM > 1 else [old.value])]
    except (TypeError, ValueError):
        return None
    if old.VR in ("US", "SS", "UL", "SL"):
        low, high = {"US": (0, 65535), "SS": (-32768, 32767), "UL": (0, 2**32 - 1), "SL": (-(2**31), 2**31 - 1)}[old.VR]
        values = [int(min(max(round(value), low), high)) for value in values]
    elif old.VR not in ("FL", "FD"):
        return _raw(tag, "\\".join(f"{value:.10g}" for value in values).encode(), old)
    return DataElement(tag, old.VR, values if len(values) > 1 else values[0])


def _raw(tag: BaseTag, content: bytes, old: Any) -> RawDataElement:
    """Bytes as they are to stand in the file, under the old element's value representation where it had a plain one."""
    vr = "UN" if old is None or old.VR == "SQ" else old.VR
    content += b" " * (len(content) % 2)
    return RawDataElement(tag, vr, len(content), content, 0, False, True)
