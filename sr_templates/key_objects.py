"""Key Object Selection documents (PS3.3 A.35.4, TID 2010): what to look at first, or what is no longer valid."""

from collections.abc import Sequence

import highdicom as hd
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.uid import (
    MRImageStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from sr_templates import codes, identity
from sr_templates.envelope import BuildContext, Placement, ascii_text, stamp
from sr_templates.geometry import plane_template
from sr_templates.observer import device_observer

SERIES_NUMBER = 9160
_IMAGES = frozenset({MRImageStorage, SecondaryCaptureImageStorage, SegmentationStorage, ParametricMapStorage})


def build_key_objects(shown: Sequence[Dataset], context: BuildContext) -> tuple[Placement, Dataset]:
    """The selection that viewers open first: ``shown`` (report, page, the map's slice with most of the region)."""
    placement = Placement(
        role="ko", series_number=SERIES_NUMBER, description=context.describe("Liver iron key objects"), modality="KO"
    )
    text = "Liver iron by MRI: the report, its page and the map."
    return placement, key_object_document(codes.FOR_REPORT_ATTACHMENT, shown, text, context, placement)


def key_object_document(
    title: CodedConcept, objects: Sequence[Dataset], text: str, context: BuildContext, placement: Placement
) -> Dataset:
    """A selection of ``objects``, of which study, series, class and instance UIDs are used."""
    content = hd.ko.KeyObjectSelection(
        document_title=title,
        referenced_objects=[_reference(ds, context) for ds in objects],
        observer_device_context=device_observer(context),
        description=ascii_text(text),
    )
    content[0].ContinuityOfContent = "SEPARATE"
    ds: Dataset = hd.ko.KeyObjectSelectionDocument(
        evidence=[_reference(ds, context) for ds in objects],
        content=content,
        series_instance_uid="1.1",
        series_number=placement.series_number,
        sop_instance_uid="1.1",
        instance_number=1,
        manufacturer=identity.MANUFACTURER,
    )
    return stamp(ds, context, placement)


def _reference(target: Dataset, context: BuildContext) -> Dataset:
    """``target`` as highdicom takes it: an image has rows and columns; the patient is written over afterwards."""
    item = plane_template(context, 0)
    del item.Rows, item.Columns
    item.SeriesInstanceUID = target.SeriesInstanceUID
    item.SOPClassUID = target.SOPClassUID
    item.SOPInstanceUID = target.SOPInstanceUID
    if target.SOPClassUID in _IMAGES:
        item.Rows = item.Columns = 1
    return item
