"""The result record: what was measured, or why not. Every output (SR, page, maps' labels, JSON) is made from it.

``LiverIronResult.to_record`` gives ``result.json`` schema version 1. Numbers carry their unit in the name;
what is absent is ``None`` with a reason, never 0.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 1

Status = Literal["measured", "not_measurable", "declined"]
Severity = Literal["info", "warning", "failure"]
Bound = Literal["at_least", "at_most"]


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why there is no number; ``code`` is stable and in lower_snake_case, ``text`` is one plain sentence."""

    code: str
    text: str


@dataclass(frozen=True, kw_only=True)
class QcLine:
    """One quality statement; ``value`` and ``limit`` in the unit that ``text`` names."""

    code: str
    severity: Severity
    text: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Distribution of one quantity over the region; ``interval95`` is the interval of the median.

    With ``bound`` the value lies beyond what can be measured: ``median`` is the bound, ``interval95`` ends at it on the
    open side (below for "at_least", above for "at_most" it tells how sure the bound itself is), and ``mean``, ``sd``
    and the quartiles are NaN. The record has ``null`` for all that is open.
    """

    median: float
    mean: float
    sd: float
    q1: float
    q3: float
    interval95: tuple[float, float]
    bound: Bound | None = None


@dataclass(frozen=True, kw_only=True)
class LicStatistics(Statistics):
    """As ``Statistics``, in mg iron per g dry weight."""


@dataclass(frozen=True, kw_only=True)
class AcquisitionSummary:
    """The acquisition as the record states it."""

    field_t: float
    manufacturer: str
    model: str
    kind: Literal["magnitude", "complex"]
    echo_times_s: tuple[float, ...]
    n_slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class FitSummary:
    """How R2* was fitted; fractions are of the voxels of the region (of the body where there is no region)."""

    model: str
    noise_model: str
    sigma: float
    echoes_used: int
    measurable_limit_per_s: float | None
    fraction_at_limit: float
    fraction_failed: float


@dataclass(frozen=True, kw_only=True)
class AutomaticRegion:
    """What the automatic region gives where a reader's region was measured instead; values are ``None`` with
    ``why_not`` when it gives none. ``overlap`` is the Dice coefficient of the two regions; the differences are reader's
    minus automatic."""

    r2star_per_s: float | None
    lic_mg_per_g: float | None
    n_voxels: int | None
    overlap: float | None
    r2star_difference_percent: float | None
    lic_difference_mg_per_g: float | None
    why_not: str | None
    text: str


@dataclass(frozen=True, kw_only=True)
class ReaderRegion:
    """A region that somebody drew, as its object tells: ``label`` of the segment or contour, ``drawn_by`` the person
    and device that it names (empty where it names none)."""

    sop_instance_uid: str
    label: str
    drawn_by: str
    automatic: AutomaticRegion


@dataclass(frozen=True, kw_only=True)
class PartSummary:
    """R2* of a part of the region; ``None`` for a median or quartile beyond the measurable limit."""

    n_voxels: int
    volume_ml: float
    r2star_median_per_s: float | None
    r2star_q1_per_s: float | None
    r2star_q3_per_s: float | None


@dataclass(frozen=True, kw_only=True)
class SliceSummary(PartSummary):
    """The part in one slice; ``slice_index`` counts from 0 along the normal of the slices, as the maps' frames do."""

    slice_index: int


@dataclass(frozen=True, kw_only=True)
class LobesSummary:
    """Lobes of an automatic region, parted at 0.40 of the body's width, where the middle hepatic vein lies in most; a
    lobe is ``None`` where the region holds less than 5 cm2 of it."""

    right: PartSummary | None
    left: PartSummary | None


@dataclass(frozen=True, kw_only=True)
class RoiSummary:
    """The region that carries the statistics; ``excluded`` counts voxels by reason. ``reader`` is there when the region
    was drawn by somebody ("seg", "rtstruct"), ``lobes`` when it was found automatically. ``slices`` counts voxels that
    have an R2* or lie beyond the measurable limit."""

    source: Literal["automatic", "seg", "rtstruct"]
    n_voxels: int
    volume_ml: float
    n_slices: int
    excluded: dict[str, int]
    reader: ReaderRegion | None = None
    slices: tuple[SliceSummary, ...] = ()
    lobes: LobesSummary | None = None


@dataclass(frozen=True, kw_only=True)
class CalibrationUsed:
    """The R2*-to-LIC equation applied."""

    id: str
    field_t: float
    equation: str
    doi: str


@dataclass(frozen=True, kw_only=True)
class OtherCalibration:
    """What another published equation of the same field would give for the same R2*."""

    id: str
    lic_mg_per_g: float
    doi: str


@dataclass(frozen=True, kw_only=True)
class GradeCandidate:
    """A grade that the interval allows, and how likely it is."""

    code: str
    label: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class Grade:
    """Grade of the median LIC under one scheme."""

    scheme: str
    code: str
    label: str
    candidates: tuple[GradeCandidate, ...]
    borderline: bool


@dataclass(frozen=True, kw_only=True)
class View:
    """One plain statement of the LIC against one limit; ``borderline`` where the data do not settle the side."""

    limit_mg_per_g: float
    above: bool
    text: str
    borderline: bool = False


