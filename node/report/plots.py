"""The drawings of a report: anatomy and map with the region's outline, decay curve, LIC scale."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from node.report.flow import FAMILY
from node.report.language import ENGLISH, Catalogue
from node.report.pictures import MapQuantity, ShownSlice
from quant.acquisition import BoolArray
from quant.grading import GradeScheme
from quant.region import PooledDecay
from quant.result import LicStatistics, LiverIronResult

PALETTE = "viridis"  # perceptually uniform, readable in grey print and by colour-blind readers
UNMEASURED = "#000000"
COLOUR_MARGIN_MM = 4.0  # colour goes this far beyond the region: its edge, and vessels left out, stay recognisable
_DIMMED = 1.7  # the grey under the colours ends at this times its usual white
OUTLINE, OUTLINE_SHADOW, REJECTED = "#ffe14d", "#000000", "#ff8c1a"
BANDS = ("#dfe9f2", "#bcd3e6", "#8fb4d4", "#5b8db8", "#2f5f8c")
MAP_NAMES = {"lic_mg_per_g": "LIC map", "r2star_per_s": "R2* map"}
MAP_UNITS = {"lic_mg_per_g": "mg/g", "r2star_per_s": "/s"}
_MAP_TOPS = {
    "lic_mg_per_g": (4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 45.0),
    "r2star_per_s": (100.0, 200.0, 300.0, 400.0, 600.0, 800.0, 1200.0, 1600.0),
}
SCALE_PX, SCALE_WITH_VOXELS_PX = 52, 100
SCALE_TITLE = "LIC, mg/g, with the limits of the grades and the voxels of the region"
VOXELS_TITLE = "Voxels of the region"
_BAND_PX = 26
_SCALE_ENDS = (0.4, 50.0)
_VOXEL_BINS = 120
_SHORT_IN = 1.0  # height of the decay's axes in inches below which the names of its lines are smaller
_VOXELS, _LIMIT = "#8a97a3", "#9c3d00"


def body_box(anatomy: npt.NDArray[np.floating[Any]]) -> tuple[slice, slice]:
    """Rows and columns that hold the body, with a small margin; everything where nothing stands out."""
    neighbours = np.lib.stride_tricks.sliding_window_view(np.pad(np.nan_to_num(anatomy), 1, "edge"), (3, 3))
    smooth = np.median(neighbours, axis=(-2, -1))  # noise in air is bright in single pixels only
    bright = smooth > 0.12 * float(np.nanpercentile(anatomy, 99))
    box = []
    for axis, size in ((1, anatomy.shape[0]), (0, anatomy.shape[1])):
        lines = np.flatnonzero(bright.mean(axis=axis) > 0.04)
        margin = size // 32
        first, last = (0, size) if lines.size == 0 else (int(lines[0]) - margin, int(lines[-1]) + margin + 1)
        box.append(slice(max(first, 0), min(last, size)))
    return box[0], box[1]


def draw_anatomy(ax: Axes, shown: ShownSlice) -> None:
    """First echo in grey with the region's outline."""
    rows, columns = body_box(shown.anatomy)
    anatomy = shown.anatomy[rows, columns]
    top = float(np.nanpercentile(anatomy, 99.5)) or 1.0
    ax.imshow(anatomy, cmap="gray", vmin=0, vmax=top, interpolation="nearest", aspect=_aspect(shown))
    _finish(ax, shown, rows, columns, OUTLINE)


