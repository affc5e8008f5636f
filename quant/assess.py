"""From the region's R2* to what a report states: LIC, grade, the two views, follow-up, quality.

Pure: settings, dates and the region's numbers come in, the types of ``quant.result`` come out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from quant.calibration import (
    FIELD_STRENGTHS,
    UMOL_PER_MG,
    Calibration,
    calibration_for,
    check_by_field,
    match_field,
    other_calibrations,
)
from quant.follow_up import Policy, follow_up, no_lic, technical_repeat
from quant.grading import grade, scheme_by_id
from quant.quality import measurement_quality, reaches_limit
from quant.region import RegionMeasurement
from quant.region_statistics import lic_statistics, r2star_statistics, t2star_statistics
from quant.result import (
    CalibrationUsed,
    FollowUp,
    Grade,
    LicStatistics,
    OtherCalibration,
    QcLine,
    Statistics,
    Views,
)
from quant.uncertainty import Normal, Repeatability, interval_statement, lic_distribution, r2star_uncertainty
from quant.views import make_views
from quant.wording import LIC_REPORTING_LIMIT_MG_PER_G, format_rate, join_words


@dataclass(frozen=True, kw_only=True)
class AssessmentSettings:
    """The choices of a site.

    Raises:
        ValueError: a calibration, scheme or field strength does not exist; the text names the key.
    """

    calibration_by_field: Mapping[str, str]
    grade_scheme: str
    policy: Policy
    repeatability: Repeatability

    def __post_init__(self) -> None:
        check_by_field(self.calibration_by_field)
        scheme_by_id(self.grade_scheme)


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What the record states about a measured region; a field is ``None`` with a reason in ``qc``."""

    r2star_per_s: Statistics
    t2star_ms: Statistics | None
    pdff_percent: Statistics | None
    lic_mg_per_g: LicStatistics | None
    lic_umol_per_g_median: float | None
    calibration: CalibrationUsed | None
    other_calibrations: tuple[OtherCalibration, ...]
    grade: Grade | None
    views: Views | None
    follow_up: FollowUp
    qc: tuple[QcLine, ...]


@dataclass(frozen=True, kw_only=True)
class _Iron:
    """The part of an assessment that needs an LIC."""

    lic: LicStatistics | None = None
    calibration: Calibration | None = None
    others: tuple[OtherCalibration, ...] = ()
    grade: Grade | None = None
    views: Views | None = None
    follow_up: FollowUp
    qc: tuple[QcLine, ...] = ()


def assess(
    region: RegionMeasurement,
    *,
    field_t: float,
    echo_times_s: Sequence[float],
    echoes_used: int,
    settings: AssessmentSettings,
    study_date: date | None,
    indication: str | None,
    measurable_limit_per_s: float | None,
) -> Assessment:
    """What a report states about ``region``.

    The value is a lower bound ("at least") when it reaches the measurable limit (``quality.reaches_limit``) or lies
    beyond the top of the calibration.

    Raises:
        ValueError: the region's median is not a number, or the policy does not know ``indication``.
    """
    parts = r2star_uncertainty(region, settings.repeatability)
    r2star = Normal(mean=region.median, sd=parts.total_per_s)
    calibration = calibration_for(field_t, settings.calibration_by_field)
    quality = measurement_quality(
        region,
        field_t=field_t,
        echo_times_s=echo_times_s,
        echoes_used=echoes_used,
        measurable_limit_per_s=measurable_limit_per_s,
        calibration=calibration,
    )
    failed = next((line for line in quality if line.severity == "failure"), None)
    indication_of_policy = settings.policy.indication(indication).id
    if calibration is None:
        iron = _no_calibration(field_t)
    else:
        bounded = _bounded(region, r2star, measurable_limit_per_s, calibration)
        iron = _iron(region, bounded, calibration, settings, study_date, indication_of_policy, failed)
    statement = QcLine(code="interval_parts", severity="info", text=interval_statement(parts, iron.calibration))
    return Assessment(
        r2star_per_s=r2star_statistics(region, r2star),
        t2star_ms=t2star_statistics(region, r2star),
        pdff_percent=region.pdff_percent,
        lic_mg_per_g=iron.lic,
        lic_umol_per_g_median=None if iron.lic is None else iron.lic.median * UMOL_PER_MG,
        calibration=None if iron.calibration is None else iron.calibration.used(),
        other_calibrations=iron.others,
        grade=iron.grade,
        views=iron.views,
        follow_up=iron.follow_up,
        qc=(*iron.qc, statement, *quality),
    )


