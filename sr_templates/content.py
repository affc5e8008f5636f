"""Content items of a Structured Report in short form. Every container is SEPARATE: as CONTINUOUS (what highdicom's own
templates write) viewers run the values together without their names."""

from collections.abc import Sequence
from typing import Any

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    CompositeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DateContentItem,
    ImageContentItem,
    NumContentItem,
    TextContentItem,
    UIDRefContentItem,
)

from sr_templates import codes
from sr_templates.envelope import ascii_text

CONTAINS = "CONTAINS"
HAS_ACQ_CONTEXT = "HAS ACQ CONTEXT"
HAS_CONCEPT_MOD = "HAS CONCEPT MOD"
HAS_OBS_CONTEXT = "HAS OBS CONTEXT"
HAS_PROPERTIES = "HAS PROPERTIES"
INFERRED_FROM = "INFERRED FROM"


def container(
    name: CodedConcept, children: Sequence[ContentItem], *, template: str | None = None, relation: str | None = CONTAINS
) -> ContentItem:
    """A heading with its items; ``template`` is the TID of PS3.16 that it follows, ``relation`` is None at the root."""
    item = ContainerContentItem(name, is_content_continuous=False, template_id=template, relationship_type=relation)
    return _with(item, children)


def code(
    name: CodedConcept, value: CodedConcept, children: Sequence[ContentItem] = (), *, relation: str = CONTAINS
) -> ContentItem:
    """A coded answer."""
    return _with(CodeContentItem(name, value, relationship_type=relation), children)


def text(name: CodedConcept, value: str, *, relation: str = CONTAINS) -> ContentItem:
    """A sentence, in ASCII where it can be."""
    return TextContentItem(name, ascii_text(value), relationship_type=relation)


def num(
    name: CodedConcept,
    value: float,
    unit: CodedConcept,
    children: Sequence[ContentItem] = (),
    *,
    qualifier: CodedConcept | None = None,
    relation: str = CONTAINS,
) -> ContentItem:
    """A number; ``value`` is already rounded to what is to be stated."""
    item = NumContentItem(name, value, unit, qualifier=qualifier, relationship_type=relation)
    if isinstance(value, int):
        item.MeasuredValueSequence[0].NumericValue = str(value)  # highdicom writes a count as 600.0
    return _with(item, children)


def date(name: CodedConcept, iso_date: str, children: Sequence[ContentItem] = ()) -> ContentItem:
    """A calendar date, given as YYYY-MM-DD."""
    return _with(DateContentItem(name, iso_date.replace("-", ""), relationship_type=CONTAINS), children)


def uid(name: CodedConcept, value: str, *, relation: str) -> ContentItem:
    """A unique identifier."""
    return UIDRefContentItem(name, value, relationship_type=relation)


def image(
    name: CodedConcept,
    target: Any,
    children: Sequence[ContentItem] = (),
    *,
    frame: int | None = None,
    segment: int | None = None,
    relation: str = CONTAINS,
) -> ContentItem:
    """A reference to an image, to one of its frames or to one of its segments."""
    item = ImageContentItem(
        name,
        target.SOPClassUID,
        target.SOPInstanceUID,
        referenced_frame_numbers=frame,
        referenced_segment_numbers=segment,
        relationship_type=relation,
    )
    return _with(item, children)


def composite(name: CodedConcept, target: Any, *, relation: str) -> ContentItem:
    """A reference to another document."""
    return CompositeContentItem(name, target.SOPClassUID, target.SOPInstanceUID, relationship_type=relation)


def derivation(value: CodedConcept) -> ContentItem:
    """Which statistic a number is."""
    return code(codes.DERIVATION, value, relation=HAS_CONCEPT_MOD)


def yes_no(name: CodedConcept, answer: bool, children: Sequence[ContentItem] = ()) -> ContentItem:
    """A question answered with CID 230 Yes or No."""
    return code(name, codes.YES if answer else codes.NO, children)


def _with(item: ContentItem, children: Sequence[ContentItem]) -> ContentItem:
    if children:
        item.ContentSequence = ContentSequence(list(children))
    return item
