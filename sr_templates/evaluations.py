"""What the report says beside the numbers: the two statements, quality, follow-up, or why there is no number."""

from highdicom.sr import CodedConcept, ContentItem

from quant.advice import refusal_advice
from quant.result import ClinicianDecides, FollowUpInterval, LiverIronResult, QcLine, Statistics, View
from quant.wording import format_lic, format_lic_range, format_percent, format_rate
from sr_templates import coded_values, codes
from sr_templates.content import HAS_CONCEPT_MOD, HAS_PROPERTIES, code, container, date, derivation, num, text, yes_no
from sr_templates.envelope import BuildContext
from sr_templates.measurements import tracking

RESEARCH_USE_TEXT = "For research use only, not for diagnosis."
_GRAVITY = ("failure", "warning", "info")
UNSIGNED_POLICY_TEXT = "The follow-up policy is not yet approved by the site."


def follow_up_group(context: BuildContext) -> ContentItem | None:
    """The suggested interval as numbers (TID 1501), or None where no interval is given."""
    follow_up = context.result.follow_up
    if not isinstance(follow_up, FollowUpInterval):
        return None
    items = [
        *tracking(context, "Liver iron, follow-up", "follow-up"),
        code(codes.FINDING, codes.LIVER),
        *_interval(follow_up),
        yes_no(codes.FOLLOW_UP_POPULATION_MATCH, follow_up.population_match),
        yes_no(codes.FOLLOW_UP_APPROVED, follow_up.signed_off_by is not None),
    ]
    return container(codes.MEASUREMENT_GROUP, items, template="1501")


def _interval(follow_up: FollowUpInterval) -> list[ContentItem]:
    bounds = (
        (codes.MINIMUM, follow_up.min_months, follow_up.earliest_date),
        (codes.MAXIMUM, follow_up.max_months, follow_up.latest_date),
    )
    return [
        *(num(codes.FOLLOW_UP_INTERVAL, months, codes.MONTH, [derivation(end)]) for end, months, _ in bounds),
        *(date(codes.FOLLOW_UP_DATE, day, [derivation(end)]) for end, _, day in bounds if day is not None),
    ]


def refusal_group(context: BuildContext) -> ContentItem:
    """No number (TID 1501): that the measurement failed, and why, in codes."""
    result = context.result
    items = [
        *tracking(context, "Liver iron", "liver"),
        code(codes.FINDING, codes.LIVER),
        code(codes.FINDING_SITE, codes.LIVER, relation=HAS_CONCEPT_MOD),
        code(codes.STATUS, codes.MEASUREMENT_FAILURE),
        *(code(codes.ABSENCE_REASON, reason) for reason in _absence_reasons(result)),
        code(codes.QUALITY_ASSESSMENT, codes.NON_DIAGNOSTIC_QUALITY),
    ]
    return container(codes.MEASUREMENT_GROUP, items, template="1501")


def _absence_reasons(result: LiverIronResult) -> list[CodedConcept]:
    by_value = {concept.value: concept for concept in (coded_values.absence_reason(r.code) for r in result.reasons)}
    return list(by_value.values())


def evaluations(context: BuildContext) -> ContentItem:
    """The Qualitative Evaluations of the whole report."""
    result = context.result
    items: list[ContentItem] = []
    if result.research_use_only:
        items.append(text(codes.COMMENT, RESEARCH_USE_TEXT))
    if result.revision is not None and result.revision.number > 1:
        items.append(text(codes.COMMENT, result.revision.text))
    if result.status == "measured":
        items += [*_conclusion(result), *_views(result), *_remarks(result), *_quality(result)]
    else:
        items += [
            text(codes.CONCLUSION, f"Liver iron could not be measured. {reason.text} [{reason.code}]")
            for reason in result.reasons
        ]
        items += [text(codes.RECOMMENDATION, advice) for advice in refusal_advice(result)]
    items += _follow_up(result)
    items += [text(codes.QUALITY_FINDING, f"{line.severity}: {line.text} [{line.code}]") for line in _findings(result)]
    return container(codes.QUALITATIVE_EVALUATIONS, items)


def _findings(result: LiverIronResult) -> list[QcLine]:
    """The quality lines, the gravest first, without those that the report says elsewhere."""
    said = {reason.text for reason in result.reasons}
    if result.prior_check is not None:
        said.add(result.prior_check.text)
    return sorted((line for line in result.qc if line.text not in said), key=lambda line: _GRAVITY.index(line.severity))


