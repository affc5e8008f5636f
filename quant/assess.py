"""From the region's R2* to what a report states: LIC, grade, the two views, follow-up, quality.

Pure: settings, dates and the region's numbers come in, the types of ``quant.result`` come out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from quant.calibration import (
    FIELD_STRENGTHS,
    UMOL_PER_MG,
    Calibration,
    calibration_for,
    match_field,
    other_calibrations,
)
from quant.fat_bias import FatBias, fat_bias
from quant.follow_up import bounded_follow_up, follow_up, no_lic, technical_repeat
from quant.grading import grade, scheme_by_id
from quant.next_scan import more_signal
from quant.noise import NoiseModel
from quant.quality import AT_LIMIT_BOUND, SEVERE_LIC_MG_PER_G, measurement_quality, reaches_limit
from quant.region import RegionMeasurement
from quant.region_statistics import lic_statistics, pdff_statistics, r2star_statistics, t2star_statistics
from quant.result import (
    CalibrationUsed,
    FollowUp,
    Grade,
    LicStatistics,
    OtherCalibration,
    QcLine,
    Reason,
    Statistics,
    Views,
)
from quant.settings import AssessmentSettings
from quant.uncertainty import Normal, Repeatability, interval_statement, lic_distribution, r2star_uncertainty
from quant.views import CLINICAL_LIMIT_MG_PER_G, REFERENCE_LIMIT_MG_PER_G, make_views
from quant.wording import LIC_REPORTING_LIMIT_MG_PER_G, format_lic, format_percent, format_rate, join_words


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What the record states about a region; a field is ``None`` with a reason in ``qc``.

    ``refusals`` are the quality lines that forbid any number: nothing is then stated but ``follow_up`` and ``qc``.
    """

    r2star_per_s: Statistics | None = None
    t2star_ms: Statistics | None = None
    pdff_percent: Statistics | None = None
    lic_mg_per_g: LicStatistics | None = None
    lic_umol_per_g_median: float | None = None
    calibration: CalibrationUsed | None = None
    other_calibrations: tuple[OtherCalibration, ...] = ()
    grade: Grade | None = None
    views: Views | None = None
    follow_up: FollowUp
    qc: tuple[QcLine, ...]
    refusals: tuple[Reason, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FitFacts:
    """What an assessment needs to know of the fit: its model's name, echoes, noise and range."""

    model: str
    echo_times_s: Sequence[float]
    echoes_used: int
    noise: NoiseModel
    measurable_limit_per_s: float | None


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
    fit: FitFacts,
    settings: AssessmentSettings,
    study_date: date | None,
    indication: str | None,
) -> Assessment:
    """What a report states about ``region``.

    The value is a lower bound ("at least") when it reaches the measurable limit (``quality.reaches_limit``) or lies
    beyond the top of the calibration. Quality of severity "failure" gives ``refusals`` and no number.

    Raises:
        ValueError: the region's median is not a number, or the policy does not know ``indication``.
    """
    indication = settings.policy.indication(indication).id
    stated = _stated(region, fit.measurable_limit_per_s, settings.repeatability)
    calibration = calibration_for(field_t, settings.calibration_by_field)
    fat = fat_bias(region, model=fit.model, echo_times_s=fit.echo_times_s, field_t=field_t, noise=fit.noise)
    quality = measurement_quality(
        region,
        field_t=field_t,
        echo_times_s=fit.echo_times_s,
        echoes_used=fit.echoes_used,
        measurable_limit_per_s=fit.measurable_limit_per_s,
        calibration=calibration,
        fat=fat,
    )
    refusals = tuple(Reason(code=line.code, text=line.text) for line in quality if line.severity == "failure")
    if refusals:
        return Assessment(follow_up=technical_repeat(refusals[0].text), qc=quality, refusals=refusals)
    if calibration is None:
        iron = _no_calibration(field_t)
    else:
        remedy = more_signal(fit.echo_times_s, field_t)
        iron = _iron(stated, calibration, fat, settings, study_date, indication, remedy)
    parts = r2star_uncertainty(region, settings.repeatability, stated.r2star.mean)
    statement = interval_statement(
        parts, iron.calibration, fat_left_out=fat is not None, graded=iron.grade is not None and iron.grade.borderline
    )
    at_least = stated.why is not None
    return Assessment(
        r2star_per_s=r2star_statistics(region, stated.r2star, at_least=at_least),
        t2star_ms=t2star_statistics(region, stated.r2star, at_least=at_least),
        pdff_percent=pdff_statistics(region),
        lic_mg_per_g=iron.lic,
        lic_umol_per_g_median=None if iron.lic is None else iron.lic.median * UMOL_PER_MG,
        calibration=None if iron.calibration is None else iron.calibration.used(),
        other_calibrations=iron.others,
        grade=iron.grade,
        views=iron.views,
        follow_up=iron.follow_up,
        qc=(*iron.qc, QcLine(code="interval_parts", severity="info", text=statement), *quality),
    )


