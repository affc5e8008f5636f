"""The pictures of a report as single PNG files: for the HTML report and for people who want only the picture."""

import io
from collections.abc import Callable

import matplotlib
from matplotlib.axes import Axes

from node.report.flow import RC, Sheet
from node.report.language import ENGLISH, Catalogue
from node.report.pictures import PagePictures, ShownSlice
from node.report.plots import (
    draw_anatomy,
    draw_colour_bar,
    draw_decay,
    draw_map,
    draw_scale,
    typical_value,
    voxels_to_draw,
)
from node.report.trend import draw_trend, has_trend
from quant.grading import scheme_by_id
from quant.result import LiverIronResult

_DPI, _WIDTH_PX, _HEIGHT_PX, _MARGIN_PX, _SCALE_HEIGHT_PX = 150, 960, 720, 12, 200


def picture_files(result: LiverIronResult, pictures: PagePictures, words: Catalogue = ENGLISH) -> dict[str, bytes]:
    """File name -> PNG: ``scale``, ``anatomy``, ``map``, ``decay`` and ``trend.png``, as far as there is something to
    show."""
    shown, decay = pictures.shown, pictures.decay
    lic, grade = result.lic_mg_per_g, result.grade
    files: dict[str, bytes] = {}
    with matplotlib.rc_context(RC):
        if lic is not None and grade is not None:
            scheme, voxels = scheme_by_id(grade.scheme), voxels_to_draw(result, pictures.lic_of_voxels_mg_per_g)
            files["scale.png"] = _single(
                lambda ax: draw_scale(ax, lic, scheme, 10, words, voxels), bottom=40, height_px=_SCALE_HEIGHT_PX
            )
        if shown is not None:
            files["anatomy.png"] = _single(lambda ax: draw_anatomy(ax, shown))
            if shown.map_values is not None:
                files["map.png"] = _map(result, shown)
        if decay is not None:
            files["decay.png"] = _single(lambda ax: draw_decay(ax, decay, 11, words), left=84, bottom=84)
        if has_trend(result):
            files["trend.png"] = _single(lambda ax: draw_trend(ax, result, 11), left=84, bottom=60)
    return files


def _single(
    draw: Callable[[Axes], None],
    left: float = _MARGIN_PX,
    bottom: float = _MARGIN_PX,
    height_px: int = _HEIGHT_PX,
) -> bytes:
    sheet = Sheet(width_px=_WIDTH_PX, height_px=height_px, dpi=_DPI)
    size = (_WIDTH_PX - left - _MARGIN_PX, height_px - _MARGIN_PX - bottom)
    draw(sheet.figure.add_axes(sheet.box(left, _MARGIN_PX, *size)))
    return _png(sheet)


def _map(result: LiverIronResult, shown: ShownSlice) -> bytes:
    sheet = Sheet(width_px=_WIDTH_PX + 120, height_px=_HEIGHT_PX, dpi=_DPI)
    height = _HEIGHT_PX - 2 * _MARGIN_PX
    ax = sheet.figure.add_axes(sheet.box(_MARGIN_PX, _MARGIN_PX, _WIDTH_PX - 2 * _MARGIN_PX, height))
    image = draw_map(ax, shown, typical_value(result, shown))
    bar = sheet.figure.add_axes(sheet.box(_WIDTH_PX + 10, _MARGIN_PX + 8, 28, height - 16))
    draw_colour_bar(sheet.figure, bar, image, 11)
    return _png(sheet)


def _png(sheet: Sheet) -> bytes:
    stream = io.BytesIO()
    sheet.figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()
