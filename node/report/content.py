"""What a report says, in words and digits, made once from the result record; page, HTML and text only lay it out."""

from collections.abc import Sequence
from dataclasses import dataclass

from quant.advice import refusal_advice
from quant.calibration import CALIBRATIONS
from quant.follow_up import EARLIER_STANDS, NOT_APPROVED, months_text
from quant.grading import scheme_by_id
from quant.result import (
    FollowUpInterval,
    Grade,
    LicStatistics,
    LiverIronResult,
    PriorComparison,
    QcLine,
    RoiSummary,
    Statistics,
    View,
)
from quant.wording import (
    REGION_WORDS,
    RESEARCH_ONLY,
    format_change,
    format_lic,
    format_lic_range,
    format_percent,
    format_rate,
    format_t2star,
)

TITLE = "Liver iron concentration by MRI (R2*)"
DECISION_SUPPORT = "Decision support, not a diagnosis."
_LOWER_BOUND = "lower bound, no upper limit"
_TOLD_ELSEWHERE = frozenset({"echo_count", "region_size", "priors_not_checked"})  # by other lines of the report


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The verdict: ``value`` large, the rest beside it. ``kind`` tells a layout how to treat it; ``change`` is that
    since the last comparable measurement, or empty."""

    kind: str  # "lic", "r2star" (no LIC at this field), "refused"
    prefix: str
    value: str
    unit: str
    interval: str
    grade: str
    grade_detail: str
    borderline: str
    change: str = ""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One of the two views: the question it answers, a short answer, and the full text."""

    question: str
    answer: str
    text: str
    borderline: bool


@dataclass(frozen=True, kw_only=True)
class OtherLic:
    """What another calibration gives; ``caution`` may be empty."""

    name: str
    lic: str
    doi: str
    caution: str


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """Everything a report says. Rows are (label, value); ``revision`` is empty for a first result."""

    title: str
    revision: str
    labels: tuple[str, ...]
    headline: Headline
    statements: tuple[Statement, ...]
    reasons: tuple[str, ...]
    advice: tuple[str, ...]
    numbers: tuple[tuple[str, str], ...]
    calibration: tuple[tuple[str, str], ...]
    others: tuple[OtherLic, ...]
    follow_up_title: str
    follow_up_flags: str
    follow_up_text: str
    prior: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    scanner: tuple[tuple[str, str], ...]
    method: str


def report_content(result: LiverIronResult) -> ReportContent:
    """The words and digits of ``result``."""
    follow_up_title, follow_up_flags, follow_up_text = _follow_up(result)
    why = tuple(reason.text for reason in result.reasons)  # said once
    return ReportContent(
        title=TITLE,
        revision=_revision(result),
        labels=(*((RESEARCH_ONLY,) if result.research_use_only else ()), DECISION_SUPPORT),
        headline=_headline(result),
        statements=_statements(result),
        reasons=why,
        advice=refusal_advice(result),
        numbers=_numbers(result),
        calibration=_calibration(result),
        others=_others(result),
        follow_up_title=follow_up_title,
        follow_up_flags=follow_up_flags,
        follow_up_text=follow_up_text,
        prior="" if result.prior_check is None else result.prior_check.text,
        warnings=tuple(line.text for line in _worst_first(result.qc) if line.text not in why),
        notes=tuple(q.text for q in result.qc if q.severity == "info" and _says_something(q)),
        scanner=_scanner(result),
        method=f"ironnode {result.software_version}, method {result.method_version}",
    )


def _revision(result: LiverIronResult) -> str:
    """Why there is a later result than the first, and what it replaces; empty for the first."""
    return "" if result.revision is None or result.revision.number == 1 else result.revision.text


def _worst_first(lines: Sequence[QcLine]) -> list[QcLine]:
    """Failures, what makes the value a lower bound, other warnings: where a page cannot hold them all, the first ones
    stand on it."""

    def rank(line: QcLine) -> int:
        return 0 if line.severity == "failure" else 1 if line.code == "lic_lower_bound" else 2

    return sorted((line for line in lines if line.severity != "info"), key=rank)


def _says_something(note: QcLine) -> bool:
    """Not that a share is 0, and not what the report says anyway."""
    empty = note.value is not None and note.limit is not None and abs(note.value) < 0.005
    return not empty and note.code not in _TOLD_ELSEWHERE


def _headline(result: LiverIronResult) -> Headline:
    if result.status != "measured" or result.r2star_per_s is None:
        value = "Not measured" if result.status == "declined" else "No LIC value"
        grade = "not this examination" if result.status == "declined" else "not measurable"
        return Headline(
            kind="refused", prefix="", value=value, unit="", interval="", grade=grade, grade_detail="", borderline=""
        )
    if result.lic_mg_per_g is None:
        return _r2star_headline(result.r2star_per_s)
    lic = result.lic_mg_per_g
    return Headline(
        kind="lic",
        prefix="at least" if lic.bound else "",
        value=format_lic(lic.median),
        unit="mg/g",
        interval=_lic_interval(lic, result.lic_umol_per_g_median),
        grade=result.grade.label if result.grade else "not gradeable",
        grade_detail=_grade_detail(result.grade),
        borderline=_borderline(result.grade),
        change=_change(result.prior),
    )


