"""Finding content items in a report that was read."""

import struct
from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException

from sr_templates import codes

UNDECODABLE = (BytesLengthException, ValueError, TypeError, NotImplementedError, OSError, EOFError, struct.error)
"""What pydicom raises on the first look at a raw value; the last three are of a sequence that ends early."""


def same_concept(left: Dataset, right: Dataset) -> bool:
    """Whether two coded concepts are one."""
    return bool(left.CodeValue == right.CodeValue and left.CodingSchemeDesignator == right.CodingSchemeDesignator)


def children(item: Dataset, name: Dataset) -> Iterator[Dataset]:
    """The content items directly below ``item`` with this concept name."""
    for child in item.get("ContentSequence") or []:
        names = child.get("ConceptNameCodeSequence")
        if names and same_concept(names[0], name):
            yield child


def measurement_groups(report: Dataset) -> Iterator[Dataset]:
    """The measurement groups of a TID 1500 report."""
    for item in children(report, codes.IMAGING_MEASUREMENTS):
        yield from item.get("ContentSequence") or []


def median_of(group: Dataset, name: Dataset) -> Dataset | None:
    """The numeric item of a group that states the median of a quantity."""
    return next((item for item in children(group, name) if item.ValueType == "NUM" and _is_median(item)), None)


def _is_median(item: Dataset) -> bool:
    return any(
        same_concept(child.ConceptCodeSequence[0], codes.MEDIAN)
        for child in children(item, codes.DERIVATION)
        if child.ValueType == "CODE"
    )
