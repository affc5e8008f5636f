"""What a later result set says of the earlier ones that it replaces: predecessor documents, and a rejection note.

A rejection note is a Key Object Selection as IHE Imaging Object Change Management has it (RAD TF-2 4.66): an archive
that knows the profile hides what it names, any other shows one more document. There is one for each kind of object,
because destinations hold different kinds, and archives refuse a note that names what they never got.
"""

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from quant.result import ResultObject
from sr_templates import codes
from sr_templates.envelope import BuildContext, Placement
from sr_templates.identity import derive_uid
from sr_templates.key_objects import key_object_document
from sr_templates.predecessor import REJECTION_ROLE, EarlierResult

REJECTION_SERIES_NUMBER = 9190
_REPORT_ROLE = "sr"


def earlier_reports(earlier: EarlierResult, context: BuildContext) -> list[Dataset]:
    """The reports of an earlier result set, as Predecessor Documents Sequence (0040,A360) refers to them."""
    reports = [item for item in earlier.objects if item.role.split(".")[0] == _REPORT_ROLE]
    return [_stub(item, earlier, context) for item in reports]


def build_rejections(replaces: Sequence[EarlierResult], context: BuildContext) -> Iterator[tuple[Placement, Dataset]]:
    """The notes that reject every object of the result sets that this one replaces."""
    revision = context.result.revision
    why = "A later result replaces these objects." if revision is None else revision.text
    groups = [(earlier, group) for earlier in replaces for group in _kinds(earlier)]
    for index, (earlier, group) in enumerate(groups):
        placement = Placement(
            role=REJECTION_ROLE,
            series_number=REJECTION_SERIES_NUMBER,
            description=context.describe("Replaced results"),
            modality="KO",
            index=index,
        )
        rejected = [_stub(item, earlier, context) for item in group]
        yield placement, key_object_document(codes.REJECTED_FOR_QUALITY, rejected, why, context, placement)


def _kinds(earlier: EarlierResult) -> list[list[ResultObject]]:
    """The objects of a result set by what a destination takes as a whole or not at all: kind and SOP class. Its own
    rejection notes are left out: they still tell what became of the result before."""
    found: dict[tuple[str, str], list[ResultObject]] = {}
    for item in earlier.objects:
        if (kind := item.role.split(".")[0]) != REJECTION_ROLE:
            found.setdefault((kind, item.sop_class_uid), []).append(item)
    return list(found.values())


def _stub(item: ResultObject, earlier: EarlierResult, context: BuildContext) -> Dataset:
    """What a reference to an object needs; its series follows from its job and role, as when it was built."""
    ds = Dataset()
    ds.StudyInstanceUID = context.header.study_instance_uid
    ds.SeriesInstanceUID = derive_uid(earlier.job_id, f"{item.role}/series")
    ds.SOPClassUID = item.sop_class_uid
    ds.SOPInstanceUID = item.sop_instance_uid
    return ds