def _r2star_headline(r2star: Statistics) -> Headline:
    bounded = r2star.bound is not None
    return Headline(
        kind="r2star",
        prefix="R2* at least" if bounded else "R2*",
        value=format_rate(r2star.median),
        unit="/s",
        interval=_LOWER_BOUND if bounded else f"95 % interval {_rates(*r2star.interval95)} /s",
        grade="no LIC",
        grade_detail="R2* only: no LIC and no grade can be given",
        borderline="",
    )


def _lic_interval(lic: LicStatistics, umol_per_g: float | None) -> str:
    interval = _LOWER_BOUND if lic.bound else f"95 % interval {format_lic_range(*lic.interval95)} mg/g"
    if umol_per_g is None or format_lic(lic.median).startswith("<"):
        return interval
    return f"{'at least ' if lic.bound else ''}{umol_per_g:.0f} µmol/g · {interval}"


def _grade_detail(grade: Grade | None) -> str:
    if grade is None:
        return ""
    scheme = scheme_by_id(grade.scheme)
    return f"{scheme.band_text(grade.code)}, scheme {scheme.id}"


def _borderline(grade: Grade | None) -> str:
    if grade is None or not grade.borderline:
        return ""
    parts = (f"{candidate.label} {format_percent(candidate.probability)}" for candidate in grade.candidates)
    return f"Borderline: {', '.join(parts)} (measurement only)"


def _change(prior: PriorComparison | None) -> str:
    if prior is None or prior.change_mg_per_g is None:
        return ""
    size = "more than" if prior.exceeds_repeatability else "within"
    return f"{format_change(prior.change_mg_per_g)} mg/g since {prior.date}, {size} the repeatability"


def _statements(result: LiverIronResult) -> tuple[Statement, ...]:
    if result.views is None:
        return ()
    reference, clinical = result.views.reference, result.views.clinical
    bounded = result.lic_mg_per_g is not None and result.lic_mg_per_g.bound is not None
    return (
        Statement(
            question="Upper reference limit",
            answer=_answer(reference, "above", bounded=bounded),
            text=reference.text,
            borderline=reference.borderline,
        ),
        Statement(
            question="Clinical significance",
            answer=_answer(clinical, "at or above", bounded=bounded),
            text=clinical.text,
            borderline=clinical.borderline,
        ),
    )


def _answer(view: View, above: str, *, bounded: bool) -> str:
    limit = f"{view.limit_mg_per_g:g} mg/g"
    if bounded and not view.above:
        return f"cannot be told whether {above} {limit}"
    return f"{above if view.above else 'below'} {limit}{' (borderline)' if view.borderline else ''}"


def _numbers(result: LiverIronResult) -> tuple[tuple[str, str], ...]:
    rows = []
    if result.lic_mg_per_g is not None:
        lic = result.lic_mg_per_g
        bound = "at least " if lic.bound else ""
        molar = ""
        if result.lic_umol_per_g_median is not None and not format_lic(lic.median).startswith("<"):
            molar = f" = {bound}{result.lic_umol_per_g_median:.0f} µmol/g"
        rows.append(("LIC, dry weight", f"{bound}{format_lic(lic.median)} mg/g{molar}"))
        if lic.bound is None:
            rows.append(("quartiles", f"{format_lic_range(lic.q1, lic.q3)} mg/g"))
    if result.r2star_per_s is not None:
        rows += _relaxation(result.r2star_per_s, result.t2star_ms)
        pdff = result.pdff_percent
        rows.append(("Fat fraction", "not available from these data" if pdff is None else f"{pdff.median:.1f} %"))
    if result.roi is not None:
        roi = result.roi
        source = REGION_WORDS[roi.source]
        rows.append(("Region", f"{roi.volume_ml:.0f} mL, {roi.n_voxels} voxels, {_slices(roi.n_slices)}; {source}"))
        rows += _lobes(result, roi)
    return tuple(rows)


