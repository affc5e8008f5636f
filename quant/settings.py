"""What a site chooses about the assessment; read where nothing is measured too, so without the compiler of the fit."""

from collections.abc import Mapping
from dataclasses import dataclass

from quant.calibration import check_by_field
from quant.follow_up import Policy
from quant.grading import scheme_by_id
from quant.uncertainty import Repeatability


@dataclass(frozen=True, kw_only=True)
class AssessmentSettings:
    """The choices of a site.

    Raises:
        ValueError: a calibration, scheme or field strength does not exist; the text names the key.
    """

    calibration_by_field: Mapping[str, str]
    grade_scheme: str
    policy: Policy
    repeatability: Repeatability

    def __post_init__(self) -> None:
        check_by_field(self.calibration_by_field)
        scheme_by_id(self.grade_scheme)
