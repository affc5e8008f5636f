"""What a later result set says of the earlier ones that it replaces: predecessor documents, and a rejection note.

The rejection note is a Key Object Selection as IHE Imaging Object Change Management has it (RAD TF-2 4.66): an archive
that knows the profile hides what it names, any other shows one more document.
"""

from collections.abc import Iterable, Sequence

from pydicom.dataset import Dataset

from quant.result import ResultObject
from sr_templates import codes
from sr_templates.envelope import BuildContext, Placement
from sr_templates.identity import derive_uid
from sr_templates.key_objects import key_object_document
from sr_templates.predecessor import EarlierResult

REJECTION_SERIES_NUMBER = 9190
REJECTION_ROLE = "rejection"
_REPORT_ROLE = "sr"


def earlier_reports(earlier: EarlierResult, context: BuildContext) -> list[Dataset]:
    """The reports of an earlier result set, as Predecessor Documents Sequence (0040,A360) refers to them."""
    reports = [item for item in earlier.objects if item.role.split(".")[0] == _REPORT_ROLE]
    return [_stub(item, earlier, context) for item in reports]


def build_rejection(replaces: Sequence[EarlierResult], context: BuildContext) -> tuple[Placement, Dataset]:
    """The note that rejects every object of the result sets that this one replaces."""
    placement = Placement(
        role=REJECTION_ROLE,
        series_number=REJECTION_SERIES_NUMBER,
        description=context.describe("Replaced results"),
        modality="KO",
    )
    rejected = [_stub(item, earlier, context) for earlier in replaces for item in _shown(earlier)]
    revision = context.result.revision
    why = "A later result replaces these objects." if revision is None else revision.text
    return placement, key_object_document(codes.REJECTED_FOR_QUALITY, rejected, why, context, placement)


def _shown(earlier: EarlierResult) -> Iterable[ResultObject]:
    """All but an earlier rejection note: it still tells what became of the result before."""
    return (item for item in earlier.objects if item.role != REJECTION_ROLE)


def _stub(item: ResultObject, earlier: EarlierResult, context: BuildContext) -> Dataset:
    """What a reference to an object needs; its series follows from its job and role, as when it was built."""
    ds = Dataset()
    ds.StudyInstanceUID = context.header.study_instance_uid
    ds.SeriesInstanceUID = derive_uid(earlier.job_id, f"{item.role}/series")
    ds.SOPClassUID = item.sop_class_uid
    ds.SOPInstanceUID = item.sop_instance_uid
    return ds