@dataclass(frozen=True, kw_only=True)
class _Stated:
    """R2* as it is stated of ``region``; ``why`` says what makes it a lower bound (one sentence), or is ``None``."""

    region: RegionMeasurement
    r2star: Normal
    why: str | None


def _stated(region: RegionMeasurement, limit_per_s: float | None, repeatability: Repeatability) -> _Stated:
    """The median; beyond the measurable limit the least of median, pooled fit and limit, for single voxels scatter and
    skew upwards there and the bound must not lie above the truth."""
    value, why = region.median, None
    if limit_per_s is not None and reaches_limit(region, limit_per_s):
        pooled = region.pooled_r2star_per_s
        value = min(value, limit_per_s, pooled if math.isfinite(pooled) else value)
        if region.fraction_at_limit > AT_LIMIT_BOUND:
            trigger = f"{format_percent(region.fraction_at_limit)} of the voxels are beyond it one by one"
        else:
            trigger = f"the median R2* ({format_rate(region.median)} /s) reaches it"
        why = f"This acquisition measures R2* up to {format_rate(limit_per_s)} /s and {trigger}: a lower bound only."
    parts = r2star_uncertainty(region, repeatability, value)
    return _Stated(region=region, r2star=Normal(mean=value, sd=parts.total_per_s), why=why)


def _iron(
    stated: _Stated,
    calibration: Calibration,
    fat: FatBias | None,
    settings: AssessmentSettings,
    study_date: date | None,
    indication: str,
    remedy: str,
) -> _Iron:
    r2star, bound_why = stated.r2star, stated.why
    lowest, highest = calibration.valid_r2star_per_s
    if r2star.mean < lowest:
        return _below_calibration(r2star.mean, calibration)
    if r2star.mean > highest:
        r2star = Normal(mean=highest, sd=r2star.sd)
        bound_why = f"R2* is above {highest:.0f} /s, where {calibration.name} ends, so the LIC is a lower bound."
        remedy = ""
    at_least = bound_why is not None
    distribution = lic_distribution(calibration, r2star)
    lic = lic_statistics(stated.region, distribution, calibration, at_least=at_least)
    others = other_calibrations(calibration, r2star.mean)
    graded = grade(scheme_by_id(settings.grade_scheme), distribution, at_least=at_least)
    if bound_why is not None:
        plan: FollowUp = bounded_follow_up(_established(lic, graded), bound_why, remedy)
    else:
        plan = follow_up(
            settings.policy,
            lic_mg_per_g=lic.median,
            interval95=lic.interval95,
            indication_id=indication,
            study_date=study_date,
        )
    return _Iron(
        lic=lic,
        calibration=calibration,
        others=others,
        grade=graded,
        views=make_views(lic, calibration, others, None if fat is None else _lic_range(fat, calibration)),
        follow_up=plan,
        qc=_lic_lines(lic, calibration, bound_why),
    )


def _lic_range(fat: FatBias, calibration: Calibration) -> tuple[float, float]:
    """LIC that fat would allow, within the calibration's range."""
    lowest, highest = calibration.valid_r2star_per_s
    low, high = (calibration.lic_mg_per_g(min(max(rate, lowest), highest)) for rate in fat.r2star_per_s)
    return low, high


def _established(lic: LicStatistics, graded: Grade) -> str:
    """What a lower bound shows for sure (its own interval included)."""
    value = f"LIC at least {format_lic(lic.median)} mg/g, grade {graded.label} ({graded.scheme})."
    if lic.interval95[0] >= SEVERE_LIC_MG_PER_G:
        return f"Severe iron overload is established: {value}"
    if lic.interval95[0] >= CLINICAL_LIMIT_MG_PER_G:
        return f"Clinically significant iron overload is established: {value}"
    if lic.interval95[0] >= REFERENCE_LIMIT_MG_PER_G:
        return f"Liver iron above the reference limit is established: {value}"
    return ""


def _lic_lines(lic: LicStatistics, calibration: Calibration, bound_why: str | None) -> tuple[QcLine, ...]:
    lines = []
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
