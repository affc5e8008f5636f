"""Every coded concept and unit that the result objects use; no other module defines one. Which entry of 99IRON a
calibration, a grade or a refusal gets: ``sr_templates.coded_values``.

Schemes: DCM and CIDs of PS3.16, SCT (SNOMED CT, DICOM's licensed subset), UCUM (units), LN (LOINC), RADLEX, UMLS, and
the private scheme 99IRON for what has no public code. No public code for liver iron
concentration by MRI is known (LOINC 15357-7 is the iron of a tissue specimen, which is something else).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset

SCHEME = "99IRON"  # PS3.16 section 8: designators that begin with 99 are private; at most 16 characters


@dataclass(frozen=True, kw_only=True)
class PrivateCode:
    """One entry of 99IRON. ``value`` is never given to another concept; ``since`` is the first software version."""

    value: str
    meaning: str
    definition: str
    since: str = "0.1.0"


def _entries(definition: str, **meaning_by_value: str) -> tuple[PrivateCode, ...]:
    return tuple(
        PrivateCode(value=value.removeprefix("v"), meaning=meaning, definition=definition.format(meaning))
        for value, meaning in meaning_by_value.items()
    )


def _entry(value: str, meaning: str, definition: str) -> PrivateCode:
    return PrivateCode(value=value, meaning=meaning, definition=definition)


_TABLE = (
    _entry(
        "1001",
        "Liver iron concentration (dry weight)",
        "Mass of iron per mass of dry liver tissue, inferred from R2* by a published calibration.",
    ),
    _entry(
        "1002",
        "Liver R2* measurable limit",
        "Largest R2* that the echo times and the noise of this acquisition can tell from a larger one.",
    ),
    _entry("1003", "Clinical limit of liver iron concentration", "LIC from which complications become more likely."),
    _entry(
        "1010", "Earlier liver iron concentration (dry weight)", "LIC that an earlier report of the patient states."
    ),
    _entry("1011", "Change of liver iron concentration", "LIC of this study minus that of an earlier one."),
    _entry(
        "1012", "Change of liver iron concentration per year", "That change divided by the time between the studies."
    ),
    _entry(
        "1013",
        "Repeatability coefficient of liver iron concentration",
        "Difference that 95 % of repeated measurements of an unchanged liver stay below.",
    ),
    _entry(
        "2001",
        "R2* multi-echo gradient-echo fit",
        "R2* fitted per voxel to the signal of a multi-echo gradient-echo acquisition with the noise floor modelled.",
    ),
    *_entries(
        "LIC computed from R2* with the published equation {0}.",
        v2101="Calibration Garbowski 2014, 1.5 T",
        v2102="Calibration Hernando 2023, 1.5 T",
        v2103="Calibration Hernando 2023, 2.89 T",
        v2104="Calibration Hernando 2023, 3.0 T",
        v2105="Calibration Hernando 2021, 1.5 T",
        v2106="Calibration Hernando 2021, 3.0 T",
        v2107="Calibration Henninger 2015, 1.5 T",
        v2108="Calibration Hankins 2009, 1.5 T",
        v2109="Calibration Wood as commonly cited, 1.5 T",
    ),
    _entry("3001", "25th percentile", "Value below which a quarter of the region's voxels lie."),
    _entry("3002", "75th percentile", "Value below which three quarters of the region's voxels lie."),
    _entry("3010", "Number of voxels analysed", "Voxels of the region that carry the statistics."),
    _entry("3011", "Fraction of voxels at the measurable limit", "Share of the region's voxels at or above the limit."),
    _entry("3012", "Fraction of voxels that could not be fitted", "Share of the region's voxels without a number."),
    _entry("4000", "Liver iron overload grade", "Named band of LIC under one scheme; the scheme is part of the value."),
    *_entries(
        "Band of LIC with the name after the colon in the grade scheme before it.",
        v4001="guglielmo-2023: normal",
        v4002="guglielmo-2023: mild",
        v4003="guglielmo-2023: moderate",
        v4004="guglielmo-2023: severe",
        v4005="guglielmo-2023: extreme",
        v4011="esgar-sar-2023: normal",
        v4012="esgar-sar-2023: borderline",
        v4013="esgar-sar-2023: mild",
        v4014="esgar-sar-2023: moderate",
        v4015="esgar-sar-2023: severe",
        v4021="reference-terms: L0 within reference range",
        v4022="reference-terms: L1 above reference, borderline",
        v4023="reference-terms: L2 mild overload",
        v4024="reference-terms: L3 moderate overload",
        v4025="reference-terms: L4 severe overload",
        v4031="brazilian-cardiology: normal",
        v4032="brazilian-cardiology: mild",
        v4033="brazilian-cardiology: moderate",
        v4034="brazilian-cardiology: severe",
        v4041="clinically-significant-7: normal",
        v4042="clinically-significant-7: not significant",
        v4043="clinically-significant-7: significant overload",
        v4044="clinically-significant-7: severe overload",
        v4051="paisant-2017: normal",
        v4052="paisant-2017: overload",
    ),
    _entry("4100", "Probability of grade", "Probability that the true LIC lies in the band of the grade named beside."),
    _entry("4101", "Grade is borderline", "Whether the 95 % interval of the LIC touches more than one band."),
    _entry("5000", "Liver iron measurement status", "Whether a liver iron measurement could be made."),
    _entry("5001", "Reason for absent measurement", "Why there is no number."),
    *_entries(
        "No number: {0}.",
        v5100="Reason given as text",
        v5101="Liver not found with certainty",
        v5102="Liver region too small",
        v5103="Signal too low",
        v5104="Fit failed in too many voxels",
        v5105="Liver region not homogeneous enough",
        v5106="Contrast agent given before the acquisition",
        v5107="Acquisition not suitable for an automatic region",
        v5108="Result failed the software's own final check",
        v5109="Ghosts as bright as the liver",
        v5110="Too few echoes",
        v5111="Decay does not follow the model",
        v5112="Fat fraction not plausible",
        v5113="Images cannot be read",
        v5114="Headers incomplete or contradictory",
        v5115="Drawn region cannot be used",
    ),
    _entry("6001", "LIC above upper reference limit", "Whether the LIC is above the upper limit of healthy livers."),
    _entry("6002", "LIC above clinical limit", "Whether the LIC is at a level linked to complications."),
    _entry("6100", "Follow-up rule", "Identifier of the rule of the site's follow-up policy that gave the interval."),
    _entry("6101", "Follow-up rule matches population", "Whether the rule was published for this patient's condition."),
    _entry("6102", "Follow-up rule source", "Publication or site decision behind the rule."),
    _entry("6103", "Indication", "Indication that chose the rule."),
    _entry("6104", "Follow-up policy approved by", "Who at the site signed the follow-up policy."),
    _entry("6105", "Clinician decides", "No interval is suggested; the referring clinician decides."),
    _entry("6106", "Follow-up policy approved by the site", "Whether a named person signed the policy."),
    _entry("6200", "Date of earlier measurement", "Study date of an earlier report of the patient."),
    _entry("6201", "Comparable with earlier measurement", "Whether field, calibration, method and protocol agree."),
    _entry("6202", "Why not comparable", "What differs between the earlier measurement and this one."),
    _entry("6203", "Change exceeds repeatability", "Whether the change is larger than the repeatability coefficient."),
)

PRIVATE_CODES: Mapping[str, PrivateCode] = {entry.value: entry for entry in _TABLE}


def private(value: str) -> CodedConcept:
    """The concept of 99IRON with this value."""
    return CodedConcept(value, SCHEME, PRIVATE_CODES[value].meaning)


def _dcm(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, "DCM", meaning)


def _sct(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, "SCT", meaning)


def _unit(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, "UCUM", meaning)


def scheme_identification(software_version: str) -> Dataset:
    """Item of Coding Scheme Identification Sequence (0008,0110) that declares 99IRON (PS3.3 C.12.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = "ironnode private codes for liver iron by MRI"
    item.CodingSchemeVersion = software_version
    item.CodingSchemeResponsibleOrganization = "ironnode"
    return item


# Quantities (CID 7180, 7469) and units
R2STAR = _dcm("126395", "R2*")
T2STAR = _dcm("113064", "T2*")
FAT_FRACTION = _dcm("129100", "Fat fraction")
LIC = private("1001")
MEASURABLE_LIMIT = private("1002")
EARLIER_LIC = private("1010")
LIC_CHANGE = private("1011")
LIC_CHANGE_PER_YEAR = private("1012")
LIC_REPEATABILITY = private("1013")
VOLUME = _sct("118565006", "Volume")
FIELD_STRENGTH = _dcm("130542", "Magnetic field strength")
VOXEL_COUNT = private("3010")
FRACTION_AT_LIMIT = private("3011")
FRACTION_FAILED = private("3012")
PER_SECOND = _unit("/s", "/s")
MILLISECOND = _unit("ms", "ms")
PERCENT = _unit("%", "%")
MG_PER_G = _unit("mg/g", "mg/g")
MG_PER_G_YEAR = _unit("mg/g/a", "mg/g per year")
UG_PER_G = _unit("ug/g", "ug/g")
CUBIC_CENTIMETRE = _unit("cm3", "cm3")
MILLIMETRE = _unit("mm", "mm")
MONTH = _unit("mo", "mo")
TESLA = _unit("T", "T")
VOXELS = _unit("{voxels}", "voxels")
PIXELS = _unit("{pixels}", "pixels")
DIRECTION_COSINE = _unit("{-1:1}", "{-1:1}")

# Statistics (CID 7464) and modifiers of a number (TID 300)
DERIVATION = _dcm("121401", "Derivation")
METHOD = _sct("370129005", "Measurement Method")
MEDIAN = _sct("373099004", "Median")
MEAN = _sct("373098007", "Mean")
STANDARD_DEVIATION = _sct("386136009", "Standard Deviation")
MINIMUM = _sct("255605001", "Minimum")
MAXIMUM = _sct("56851009", "Maximum")
PERCENTILE_25 = private("3001")
PERCENTILE_75 = private("3002")
UNCERTAINTY_ABOVE = _sct("371886008", "+, range of upper measurement uncertainty")  # CID 225
UNCERTAINTY_BELOW = _sct("371885007", "-, range of lower measurement uncertainty")
VALUE_OUT_OF_RANGE = _dcm("114009", "Value out of range")  # CID 42
EQUIVALENT_MEANING = _dcm("121050", "Equivalent Meaning of Concept Name")
VOLUME_METHOD = _dcm("126030", "Sum of segmented voxel method for volume")
FIT_METHOD = private("2001")
EQUATION = _dcm("121420", "Equation")  # CID 228, of which a number has one (TID 1419 row 16)
NORMAL_RANGE_UPPER_LIMIT = _sct("371933006", "Normal Range Upper Limit")
CLINICAL_LIMIT = private("1003")
MODEL_FITTING_METHOD = _dcm("113241", "Model fitting method")
LEAST_SQUARES_FIT = _dcm("113261", "Least squares fit of multiple samples")  # CID 7274
QUANTITY = _sct("246205007", "Quantity")

# Algorithm identification (TID 4019)
ALGORITHM_NAME = _dcm("111001", "Algorithm Name")
ALGORITHM_VERSION = _dcm("111003", "Algorithm Version")
ALGORITHM_PARAMETERS = _dcm("111002", "Algorithm Parameters")
ALGORITHM_MANUFACTURER = _dcm("122405", "Algorithm Manufacturer")
MORPHOLOGICAL_OPERATIONS = _dcm("123104", "Morphological Operations")  # CID 7162

# Report structure (TID 1500, 1411, 1501, 1600)
REPORT_TITLE = _dcm("126000", "Imaging Measurement Report")
FOR_REPORT_ATTACHMENT = _dcm("113020", "For Report Attachment")  # CID 7010
REJECTED_FOR_QUALITY = _dcm("113001", "Rejected for Quality Reasons")  # CID 7011, IHE IOCM
DIAGNOSTIC_IMAGING_STUDY = CodedConcept("18748-4", "LN", "Diagnostic imaging study")
IMAGING_MEASUREMENTS = _dcm("126010", "Imaging Measurements")
MEASUREMENT_GROUP = _dcm("125007", "Measurement Group")
QUALITATIVE_EVALUATIONS = CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")
TRACKING_IDENTIFIER = _dcm("112039", "Tracking Identifier")
TRACKING_UID = _dcm("112040", "Tracking Unique Identifier")
FINDING = _dcm("121071", "Finding")
FINDING_SITE = _sct("363698007", "Finding Site")
LIVER = _sct("10200004", "Liver")
ANATOMICAL_STRUCTURE = _sct("91723000", "Anatomical Structure")
REFERENCED_SEGMENT = _dcm("121191", "Referenced Segment")
SOURCE_FOR_SEGMENTATION = _dcm("121233", "Source image for segmentation")
SOURCE_FOR_MEASUREMENT = _dcm("121112", "Source of Measurement")
SOURCE_FOR_PROCESSING = _dcm("121322", "Source image for image processing operation")
DERIVATION_UNSPECIFIED = _dcm("112187", "Unspecified method of calculation")
SEGMENTATION_DERIVATION = _dcm("113076", "Segmentation")
IMAGE_LIBRARY = _dcm("111028", "Image Library")
LIBRARY_SOURCE = _sct("260753009", "Source")
IMAGE_LIBRARY_GROUP = _dcm("126200", "Image Library Group")
PROCEDURE_REPORTED = _dcm("121058", "Procedure reported")
MRI_PROCEDURE = CodedConcept("25056-3", "LN", "MRI unspecified body region")  # CID 100
LANGUAGE = CodedConcept("en-US", "RFC5646", "English (United States)")
DEVICE = _dcm("121007", "Device")
MODALITY = _dcm("121139", "Modality")
MAGNETIC_RESONANCE = _dcm("MR", "Magnetic Resonance")
FRAME_OF_REFERENCE_UID = _dcm("112227", "Frame of Reference UID")
PIXEL_DATA_ROWS = _dcm("110910", "Pixel Data Rows")
PIXEL_DATA_COLUMNS = _dcm("110911", "Pixel Data Columns")
HORIZONTAL_PIXEL_SPACING = _dcm("111026", "Horizontal Pixel Spacing")
VERTICAL_PIXEL_SPACING = _dcm("111066", "Vertical Pixel Spacing")
SLICE_THICKNESS = _dcm("112225", "Slice Thickness")
IMAGE_POSITION = (
    _dcm("110901", "Image Position (Patient) X"),
    _dcm("110902", "Image Position (Patient) Y"),
    _dcm("110903", "Image Position (Patient) Z"),
)
IMAGE_ORIENTATION = (
    _dcm("110904", "Image Orientation (Patient) Row X"),
    _dcm("110905", "Image Orientation (Patient) Row Y"),
    _dcm("110906", "Image Orientation (Patient) Row Z"),
    _dcm("110907", "Image Orientation (Patient) Column X"),
    _dcm("110908", "Image Orientation (Patient) Column Y"),
    _dcm("110909", "Image Orientation (Patient) Column Z"),
)

# Evaluations, recommendation, quality, absence
GRADE = private("4000")
GRADE_PROBABILITY = private("4100")
GRADE_BORDERLINE = private("4101")
SEVERITY = _sct("246112005", "Severity")
YES = _sct("373066001", "Yes")
NO = _sct("373067005", "No")
UNDETERMINED = _sct("373068000", "Undetermined")  # CID 230
ABOVE_REFERENCE = private("6001")
ABOVE_CLINICAL = private("6002")
FOLLOW_UP = _dcm("111053", "Recommended Follow-up")
FOLLOW_UP_DATE = _dcm("111054", "Recommended Follow-up Date")
FOLLOW_UP_INTERVAL = _dcm("111055", "Recommended Follow-up Interval")
FOLLOW_UP_RULE = private("6100")
FOLLOW_UP_POPULATION_MATCH = private("6101")
FOLLOW_UP_SOURCE = private("6102")
FOLLOW_UP_INDICATION = private("6103")
FOLLOW_UP_APPROVED_BY = private("6104")
FOLLOW_UP_APPROVED = private("6106")
CLINICIAN_DECIDES = private("6105")
EARLIER_DATE = private("6200")
EARLIER_COMPARABLE = private("6201")
EARLIER_WHY_NOT = private("6202")
LIC_CHANGE_EXCEEDS = private("6203")
RECOMMENDATION = _dcm("121075", "Recommendation")
CONCLUSION = _dcm("121077", "Conclusion")
COMMENT = _dcm("121106", "Comment")
QUALITY_ASSESSMENT = _dcm("111050", "Quality Assessment")  # values: CID 7036
QUALITY_FINDING = _dcm("111052", "Quality Finding")
LIMITED_QUALITY = CodedConcept("RID13", "RADLEX", "Limited quality")
NON_DIAGNOSTIC_QUALITY = CodedConcept("RID14", "RADLEX", "Non-diagnostic quality")
STATUS = private("5000")
MEASUREMENT_FAILURE = _dcm("114006", "Measurement failure")
ABSENCE_REASON = private("5001")

# Equipment (CID 7005)
ACQUISITION_EQUIPMENT = _dcm("109101", "Acquisition Equipment")
PROCESSING_EQUIPMENT = _dcm("109102", "Processing Equipment")

# Severity (CID 3716)
NO_SEVERITY = _sct("260413007", "None")
MILD = _sct("255604002", "Mild")
MODERATE = _sct("6736007", "Moderate")
SEVERE = _sct("24484000", "Severe")