def draw_map(ax: Axes, shown: ShownSlice, typical: float) -> ScalarMappable:
    """The map in colour with the region's outline; ``typical`` is the region's value and sets the colour range.

    The relation of R2* to iron holds in the liver only: LIC is coloured in the region and a small margin, over dimmed
    anatomy; voxels without a value are black there. R2* is coloured everywhere.
    """
    assert shown.map_values is not None  # the caller leaves the space out otherwise
    rows, columns = body_box(shown.anatomy)
    values, coloured = shown.map_values[rows, columns], coloured_part(shown)[rows, columns]
    style: Any = {"interpolation": "nearest", "aspect": _aspect(shown)}
    anatomy = shown.anatomy[rows, columns]
    top = float(np.nanpercentile(anatomy, 99.5)) or 1.0
    grey = np.where(coloured, 0.0, anatomy)
    ax.imshow(grey, cmap="gray", vmin=0, vmax=_DIMMED * top, **style)
    norm = Normalize(0, map_top(shown.map_quantity, typical))
    image = ax.imshow(np.where(coloured, values, np.nan), cmap=PALETTE, norm=norm, **style)
    ax.set_facecolor(UNMEASURED)
    _finish(ax, shown, rows, columns, "white")
    return image


def coloured_part(shown: ShownSlice) -> BoolArray:
    """Where the map is coloured, (y, x)."""
    if shown.map_quantity == "r2star_per_s":
        return np.ones(shown.anatomy.shape, dtype=bool)
    if shown.region is None or shown.region_rejected:
        return np.zeros(shown.anatomy.shape, dtype=bool)
    reach = [int(COLOUR_MARGIN_MM / mm) for mm in shown.pixel_spacing_mm]
    padded = np.pad(shown.region, [(n, n) for n in reach])
    near = np.zeros_like(shown.region)
    n_rows, n_columns = near.shape
    for dy in range(-reach[0], reach[0] + 1):
        for dx in range(-reach[1], reach[1] + 1):
            if np.hypot(dy * shown.pixel_spacing_mm[0], dx * shown.pixel_spacing_mm[1]) <= COLOUR_MARGIN_MM:
                near |= padded[reach[0] + dy :, reach[1] + dx :][:n_rows, :n_columns]
    return near


def map_caption(shown: ShownSlice) -> str:
    """What the colours cover, and that black is no value, where there is such a voxel."""
    if shown.map_values is None:
        return ""
    missing = not np.isfinite(shown.map_values[coloured_part(shown)]).all()
    if shown.map_quantity == "r2star_per_s":
        return "Black: no value" if missing else ""
    return "Liver region only" + ("; black: no value" if missing else "")


def typical_value(result: LiverIronResult, shown: ShownSlice) -> float:
    """The value that the colour range is chosen for: the region's, refused or not, else the image's."""
    statistics = result.lic_mg_per_g if shown.map_quantity == "lic_mg_per_g" else result.r2star_per_s
    if statistics is not None:
        return statistics.median
    values = np.empty(0) if shown.map_values is None else shown.map_values
    if shown.region is not None and np.isfinite(values[shown.region]).any():
        values = values[shown.region]
    return float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0


def map_top(quantity: MapQuantity, typical: float) -> float:
    """Upper end of the colour range: the lowest of a few fixed values that leaves the region room above it."""
    tops = _MAP_TOPS[quantity]
    return next((top for top in tops if top >= 1.6 * typical), tops[-1])


def draw_colour_bar(figure: Figure, ax: Axes, image: ScalarMappable, size_pt: float) -> None:
    """A colour bar in ``ax``; its top is open where the map may exceed it."""
    bar = figure.colorbar(image, cax=ax, extend="max", extendfrac=0.03)
    bar.set_ticks([float(tick) for tick in bar.get_ticks() if tick <= image.get_clim()[1]])
    for label in ax.get_yticklabels():
        label.set_fontfamily(FAMILY)
        label.set_fontsize(size_pt)


def _aspect(shown: ShownSlice) -> float:
    return shown.pixel_spacing_mm[0] / shown.pixel_spacing_mm[1]


