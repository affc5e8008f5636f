"""Which of several drawn structures is the liver. Never guessed: one is coded or named so, or it is the only one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from node.errors import DeclinedError

LIVER_CODES = frozenset(
    {("SCT", "10200004"), ("SRT", "T-62000"), ("SNM3", "T-62000"), ("FMA", "7197"), ("UMLS", "C0023884")}
)
"""Liver in SNOMED CT, its older SRT form (PS3.16 annex L), FMA and UMLS."""

_GENERAL = frozenset(
    {
        ("", ""),
        ("SCT", "85756007"),  # Tissue, what 3D Slicer writes when nobody chose a type
        ("SRT", "T-D0050"),
        ("SCT", "123037004"),  # Anatomical structure
        ("SRT", "T-D000A"),
        ("SCT", "91723000"),
        ("SCT", "113343008"),  # Organ
        ("NCIt", "C85402"),  # Imaging region of interest
    }
)
_NAMED = re.compile(r"\b(liver|hepar|leber|foie|fegato|h[ií]gado)\b", re.IGNORECASE)
_TARGET = re.compile(r"\b([gcpi]tv|prv)\d*\b", re.IGNORECASE)  # ICRU 50, 62 and 83
_NO_ORGAN = frozenset(
    {
        *("EXTERNAL", "PTV", "CTV", "GTV", "TREATED_VOLUME", "IRRAD_VOLUME", "BOLUS", "MARKER", "REGISTRATION"),
        *("ISOCENTER", "CONTRAST_AGENT", "CAVITY", "SUPPORT", "FIXATION"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A segment or contour set; ``code`` is (scheme, value) of what it shows, empty where it does not say;
    ``interpreted_type`` is a contour set's RT ROI Interpreted Type (3006,00A4)."""

    number: int
    label: str
    code: tuple[str, str]
    meaning: str = ""
    interpreted_type: str = ""

    @property
    def is_liver(self) -> bool:
        """Whether a code or, where a code tells nothing, the name says so."""
        named = self.is_general and bool(_NAMED.search(self._words))
        return not self.is_target and (named or self.code in LIVER_CODES)

    @property
    def is_target(self) -> bool:
        """Whether its type or, where a code tells nothing, its name says that it was drawn to plan a treatment: a
        volume in the liver or about it, or the liver without one."""
        return self.interpreted_type in _NO_ORGAN or (self.is_general and bool(_TARGET.search(self._words)))

    @property
    def _words(self) -> str:
        return self.label.replace("_", " ")

    @property
    def is_general(self) -> bool:
        """Whether its code names no particular organ."""
        return self.code in _GENERAL


def choose(candidates: Sequence[Candidate], what: str) -> Candidate:
    """The liver among ``candidates``, which an error calls ``what``. It quotes no label: those may name the patient.

    Raises:
        DeclinedError: none or several could be it.
    """
    livers = [candidate for candidate in candidates if candidate.is_liver]
    if len(livers) == 1:
        return livers[0]
    if not candidates:
        raise DeclinedError("region_empty", f"The drawn region is empty: it holds no {what}.")
    if len(livers) > 1 or len(candidates) > 1:
        found = f"{len(livers)} are the liver" if livers else "none is coded or named as the liver"
        text = f"The drawn region cannot be told: of {len(candidates)} {what}s {found}."
        raise DeclinedError("region_ambiguous", text)
    if candidates[0].is_target:
        text = f"The drawn region is not the liver: its one {what} was drawn to plan a treatment."
        raise DeclinedError("region_not_liver", text)
    if not candidates[0].is_general:
        text = f"The drawn region is not the liver: its one {what} is coded as something else."
        raise DeclinedError("region_not_liver", text)
    return candidates[0]
