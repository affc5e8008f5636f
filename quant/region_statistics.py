"""Statistics of R2*, T2* and LIC over the region, from the region's R2* distribution.

Quartiles and median follow the monotonic conversion exactly. Mean and standard deviation of LIC are exact for linear
calibrations and within 0.1 % for the power law (exponent 1.014, variation up to 30 %); those of T2* are second and
first order in the coefficient of variation.
"""

from quant.calibration import Calibration
from quant.region import RegionMeasurement
from quant.result import Bound, LicStatistics, Statistics
from quant.uncertainty import Normal


def r2star_statistics(region: RegionMeasurement, r2star: Normal) -> Statistics:
    """R2* in /s; the interval is that of the median."""
    return Statistics(
        median=region.median,
        mean=region.mean,
        sd=region.sd,
        q1=region.q1,
        q3=region.q3,
        interval95=r2star.interval95,
    )


def t2star_statistics(region: RegionMeasurement, r2star: Normal) -> Statistics | None:
    """T2* in ms; ``None`` where the interval or the quartiles of R2* reach 0 and T2* has no upper end."""
    low, high = r2star.interval95
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
    region: RegionMeasurement, lic: Normal, calibration: Calibration, bound: Bound | None
) -> LicStatistics:
    """LIC in mg/g; median and interval are those of ``lic``. A concentration below 0 is given as 0."""
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
        bound=bound,
    )