def _finish(ax: Axes, shown: ShownSlice, rows: slice, columns: slice, colour: str) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_anchor("NW")
    if shown.region is not None:
        _outline(ax, shown.region[rows, columns], colour, rejected=shown.region_rejected)
    left, right, _, _ = shown.edges
    text: Any = {"family": FAMILY, "fontsize": 9, "fontweight": "bold", "color": "white", "va": "bottom"}
    text["bbox"] = {"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 1.5}
    ax.text(0.02, 0.02, left, ha="left", transform=ax.transAxes, **text)
    ax.text(0.98, 0.02, right, ha="right", transform=ax.transAxes, **text)


def _outline(ax: Axes, region: BoolArray, colour: str, *, rejected: bool) -> None:
    loops = outline_loops(region)
    ax.add_collection(LineCollection(loops, colors=OUTLINE_SHADOW, linewidths=2.8), autolim=False)
    inner: Any = {"colors": REJECTED, "linestyles": (0, (4, 2.5))} if rejected else {"colors": colour}
    ax.add_collection(LineCollection(loops, linewidths=1.5, **inner), autolim=False)


def outline_loops(region: BoolArray) -> list[list[tuple[float, float]]]:
    """The pixel edges around ``region`` (y, x) as closed loops of (x, y) corners, the region on the right."""
    padded = np.pad(region, 1)
    onward: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for y, x in zip(*np.nonzero(padded), strict=True):
        y, x = int(y), int(x)
        for outside, start, stop in (
            (padded[y - 1, x], (x, y), (x + 1, y)),
            (padded[y, x + 1], (x + 1, y), (x + 1, y + 1)),
            (padded[y + 1, x], (x + 1, y + 1), (x, y + 1)),
            (padded[y, x - 1], (x, y + 1), (x, y)),
        ):
            if not outside:
                onward.setdefault(start, []).append(stop)
    loops = []
    while onward:
        start = next(iter(onward))
        loop, corner = [start], start
        while corner in onward:
            following = onward[corner].pop()
            if not onward[corner]:
                del onward[corner]
            loop.append(following)
            corner = following
        loops.append([(x - 1.5, y - 1.5) for x, y in loop])
    return loops


def draw_decay(ax: Axes, decay: PooledDecay, size_pt: float, words: Catalogue = ENGLISH) -> None:
    """Measured points, fitted curve and noise floor."""
    scale = 100 / float(max(np.max(decay.curve), np.max(decay.signal)))
    ax.plot(1000 * decay.curve_times_s, scale * decay.curve, color="#2f5f8c", lw=1.8, label=words("fit"))
    points: Any = {"color": "black", "ms": 5, "zorder": 3}
    ax.plot(1000 * decay.echo_times_s, scale * decay.signal, "o", label=words("measured"), **points)
    ax.axhline(scale * decay.noise_floor, color="#b3541e", lw=1.3, ls="--", label=words("noise floor"))
    ax.set_xlim(0, 1050 * float(decay.echo_times_s[-1]))
    ax.set_ylim(0, 105)
    ax.set_yticks((0, 25, 50, 75, 100))
    ax.set_xticks([tick for tick in ax.get_xticks() if tick <= ax.get_xlim()[1]])
    ax.set_xlabel(words("Echo time, ms"), family=FAMILY, fontsize=size_pt, labelpad=2)
    for label in (*ax.get_xticklabels(), *ax.get_yticklabels()):
        label.set_fontfamily(FAMILY)
        label.set_fontsize(size_pt)
    slow = decay.curve[len(decay.curve) // 2] > 0.5 * decay.curve[0]
    anchor = ("lower left", (0.0, 0.05)) if slow else ("upper right", (1.0, 1.0))
    short = ax.bbox.height / ax.figure.dpi < _SHORT_IN
    legend_pt = min(size_pt, 8.0) if short else size_pt
    style: Any = {"prop": {"family": FAMILY, "size": legend_pt}, "loc": anchor[0], "bbox_to_anchor": anchor[1]}
    ax.legend(frameon=False, handlelength=1.4, borderpad=0.1, labelspacing=0.2, **style)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def voxels_to_draw(
    result: LiverIronResult, voxels: npt.NDArray[np.floating[Any]] | None
) -> npt.NDArray[np.floating[Any]] | None:
    """The voxels whose histogram is shown: none under a lower bound, for they lie beyond what could be measured."""
    bounded = result.lic_mg_per_g is None or result.lic_mg_per_g.bound is not None
    return None if bounded or voxels is None or voxels.size == 0 else voxels


def draw_scale(
    ax: Axes,
    lic: LicStatistics,
    scheme: GradeScheme,
    size_pt: float,
    words: Catalogue = ENGLISH,
    voxels: npt.NDArray[np.floating[Any]] | None = None,
) -> None:
    """The bands of the grade scheme on a logarithmic LIC axis, with the value and its interval; above them how the
    region's ``voxels`` (n,) mg/g lie to the limits. What lies beyond the axis is counted at its end."""
    low, high = _SCALE_ENDS
    band = _BAND_PX / (SCALE_PX if voxels is None else SCALE_WITH_VOXELS_PX)
    edges = (low, *scheme.edges_mg_per_g, high)
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(0, 1)
    for index, (start, stop) in enumerate(pairwise(edges)):
        colour = BANDS[min(index, len(BANDS) - 1)]
        ax.axvspan(start, stop, ymin=0, ymax=band, color=colour, lw=0)
        text: Any = {"family": FAMILY, "fontsize": size_pt, "color": "white" if index > 2 else "#1a1a1a"}
        ax.text(float(np.sqrt(start * stop)), band / 2, words(scheme.labels[index]), ha="center", va="center", **text)
    ax.set_xticks(scheme.edges_mg_per_g, [f"{edge:.3g}" for edge in scheme.edges_mg_per_g])
    ax.set_xticks([], minor=True)
    if voxels is not None:
        _histogram(ax, voxels, 2 * band, words)
        for edge in scheme.edges_mg_per_g:
            ax.axvline(edge, ymin=band, ymax=0.88, color=_LIMIT, lw=0.9, ls="--")
    _mark(ax, lic, 1.5 * band)
    for label in ax.get_xticklabels():
        label.set_fontfamily(FAMILY)
        label.set_fontsize(size_pt)
    ax.set_yticks([])
    for side in ("top", "left", "right"):
        ax.spines[side].set_visible(False)


def _histogram(ax: Axes, voxels: npt.NDArray[np.floating[Any]], base: float, words: Catalogue) -> None:
    """The voxels' distribution from ``base`` to the top, and its name where it leaves room."""
    low, high = _SCALE_ENDS
    edges = np.geomspace(low, high, _VOXEL_BINS + 1)
    counts, _ = np.histogram(np.clip(voxels, low, high), edges)
    heights = base + (1 - base) * counts / max(int(counts.max()), 1)
    ax.stairs(heights, edges, baseline=base, fill=True, color=_VOXELS, lw=0)
    left = float(np.median(voxels)) > np.sqrt(low * high)
    place: Any = {"x": 0.0 if left else 1.0, "ha": "left" if left else "right", "transform": ax.transAxes}
    ax.text(y=0.98, s=words(VOXELS_TITLE), va="top", family=FAMILY, fontsize=8.5, color="#3c4a57", **place)


def _mark(ax: Axes, lic: LicStatistics, y: float) -> None:
    """The value with its interval at height ``y``; a lower bound as an arrow from the bound upwards, open at its
    end."""
    low, high = _SCALE_ENDS
    if lic.bound is not None:
        start = min(max(lic.median, low), 0.8 * high)
        arrow: Any = {"arrowstyle": "-|>,head_width=0.45,head_length=0.8", "color": "black", "lw": 3.2}
        arrow |= {"shrinkA": 0, "shrinkB": 0}
        ax.annotate("", xy=(high, y), xytext=(start, y), arrowprops=arrow)
        ax.plot([start, start], [y - 0.23, y + 0.23], color="black", lw=3.2, solid_capstyle="butt")
        return
    value = min(max(lic.median, low), high)
    first, last = (min(max(end, low), high) for end in lic.interval95)
    ax.plot([first, last], [y, y], color="black", lw=2.2, solid_capstyle="butt")
    ax.plot([value], [y], marker="D", ms=8, color="black")
