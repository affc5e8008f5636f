"""Statistics of R2*, T2* and LIC over the region, from the region's R2* distribution.

Quartiles and median follow the monotonic conversion exactly. Mean and standard deviation of LIC are exact for linear
calibrations and within 0.1 % for the power law (exponent 1.014, variation up to 30 %); those of T2* are second and
first order in the coefficient of variation. Beyond the measurable limit only the bound and its own uncertainty are
left: the other statistics are NaN.
"""

import math
from dataclasses import replace
from typing import Any

from quant.calibration import Calibration
from quant.region import RegionMeasurement
from quant.result import LicStatistics, Statistics
from quant.uncertainty import PDFF_REPEATABILITY_SD_PERCENT, Z95, Normal


def _open(value: float, interval95: tuple[float, float]) -> dict[str, Any]:
    """Fields of statistics of which only a bound is known."""
    nothing = math.nan
    return {"median": value, "mean": nothing, "sd": nothing, "q1": nothing, "q3": nothing, "interval95": interval95}


def r2star_statistics(region: RegionMeasurement, r2star: Normal, *, at_least: bool) -> Statistics:
    """R2* in /s; the interval is that of the median. With ``at_least`` the mean of ``r2star`` is a lower bound."""
    if at_least:
        return Statistics(**_open(r2star.mean, (r2star.interval95[0], r2star.mean)), bound="at_least")
    return Statistics(
        median=region.median,
        mean=region.mean,
        sd=region.sd,
        q1=region.q1,
        q3=region.q3,
        interval95=r2star.interval95,
    )


def t2star_statistics(region: RegionMeasurement, r2star: Normal, *, at_least: bool) -> Statistics | None:
    """T2* in ms; ``None`` where the interval or the quartiles of R2* reach 0 and T2* has no upper end.

    A lower bound of R2* (``at_least``) is an upper bound of T2*.
    """
    low, high = r2star.interval95
    if at_least:
        if low <= 0:
            return None
        bound = 1000 / r2star.mean
        return Statistics(**_open(bound, (bound, 1000 / low)), bound="at_most")
    if min(low, region.q1, region.mean) <= 0:
        return None
    return Statistics(
        median=1000 / region.median,
        mean=1000 / region.mean * (1 + (region.sd / region.mean) ** 2),
        sd=1000 * region.sd / region.mean**2,
        q1=1000 / region.q3,
        q3=1000 / region.q1,
        interval95=(1000 / high, 1000 / low),
    )


def lic_statistics(
    region: RegionMeasurement, lic: Normal, calibration: Calibration, *, at_least: bool
) -> LicStatistics:
    """LIC in mg/g; median and interval are those of ``lic``. A concentration below 0 is given as 0."""
    if at_least:
        return LicStatistics(**_open(lic.mean, (lic.interval95[0], lic.mean)), bound="at_least")
    convert = calibration.equation.lic

    def at(r2star_per_s: float) -> float:
        return max(0.0, float(convert(r2star_per_s))) if r2star_per_s > 0 else 0.0

    return LicStatistics(
        median=lic.mean,
        mean=at(region.mean),
        sd=calibration.equation.slope_at(region.mean) * region.sd,
        q1=at(region.q1),
        q3=at(region.q3),
        interval95=lic.interval95,
    )


def pdff_statistics(region: RegionMeasurement) -> Statistics | None:
    """PDFF in per cent; scan-rescan repeatability is added to the interval, which holds the voxels' scatter only."""
    pdff = region.pdff_percent
    if pdff is None:
        return None
    half = math.hypot((pdff.interval95[1] - pdff.interval95[0]) / 2, Z95 * PDFF_REPEATABILITY_SD_PERCENT)
    low = min(pdff.median, max(0.0, pdff.median - half))
    return replace(pdff, interval95=(low, pdff.median + half))
