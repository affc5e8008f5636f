"""Earlier measurements in the report (TID 1501): value, date, reference, and the change since. Their LIC has a concept
of its own, so that no reader takes it for the LIC of this study."""

from collections.abc import Sequence

from highdicom.sr import ContentItem
from pydicom.dataset import Dataset

from quant.result import LiverIronResult, PriorComparison
from sr_templates import coded_values, codes
from sr_templates.content import (
    HAS_CONCEPT_MOD,
    INFERRED_FROM,
    code,
    composite,
    container,
    date,
    num,
    text,
    yes_no,
)
from sr_templates.envelope import BuildContext
from sr_templates.measurements import tracking
from sr_templates.quantities import LIC, stated


def prior_groups(context: BuildContext) -> list[ContentItem]:
    """One group for each earlier measurement, the latest first."""
    return [_group(context, earlier) for earlier in reversed(_earlier(context.result))]


def prior_stubs(result: LiverIronResult) -> list[Dataset]:
    """The earlier reports as evidence refers to them."""
    return [_stub(earlier) for earlier in _earlier(result)]


def _earlier(result: LiverIronResult) -> Sequence[PriorComparison]:
    return () if result.prior_check is None else result.prior_check.earlier


def _group(context: BuildContext, earlier: PriorComparison) -> ContentItem:
    method = coded_values.calibration_method(earlier.calibration_id, earlier.calibration_field_t)
    modifier = code(codes.METHOD, method, relation=HAS_CONCEPT_MOD)
    source = composite(codes.SOURCE_FOR_MEASUREMENT, _stub(earlier), relation=INFERRED_FROM)
    items = [
        *tracking(context, f"Liver iron, earlier measurement {earlier.date}", earlier.report.sop_instance_uid),
        code(codes.FINDING, codes.LIVER),
        date(codes.EARLIER_DATE, earlier.date),
        num(
            codes.EARLIER_LIC,
            stated(LIC, earlier.lic_mg_per_g),
            LIC.unit,
            [modifier, source],
            qualifier=None if earlier.bound is None else codes.VALUE_OUT_OF_RANGE,
        ),
        yes_no(codes.EARLIER_COMPARABLE, earlier.comparable),
    ]
    if earlier.why_not is not None:
        items.append(text(codes.EARLIER_WHY_NOT, earlier.why_not))
    for name, value, unit in (
        (codes.LIC_CHANGE, earlier.change_mg_per_g, codes.MG_PER_G),
        (codes.LIC_CHANGE_PER_YEAR, earlier.change_per_year_mg_per_g, codes.MG_PER_G_YEAR),
        (codes.LIC_REPEATABILITY, earlier.repeatability_coefficient_mg_per_g, codes.MG_PER_G),
    ):
        if value is not None:
            items.append(num(name, stated(LIC, value), unit, [modifier]))
    if earlier.comparable:
        items.append(yes_no(codes.LIC_CHANGE_EXCEEDS, earlier.exceeds_repeatability))
    return container(codes.MEASUREMENT_GROUP, items, template="1501")


def _stub(earlier: PriorComparison) -> Dataset:
    ds = Dataset()
    ds.StudyInstanceUID = earlier.report.study_instance_uid
    ds.SeriesInstanceUID = earlier.report.series_instance_uid
    ds.SOPClassUID = earlier.report.sop_class_uid
    ds.SOPInstanceUID = earlier.report.sop_instance_uid
    return ds
