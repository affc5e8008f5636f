"""Which DICOM element a test of the rules means: a keyword, a group and element, or a private one by its creator."""

import re
from dataclasses import dataclass
from functools import lru_cache

NUMBERS = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"})
TEXTS = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"})
_NOT_READ = {0x0000: "of messages", 0x0002: "of the file head", 0x7FE0: "of pixel data"}
_WRITTEN = re.compile(r"([0-9A-F]{4}),([0-9A-F]{4}|XX[0-9A-F]{2})", re.IGNORECASE)


class ElementError(ValueError):
    """No element that can be looked at; ``key`` of the condition (tag or creator) is the one to correct."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


@dataclass(frozen=True, kw_only=True)
class Element:
    """One element; ``name`` as people read it. ``vr`` is ``None`` of a private one: only the file tells. ``tag`` is the
    whole tag, of a private one the group and the last byte, for its block lies where ``creator`` has reserved it."""

    name: str
    tag: int
    vr: str | None
    creator: str | None = None


@lru_cache(maxsize=1024)
def element_of(tag: str, creator: str | None) -> Element:
    """The element that ``tag`` and ``creator`` of a condition name.

    Raises:
        ElementError: there is none, or it is never read.
    """
    from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag, tag_for_keyword  # slow to import

    written = _WRITTEN.fullmatch(tag)
    group = int(written[1], 16) if written else None
    if written and group is not None and group % 2:
        return _private(tag, group, written[2].upper(), creator)
    if creator is not None:
        raise ElementError("creator", f"{tag} is not private: creator is for tags such as 0051,xx0F")
    found = int(f"{written[1]}{written[2]}", 16) if written and "X" not in written[2].upper() else tag_for_keyword(tag)
    if found is None or not dictionary_has_tag(found):
        raise ElementError("tag", f"{tag} is not the keyword or number of a DICOM element, e.g. SeriesDescription")
    name = keyword_for_tag(found)
    if (number := found >> 16) in _NOT_READ:
        raise ElementError("tag", f"{name}: elements {_NOT_READ[number]} are not looked at")
    return Element(name=name, tag=found, vr=dictionary_VR(found))


def _private(tag: str, group: int, element: str, creator: str | None) -> Element:
    if creator is None:
        raise ElementError("tag", f"{tag} is private: its creator must stand beside it")
    if not element.startswith("XX"):
        text = f"{tag}: the block of a private element differs from file to file, write it as {tag[:5]}xx{tag[-2:]}"
        raise ElementError("tag", text)
    return Element(name=f"({tag}) of {creator}", tag=group << 16 | int(element[2:], 16), vr=None, creator=creator)
