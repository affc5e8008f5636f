"""Which result set of its acquisition a result is, in words: why it was made, and what it replaces."""

from dataclasses import replace

from node.model import Cause, JobInput
from quant.follow_up import EARLIER_STANDS
from quant.result import LiverIronResult, Revision

REGION_REFUSALS = frozenset(
    {
        *("region_empty", "region_outside", "region_other_frame", "region_other_patient", "region_unreadable"),
        *("region_ambiguous", "region_not_liver", "region_low_signal", "region_not_measurable"),
    }
)
"""Why a drawn region itself could not be used; the result that it was to replace then stays as it is."""

_WHY = {
    Cause.FIRST: "the first result of these images",
    Cause.LATE_IMAGES: "more images of the acquisition came after the earlier report",
    Cause.READER_REGION: "a reader drew the region",
    Cause.REGION_REFUSED: "the region that a reader drew last cannot be used, and the images are measured without it",
    Cause.SETTINGS: "the images were measured again with other software or settings",
    Cause.OPERATOR: "an operator chose another region or another indication",
    Cause.SCANNER_MAP: "the scanner's own map came after the earlier report and is compared",
}


def with_revision(result: LiverIronResult, job: JobInput) -> LiverIronResult:
    """``result`` with its revision; where it leaves an earlier report valid, that report's follow-up stays too."""
    if job.replaces and stands_beside(result, job):
        result = replace(result, follow_up=EARLIER_STANDS)
    return replace(result, revision=revision_of(result, job))


def revision_of(result: LiverIronResult, job: JobInput) -> Revision:
    """The revision of ``result``, which was made for ``job``."""
    why = _WHY[job.cause]
    if stands_beside(result, job):
        stays = " The earlier report stays valid." if job.replaces else ""
        text = f"Result {job.revision}: {why}, but that region cannot be used.{stays}"
        return Revision(number=job.revision, cause=job.cause.value, text=text)
    reports = tuple(
        item.sop_instance_uid for earlier in job.replaces for item in earlier.objects if item.role.split(".")[0] == "sr"
    )
    if not job.replaces:
        text = f"Result {job.revision}: {why}."
    else:
        numbers = " and ".join(str(earlier.revision) for earlier in reversed(job.replaces))
        text = f"Result {job.revision} replaces result {numbers}: {why}."
    return Revision(number=job.revision, cause=job.cause.value, text=text, replaces=reports)


def stands_beside(result: LiverIronResult, job: JobInput) -> bool:
    """Whether the result only says that a drawn region could not be used, and takes nothing back."""
    return job.region is not None and any(reason.code in REGION_REFUSALS for reason in result.reasons)
