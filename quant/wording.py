"""How numbers are printed, so that every output shows the same digits.

LIC has one decimal, and a second one where rounding would put the printed value on the other side of a published
threshold than the unrounded value that is graded (1.79 is printed "1.79", not "1.8").
"""

from collections.abc import Sequence

LIC_THRESHOLDS_MG_PER_G = (1.8, 3.2, 7.0, 15.0)  # St Pierre 2005, Blood 105:855
LIC_REPORTING_LIMIT_MG_PER_G = 0.5
"""Below this the printed value is "< 0.5": the repeatability of R2* alone (5 /s) is 0.15 mg/g at 1.5 T, and the
intercepts of the published lines differ by 0.7 mg/g."""


REGION_WORDS = {"automatic": "automatic", "seg": "drawn (segmentation)", "rtstruct": "drawn (contours)"}
"""What the source of a region is called, by its name in the record."""
RESEARCH_ONLY = "For research use only. Not for diagnosis."


def format_lic(lic_mg_per_g: float) -> str:
    """LIC in mg/g without its unit: ``2.1``, ``1.79`` (would round across a threshold), ``< 0.5``."""
    if lic_mg_per_g < LIC_REPORTING_LIMIT_MG_PER_G:
        return f"< {LIC_REPORTING_LIMIT_MG_PER_G:.1f}"
    for decimals in (1, 2, 3):
        text = f"{lic_mg_per_g:.{decimals}f}"
        if all((float(text) >= edge) == (lic_mg_per_g >= edge) for edge in LIC_THRESHOLDS_MG_PER_G):
            return text
    return repr(lic_mg_per_g)


def format_change(mg_per_g: float) -> str:
    """A change of LIC in mg/g with its sign and without its unit, never minus zero: ``+0.4``, ``+0.0``, ``-2.4``."""
    return f"{round(mg_per_g, 1) + 0.0:+.1f}"


def format_range(low: float, high: float, decimals: int = 1) -> str:
    """``1.8 to 2.4``, or one number when both ends print alike."""
    first, last = f"{low:.{decimals}f}", f"{high:.{decimals}f}"
    return first if first == last else f"{first} to {last}"


def format_lic_range(low_mg_per_g: float, high_mg_per_g: float) -> str:
    """A range of LIC in mg/g without its unit; a lower end below the reporting limit prints as ``< 0.5``."""
    low, high = max(low_mg_per_g, 0.0), max(high_mg_per_g, 0.0)
    if low >= LIC_REPORTING_LIMIT_MG_PER_G:
        return format_range(low, high)
    return f"< {LIC_REPORTING_LIMIT_MG_PER_G:.1f}" + (f" to {high:.1f}" if round(high, 1) > 0.5 else "")


def format_rate(r2star_per_s: float) -> str:
    """R2* in /s: whole numbers from 100, one decimal below."""
    return f"{r2star_per_s:.0f}" if abs(r2star_per_s) >= 100 else f"{r2star_per_s:.1f}"


def format_t2star(t2star_ms: float) -> str:
    """T2* in ms: one decimal from 10, two below."""
    return f"{t2star_ms:.1f}" if abs(t2star_ms) >= 10 else f"{t2star_ms:.2f}"


def format_percent(fraction: float) -> str:
    """A fraction as per cent: ``4 %``; small ones with a decimal, and never 0 % or 100 % by rounding."""
    percent = 100 * fraction
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.5 <= percent < 100:
        return "> 99 %"
    return f"{percent:.1f} %" if 0 < percent < 1 else f"{percent:.0f} %"


def join_words(words: Sequence[str]) -> str:
    """``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
