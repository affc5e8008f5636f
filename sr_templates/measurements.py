"""The measurement group of the report (TID 1411): the numbers of the analysed region, and how they were obtained."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from highdicom.sr import CodedConcept, ContentItem
from pydicom.dataset import Dataset

from quant.result import CalibrationUsed, FitSummary, LiverIronResult, RoiSummary, Statistics
from quant.wording import REGION_WORDS
from sr_templates import coded_values, codes, identity
from sr_templates.content import (
    CONTAINS,
    HAS_CONCEPT_MOD,
    HAS_OBS_CONTEXT,
    HAS_PROPERTIES,
    INFERRED_FROM,
    code,
    container,
    derivation,
    image,
    num,
    text,
    uid,
    yes_no,
)
from sr_templates.envelope import BuildContext
from sr_templates.parameters import (
    ECHO_TIMES,
    SIGNAL,
    SIGNAL_MODEL,
    echo_times_text,
    parameter_text,
    version_text,
)
from sr_templates.quantities import (
    LIC,
    PDFF,
    R2STAR,
    T2STAR,
    Quantity,
    measurement_method,
    stated,
    statistics_of,
)
from sr_templates.segmentation import ANALYSED_SEGMENT, TRACKING_IDENTIFIER, TRACKING_SUBJECT

HEADLINE_ORDER = (LIC, R2STAR, T2STAR, PDFF)  # many viewers show the first number only


@dataclass(frozen=True, kw_only=True)
class RelatedObjects:
    """Objects of the same set that the report points at; ``parametric_maps`` by quantity key."""

    segmentation: Dataset | None
    parametric_maps: dict[str, Dataset]


def liver_group(context: BuildContext, related: RelatedObjects) -> ContentItem:
    """All numbers of the analysed region."""
    result = context.result
    items = [*tracking(context, TRACKING_IDENTIFIER, TRACKING_SUBJECT), *_subject()]
    if related.segmentation is not None:
        items += _region(context, related.segmentation)
    algorithm = algorithm_identification(context)
    for quantity in HEADLINE_ORDER:
        statistics = statistics_of(result, quantity)
        if statistics is not None:
            items += _quantity(quantity, statistics, context, related, algorithm)
            algorithm = []
    items += _region_numbers(result)
    items += _grade(result)
    return container(codes.MEASUREMENT_GROUP, items, template="1411")


def tracking(context: BuildContext, identifier: str, subject: str) -> list[ContentItem]:
    """What is measured, the same in every study of the patient."""
    tracking_uid = identity.tracking_uid(context.header.attributes, subject)
    return [
        text(codes.TRACKING_IDENTIFIER, identifier, relation=HAS_OBS_CONTEXT),
        uid(codes.TRACKING_UID, tracking_uid, relation=HAS_OBS_CONTEXT),
    ]


def _subject() -> list[ContentItem]:
    return [
        code(codes.FINDING, codes.LIVER),
        code(codes.FINDING_SITE, codes.LIVER, relation=HAS_CONCEPT_MOD),
    ]


def _region(context: BuildContext, segmentation: Dataset) -> list[ContentItem]:
    source = context.source
    return [
        image(codes.REFERENCED_SEGMENT, segmentation, segment=ANALYSED_SEGMENT),
        *(
            image(codes.SOURCE_FOR_SEGMENTATION, source.datasets[ref.dataset_index], frame=ref.frame_number)
            for ref, *_ in source.frames
        ),
    ]


def algorithm_identification(context: BuildContext) -> list[ContentItem]:
    """TID 4019. Echo times, field strength and model have no concepts of their own in a report: they are parameters."""
    result = context.result
    return [
        text(codes.ALGORITHM_NAME, identity.MODEL_NAME, relation=HAS_CONCEPT_MOD),
        text(
            codes.ALGORITHM_VERSION,
            version_text(result.software_version, result.method_version),
            relation=HAS_CONCEPT_MOD,
        ),
        *(text(codes.ALGORITHM_PARAMETERS, line, relation=HAS_CONCEPT_MOD) for line in _parameters(result)),
        text(codes.ALGORITHM_MANUFACTURER, identity.MANUFACTURER, relation=HAS_CONCEPT_MOD),
    ]


def _parameters(result: LiverIronResult) -> list[str]:
    lines = []
    if (acquisition := result.acquisition) is not None:
        lines += [
            parameter_text(ECHO_TIMES, echo_times_text(acquisition.echo_times_s)),
            parameter_text("Magnetic field strength [T]", f"{acquisition.field_t:g}"),
            parameter_text(SIGNAL, acquisition.kind),
        ]
    if (fit := result.fit) is not None:
        lines += [
            parameter_text(SIGNAL_MODEL, fit.model),
            f"Noise model: {fit.noise_model}, sigma {fit.sigma:.4g}",
            f"Echoes used: {fit.echoes_used}",
        ]
    if (roi := result.roi) is not None:
        excluded = ", ".join(f"{reason} {count}" for reason, count in roi.excluded.items()) or "none"
        lines += [f"Region: {REGION_WORDS[roi.source]}, {roi.n_slices} slices", f"Voxels excluded: {excluded}"]
    return lines


def _quantity(
    quantity: Quantity,
    statistics: Statistics,
    context: BuildContext,
    related: RelatedObjects,
    algorithm: Sequence[ContentItem],
) -> list[ContentItem]:
    """One number per statistic. The median comes first and carries what the others share."""
    result = context.result
    details = {
        codes.MEDIAN: [
            _wording(quantity, statistics),
            *_uncertainty(quantity, statistics),
            *algorithm,
            *_basis(quantity, result, related),
        ]
    }
    values = (
        (codes.MEDIAN, statistics.median),
        (codes.MEAN, statistics.mean),
        (codes.STANDARD_DEVIATION, statistics.sd),
        (codes.PERCENTILE_25, statistics.q1),
        (codes.PERCENTILE_75, statistics.q3),
    )
    return [
        num(
            quantity.concept,
            stated(quantity, value),
            quantity.unit,
            [*_method(quantity, result), derivation(statistic), *details.get(statistic, [])],
            qualifier=_qualifier(statistics),
        )
        for statistic, value in values
        if math.isfinite(value)  # beyond a bound nothing but the bound is known
    ]


def _method(quantity: Quantity, result: LiverIronResult) -> list[ContentItem]:
    method = measurement_method(quantity, result)
    return [] if method is None else [code(codes.METHOD, method, relation=HAS_CONCEPT_MOD)]


def _qualifier(statistics: Statistics) -> CodedConcept | None:
    return None if statistics.bound is None else codes.VALUE_OUT_OF_RANGE


def _wording(quantity: Quantity, statistics: Statistics) -> ContentItem:
    words = f"{quantity.explanation}, median of the region"
    if statistics.bound is not None:
        bound = statistics.bound.replace("_", " ")
        words = f"{quantity.label} {bound} this value, which bounds the median of the region. {quantity.explanation}"
    return text(codes.EQUIVALENT_MEANING, words, relation=HAS_CONCEPT_MOD)


def _uncertainty(quantity: Quantity, statistics: Statistics) -> list[ContentItem]:
    """Distances of the 95 % interval's ends from the median (CID 225); a bound has none on its open side.

    The fat fraction has none at all: its interval does not hold the confounders of magnitude fat fractions.
    """
    low, high = statistics.interval95
    if quantity.key == PDFF.key or not (math.isfinite(low) and math.isfinite(high)):
        return []
    open_side = {"at_least": codes.UNCERTAINTY_ABOVE, "at_most": codes.UNCERTAINTY_BELOW}.get(statistics.bound or "")
    return [
        num(code_, stated(quantity, max(distance, 0.0)), quantity.unit, relation=HAS_PROPERTIES)
        for code_, distance in (
            (codes.UNCERTAINTY_ABOVE, high - statistics.median),
            (codes.UNCERTAINTY_BELOW, statistics.median - low),
        )
        if code_ is not open_side
    ]


def _basis(quantity: Quantity, result: LiverIronResult, related: RelatedObjects) -> list[ContentItem]:
    """What the number was computed from: the float map and, for LIC, R2* and the equation."""
    items = []
    if quantity.key == LIC.key and result.calibration is not None:
        items += _calibration(result, result.calibration)
    if (parametric_map := related.parametric_maps.get(quantity.key)) is not None:
        items.append(image(codes.SOURCE_FOR_MEASUREMENT, parametric_map, relation=INFERRED_FROM))
    return items


def _calibration(result: LiverIronResult, calibration: CalibrationUsed) -> list[ContentItem]:
    r2star = result.r2star_per_s
    assert r2star is not None  # a measured result has it
    return [
        num(
            R2STAR.concept,
            stated(R2STAR, r2star.median),
            R2STAR.unit,
            [derivation(codes.MEDIAN)],
            qualifier=_qualifier(r2star),
            relation=INFERRED_FROM,
        ),
        text(
            codes.EQUATION,
            f"{calibration.id} at {calibration.field_t:g} T: {calibration.equation} ({calibration.doi})",
            relation=INFERRED_FROM,
        ),
    ]


def _region_numbers(result: LiverIronResult) -> list[ContentItem]:
    items: list[ContentItem] = []
    if result.roi is not None:
        items += _roi(result.roi)
    if result.fit is not None:
        items += _fit(result.fit)
    if result.acquisition is not None:
        method = code(codes.METHOD, codes.FIT_METHOD, relation=HAS_CONCEPT_MOD)
        items.append(num(codes.FIELD_STRENGTH, round(result.acquisition.field_t, 4), codes.TESLA, [method]))
    return items


def _roi(roi: RoiSummary) -> list[ContentItem]:
    method = code(codes.METHOD, codes.VOLUME_METHOD, relation=HAS_CONCEPT_MOD)
    return [
        num(codes.VOLUME, round(roi.volume_ml, 2), codes.CUBIC_CENTIMETRE, [method]),
        num(codes.VOXEL_COUNT, roi.n_voxels, codes.VOXELS, [_fit_method()]),
    ]


def _fit(fit: FitSummary) -> list[ContentItem]:
    items = [
        num(name, round(100 * fraction, 2), codes.PERCENT, [_fit_method()])
        for name, fraction in (
            (codes.FRACTION_AT_LIMIT, fit.fraction_at_limit),
            (codes.FRACTION_FAILED, fit.fraction_failed),
        )
    ]
    if fit.measurable_limit_per_s is not None:
        limit = round(fit.measurable_limit_per_s, 1)
        items.insert(0, num(codes.MEASURABLE_LIMIT, limit, codes.PER_SECOND, [_fit_method()]))
    return items


def _fit_method() -> ContentItem:
    """Every number has a modifier: OHIF before 2026 fails on one without children."""
    return code(codes.METHOD, codes.FIT_METHOD, relation=HAS_CONCEPT_MOD)


def _grade(result: LiverIronResult) -> list[ContentItem]:
    grade = result.grade
    if grade is None:
        return []
    items = [code(codes.GRADE, coded_values.grade_value(grade.scheme, grade.code))]
    bounded = result.lic_mg_per_g is not None and result.lic_mg_per_g.bound is not None
    severity = None if bounded else coded_values.grade_severity(grade.scheme, grade.code)
    if severity is not None:
        items.append(code(codes.SEVERITY, severity))
    items.append(yes_no(codes.GRADE_BORDERLINE, grade.borderline))
    for candidate in grade.candidates:
        which: CodedConcept = coded_values.grade_value(grade.scheme, candidate.code)
        probability = round(100 * candidate.probability, 1)
        modifier = code(codes.GRADE, which, relation=HAS_CONCEPT_MOD)
        items.append(num(codes.GRADE_PROBABILITY, probability, codes.PERCENT, [modifier], relation=CONTAINS))
    return items
