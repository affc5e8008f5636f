"""How sure the numbers are: what adds to the 95 % interval of R2* and of LIC, and how.

Three independent parts make the standard deviation of the region's median R2*: the fit, the spread within the
region, and scan-rescan repeatability. LIC adds the calibration line where its confidence limits are published. The
scatter of single patients about the line is not included: no prediction interval has been published for any
calibration.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quant.calibration import Calibration
from quant.wording import format_rate

if TYPE_CHECKING:  # the compiler of the fit stays out of processes that only compare results
    from quant.region import RegionMeasurement

Z95 = 1.959964
_MEDIAN_EFFICIENCY = math.sqrt(math.pi / 2)  # standard error of a median over that of a mean, normal data
VOXELS_PER_SAMPLE = 4.0
"""Neighbouring voxels are not independent: scanners usually interpolate twofold in both in-plane directions."""
PDFF_REPEATABILITY_SD_PERCENT = 4.2 / 2.77
"""Points of fat fraction, from a repeatability coefficient (2.77 SD): the larger of 4.2 (by volume, 17 people at 3 T,
10.1371/journal.pone.0252928) and 0.8 (61 people, five scanners, 10.1371/journal.pone.0214921)."""


@dataclass(frozen=True, kw_only=True)
class Normal:
    """A normal distribution of a quantity that cannot be negative."""

    mean: float
    sd: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.sd) and self.sd >= 0):
            raise ValueError(f"mean {self.mean} and sd {self.sd} must be finite numbers, sd not negative")

    @property
    def interval95(self) -> tuple[float, float]:
        """Central 95 % interval; its lower end is never negative."""
        return max(0.0, self.mean - Z95 * self.sd), self.mean + Z95 * self.sd

    def probability_below(self, limit: float) -> float:
        """Probability of a value below ``limit``."""
        if self.sd == 0:
            return float(self.mean < limit)
        return 0.5 * math.erfc((self.mean - limit) / (self.sd * math.sqrt(2)))


@dataclass(frozen=True, kw_only=True)
class Repeatability:
    """Scan-rescan standard deviation of R2*: ``cov`` of the value, at least ``floor_per_s``.

    Five scanners at 1.5 and 3 T: coefficient of variation 5.5 % (Bachtiar 2019, 10.1371/journal.pone.0214921).
    """

    cov: float = 0.055
    floor_per_s: float = 5.0

    def sd_per_s(self, r2star_per_s: float) -> float:
        """Standard deviation at ``r2star_per_s``."""
        return max(self.cov * r2star_per_s, self.floor_per_s)


@dataclass(frozen=True, kw_only=True)
class R2StarUncertainty:
    """Standard deviations, /s, of the median R2* by cause."""

    fit_per_s: float
    heterogeneity_per_s: float
    repeatability_per_s: float

    @property
    def total_per_s(self) -> float:
        """All of them together."""
        return math.hypot(self.fit_per_s, self.heterogeneity_per_s, self.repeatability_per_s)


def r2star_uncertainty(
    region: "RegionMeasurement", repeatability: Repeatability, value_per_s: float
) -> R2StarUncertainty:
    """The parts for the R2* of ``region``, which is stated as ``value_per_s`` (its median, or a lower bound).

    Where every voxel lies beyond the measurable range no fit error exists; the value is a bound and that part is 0.
    """
    return R2StarUncertainty(
        fit_per_s=region.sd_fit_per_s if math.isfinite(region.sd_fit_per_s) else 0.0,
        heterogeneity_per_s=_MEDIAN_EFFICIENCY
        * region.tissue_sd_per_s
        / math.sqrt(max(region.n_voxels / VOXELS_PER_SAMPLE, 1.0)),
        repeatability_per_s=repeatability.sd_per_s(value_per_s),
    )


def lic_distribution(calibration: Calibration, r2star: Normal) -> Normal:
    """Distribution of LIC in mg/g: R2* through the slope of the calibration, and the calibration line's own error.

    First order in the R2* error; over the intervals that occur the curvature of the power law shifts the ends by
    less than 0.01 mg/g (checked by simulation).

    Raises:
        ValueError: R2* is outside the calibration's validity range.
    """
    mean = calibration.lic_mg_per_g(r2star.mean)
    from_r2star = calibration.equation.slope_at(r2star.mean) * r2star.sd
    return Normal(mean=mean, sd=math.hypot(from_r2star, calibration.equation.line_sd(r2star.mean) or 0.0))


def interval_statement(
    parts: R2StarUncertainty, calibration: Calibration | None, *, fat_left_out: bool = False, graded: bool = False
) -> str:
    """What the intervals include, with the size of each part, and what they leave out.

    ``fat_left_out``: fat is not modelled and these echo times make R2* depend on it. ``graded``: grade probabilities
    are given.
    """
    text = (
        f"95 % intervals hold fit ({format_rate(parts.fit_per_s)} /s), spread in the region "
        f"({format_rate(parts.heterogeneity_per_s)} /s), scan-rescan repeatability "
        f"({format_rate(parts.repeatability_per_s)} /s; SD of R2*)"
    )
    missing = ["the bias by fat, which is not modelled"] if fat_left_out else []
    if calibration is not None:
        if calibration.equation.line_sd(0.0) is None:
            missing.append("error of the calibration line (not published)")
        else:
            text += ", and the calibration line's published confidence limits"
        missing.append("scatter of single patients about it (no prediction interval published)")
    text += f". Not included: {'; '.join(missing)}." if missing else "."
    if graded:
        text += " Grade probabilities hold the same; the choice of calibration is not in them."
    return text
