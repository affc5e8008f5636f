"""Reads a report of ours back: what an earlier measurement stated, by its codes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from quant.calibration import CALIBRATIONS
from quant.prior import EarlierMeasurement
from quant.result import Bound, EarlierReport
from sr_templates import coded_values, codes, identity
from sr_templates.parameters import ECHO_TIMES, SIGNAL, SIGNAL_MODEL, echo_times_of, method_of, parameter_of
from sr_templates.quantities import LIC, R2STAR, Quantity
from sr_templates.report import REPORT_CLASSES
from sr_templates.tree import UNDECODABLE, children, measurement_groups, median_of, same_concept

__all__ = ["REPORT_CLASSES", "ReadReport", "UnreadableReportError", "is_ours", "read_report"]

_UNREADABLE = (*UNDECODABLE, AttributeError, IndexError, KeyError)


class UnreadableReportError(ValueError):
    """A report of ours that does not state what it has to; the text says what is missing."""


@dataclass(frozen=True, kw_only=True)
class ReadReport:
    """One report; ``measurement`` is ``None`` when it states no LIC, ``replaces`` are the reports it supersedes."""

    sop_instance_uid: str
    replaces: tuple[str, ...]
    measurement: EarlierMeasurement | None


def is_ours(ds: Dataset) -> bool:
    """Whether an SR is a liver iron report of this software: its equipment, its template and its title. One that says
    so in values that cannot be decoded is not."""
    try:
        return _says_ours(ds)
    except _UNREADABLE:
        return False


def _says_ours(ds: Dataset) -> bool:
    templates, titles = ds.get("ContentTemplateSequence"), ds.get("ConceptNameCodeSequence")
    return bool(
        ds.get("SOPClassUID") in REPORT_CLASSES
        and ds.get("Manufacturer") == identity.MANUFACTURER
        and ds.get("ManufacturerModelName") == identity.MODEL_NAME
        and templates
        and templates[0].get("TemplateIdentifier") == "1500"
        and titles
        and same_concept(titles[0], codes.REPORT_TITLE)
    )


def read_report(ds: Dataset) -> ReadReport:
    """What a report of ours (``is_ours``) states.

    Raises:
        UnreadableReportError: something that belongs to an LIC is missing or wrong.
    """
    try:
        return ReadReport(sop_instance_uid=str(ds.SOPInstanceUID), replaces=_replaced(ds), measurement=_measurement(ds))
    except UnreadableReportError:
        raise
    except _UNREADABLE as error:
        raise UnreadableReportError(f"the report cannot be read: {error}") from error


def _replaced(ds: Dataset) -> tuple[str, ...]:
    return tuple(
        str(item.ReferencedSOPInstanceUID)
        for study in ds.get("PredecessorDocumentsSequence") or []
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    )


def _measurement(ds: Dataset) -> EarlierMeasurement | None:
    group = next((g for g in measurement_groups(ds) if median_of(g, LIC.concept) is not None), None)
    if group is None:
        return None
    lic, r2star = median_of(group, LIC.concept), median_of(group, R2STAR.concept)
    if lic is None or r2star is None:
        raise UnreadableReportError("R2* is missing beside the LIC")
    value = _number(lic, LIC)
    bound = _bound(lic)
    calibration_id, calibration_field_t = _calibration(lic)
    parameters = _texts(lic, codes.ALGORITHM_PARAMETERS)
    echo_times_s = echo_times_of(parameter_of(parameters, ECHO_TIMES))
    if not all(math.isfinite(t) and t > 0 for t in echo_times_s):
        raise UnreadableReportError("its echo times are no times")
    day = str(ds.StudyDate)
    if len(day) != 8 or not day.isdigit():
        raise UnreadableReportError("it has no study date")
    return EarlierMeasurement(
        report=EarlierReport(
            study_instance_uid=str(ds.StudyInstanceUID),
            series_instance_uid=str(ds.SeriesInstanceUID),
            sop_class_uid=str(ds.SOPClassUID),
            sop_instance_uid=str(ds.SOPInstanceUID),
        ),
        date=f"{day[:4]}-{day[4:6]}-{day[6:]}",
        lic_mg_per_g=value,
        interval95_mg_per_g=_interval(lic, value, bound),
        bound=bound,
        r2star_per_s=_number(r2star, R2STAR),
        calibration_id=calibration_id,
        calibration_field_t=calibration_field_t,
        field_t=_field_t(group),
        method_version=_stated(method_of(_texts(lic, codes.ALGORITHM_VERSION)[0]), "method version"),
        signal=_stated(parameter_of(parameters, SIGNAL), "kind of signal"),
        model=_stated(parameter_of(parameters, SIGNAL_MODEL), "signal model"),
        echo_times_s=echo_times_s,
    )


def _number(item: Dataset, quantity: Quantity) -> float:
    """The value of a numeric item, whose unit must be the quantity's."""
    return _value(item, quantity.unit, quantity.label)


def _value(item: Dataset, unit: Dataset, label: str) -> float:
    measured = item.MeasuredValueSequence[0]
    if not same_concept(measured.MeasurementUnitsCodeSequence[0], unit):
        raise UnreadableReportError(f"{label} is stated in another unit than {unit.CodeValue}")
    value = float(measured.NumericValue)
    if not math.isfinite(value) or value < 0:
        raise UnreadableReportError(f"{label} is no number")
    return value


def _bound(item: Dataset) -> Bound | None:
    qualifiers = item.get("NumericValueQualifierCodeSequence") or []
    if not qualifiers:
        return None
    if not same_concept(qualifiers[0], codes.VALUE_OUT_OF_RANGE):
        raise UnreadableReportError("the LIC has an unknown qualifier")
    return "at_least"


def _interval(lic: Dataset, value: float, bound: Bound | None) -> tuple[float | None, float | None]:
    below, above = (
        next((_number(child, LIC) for child in children(lic, name)), None)
        for name in (codes.UNCERTAINTY_BELOW, codes.UNCERTAINTY_ABOVE)
    )
    if below is None or (above is None) != (bound is not None):
        raise UnreadableReportError("the interval of the LIC is incomplete")
    return value - below, None if above is None else value + above


def _calibration(lic: Dataset) -> tuple[str, float]:
    for child in children(lic, codes.METHOD):
        for known in CALIBRATIONS:
            if same_concept(child.ConceptCodeSequence[0], coded_values.calibration_method(*known)):
                return known
    raise UnreadableReportError("its calibration is unknown")


def _field_t(group: Dataset) -> float:
    found = next(children(group, codes.FIELD_STRENGTH), None)
    if found is None:
        raise UnreadableReportError("the field strength is missing")
    return _value(found, codes.TESLA, "field strength")


def _texts(item: Dataset, name: Dataset) -> Sequence[str]:
    return [str(child.TextValue) for child in children(item, name)]


def _stated(text: str, name: str) -> str:
    if not text:
        raise UnreadableReportError(f"the {name} is missing")
    return text
