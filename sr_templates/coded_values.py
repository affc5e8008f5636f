"""Which coded value stands for one of our identifiers: of a calibration, a grade, a reason for having no number.

The values are entries of 99IRON (``sr_templates.codes``).
"""

from collections.abc import Mapping

from highdicom.sr import CodedConcept

from sr_templates import codes

_CALIBRATION_VALUES = {
    ("garbowski-2014", 1.5): "2101",
    ("hernando-2023", 1.5): "2102",
    ("hernando-2023", 2.89): "2103",
    ("hernando-2023", 3.0): "2104",
    ("hernando-2021", 1.5): "2105",
    ("hernando-2021", 3.0): "2106",
    ("henninger-2015", 1.5): "2107",
    ("hankins-2009", 1.5): "2108",
    ("wood-as-commonly-cited", 1.5): "2109",
}

# Severity (CID 3716) only where its word is the scheme's own; the private grade code is always the exact one.
_GRADES: Mapping[str, Mapping[str, tuple[str, CodedConcept | None]]] = {
    "guglielmo-2023": {
        "normal": ("4001", codes.NO_SEVERITY),
        "mild": ("4002", codes.MILD),
        "moderate": ("4003", codes.MODERATE),
        "severe": ("4004", codes.SEVERE),
        "extreme": ("4005", None),  # "Severe" is this scheme's word for the band below
    },
    "esgar-sar-2023": {
        "normal": ("4011", codes.NO_SEVERITY),
        "borderline": ("4012", None),
        "mild": ("4013", codes.MILD),
        "moderate": ("4014", codes.MODERATE),
        "severe": ("4015", codes.SEVERE),
    },
    "reference-terms": {
        "L0": ("4021", codes.NO_SEVERITY),
        "L1": ("4022", None),
        "L2": ("4023", codes.MILD),
        "L3": ("4024", codes.MODERATE),
        "L4": ("4025", codes.SEVERE),
    },
    "brazilian-cardiology": {
        "normal": ("4031", codes.NO_SEVERITY),
        "mild": ("4032", codes.MILD),
        "moderate": ("4033", codes.MODERATE),
        "severe": ("4034", codes.SEVERE),
    },
    "clinically-significant-7": {
        "normal": ("4041", codes.NO_SEVERITY),
        "not_significant": ("4042", None),
        "significant_overload": ("4043", None),
        "severe_overload": ("4044", codes.SEVERE),
    },
    "paisant-2017": {"normal": ("4051", codes.NO_SEVERITY), "overload": ("4052", None)},
}

_REASONS_BY_VALUE: Mapping[str, tuple[str, ...]] = {
    "5101": (
        "roi_dark_organ",
        "roi_implausible_r2star",
        "roi_low_density",
        "roi_models_disagree",
        "roi_no_liver",
        "roi_no_torso",
        "roi_position",
        "roi_rival",
        "roi_segmenter_failed",
        "roi_symmetric",
        "roi_unstable",
        "roi_wrong_side",
    ),
    "5102": ("roi_too_small",),
    "5103": ("roi_low_signal",),
    "5104": (
        "fit_not_possible",
        "fraction_failed",
        "region_not_measurable",
    ),
    "5105": ("roi_heterogeneous",),
    "5106": ("contrast_given",),
    "5107": (
        "roi_not_axial",
        "roi_too_few_echoes",
    ),
    "5108": ("internal_check_failed",),
    "5109": ("roi_ghosts",),
    "5110": (
        "echo_count",
        "too_few_echoes",
    ),
    "5111": ("pooled_misfit",),
    "5112": ("pdff_not_plausible",),
    "5113": (
        "header_unreadable",
        "no_pixel_data",
        "pixels_beyond_bits",
        "pixels_unreadable",
    ),
    "5114": (
        "echo_after_repetition",
        "field_strength_contradicts",
        "impossible_values",
        "mixed_repetitions",
        "mixed_scaling",
        "no_field_strength",
        "no_geometry",
        "scaling_incomplete",
        "unknown_kind",
    ),
    "5115": (
        "region_ambiguous",
        "region_empty",
        "region_low_signal",
        "region_not_liver",
        "region_other_frame",
        "region_other_patient",
        "region_outside",
        "region_unreadable",
    ),
}
_ABSENCE_VALUES = {reason: value for value, reasons in _REASONS_BY_VALUE.items() for reason in reasons}


def calibration_method(calibration_id: str, field_t: float) -> CodedConcept:
    """The measurement method of a LIC that was computed with this published equation.

    Raises:
        ValueError: the equation has no entry in 99IRON.
    """
    try:
        return codes.private(_CALIBRATION_VALUES[calibration_id, field_t])
    except KeyError:
        raise ValueError(f"calibration {calibration_id} at {field_t} T has no code in {codes.SCHEME}") from None


def grade_value(scheme: str, code: str) -> CodedConcept:
    """The exact, private value of a grade.

    Raises:
        ValueError: the grade has no entry in 99IRON.
    """
    try:
        return codes.private(_GRADES[scheme][code][0])
    except KeyError:
        raise ValueError(f"grade {code} of scheme {scheme} has no code in {codes.SCHEME}") from None


def grade_severity(scheme: str, code: str) -> CodedConcept | None:
    """The SNOMED CT severity (CID 3716) that says the same as the grade, or ``None`` where no word does."""
    return _GRADES[scheme][code][1]


def absence_reason(reason_code: str) -> CodedConcept:
    """The value that stands for a refusal; what has no value of its own is given as text."""
    return codes.private(_ABSENCE_VALUES.get(reason_code, "5100"))
