"""Earlier measurements of the same patient: which may be compared with this one, and what the difference says.

A difference means something only between measurements of one field strength, calibration, method version and protocol,
and only beyond the repeatability coefficient: 95 % of the differences between two measurements of an unchanged liver
are smaller (1.96 x sqrt(2) standard deviations; Bland and Altman 1999, 10.1177/096228029900800204).
"""

import math
from dataclasses import dataclass, field, replace
from datetime import date

from quant.calibration import CALIBRATIONS
from quant.result import (
    Bound,
    EarlierReport,
    LicStatistics,
    LiverIronResult,
    PriorCheck,
    PriorComparison,
    QcLine,
    Statistics,
)
from quant.uncertainty import Z95, Repeatability
from quant.wording import format_change, format_lic

_DAYS_PER_YEAR = 365.25
_SHORTEST_FOR_A_RATE_DAYS = 90
"""Over a shorter time a change per year is repeatability multiplied."""
_SAME_FIELD_T = 0.05
_SAME_FIRST_ECHO_S = 0.5e-3
"""A first echo later by more loses the signal of livers above about 1000 /s that the other acquisition still sees."""
_SAME_SPAN = 1.5  # ratio of the last echo times, and of the numbers of echoes
NOT_CONFIGURED = "Earlier measurements were not looked for: no archive is configured."


@dataclass(frozen=True, kw_only=True)
class EarlierMeasurement:
    """What an earlier report states; ``date`` (of its study) is ISO 8601, an end of the interval that a bound leaves
    open is ``None``."""

    report: EarlierReport
    date: str
    lic_mg_per_g: float
    interval95_mg_per_g: tuple[float | None, float | None]
    bound: Bound | None
    r2star_per_s: float
    calibration_id: str
    calibration_field_t: float
    field_t: float
    method_version: str
    signal: str
    model: str
    echo_times_s: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class PriorAnswer:
    """What the archive gave: earlier measurements, or why it was ``not_checked`` (a clause without a full stop).

    ``other_person`` counts reports under the patient's identifier whose name, birth date or sex is another,
    ``other_issuer`` those whose identifier is of another issuer, ``unreadable`` reports of ours that do not state what
    they have to, ``left_out`` reports beyond the configured number.
    """

    earlier: tuple[EarlierMeasurement, ...] = ()
    not_checked: str | None = None
    other_person: int = 0
    other_issuer: int = 0
    unreadable: int = 0
    left_out: int = 0


@dataclass(frozen=True, kw_only=True)
class _Current:
    """The measurement that the earlier ones are compared with."""

    day: date
    lic: LicStatistics
    r2star: Statistics
    result: LiverIronResult
    repeatability: Repeatability = field(default_factory=Repeatability)


def with_priors(
    result: LiverIronResult, study_date: date | None, answer: PriorAnswer | None, repeatability: Repeatability
) -> LiverIronResult:
    """``result`` with what its earlier measurements say; ``answer`` is ``None`` when no archive is configured.

    A result without a measurement stays as it is.
    """
    if result.status != "measured":
        return result
    if answer is None:
        return replace(result, prior_check=PriorCheck(state="not_configured", text=NOT_CONFIGURED))
    lic, r2star = result.lic_mg_per_g, result.r2star_per_s
    if lic is None or r2star is None:
        text = "Not compared with earlier measurements: no LIC is stated here."
        return replace(result, prior_check=PriorCheck(state="not_checked", text=text))
    why = answer.not_checked or ("the study has no date" if study_date is None else None)
    if why is not None or study_date is None:
        text = f"Earlier measurements could not be checked: {why}."
        line = QcLine(code="priors_not_checked", severity="info", text=text)
        return replace(result, prior_check=PriorCheck(state="not_checked", text=text), qc=(*result.qc, line))
    now = _Current(day=study_date, lic=lic, r2star=r2star, result=result, repeatability=repeatability)
    earlier = sorted(answer.earlier, key=lambda e: (e.date, e.report.sop_instance_uid))
    compared = tuple(_compared(now, e) for e in earlier if date.fromisoformat(e.date) < study_date)
    prior = next((c for c in reversed(compared) if c.comparable), compared[-1] if compared else None)
    check = PriorCheck(
        state="checked" if compared else "none_found",
        text=_summary(compared, prior, study_date),
        measured_on=study_date.isoformat(),
        earlier=compared,
    )
    return replace(result, prior=prior, prior_check=check, qc=(*result.qc, *_remarks(answer)))


def _compared(now: _Current, earlier: EarlierMeasurement) -> PriorComparison:
    why_not = "; ".join(_differences(now, earlier))
    comparison = PriorComparison(
        date=earlier.date,
        lic_mg_per_g=earlier.lic_mg_per_g,
        calibration_id=earlier.calibration_id,
        change_mg_per_g=None,
        exceeds_repeatability=False,
        comparable=not why_not,
        why_not=why_not or None,
        bound=earlier.bound,
        interval95_mg_per_g=earlier.interval95_mg_per_g,
        field_t=earlier.field_t,
        calibration_field_t=earlier.calibration_field_t,
        method_version=earlier.method_version,
        report=earlier.report,
    )
    if why_not:
        return comparison
    change = now.lic.median - earlier.lic_mg_per_g
    coefficient = _repeatability_coefficient(now, earlier)
    days = (now.day - date.fromisoformat(earlier.date)).days
    rate = change * _DAYS_PER_YEAR / days if days >= _SHORTEST_FOR_A_RATE_DAYS else None
    return replace(
        comparison,
        change_mg_per_g=change,
        change_per_year_mg_per_g=rate,
        repeatability_coefficient_mg_per_g=coefficient,
        exceeds_repeatability=abs(change) > coefficient,
    )


