"""The picture page: one A4-proportioned page that reads in ten seconds in any PACS viewer.

1240 x 1754 pixels (A4 at 150 dpi), so that it prints at its size and stays legible scaled to 1024 pixels. The same
figure gives the pixels of the Secondary Capture, the PNG and the PDF (text as text).
"""

import io
from dataclasses import dataclass, replace
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.image import imsave

from node.report.content import TITLE, ReportContent, report_content
from node.report.flow import RC, Sheet, Style
from node.report.language import ENGLISH, Catalogue, translated
from node.report.page_columns import Room, draw_columns
from node.report.page_head import draw_banner, draw_refusal, draw_statements, draw_verdict
from node.report.page_identity import draw_identity
from node.report.page_style import (
    BODY,
    FOOT,
    INSET,
    LABEL,
    MARGIN,
    PAGE_DPI,
    PAGE_HEIGHT_PX,
    PAGE_WIDTH_PX,
    PANEL,
    RULE,
    SMALLEST_PT,
    STRONG,
    WIDTH,
    rectangle,
)
from node.report.pictures import NO_IMAGE, PagePictures, PatientLines, ShownSlice
from node.report.plots import (
    MAP_NAMES,
    MAP_UNITS,
    draw_anatomy,
    draw_colour_bar,
    draw_decay,
    draw_map,
    map_caption,
    typical_value,
)
from node.report.trend import has_trend
from quant.result import LiverIronResult

__all__ = ["PAGE_HEIGHT_PX", "PAGE_WIDTH_PX", "PagePictures", "PatientLines", "RenderedPage", "render_page"]

_TITLE_SIZES = (STRONG.size_pt, 9.0, 8.5, SMALLEST_PT)
_LAYOUTS = (
    (0.72, True, Room.ALL),
    (0.6, True, Room.CLINICAL),
    (0.48, True, Room.CLINICAL),
    (0.48, False, Room.NOT_ENOUGH),
)
"""Height of the pictures in shares of their width, whether the trend is drawn, and the least that must have room."""
_NO_IMAGE_PX = 120
_GAP, _BAR, _AXIS = 20, 62, 44  # between pictures, for the colour bar, for the curve's axis


@dataclass(frozen=True, kw_only=True)
class RenderedPage:
    """The page three times: ``rgb`` (rows, columns, 3) uint8, ``png`` and ``pdf`` bytes."""

    rgb: npt.NDArray[np.uint8]
    png: bytes
    pdf: bytes


def render_page(result: LiverIronResult, pictures: PagePictures, words: Catalogue = ENGLISH) -> RenderedPage:
    """The page of ``result`` in the language of ``words``; equal input gives equal bytes."""
    with matplotlib.rc_context(RC):
        sheet = draw_page(result, pictures, words)
        rgb = sheet.pixels()
        png, pdf = io.BytesIO(), io.BytesIO()
        no_name: Any = {"Software": None}
        imsave(png, rgb, format="png", dpi=PAGE_DPI, metadata=no_name)
        nothing = {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None}
        sheet.figure.savefig(pdf, format="pdf", metadata={**nothing, "Title": words(TITLE)})
    return RenderedPage(rgb=rgb, png=png.getvalue(), pdf=pdf.getvalue())


def draw_page(result: LiverIronResult, pictures: PagePictures, words: Catalogue = ENGLISH) -> Sheet:
    """The page as a figure."""
    content = translated(report_content(result), words)
    sheet = Sheet(width_px=PAGE_WIDTH_PX, height_px=PAGE_HEIGHT_PX, dpi=PAGE_DPI, words=words)
    top = _head(sheet, content, result, pictures)
    head = sheet.drawn()
    for share, with_trend, least in _LAYOUTS:
        area = _picture_area(sheet, pictures, top, share)
        with_trend = with_trend and has_trend(result)
        room = draw_columns(sheet, content, result, area.bottom, with_trend=with_trend)
        sheet.take_off_all_but(head)
        if room >= least:
            break
    _pictures(sheet, result, pictures, area)  # in the order in which the PDF is read aloud
    draw_columns(sheet, content, result, area.bottom, with_trend=with_trend)
    _footer(sheet, content)
    return sheet


def _head(sheet: Sheet, content: ReportContent, result: LiverIronResult, pictures: PagePictures) -> float:
    """Everything above the pictures; gives the pixel position below it."""
    draw_banner(sheet, content)
    top = draw_identity(sheet, content, pictures, 46)
    if content.headline.kind == "refused":
        return draw_refusal(sheet, content, top)
    top = draw_verdict(sheet, content, result, pictures, top)
    return draw_statements(sheet, content, top)