@dataclass(frozen=True, kw_only=True)
class _Bounded:
    """R2* as it may be converted; ``why`` says what bounds it from above (one sentence), or is ``None``."""

    r2star: Normal
    why: str | None


def _bounded(
    region: RegionMeasurement, r2star: Normal, limit_per_s: float | None, calibration: Calibration
) -> _Bounded:
    highest = calibration.valid_r2star_per_s[1]
    value, why = r2star.mean, None
    if limit_per_s is not None and reaches_limit(region, limit_per_s):
        value = min(value, limit_per_s)
        why = f"R2* is beyond what this acquisition can measure ({limit_per_s:.0f} /s), so the LIC is a lower bound."
    if value > highest:
        value = highest
        why = f"R2* is above {highest:.0f} /s, where {calibration.name} ends, so the LIC is a lower bound."
    return _Bounded(r2star=Normal(mean=value, sd=r2star.sd), why=why)


def _iron(
    region: RegionMeasurement,
    bounded: _Bounded,
    calibration: Calibration,
    settings: AssessmentSettings,
    study_date: date | None,
    indication: str,
    failed: QcLine | None,
) -> _Iron:
    if not calibration.covers(bounded.r2star.mean):
        return _below_calibration(bounded.r2star.mean, calibration)
    at_least = bounded.why is not None
    distribution = lic_distribution(calibration, bounded.r2star)
    lic = lic_statistics(region, distribution, calibration, "at_least" if at_least else None)
    others = other_calibrations(calibration, bounded.r2star.mean)
    return _Iron(
        lic=lic,
        calibration=calibration,
        others=others,
        grade=None
        if failed is not None
        else grade(scheme_by_id(settings.grade_scheme), distribution, at_least=at_least),
        views=make_views(lic, calibration, others),
        follow_up=_follow_up(settings.policy, lic, bounded.why, failed, study_date, indication),
        qc=_lic_lines(lic, calibration, bounded.why, failed),
    )


def _follow_up(
    policy: Policy,
    lic: LicStatistics,
    bound_why: str | None,
    failed: QcLine | None,
    study_date: date | None,
    indication: str,
) -> FollowUp:
    if failed is not None:
        return technical_repeat(failed.text)
    if bound_why is not None:
        return technical_repeat(bound_why)
    return follow_up(policy, lic_mg_per_g=lic.median, indication_id=indication, study_date=study_date)


def _lic_lines(
    lic: LicStatistics, calibration: Calibration, bound_why: str | None, failed: QcLine | None
) -> tuple[QcLine, ...]:
    lines = []
    if failed is not None:
        lines.append(QcLine(code="not_gradeable", severity="warning", text=f"No grade is given: {failed.text}"))
    if bound_why is not None:
        lines.append(QcLine(code="lic_lower_bound", severity="warning", value=lic.median, text=bound_why))
    if lic.median < LIC_REPORTING_LIMIT_MG_PER_G:
        text = f"LIC is printed as < {LIC_REPORTING_LIMIT_MG_PER_G} mg/g: smaller values cannot be told apart."
        lines.append(
            QcLine(
                code="lic_below_reporting_limit",
                severity="info",
                value=lic.median,
                limit=LIC_REPORTING_LIMIT_MG_PER_G,
                text=text,
            )
        )
    if calibration.caution:
        text = f"{calibration.name}: {calibration.caution}."
        lines.append(QcLine(code="calibration_caution", severity="info", text=text))
    return tuple(lines)


def _below_calibration(r2star_per_s: float, calibration: Calibration) -> _Iron:
    lowest = calibration.valid_r2star_per_s[0]
    text = (
        f"R2* {format_rate(r2star_per_s)} /s is below {lowest:.0f} /s, where {calibration.name} begins: LIC below "
        f"{LIC_REPORTING_LIMIT_MG_PER_G} mg/g, no number and no grade. No liver relaxes so slowly; check the region."
    )
    line = QcLine(code="r2star_below_calibration", severity="warning", value=r2star_per_s, limit=lowest, text=text)
    return _Iron(follow_up=technical_repeat(text), qc=(line,))


def _no_calibration(field_t: float) -> _Iron:
    if match_field(field_t) is None:
        fields = join_words([f"{field.label} T" for field in FIELD_STRENGTHS])
        code, why = "no_calibration_for_field", f"published calibrations exist for {fields} only"
    else:
        code, why = "no_calibration_configured", "the configuration (calibration.by_field) names none"
    text = f"No LIC and no grade at {field_t:g} T: {why}. R2* is reported without conversion."
    line = QcLine(code=code, severity="warning", value=field_t, text=text)
    return _Iron(follow_up=no_lic(text), qc=(line,))