def _repeatability_coefficient(now: _Current, earlier: EarlierMeasurement) -> float:
    """In mg/g: of R2* at the mean of both, through the slope of the calibration that both share. The calibration's own
    error is the same on both sides and does not count."""
    equation = CALIBRATIONS[earlier.calibration_id, earlier.calibration_field_t].equation
    r2star = (now.r2star.median + earlier.r2star_per_s) / 2
    return Z95 * math.sqrt(2) * equation.slope_at(r2star) * now.repeatability.sd_per_s(r2star)


def _differences(now: _Current, earlier: EarlierMeasurement) -> list[str]:
    """What forbids to compare, each as "then, now"."""
    result, found = now.result, []
    if earlier.bound is not None or now.lic.bound is not None:
        which = "this" if earlier.bound is None else "the earlier" if now.lic.bound is None else "each"
        found.append(f"{which} value is a bound only")
    acquisition, fit, calibration = result.acquisition, result.fit, result.calibration
    assert acquisition is not None  # there is an LIC
    assert fit is not None
    assert calibration is not None
    if abs(earlier.field_t - acquisition.field_t) > _SAME_FIELD_T:
        found.append(f"field strength {earlier.field_t:.4g} T then, {acquisition.field_t:.4g} T now")
    if (earlier.calibration_id, earlier.calibration_field_t) != (calibration.id, calibration.field_t):
        then = f"{earlier.calibration_id} ({earlier.calibration_field_t:g} T)"
        found.append(f"calibration {then} then, {calibration.id} ({calibration.field_t:g} T) now")
    for name, then, today in (
        ("method version", earlier.method_version, result.method_version),
        ("signal", earlier.signal, acquisition.kind),
        ("signal model", earlier.model, fit.model),
    ):
        if then != today:
            found.append(f"{name} {then.replace('_', ' ')} then, {today.replace('_', ' ')} now")
    return [*found, *_other_echoes(earlier.echo_times_s, acquisition.echo_times_s)]


def _other_echoes(then_s: tuple[float, ...], now_s: tuple[float, ...]) -> list[str]:
    far_first = abs(then_s[0] - now_s[0]) > _SAME_FIRST_ECHO_S
    ratios = (then_s[-1] / now_s[-1], len(then_s) / len(now_s))
    if not far_first and all(1 / _SAME_SPAN <= ratio <= _SAME_SPAN for ratio in ratios):
        return []
    then, now = (f"{len(t)} echoes from {1000 * t[0]:.2f} to {1000 * t[-1]:.2f} ms" for t in (then_s, now_s))
    return [f"{then} then, {now} now"]


def _summary(compared: tuple[PriorComparison, ...], prior: PriorComparison | None, today: date) -> str:
    if prior is None:
        return "No earlier measurement of this patient was found in the archive."
    parts = [_sentence(prior, today)]
    if prior is not compared[-1]:
        parts.append(f"The latest one is not comparable: {_sentence(compared[-1], today)}")
    if len(compared) > 1:
        parts.append(f"{len(compared)} earlier measurements found.")
    return " ".join(parts)


def _sentence(prior: PriorComparison, today: date) -> str:
    bound = "" if prior.bound is None else f"{prior.bound.replace('_', ' ')} "
    then = f"{prior.date}: LIC {bound}{format_lic(prior.lic_mg_per_g)} mg/g ({prior.calibration_id})"
    if prior.change_mg_per_g is None or prior.repeatability_coefficient_mg_per_g is None:
        return f"Earlier measurement {then}; not comparable: {prior.why_not}."
    days = (today - date.fromisoformat(prior.date)).days
    rate = (
        ""
        if prior.change_per_year_mg_per_g is None
        else f" ({format_change(prior.change_per_year_mg_per_g)} mg/g per year)"
    )
    size = "more than" if prior.exceeds_repeatability else "within"
    limit = f"{size} the repeatability coefficient of {prior.repeatability_coefficient_mg_per_g:.1f} mg/g"
    return (
        f"Earlier measurement {then}; change {format_change(prior.change_mg_per_g)} mg/g in {days} days{rate}, {limit}."
    )


def _remarks(answer: PriorAnswer) -> list[QcLine]:
    lines = []
    if answer.other_person:
        text = (
            f"{answer.other_person} earlier report(s) under this Patient ID name another patient (name, birth date or "
            "sex differ): not compared. Check the patient's identity."
        )
        lines.append(QcLine(code="priors_other_person", severity="warning", text=text, value=answer.other_person))
    if answer.other_issuer:
        text = f"{answer.other_issuer} earlier report(s) have this Patient ID of another issuer: not compared."
        lines.append(QcLine(code="priors_other_issuer", severity="info", text=text, value=answer.other_issuer))
    if answer.unreadable:
        text = f"{answer.unreadable} earlier report(s) could not be read and were not compared."
        lines.append(QcLine(code="priors_unreadable", severity="warning", text=text, value=answer.unreadable))
    if answer.left_out:
        text = f"{answer.left_out} older report(s) were not fetched (priors.max_reports)."
        lines.append(QcLine(code="priors_left_out", severity="info", text=text, value=answer.left_out))
    return lines
