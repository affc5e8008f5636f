"""How result objects point at the source images, classic or multi-frame."""

from collections.abc import Iterable

from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset

from sr_templates import codes
from sr_templates.evidence import FrameRef, SourceSeries


def plane_refs(source: SourceSeries) -> list[FrameRef]:
    """The first echo of every slice: the image that a viewer lays a region over."""
    return [echoes[0] for echoes in source.frames]


def sop_reference(target: Dataset) -> Dataset:
    """SOP Instance Reference (PS3.3 table 10-11) to a whole object."""
    item = Dataset()
    item.ReferencedSOPClassUID = target.SOPClassUID
    item.ReferencedSOPInstanceUID = target.SOPInstanceUID
    return item


def source_items(source: SourceSeries, refs: Iterable[FrameRef], purpose: CodedConcept) -> list[Dataset]:
    """Items of Source Image Sequence (0008,2112), one per plane in the order of ``refs``.

    Frames of one multi-frame instance do not share an item, although Referenced Frame Number may have several values:
    highdicom cannot read such a frame reference.
    """
    items = []
    for ref in refs:
        item = sop_reference(source.datasets[ref.dataset_index])
        if ref.frame_number is not None:
            item.ReferencedFrameNumber = ref.frame_number
        item.PurposeOfReferenceCodeSequence = [purpose]
        items.append(item)
    return items


def whole_sources(source: SourceSeries, refs: Iterable[FrameRef], purpose: CodedConcept) -> list[Dataset]:
    """As ``source_items`` for a whole object: one item per instance, whichever of its frames are meant."""
    indices = dict.fromkeys(ref.dataset_index for ref in refs)
    return source_items(source, [FrameRef(dataset_index=index) for index in indices], purpose)


def derivation_item(source: SourceSeries, refs: Iterable[FrameRef], derivation: CodedConcept) -> Dataset:
    """Item of Derivation Image Sequence (0008,9124): what one frame was computed from."""
    item = Dataset()
    item.DerivationCodeSequence = [derivation]
    item.SourceImageSequence = source_items(source, refs, codes.SOURCE_FOR_PROCESSING)
    return item


def referenced_series(source: SourceSeries, refs: Iterable[FrameRef]) -> list[Dataset]:
    """Items of Referenced Series Sequence (0008,1115), Common Instance Reference Module (PS3.3 C.12.2)."""
    series: dict[str, dict[str, Dataset]] = {}
    for ref in refs:
        target = source.datasets[ref.dataset_index]
        instances = series.setdefault(str(target.SeriesInstanceUID), {})
        instances.setdefault(str(target.SOPInstanceUID), sop_reference(target))
    items = []
    for series_uid, instances in series.items():
        item = Dataset()
        item.SeriesInstanceUID = series_uid
        item.ReferencedInstanceSequence = list(instances.values())
        items.append(item)
    return items
