"""The picture page: one A4-proportioned page that reads in ten seconds in any PACS viewer.

1240 x 1754 pixels (A4 at 150 dpi), so that it prints at its size and stays legible scaled to 1024 pixels. The same
figure gives the pixels of the Secondary Capture, the PNG and the PDF (text as text).
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.image import imsave

from node.report.content import ReportContent, report_content
from node.report.flow import RC, Sheet, Style
from node.report.pictures import NO_IMAGE, PagePictures, PatientLines
from node.report.plots import (
    MAP_NAMES,
    MAP_UNITS,
    draw_anatomy,
    draw_colour_bar,
    draw_decay,
    draw_map,
    draw_scale,
    typical_value,
)
from quant.grading import scheme_by_id
from quant.result import LiverIronResult

__all__ = ["PagePictures", "PatientLines", "RenderedPage", "render_page"]

PAGE_WIDTH_PX, PAGE_HEIGHT_PX, PAGE_DPI = 1240, 1754, 150
_MARGIN = 56
_WIDTH = PAGE_WIDTH_PX - 2 * _MARGIN
_GUTTER = 36
_COLUMN = (_WIDTH - _GUTTER) / 2
_RIGHT = _MARGIN + _COLUMN + _GUTTER
_GAP, _BAR, _AXIS = 20, 62, 44  # between pictures, for the colour bar, for the curve's axis
_FOOT = PAGE_HEIGHT_PX - 48

_BODY = Style(size_pt=9.5)
_LABEL = Style(size_pt=9, colour="#5a6570")
_STRONG = Style(size_pt=9.5, weight="bold")
_HEADING = Style(size_pt=11.5, weight="bold", colour="#12365a")
_WARNING = Style(size_pt=9.5, weight="bold", colour="#9c3d00")
_INK, _PANEL, _REFUSED_PANEL, _RULE = "#12365a", "#eef3f8", "#fbeee2", "#b8c4d0"
_SIZES = (10.0, 9.5, 9.0, 8.5, 8.0)


@dataclass(frozen=True, kw_only=True)
class RenderedPage:
    """The page three times: ``rgb`` (rows, columns, 3) uint8, ``png`` and ``pdf`` bytes."""

    rgb: npt.NDArray[np.uint8]
    png: bytes
    pdf: bytes


def render_page(result: LiverIronResult, pictures: PagePictures) -> RenderedPage:
    """The page of ``result``; equal input gives equal bytes."""
    with matplotlib.rc_context(RC):
        sheet = draw_page(result, pictures)
        rgb = sheet.pixels()
        png, pdf = io.BytesIO(), io.BytesIO()
        no_name: Any = {"Software": None}
        imsave(png, rgb, format="png", dpi=PAGE_DPI, metadata=no_name)
        nothing = {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None}
        sheet.figure.savefig(pdf, format="pdf", metadata={**nothing, "Title": "Liver iron report"})
    return RenderedPage(rgb=rgb, png=png.getvalue(), pdf=pdf.getvalue())


def draw_page(result: LiverIronResult, pictures: PagePictures) -> Sheet:
    """The page as a figure."""
    content = report_content(result)
    sheet = Sheet(width_px=PAGE_WIDTH_PX, height_px=PAGE_HEIGHT_PX, dpi=PAGE_DPI)
    _banner(sheet, content)
    top = _identity(sheet, content, pictures.patient)
    if content.headline.kind == "refused":
        top = _refusal(sheet, content, top)
    else:
        top = _verdict(sheet, content, result, top)
        top = _statements(sheet, content, top)
    top = _pictures(sheet, result, pictures, top)
    top = _numbers(sheet, content, top)
    _follow_up(sheet, content, top)
    _quality(sheet, content, top)
    _footer(sheet, content)
    return sheet


def _rectangle(sheet: Sheet, box: tuple[float, float, float, float], colour: str) -> None:
    left, bottom, width, height = sheet.box(*box)
    ax = sheet.figure.add_axes((left, bottom, width, height), zorder=-1, facecolor=colour)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _banner(sheet: Sheet, content: ReportContent) -> None:
    _rectangle(sheet, (0, 0, PAGE_WIDTH_PX, 40), _INK)
    style = Style(size_pt=10.5, weight="bold", colour="white")
    sheet.put("   ".join(content.labels), _MARGIN, 6, style)


def _identity(sheet: Sheet, content: ReportContent, patient: PatientLines) -> float:
    title = Style(size_pt=17, weight="bold", colour=_INK)
    sheet.put(content.title, _MARGIN, 48, title)
    cells = (
        ("Patient", patient.display_name),
        ("Born", " ".join(part for part in (patient.birth_date, patient.sex) if part)),
        ("Study date", patient.study_date),
        ("Patient ID", patient.patient_id),
        ("Accession", patient.accession_number),
        ("Institution", patient.institution),
    )
    widths = (0.44, 0.26, 0.30)
    top = 98.0
    for row in (cells[:3], cells[3:]):
        left = float(_MARGIN)
        for (label, value), share in zip(row, widths, strict=True):
            _cell(sheet, label, value or "not given", left, top, share * _WIDTH - 16)
            left += share * _WIDTH
        top += sheet.line_px(_STRONG) + 4
    scanner = "; ".join(value for label, value in content.scanner if label in ("Scanner", "Echoes", "Images"))
    if scanner:
        _cell(sheet, "Scanner", scanner, _MARGIN, top, _WIDTH, Style(size_pt=9))
        top += sheet.line_px(_STRONG)
    return top + 12


def _cell(sheet: Sheet, label: str, value: str, left: float, top: float, width: float, style: Style = _STRONG) -> None:
    sheet.put(label, left, top, _LABEL)
    start = sheet.width(label, _LABEL) + 12
    sheet.put(sheet.shorten(value, style, width - start), left + start, top, style)


def _verdict(sheet: Sheet, content: ReportContent, result: LiverIronResult, top: float) -> float:
    head = content.headline
    scale = result.lic_mg_per_g is not None and result.grade is not None
    height = 248 if scale else 166
    _rectangle(sheet, (_MARGIN, top, _WIDTH, height), _PANEL)
    left = _MARGIN + 22
    small = Style(size_pt=11, weight="bold", colour="#3c4a57")
    sheet.put("Liver iron concentration" if head.kind == "lic" else "R2* only, no LIC", left, top + 8, small)
    big = Style(size_pt=40, weight="bold", colour=_INK)
    unit = Style(size_pt=20, weight="bold", colour=_INK)
    x: float = left
    for text, style in ((head.prefix, unit), (head.value, big), (head.unit, unit)):
        if text:
            base = top + 26 + (sheet.line_px(big) - sheet.line_px(style)) * 0.78
            sheet.put(text, x, base, style)
            x += sheet.width(text, style) + 16
    sheet.put(head.interval, left, top + 127, Style(size_pt=11.5))
    _grade(sheet, content, top, x)
    if scale:
        assert result.lic_mg_per_g is not None and result.grade is not None  # noqa: PT018 - as `scale` says
        ax = sheet.figure.add_axes(sheet.box(left, top + 164, _WIDTH - 44, 52), facecolor="none")
        draw_scale(ax, result.lic_mg_per_g, scheme_by_id(result.grade.scheme), 9.5)
    return top + height + 10


def _grade(sheet: Sheet, content: ReportContent, top: float, value_end: float) -> None:
    head = content.headline
    left = max(_RIGHT, value_end + 20)
    width = PAGE_WIDTH_PX - _MARGIN - 16 - left
    small = Style(size_pt=11, weight="bold", colour="#3c4a57")
    sheet.put("Grade", left, top + 8, small)
    grade = head.grade[:1].upper() + head.grade[1:]
    style = Style(weight="bold", colour=_INK)
    style = replace(style, size_pt=sheet.largest([(grade, style)], width, 76, (27, 22, 18, 15)))
    sheet.put(sheet.shorten(grade, style, width), left, top + 34, style)
    sheet.put(sheet.shorten(head.grade_detail, _BODY, width), left, top + 102, _BODY)
    if head.borderline:
        sheet.put(sheet.shorten(head.borderline, _WARNING, width), left, top + 127, _WARNING)


def _statements(sheet: Sheet, content: ReportContent, top: float) -> float:
    for statement in content.statements:
        sheet.put(f"{statement.question}: {statement.answer}", _MARGIN, top, _HEADING)
        top = sheet.paragraph(statement.text, _MARGIN, top + sheet.line_px(_HEADING), _WIDTH, _BODY) + 6
    return top + 6


def _refusal(sheet: Sheet, content: ReportContent, top: float) -> float:
    text_style = Style(size_pt=11)
    inner = _WIDTH - 44
    paragraphs = (("Why", content.reasons), ("What to do", content.advice))
    lines = sum(len(sheet.wrap(text, text_style, inner)) for _, texts in paragraphs for text in texts)
    headings = sum(1 for _, texts in paragraphs if texts)
    height = 96 + lines * sheet.line_px(text_style) + headings * (sheet.line_px(_HEADING) + 8) + 14
    _rectangle(sheet, (_MARGIN, top, _WIDTH, height), _REFUSED_PANEL)
    left: float = _MARGIN + 22
    big = Style(size_pt=30, weight="bold", colour="#7a2f00")
    sheet.put(content.headline.value, left, top + 14, big)
    y = top + 96
    for heading, texts in paragraphs:
        if not texts:
            continue
        sheet.put(heading, left, y, replace(_HEADING, colour="#7a2f00"))
        y += sheet.line_px(_HEADING)
        for text in texts:
            y = sheet.paragraph(text, left, y, inner, text_style)
        y += 8
    return top + height + 14


def _pictures(sheet: Sheet, result: LiverIronResult, pictures: PagePictures, top: float) -> float:
    """Anatomy, map with its bar, and the decay curve where there is one, side by side; or that there is no image."""
    shown = pictures.shown
    if shown is None:
        return _no_image(sheet, top)
    with_curve = pictures.decay is not None
    width = (_WIDTH - _BAR - 2 * _GAP - (_AXIS + _GAP if with_curve else 0)) / (3 if with_curve else 2)
    height = width * 0.74
    where = f"Slice {shown.slice_number} of {shown.n_slices}"
    outline = ""
    if shown.region is not None:
        outline = "; rejected candidate dashed" if shown.region_rejected else "; region outlined"
    sheet.put(f"First echo{outline}", _MARGIN, top, _STRONG)
    body = top + sheet.line_px(_STRONG) + 4
    draw_anatomy(sheet.figure.add_axes(sheet.box(_MARGIN, body, width, height)), shown)
    sheet.put(where, _MARGIN, body + height + 2, _LABEL)
    left = _MARGIN + width + _GAP
    if shown.map_values is not None:
        sheet.put(f"{MAP_NAMES[shown.map_quantity]}, {MAP_UNITS[shown.map_quantity]}", left, top, _STRONG)
        ax = sheet.figure.add_axes(sheet.box(left, body, width, height))
        image = draw_map(ax, shown, typical_value(result, shown))
        bar = sheet.figure.add_axes(sheet.box(left + width + 8, body, 16, height))
        draw_colour_bar(sheet.figure, bar, image, 9)
    if pictures.decay is not None:
        left += width + _BAR + _GAP
        sheet.put("Signal decay, % of TE = 0", left, top, _STRONG)
        ax = sheet.figure.add_axes(sheet.box(left + _AXIS, body, PAGE_WIDTH_PX - _MARGIN - left - _AXIS, height - 26))
        draw_decay(ax, pictures.decay, 9)
    return body + height + sheet.line_px(_LABEL) + 14


def _no_image(sheet: Sheet, top: float) -> float:
    """An empty picture area that says so, so that nobody looks for a picture elsewhere."""
    height = 120
    _rectangle(sheet, (_MARGIN, top, _WIDTH, height), _PANEL)
    sheet.put(NO_IMAGE, _MARGIN + 22, top + (height - sheet.line_px(_BODY)) / 2, _BODY)
    return top + height + 14


def _numbers(sheet: Sheet, content: ReportContent, top: float) -> float:
    """The numbers on the left, where they come from on the right."""
    right = [*content.calibration]
    if content.others:
        right.append(("Others give", ", ".join(f"{other.name} {other.lic}" for other in content.others) + " mg/g"))
    wanted = ("Fit",) if content.numbers else ("Echo times", "Fit")
    right += [row for row in content.scanner if row[0] in wanted]
    if not content.numbers:
        return _table(sheet, right, _MARGIN, top, _WIDTH) + 14
    return max(_table(sheet, content.numbers, _MARGIN, top, _COLUMN), _table(sheet, right, _RIGHT, top, _COLUMN)) + 14


def _table(sheet: Sheet, rows: Sequence[tuple[str, str]], left: float, top: float, width: float) -> float:
    value_left = max((sheet.width(label, _LABEL) for label, _ in rows), default=0.0) + 16
    for label, value in rows:
        sheet.put(label, left, top, _LABEL)
        top = sheet.paragraph(value, left + value_left, top, width - value_left, _BODY) + 1
    return top


def _follow_up(sheet: Sheet, content: ReportContent, top: float) -> None:
    heading = f"Follow-up: {content.follow_up_title}"
    lines = sheet.wrap(heading, _HEADING, _COLUMN)
    for line in lines:
        sheet.put(line, _MARGIN, top, _HEADING)
        top += sheet.line_px(_HEADING)
    entries = ((content.follow_up_flags, _WARNING), (content.follow_up_text, _BODY), (content.prior, _BODY))
    _fill(sheet, [entry for entry in entries if entry[0]], _MARGIN, top)


def _quality(sheet: Sheet, content: ReportContent, top: float) -> None:
    count = len(content.warnings)
    nothing = "Quality: no warnings" if content.scanner else "Quality: not assessed"
    heading = nothing if count == 0 else f"Quality: {count} warning{'s' if count > 1 else ''}"
    sheet.put(heading, _RIGHT, top, _HEADING if count == 0 else replace(_HEADING, colour=_WARNING.colour))
    top += sheet.line_px(_HEADING)
    entries = [(f"⚠ {text}", _WARNING) for text in content.warnings] + [(f"• {text}", _BODY) for text in content.notes]
    _fill(sheet, entries, _RIGHT, top)


def _fill(sheet: Sheet, entries: Sequence[tuple[str, Style]], left: float, top: float) -> None:
    """Paragraphs in one column down to the footer, as large as fits; what does not fit is announced, not dropped."""
    bottom = _FOOT - 8
    size = sheet.largest(entries, _COLUMN, bottom - top, _SIZES)
    lines = [
        (line, index, replace(style, size_pt=size))
        for index, (text, style) in enumerate(entries)
        for line in sheet.wrap(text, style=replace(style, size_pt=size), width_px=_COLUMN)
    ]
    height = sheet.line_px(Style(size_pt=size))
    room = int((bottom - top) // height)
    shown = lines if len(lines) <= room else lines[: max(room - 1, 0)]
    for line, _, style in shown:
        sheet.put(line, left, top, style)
        top += height
    if len(shown) < len(lines):
        more = f"… continued in the full report ({len(entries) - lines[len(shown)][1]} more)"
        sheet.put(more, left, top, replace(_LABEL, size_pt=size))


def _footer(sheet: Sheet, content: ReportContent) -> None:
    _rectangle(sheet, (_MARGIN, _FOOT, _WIDTH, 1.5), _RULE)
    style = Style(size_pt=8.5, colour="#5a6570")
    sheet.put(content.method, _MARGIN, _FOOT + 8, style)
    sheet.put(content.labels[0], PAGE_WIDTH_PX - _MARGIN, _FOOT + 8, style, align="right")
