"""Attributes read without trust: a value that is not what the Standard says counts as absent.

Scanners, archives and de-identification tools write nonsense into typed fields; none of it may stop a node.
"""

import math
import re
import struct
import zlib
from collections.abc import Iterable
from datetime import date
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.sequence import Sequence

ODD_DATA = (
    ValueError,  # includes UnicodeError
    BytesLengthException,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    OSError,  # a sequence that ends early; includes nothing of the file system, values are in memory
    EOFError,
    struct.error,
    zlib.error,  # of a deflated data set
)
"""What pydicom raises on elements whose bytes do not fit their value representation (pydicom 3.0)."""

_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(\d{2}):?(\d{2}(?:\.\d{1,6})?)")


def value(ds: Dataset, tag: str | int) -> Any:
    """The element's value, or ``None`` when it is absent, empty or cannot be decoded."""
    try:
        found = ds[tag].value
    except ODD_DATA:
        return None
    return None if found is None or (isinstance(found, (str, bytes)) and not found) else found


def words(ds: Dataset, tag: str | int) -> tuple[str, ...]:
    """The values as stripped text, one each."""
    found = value(ds, tag)
    if found is None or isinstance(found, Sequence):
        return ()
    if isinstance(found, (bytes, bytearray)):
        found = bytes(found).decode("ascii", "replace").strip("\x00 ").split("\\")
    several = isinstance(found, Iterable) and not isinstance(found, str) and hasattr(found, "__getitem__")
    try:
        return tuple(str(part).strip("\x00 \t\r\n") for part in (found if several else [found]))
    except ODD_DATA:
        return ()


def text(ds: Dataset, tag: str | int) -> str:
    """The value as stripped text; several values are joined with a backslash; empty when absent."""
    return "\\".join(words(ds, tag)).strip()


def numbers(ds: Dataset, tag: str | int) -> tuple[float, ...]:
    """The values as finite numbers; empty when any of them is not one."""
    try:
        found = tuple(float(word) for word in words(ds, tag))
    except ValueError:
        return ()
    return found if all(math.isfinite(number) for number in found) else ()


def number(ds: Dataset, tag: str | int) -> float | None:
    """The first value as a finite number."""
    found = numbers(ds, tag)
    return found[0] if found else None


def whole(ds: Dataset, tag: str | int) -> int | None:
    """The first value as a whole number."""
    found = number(ds, tag)
    return int(found) if found is not None and found == int(found) else None


def items(ds: Dataset, tag: str | int) -> tuple[Dataset, ...]:
    """The items of a sequence; empty when absent."""
    found = value(ds, tag)
    return tuple(found) if isinstance(found, Sequence) else ()


def day_of(written: str) -> date | None:
    """The calendar date of a DA or DT value; ``None`` for what is not one (``***`` and the like occur)."""
    match = _DATE.match(written)
    try:
        return date(*(int(part) for part in match.groups())) if match else None
    except ValueError:
        return None


def seconds_of(written_date: str, written_time: str) -> float | None:
    """Date and time of the scanner's clock in seconds, for telling moments apart (the origin means nothing)."""
    day = day_of(written_date)
    match = _TIME.match(written_time)
    if day is None or match is None:
        return None
    hours, minutes, seconds = match.groups()
    return day.toordinal() * 86400.0 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)
