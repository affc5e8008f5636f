"""The records that travel between the stages. All frozen; states are enums whose meaning is one line each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from quant.prior import PriorAnswer
from sr_templates.predecessor import EarlierResult


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # a worker holds the lease
    DONE = "done"  # the result set is in the outbox
    PARKED = "parked"  # failed too often; waits for an operator (`ironnode retry`)


class DeliveryState(StrEnum):
    """Where one result object stands with one destination."""

    PENDING = "pending"  # to be sent, now or at next_try_at
    SENT = "sent"  # the destination answered success
    SUPERSEDED = "superseded"  # not to be sent: a later result replaces it, or it takes back what never came there
    UNSUPPORTED = "unsupported"  # it does not take this SOP class; not tried again by itself (`ironnode retry`)


class CommitmentState(StrEnum):
    """How a destination stands to keeping one result object for good (storage commitment)."""

    DUE = "due"  # to be asked for again at next_try_at
    ASKED = "asked"  # its report is to come; asked again at next_try_at
    COMMITTED = "committed"  # it has taken over the safekeeping
    REFUSED = "refused"  # it said too often that it does not have it; waits for an operator (`ironnode retry`)


class RemovalState(StrEnum):
    """Where retention stands with the files of one delivered job; no row: it has not looked yet."""

    UNPROVED = "unproved"  # kept: that a destination has everything is not proved; looked at again later
    MARKED = "marked"  # to be removed; from here on nothing of it is sent
    REMOVED = "removed"  # images and result objects are gone; record, report text and history stay
    RETURNED = "returned"  # removed, and its images were sent again since


class AcquisitionState(StrEnum):
    """Where an acquisition stands."""

    RECEIVING = "receiving"  # the grid has holes, or is not quiet yet
    JOBBED = "jobbed"  # a job was made from what is there
    DECLINED = "declined"  # not ours, with a coded reason


@dataclass(frozen=True, kw_only=True)
class PlaneHeader:
    """One image plane (a classic image, or one frame of a multi-frame object), as assembly needs it.

    ``position_mm`` is Image Position Patient; ``orientation`` its six direction cosines; ``kind`` one of
    magnitude, phase, real, imaginary.
    """

    frame_number: int | None
    kind: str
    echo_time_s: float
    position_mm: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]


class Cause(StrEnum):
    """Why a result set of an acquisition was made."""

    FIRST = "first"  # its images came
    LATE_IMAGES = "late_images"  # more images of it came
    READER_REGION = "reader_region"  # somebody drew the region
    REGION_REFUSED = "region_refused"  # the region drawn last cannot be used, and nothing was measured without it yet
    SETTINGS = "settings"  # an operator had it measured again, by other software or settings
    OPERATOR = "operator"  # an operator chose another region or indication
    SCANNER_MAP = "scanner_map"  # an operator had it compared with a map of the scanner's own that came after it


@dataclass(frozen=True, kw_only=True)
class RegionReference:
    """What a region that somebody drew says it belongs to; the UIDs are sorted."""

    kind: Literal["seg", "rtstruct"]
    frame_of_reference_uid: str
    sop_instance_uids: tuple[str, ...]
    series_instance_uids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GroupFacts:
    """What images of one acquisition have in common, as text; empty where the header does not tell it."""

    study_instance_uid: str
    frame_of_reference_uid: str
    matrix: str
    pixel_spacing_mm: str
    field_t: str
    repetition_time_ms: str
    flip_angle_deg: str
    inversion_time_ms: str

    def differences(self, other: "GroupFacts") -> dict[str, tuple[str, str]]:
        """The facts that differ, by their name in words, with both values."""
        pairs = zip(_FACTS_IN_WORDS, vars(self).values(), vars(other).values(), strict=True)
        return {name: (here, there) for name, here, there in pairs if here != there}


_FACTS_IN_WORDS = (
    *("study", "frame of reference", "matrix", "pixel spacing in mm", "field strength in T"),
    *("repetition time in ms", "flip angle in degrees", "inversion time in ms"),
)


@dataclass(frozen=True, kw_only=True)
class ObjectPart:
    """Which part of a concatenation (PS3.3 C.7.6.16.2.2.4) an object is; ``total`` is 0 where that is not told."""

    concatenation_uid: str
    number: int
    total: int


@dataclass(frozen=True, kw_only=True)
class InstanceHeader:
    """What the node knows of one received instance without its pixels.

    ``declined`` is the coded reason when no plane of it can belong to a measurement; then ``planes`` is empty.
    ``group_key`` is equal for all images that one acquisition could consist of, over several series.
    ``expected_*`` is what the header promises of the whole acquisition, where it says so reliably:
    echoes, slices, and images of all kinds in this series. ``variant`` names what the reconstruction added
    (NORM, DIS2D ...), ``repeat`` tells repetitions inside one series apart, ``coil`` names the receive elements,
    ``acquired_s`` is the acquisition's date and time on the scanner's clock, in seconds. ``map_of`` names the quantity
    (r2star, t2star, fat_fraction) when the object is declined for being the scanner's own map of it, and
    ``told_echo_times_s`` the echo times of one that is declined for being computed from others and names no map.
    ``group_facts`` is what ``group_key`` stands for; ``names_patient``: a Patient ID is there; ``part`` is there when
    the object is one part of a concatenation.
    ``kind_assumed``: nothing names the kind of its planes, and they are taken for magnitude.
    ``repetitions`` is how often the object holds the same slices and echoes; ``planes`` are of the first whole one.
    ``region`` is there when the object is a region drawn on images (declined as ``region_object``: it is no image to
    measure).
    """

    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id_hash: str
    group_key: str
    planes: tuple[PlaneHeader, ...]
    expected_echoes: int | None = None
    expected_slices: int | None = None
    expected_images: int | None = None
    variant: str = ""
    repeat: str = ""
    coil: str = ""
    acquired_s: float | None = None
    declined: tuple[str, str] | None = None
    map_of: str = ""
    told_echo_times_s: tuple[float, ...] = ()
    frame_of_reference_uid: str = ""
    bare_patient_id_hash: str = ""  # without the issuer, which some workstations drop
    region: RegionReference | None = None
    kind_assumed: bool = False
    group_facts: GroupFacts | None = None
    names_patient: bool = False
    part: ObjectPart | None = None
    repetitions: int = 1


@dataclass(frozen=True, kw_only=True)
class SpooledInstance:
    """One durable instance."""

    sop_instance_uid: str
    path: Path
    received_at: datetime
    calling_ae_title: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """One measurement to make. ``job_id`` derives from its inputs, the settings and the method version."""

    job_id: str
    acquisition_key: str
    study_instance_uid: str
    revision: int
    state: JobState
    attempts: int
    excused: int  # attempts that an outage of disk, ledger or broker ended; they do not count against it
    accepted_at: datetime  # frozen: every date and time in the result objects comes from it
    sop_instance_uids: tuple[str, ...]  # the instances to measure, sorted; the spool knows where they lie
    settings_digest: str  # of who made it (``Config.method_digest``)
    method_version: str
    missing: tuple[str, ...] = ()  # grid cells that never came, in words
    error: str | None = None
    predecessor_job_id: str | None = None
    cause: Cause = Cause.FIRST
    region_uid: str | None = None  # the one of them that is a reader's region
    self_test: bool = False  # of the node's own images: the result is sent to nobody
    destinations: tuple[str, ...] | None = None  # where a rule sends the result; everywhere without
    indication: str | None = None  # what an operator chose; what the order says without


@dataclass(frozen=True, kw_only=True)
class JobInput:
    """What the pipeline is given: everything that decides the bytes of its result set.

    ``replaces`` are the result sets of the same acquisition that this one is to replace, the latest first; ``region``
    is the SEG or RT Structure Set that somebody drew, one of the ``files`` or beside them; ``priors`` is what the
    archive gave of the patient's earlier results, ``None`` when no archive is configured.
    """

    job_id: str
    files: tuple[Path, ...]
    accepted_at: datetime
    revision: int = 1
    missing: tuple[str, ...] = ()
    replaces: tuple[EarlierResult, ...] = ()
    cause: Cause = Cause.FIRST
    region: Path | None = None
    indication: str | None = None
    priors: PriorAnswer | None = None


@dataclass(frozen=True, kw_only=True)
class PipelineOutput:
    """What the pipeline makes: files of one result folder, relative name -> bytes, plus the record itself.

    The folder holds ``result.json``, ``report.html``, ``report.pdf``, PNG pictures and ``dicom/*.dcm``.
    """

    record: Mapping[str, Any]
    files: Mapping[str, bytes] = field(repr=False)


class StoreStatus(StrEnum):
    """How a peer answered one C-STORE."""

    SUCCESS = "success"
    WARNING = "warning"  # stored, with a remark
    FAILED = "failed"  # refused; ``detail`` gives the status
    NO_CONTEXT = "no_context"  # the peer does not take this SOP class
    NOT_TRIED = "not_tried"  # the association ended before it was this object's turn


@dataclass(frozen=True, kw_only=True)
class StoreOutcome:
    """Outcome of sending one file to one peer."""

    path: Path
    status: StoreStatus
    detail: str = ""

    @property
    def stored(self) -> bool:
        """Whether the peer has the object."""
        return self.status in (StoreStatus.SUCCESS, StoreStatus.WARNING)


@dataclass(frozen=True, kw_only=True)
class SopReference:
    """One SOP instance, as sequences of references name it."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, kw_only=True)
class CommitmentReport:
    """What a storage commitment provider answered (PS3.4 J.3.3); ``ae_title`` is its own, ``failed`` gives reasons."""

    transaction_uid: str
    ae_title: str
    committed: frozenset[SopReference]
    failed: Mapping[SopReference, int]

    @property
    def kept(self) -> frozenset[SopReference]:
        """What it names as committed, and nowhere as failed."""
        lost = {reference.sop_instance_uid for reference in self.failed}
        return frozenset(r for r in self.committed if r.sop_instance_uid not in lost)
