"""The patient's LIC over the years."""

import math
from datetime import date

from matplotlib.axes import Axes

from node.report.flow import FAMILY
from quant.result import LiverIronResult

TREND_TITLE = "LIC over time, mg/g (hollow: not comparable)"
_EARLIER, _LIMIT = "#2f5f8c", "#b3541e"


def draw_trend(ax: Axes, result: LiverIronResult, size_pt: float) -> None:
    """LIC over the years: this measurement as a diamond with its interval, comparable earlier ones filled and joined,
    the others hollow; bounds are arrows. Without earlier measurements there is nothing to draw."""
    check, lic = result.prior_check, result.lic_mg_per_g
    assert check is not None  # the caller asked ``has_trend``
    assert lic is not None
    assert check.measured_on is not None
    now = _year(check.measured_on)
    joined = [(_year(p.date), p.lic_mg_per_g) for p in check.earlier if p.comparable]
    if joined and lic.bound is None:
        ax.plot(*zip(*joined, (now, lic.median), strict=True), color=_EARLIER, lw=1.3, zorder=1)
    for earlier in check.earlier:
        marker = "^" if earlier.bound else "o"
        face = _EARLIER if earlier.comparable else "white"
        when, value = _year(earlier.date), earlier.lic_mg_per_g
        ax.plot([when], [value], marker, ms=6.5, mfc=face, mec=_EARLIER, mew=1.3, zorder=3)
        low, high = earlier.interval95_mg_per_g
        if low is not None and high is not None:
            ax.plot([when, when], [low, high], color=_EARLIER, lw=1, zorder=2)
    ax.plot([now], [lic.median], "^" if lic.bound else "D", ms=7.5, color="black", zorder=4)
    if lic.bound is None:
        ax.plot([now] * 2, lic.interval95, color="black", lw=1.6, zorder=3)
    _trend_axes(ax, [_year(p.date) for p in check.earlier] + [now], size_pt)
    for view in (result.views.reference, result.views.clinical) if result.views else ():
        if view.limit_mg_per_g < ax.get_ylim()[1]:
            ax.axhline(view.limit_mg_per_g, color=_LIMIT, lw=0.9, ls="--", zorder=0)


def has_trend(result: LiverIronResult) -> bool:
    """Whether there is an earlier measurement to draw beside this one."""
    return bool(result.lic_mg_per_g is not None and result.prior_check is not None and result.prior_check.earlier)


def _trend_axes(ax: Axes, years: list[float], size_pt: float) -> None:
    margin = max(0.25, 0.06 * (years[-1] - years[0]))
    ax.set_xlim(years[0] - margin, years[-1] + margin)
    first, last = math.ceil(years[0] - margin), math.floor(years[-1] + margin)
    step = max(1, (last - first) // 6 + 1)
    ax.set_xticks(range(first, last + 1, step), [str(year) for year in range(first, last + 1, step)])
    ax.set_ylim(0, 1.08 * ax.get_ylim()[1])
    ax.locator_params(axis="y", nbins=4)
    top = ax.get_ylim()[1]
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick < 0.95 * top])
    ax.set_ylim(0, top)
    for label in (*ax.get_xticklabels(), *ax.get_yticklabels()):
        label.set_fontfamily(FAMILY)
        label.set_fontsize(size_pt)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _year(iso_date: str) -> float:
    """A date as years: 1 July 2025 is about 2025.5."""
    day = date.fromisoformat(iso_date)
    return day.year + (day.timetuple().tm_yday - 1) / 365.25