def _conclusion(result: LiverIronResult) -> list[ContentItem]:
    """What a reader takes away, in one item, in the digits of the page."""
    lic, r2star = result.lic_mg_per_g, result.r2star_per_s
    if lic is None:
        return [] if r2star is None else [text(codes.CONCLUSION, _r2star_words(r2star))]
    bound = "at least " if _at_least(result) else ""
    molar = "" if result.lic_umol_per_g_median is None else f" ({bound}{result.lic_umol_per_g_median:.0f} umol/g)"
    value = f"{format_lic(lic.median)} mg/g dry weight{'' if format_lic(lic.median).startswith('<') else molar}"
    if bound:
        words = f"LIC is {bound}{value}: a lower bound, not the value itself."
    else:
        words = f"LIC {value}, 95 % interval {format_lic_range(*lic.interval95)} mg/g."
    if result.grade is not None:
        words += f" Grade ({result.grade.scheme}): {result.grade.label}."
        if result.grade.borderline:
            chances = (f"{c.label} {format_percent(c.probability)}" for c in result.grade.candidates)
            words += f" Borderline: {', '.join(chances)} (measurement only)."
    return [text(codes.CONCLUSION, words)]


def _r2star_words(r2star: Statistics) -> str:
    if r2star.bound is not None:
        return f"R2* is at least {format_rate(r2star.median)} /s. No LIC and no grade can be given."
    low, high = (format_rate(end) for end in r2star.interval95)
    return f"R2* {format_rate(r2star.median)} /s, 95 % interval {low} to {high} /s. No LIC and no grade can be given."


def _views(result: LiverIronResult) -> list[ContentItem]:
    if result.views is None:
        return []
    reference, clinical = result.views.reference, result.views.clinical
    at_least = _at_least(result)
    return [
        _view(codes.ABOVE_REFERENCE, codes.NORMAL_RANGE_UPPER_LIMIT, reference, at_least=at_least),
        text(codes.COMMENT, reference.text),
        _view(codes.ABOVE_CLINICAL, codes.CLINICAL_LIMIT, clinical, at_least=at_least),
        text(codes.COMMENT, clinical.text),
    ]


def _view(question: CodedConcept, limit_name: CodedConcept, view: View, *, at_least: bool) -> ContentItem:
    """A lower bound under the limit answers neither way."""
    limit = num(limit_name, round(view.limit_mg_per_g, 3), codes.MG_PER_G, relation=HAS_PROPERTIES)
    if at_least and not view.above:
        return code(question, codes.UNDETERMINED, [limit])
    return yes_no(question, view.above, [limit])


def _at_least(result: LiverIronResult) -> bool:
    return result.lic_mg_per_g is not None and result.lic_mg_per_g.bound == "at_least"


def _remarks(result: LiverIronResult) -> list[ContentItem]:
    lines = []
    if result.other_calibrations:
        others = "; ".join(f"{c.id} {c.lic_mg_per_g:.2f} mg/g ({c.doi})" for c in result.other_calibrations)
        each = ", each a lower bound too" if _at_least(result) else ""
        lines.append(f"Other published calibrations of this field strength give for the same R2*{each}: {others}.")
    if result.prior_check is not None:
        lines.append(result.prior_check.text)
    return [text(codes.COMMENT, line) for line in lines]


def _follow_up(result: LiverIronResult) -> list[ContentItem]:
    follow_up = result.follow_up
    if follow_up is None:
        return []
    if isinstance(follow_up, ClinicianDecides):
        return [code(codes.FOLLOW_UP, codes.CLINICIAN_DECIDES), text(codes.RECOMMENDATION, follow_up.text)]
    items = [
        text(codes.RECOMMENDATION, follow_up.text),
        text(codes.FOLLOW_UP_RULE, follow_up.rule_id),
        text(codes.FOLLOW_UP_SOURCE, follow_up.source),
        text(codes.FOLLOW_UP_INDICATION, follow_up.indication or "not given"),
    ]
    if follow_up.signed_off_by is None:
        return [*items, text(codes.COMMENT, UNSIGNED_POLICY_TEXT)]
    return [*items, text(codes.FOLLOW_UP_APPROVED_BY, follow_up.signed_off_by)]


def _quality(result: LiverIronResult) -> list[ContentItem]:
    """That the quality is limited, where it is. That it is diagnostic is not for this software to say."""
    limited = any(line.severity != "info" for line in result.qc)
    return [code(codes.QUALITY_ASSESSMENT, codes.LIMITED_QUALITY)] if limited else []
