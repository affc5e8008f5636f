"""What the report says beside the numbers: the two statements, quality, follow-up, or why there is no number."""

from highdicom.sr import CodedConcept, ContentItem

from quant.advice import refusal_advice
from quant.result import ClinicianDecides, FollowUpInterval, LiverIronResult, View
from sr_templates import codes
from sr_templates.content import HAS_CONCEPT_MOD, HAS_PROPERTIES, code, container, date, derivation, num, text, yes_no
from sr_templates.envelope import BuildContext
from sr_templates.measurements import tracking

RESEARCH_USE_TEXT = "For research use only, not for diagnosis."
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
    by_value = {concept.value: concept for concept in (codes.absence_reason(r.code) for r in result.reasons)}
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
        items += [*_views(result), *_remarks(result), *_quality(result)]
    else:
        items += [
            text(codes.CONCLUSION, f"Liver iron could not be measured. {reason.text} [{reason.code}]")
            for reason in result.reasons
        ]
        items += [text(codes.RECOMMENDATION, advice) for advice in refusal_advice(result)]
    items += _follow_up(result)
    items += [text(codes.QUALITY_FINDING, f"{line.severity}: {line.text} [{line.code}]") for line in result.qc]
    return container(codes.QUALITATIVE_EVALUATIONS, items)


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
    lic = result.lic_mg_per_g
    at_least = "at least " if _at_least(result) else ""
    if lic is not None and at_least:
        lines.append(f"LIC is at least {lic.median:.1f} mg/g dry weight: a lower bound, not the value itself.")
    if result.grade is not None:
        lines.append(f"Grade ({result.grade.scheme}): {result.grade.label}.")
    if result.lic_umol_per_g_median is not None:
        lines.append(f"LIC median: {at_least}{result.lic_umol_per_g_median:.1f} umol/g dry weight.")
    if result.other_calibrations:
        others = "; ".join(f"{c.id} {c.lic_mg_per_g:.2f} mg/g ({c.doi})" for c in result.other_calibrations)
        each = ", each a lower bound too" if at_least else ""
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