@dataclass(frozen=True, kw_only=True)
class _Area:
    """Where the pictures stand: titles at ``top``, below them ``width`` x ``height``, ``bottom`` below all."""

    top: float
    width: float
    height: float
    bottom: float


def _picture_area(sheet: Sheet, pictures: PagePictures, top: float, share: float) -> _Area:
    """Room for anatomy, map with its bar, and the decay curve where there is one, side by side."""
    if pictures.shown is None:
        return _Area(top=top, width=WIDTH, height=_NO_IMAGE_PX, bottom=top + _NO_IMAGE_PX + 14)
    with_curve = pictures.decay is not None
    width = (WIDTH - _BAR - 2 * _GAP - (_AXIS + _GAP if with_curve else 0)) / (3 if with_curve else 2)
    height = width * share
    return _Area(
        top=top, width=width, height=height, bottom=_below_title(sheet, top) + height + sheet.line_px(LABEL) + 10
    )


def _below_title(sheet: Sheet, top: float) -> float:
    return top + sheet.line_px(STRONG) + 4


def _pictures(sheet: Sheet, result: LiverIronResult, pictures: PagePictures, area: _Area) -> None:
    """Anatomy, map with its bar, and the decay curve where there is one; or that there is no image."""
    shown, top, width, height = pictures.shown, area.top, area.width, area.height
    if shown is None:
        _no_image(sheet, area)
        return
    body = _below_title(sheet, top)
    title = "First echo"
    if shown.region is not None:
        title += "; rejected candidate dashed" if shown.region_rejected else "; region outlined"
    _title(sheet, sheet.words(title), (MARGIN, top, width))
    draw_anatomy(sheet.figure.add_axes(sheet.box(MARGIN, body, width, height)), shown)
    where = sheet.words(f"Slice {shown.slice_number} of {shown.n_slices}")
    sheet.put(where, MARGIN, body + height + 2, LABEL)
    left = MARGIN + width + _GAP
    if shown.map_values is not None:
        _map(sheet, result, shown, (left, top, width, height))
    if pictures.decay is not None:
        left += width + _BAR + _GAP
        _title(sheet, sheet.words("Signal decay, % of TE = 0"), (left, top, PAGE_WIDTH_PX - MARGIN - left))
        ax = sheet.figure.add_axes(sheet.box(left + _AXIS, body, PAGE_WIDTH_PX - MARGIN - left - _AXIS, height - 26))
        draw_decay(ax, pictures.decay, 9, sheet.words)


def _map(sheet: Sheet, result: LiverIronResult, shown: ShownSlice, box: tuple[float, float, float, float]) -> None:
    """The map under its title, with its colour bar on the right and what it covers below."""
    left, top, width, height = box
    body = _below_title(sheet, top)
    title = sheet.words(MAP_NAMES[shown.map_quantity])
    _title(sheet, f"{title}, {MAP_UNITS[shown.map_quantity]}", (left, top, width))
    ax = sheet.figure.add_axes(sheet.box(left, body, width, height))
    image = draw_map(ax, shown, typical_value(result, shown))
    ax.apply_aspect()
    drawn = ax.get_position()
    right, tall = drawn.x1 * PAGE_WIDTH_PX, drawn.height * PAGE_HEIGHT_PX
    bar = sheet.figure.add_axes(sheet.box(right + 8, body, 16, tall))
    draw_colour_bar(sheet.figure, bar, image, 9)
    sheet.put(sheet.words(map_caption(shown)), left, body + height + 2, LABEL)


def _title(sheet: Sheet, text: str, place: tuple[float, float, float]) -> None:
    """A picture's title at (left, top, width), a little smaller where it would be wider than its picture."""
    left, top, width = place
    style = replace(STRONG, size_pt=sheet.largest([(text, STRONG)], width, sheet.line_px(STRONG), _TITLE_SIZES))
    sheet.put(text, left, top, style)


def _no_image(sheet: Sheet, area: _Area) -> None:
    """An empty picture area that says so, so that nobody looks for a picture elsewhere."""
    rectangle(sheet, (MARGIN, area.top, area.width, area.height), PANEL)
    sheet.put(sheet.words(NO_IMAGE), MARGIN + INSET, area.top + (area.height - sheet.line_px(BODY)) / 2, BODY)


def _footer(sheet: Sheet, content: ReportContent) -> None:
    rectangle(sheet, (MARGIN, FOOT, WIDTH, 1.5), RULE)
    style = Style(size_pt=8.5, colour="#5a6570")
    sheet.put(content.method, MARGIN, FOOT + 8, style)
    sheet.put(content.labels[0], PAGE_WIDTH_PX - MARGIN, FOOT + 8, style, align="right")
