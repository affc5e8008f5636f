"""What a Segmentation or RT Structure Set says it was drawn on: the images, their series, the frame of reference."""

from collections.abc import Iterator

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import RTStructureSetStorage

from node.intake.tags import ODD_DATA, items, text, value
from node.model import RegionReference

_DEEPEST = 12  # items within items; the Standard nests seven
_INSTANCE, _SERIES = 0x00081155, 0x0020000E


def region_reference(ds: Dataset) -> RegionReference:
    """Everything that the object refers to, at any depth (PS3.3 A.51, A.19)."""
    contours = text(ds, "SOPClassUID") == RTStructureSetStorage
    instances: set[str] = set()
    series: set[str] = set()
    for item in _below(ds, _DEEPEST):
        instances.add(text(item, _INSTANCE))
        series.add(text(item, _SERIES))
    return RegionReference(
        kind="rtstruct" if contours else "seg",
        frame_of_reference_uid=_frame_of_reference(ds),
        sop_instance_uids=tuple(sorted(instances - {""})),
        series_instance_uids=tuple(sorted(series - {""})),
    )


def same_patient(ours: tuple[str, str], theirs: tuple[str, str]) -> bool:
    """Whether two pairs of pseudonyms (with the issuer of the identifier, without it) are one patient's: where one side
    names no issuer, the identifier alone decides."""
    return ours == theirs or (ours[1] == theirs[1] and (ours[0] == ours[1] or theirs[0] == theirs[1]))


def _frame_of_reference(ds: Dataset) -> str:
    """Of the object, or of the structure set's contours (PS3.3 C.8.8.5)."""
    holders = (ds, *items(ds, "StructureSetROISequence"), *items(ds, "ReferencedFrameOfReferenceSequence"))
    names = ("FrameOfReferenceUID", "ReferencedFrameOfReferenceUID")
    return next((found for holder in holders for name in names if (found := text(holder, name))), "")


def _is_sequence(ds: Dataset, tag: BaseTag) -> bool:
    try:
        written = ds.get_item(tag).VR
    except ODD_DATA:  # a VR that does not exist
        return False
    return (written or (dictionary_VR(tag) if dictionary_has_tag(tag) else "")) == "SQ"


def _below(ds: Dataset, depth: int) -> Iterator[Dataset]:
    if depth == 0:
        return
    for tag in ds.keys():  # noqa: SIM118 - iterating a data set decodes every element
        if not _is_sequence(ds, tag):  # contours are long: nothing else is decoded
            continue
        found = value(ds, tag)
        if isinstance(found, Sequence):
            for item in found:
                yield item
                yield from _below(item, depth - 1)