@dataclass(frozen=True, kw_only=True)
class Views:
    """The two statements that every report makes."""

    reference: View
    clinical: View


@dataclass(frozen=True, kw_only=True)
class FollowUpInterval:
    """When to measure again, and by whose rule; dates are ISO 8601 (YYYY-MM-DD) or ``None`` without a study date."""

    min_months: int
    max_months: int
    earliest_date: str | None
    latest_date: str | None
    rule_id: str
    indication: str | None
    source: str
    population_match: bool
    signed_off_by: str | None
    text: str


@dataclass(frozen=True, kw_only=True)
class ClinicianDecides:
    """No interval is stated; ``text`` says why."""

    text: str
    clinician_decides: Literal[True] = True


FollowUp = FollowUpInterval | ClinicianDecides


@dataclass(frozen=True, kw_only=True)
class EarlierReport:
    """Where an earlier measurement stands in the archive."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, kw_only=True)
class PriorComparison:
    """An earlier measurement of the same patient (``date`` of its study), and how this one differs from it.

    The changes (this minus earlier; per year only over 90 days or more) and the repeatability coefficient are ``None``
    unless ``comparable``; otherwise ``why_not`` says why. An end of the interval that a bound leaves open is ``None``.
    """

    date: str
    lic_mg_per_g: float
    calibration_id: str
    change_mg_per_g: float | None
    exceeds_repeatability: bool
    comparable: bool
    why_not: str | None
    bound: Bound | None
    interval95_mg_per_g: tuple[float | None, float | None]
    field_t: float
    calibration_field_t: float
    method_version: str
    report: EarlierReport
    change_per_year_mg_per_g: float | None = None
    repeatability_coefficient_mg_per_g: float | None = None


@dataclass(frozen=True, kw_only=True)
class PriorCheck:
    """Whether earlier measurements were looked for, in words, and all that were found, the oldest first.

    ``measured_on`` is this study's date where they were compared.
    """

    state: Literal["not_configured", "not_checked", "none_found", "checked"]
    text: str
    measured_on: str | None = None
    earlier: tuple[PriorComparison, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ResultObject:
    """One DICOM object of the result set; ``file`` is relative to the result folder."""

    role: str
    sop_class_uid: str
    sop_instance_uid: str
    file: str


@dataclass(frozen=True, kw_only=True)
class Revision:
    """Which result set of its acquisition this is, counted from 1, and why it was made (``text``: one plain sentence).

    ``replaces`` are the SOP Instance UIDs of the reports that it replaces; a later result set that replaces none stands
    beside them.
    """

    number: int
    cause: str
    text: str
    replaces: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LiverIronResult:
    """One job's outcome. A field is ``None`` when ``status`` or the data do not allow it; ``settings_digest`` names the
    settings that it was measured with."""

    software_version: str
    method_version: str
    status: Status
    study_instance_uid: str | None
    source_series_instance_uids: tuple[str, ...]
    patient_id_hash: str | None
    reasons: tuple[Reason, ...] = ()
    acquisition: AcquisitionSummary | None = None
    fit: FitSummary | None = None
    roi: RoiSummary | None = None
    r2star_per_s: Statistics | None = None
    t2star_ms: Statistics | None = None
    pdff_percent: Statistics | None = None
    lic_mg_per_g: LicStatistics | None = None
    lic_umol_per_g_median: float | None = None
    calibration: CalibrationUsed | None = None
    other_calibrations: tuple[OtherCalibration, ...] = ()
    grade: Grade | None = None
    views: Views | None = None
    follow_up: FollowUp | None = None
    prior: PriorComparison | None = None
    prior_check: PriorCheck | None = None
    revision: Revision | None = None
    qc: tuple[QcLine, ...] = ()
    objects: tuple[ResultObject, ...] = ()
    research_use_only: bool = True
    settings_digest: str | None = None
    schema_version: int = field(default=SCHEMA_VERSION)

    def __post_init__(self) -> None:
        if self.status == "measured" and self.r2star_per_s is None:
            raise ValueError("a measured result needs r2star_per_s")
        if self.status != "measured" and not self.reasons:
            raise ValueError(f"a result that is {self.status} needs a reason")

    def to_record(self) -> dict[str, Any]:
        """The record as plain JSON types, in the order of the published schema."""
        record = asdict(self)
        record = {"schema_version": record.pop("schema_version"), **record}
        umol = record.pop("lic_umol_per_g_median")
        for name in ("r2star_per_s", "t2star_ms", "pdff_percent", "lic_mg_per_g"):
            if record[name] is not None:
                record[name] = _closed_part(record[name])
        ordered: dict[str, Any] = {}
        for key, value in record.items():
            ordered[key] = value
            if key == "lic_mg_per_g":
                ordered["lic_umol_per_g"] = None if umol is None else {"median": umol}
        return _plain(ordered)  # type: ignore[no-any-return]  # a dict stays a dict


def _closed_part(statistics: dict[str, Any]) -> dict[str, Any]:
    """Statistics without what a bound leaves open."""
    bound = statistics["bound"]
    if bound is None:
        return statistics
    low, high = statistics["interval95"]
    interval = [low, None] if bound == "at_least" else [None, high]
    return {**statistics, "mean": None, "sd": None, "q1": None, "q3": None, "interval95": interval}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
