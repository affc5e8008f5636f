"""The result that a later one takes the place of, and what is taken back of it."""

from dataclasses import dataclass

from pydicom.dataset import Dataset

from quant.result import ResultObject

REJECTION_ROLE = "rejection"


@dataclass(frozen=True, kw_only=True)
class EarlierResult:
    """The result set of an earlier revision, as far as a later one refers to it."""

    job_id: str
    revision: int
    objects: tuple[ResultObject, ...]


def rejected_uids(note: Dataset) -> frozenset[str]:
    """The SOP Instance UIDs that a rejection note names."""
    return frozenset(
        str(item.ReferencedSOPInstanceUID)
        for study in note.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    )