def _lobes(result: LiverIronResult, roi: RoiSummary) -> list[tuple[str, str]]:
    """Both lobes side by side, where the region holds both and its value is no lower bound."""
    bounded = result.r2star_per_s is not None and result.r2star_per_s.bound is not None
    if bounded or roi.lobes is None or roi.lobes.right is None or roi.lobes.left is None:
        return []
    rates = [rate for lobe in (roi.lobes.right, roi.lobes.left) if (rate := lobe.r2star_median_per_s) is not None]
    if len(rates) < 2:
        return []
    used = result.calibration
    calibration = None if used is None else CALIBRATIONS.get((used.id, used.field_t))
    right, left = (format_rate(rate) for rate in rates)
    if calibration is None or not all(calibration.covers(rate) for rate in rates):
        return [("Lobes", f"right {right}, left {left} /s")]
    lic = [format_lic(calibration.lic_mg_per_g(rate)) for rate in rates]
    return [("Lobes", f"right {lic[0]}, left {lic[1]} mg/g ({right}, {left} /s)")]


def _slices(count: int) -> str:
    return f"{count} slice{'s' if count != 1 else ''}"


def _relaxation(r2star: Statistics, t2star: Statistics | None) -> list[tuple[str, str]]:
    if r2star.bound is not None:
        at_most = f"at most {format_t2star(1000 / r2star.median)} ms"
        return [("R2*", f"at least {format_rate(r2star.median)} /s"), ("T2*", at_most)]
    rows = [
        ("R2*", f"{format_rate(r2star.median)} /s (95 % {_rates(*r2star.interval95)})"),
        ("quartiles", f"{_rates(r2star.q1, r2star.q3)} /s; SD {format_rate(r2star.sd)} /s"),
    ]
    if t2star is not None:
        low, high = (format_t2star(end) for end in t2star.interval95)
        rows.append(("T2*", f"{format_t2star(t2star.median)} ms (95 % {low} to {high})"))
    return rows


def _rates(low: float, high: float) -> str:
    return f"{format_rate(low)} to {format_rate(high)}"


def _calibration(result: LiverIronResult) -> tuple[tuple[str, str], ...]:
    used = result.calibration
    if used is None:
        return ()
    return (
        ("Calibration", f"{_name(used.id, used.field_t)}, {used.field_t:g} T, doi:{used.doi}"),
        ("Equation", used.equation),
    )


def _name(calibration_id: str, field_t: float) -> str:
    calibration = CALIBRATIONS.get((calibration_id, field_t))
    return calibration_id if calibration is None else calibration.name


def _others(result: LiverIronResult) -> tuple[OtherLic, ...]:
    if result.calibration is None:
        return ()
    field_t = result.calibration.field_t
    bound = "at least " if result.lic_mg_per_g is not None and result.lic_mg_per_g.bound else ""
    known = {c.id: c for c in CALIBRATIONS.values() if c.field_t == field_t}
    return tuple(
        OtherLic(
            name=_name(other.id, field_t),
            lic=bound + format_lic(other.lic_mg_per_g),
            doi=other.doi,
            caution=known[other.id].caution if other.id in known else "",
        )
        for other in result.other_calibrations
    )


def _follow_up(result: LiverIronResult) -> tuple[str, str, str]:
    if result.follow_up is None:
        return "no interval", "", "No measurement, so no interval is issued; the clinician decides."
    if isinstance(result.follow_up, FollowUpInterval):
        interval = result.follow_up
        flags = [] if interval.population_match else ["Applied beyond the source's population."]
        flags += [NOT_APPROVED] if interval.signed_off_by is None else []
        text = interval.text.replace(f" {NOT_APPROVED}", "") if flags else interval.text  # it is among the flags
        return months_text(interval.min_months, interval.max_months), " ".join(flags), text
    stands = result.follow_up == EARLIER_STANDS
    return "as in the earlier report" if stands else "clinician decides", "", result.follow_up.text


def _scanner(result: LiverIronResult) -> tuple[tuple[str, str], ...]:
    acquisition = result.acquisition
    if acquisition is None:
        return ()
    times_ms = [1000 * time for time in acquisition.echo_times_s]
    echoes = f"{len(times_ms)} echoes, TE {times_ms[0]:.2f} to {times_ms[-1]:.2f} ms"
    rows = [
        ("Scanner", f"{acquisition.manufacturer} {acquisition.model}, {acquisition.field_t:.4g} T".strip()),
        ("Echoes", f"{echoes} ({acquisition.kind})"),
        ("Echo times", ", ".join(f"{time:.2f}" for time in times_ms) + " ms"),
        (
            "Images",
            f"{_slices(acquisition.n_slices)}, {acquisition.columns} × {acquisition.rows}, "
            f"{' × '.join(f'{mm:.3g}' for mm in reversed(acquisition.spacing_mm))} mm",
        ),
    ]
    if result.fit is not None:
        fit = result.fit
        limit = "" if fit.measurable_limit_per_s is None else f"; measurable to {fit.measurable_limit_per_s:.0f} /s"
        rows.append(("Fit", f"{fit.model.replace('_', ' ')}, {fit.noise_model}; {fit.echoes_used} echoes used{limit}"))
    return tuple(rows)
