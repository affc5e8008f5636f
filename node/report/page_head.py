"""The upper part of the page: the verdict with its warnings and the two statements, or why there is no number."""

from dataclasses import replace

from node.report.content import ReportContent
from node.report.flow import Sheet, Style
from node.report.page_style import (
    AMBER,
    BODY,
    CAPTION,
    HEADING,
    INK,
    INSET,
    MARGIN,
    ON_AMBER,
    PAGE_WIDTH_PX,
    PANEL,
    REFUSED_INK,
    REFUSED_PANEL,
    RIGHT,
    SMALLEST_PT,
    STRONG,
    WARNING,
    WIDTH,
    rectangle,
)
from node.report.pictures import PagePictures
from node.report.plots import SCALE_PX, SCALE_WITH_VOXELS_PX, draw_scale, voxels_to_draw
from quant.grading import scheme_by_id
from quant.result import LiverIronResult

NO_WARNINGS = "No warnings"
MARKER = "warnings marker"
_INTERVAL, _CHANCES, _CHANGE, _SCALE = 128, 150, 158, 190  # from the top of the panel


def draw_banner(sheet: Sheet, content: ReportContent) -> None:
    """What the page may be used for."""
    rectangle(sheet, (0, 0, PAGE_WIDTH_PX, 40), INK)
    text, style = "   ".join(content.labels), Style(size_pt=10.5, weight="bold", colour="white")
    size = sheet.largest([(text, style)], WIDTH, sheet.line_px(style), (10.5, 9.5, 9.0, SMALLEST_PT))
    sheet.put(text, MARGIN, 6, replace(style, size_pt=size))


def draw_verdict(
    sheet: Sheet, content: ReportContent, result: LiverIronResult, pictures: PagePictures, top: float
) -> float:
    """Value, grade, scale and the warnings marker in one panel; gives the position below."""
    lic, grade = result.lic_mg_per_g, result.grade
    voxels = voxels_to_draw(result, pictures.lic_of_voxels_mg_per_g)
    scale_px = SCALE_PX if voxels is None else SCALE_WITH_VOXELS_PX
    inner = _CHANCES + 34 if lic is None or grade is None else _SCALE + scale_px + 36
    strip = _strip_lines(sheet, content)
    strip_px = len(strip) * sheet.line_px(_strip_style(content)) + 12
    rectangle(sheet, (MARGIN, top, WIDTH, inner + strip_px), PANEL)
    value_end = _value(sheet, content, top, bound=lic is not None and lic.bound is not None)
    _grade(sheet, content, top, value_end)
    if lic is not None and grade is not None:
        box = sheet.box(MARGIN + INSET, top + _SCALE, WIDTH - 2 * INSET, scale_px)
        ax = sheet.figure.add_axes(box, facecolor="none")
        draw_scale(ax, lic, scheme_by_id(grade.scheme), 9.5, sheet.words, voxels)
    _strip(sheet, content, strip, top + inner)
    return top + inner + strip_px + 8


def _value(sheet: Sheet, content: ReportContent, top: float, *, bound: bool) -> float:
    """The number, its interval and its change; a lower bound carries its sign in the same size as the number."""
    head, left = content.headline, MARGIN + INSET
    caption = sheet.words("Liver iron concentration" if head.kind == "lic" else "R2* only, no LIC")
    sheet.put(f"{caption}, {head.prefix}" if bound else caption, left, top + 8, CAPTION)
    big = Style(size_pt=40, weight="bold", colour=INK)
    unit = replace(big, size_pt=20)
    prefix = ("≥", big) if bound else (head.prefix, unit)
    x: float = left
    for text, style in (prefix, (head.value, big), (head.unit, unit)):
        if text:
            sheet.put(text, x, top + 26 + (sheet.line_px(big) - sheet.line_px(style)) * 0.78, style)
            x += sheet.width(text, style) + 16
    style = Style(size_pt=11.5)
    sheet.put(head.interval, left, top + _INTERVAL, style)
    sheet.put(head.change, left, top + _CHANGE, STRONG)
    return max(x, left + sheet.width(head.interval, style) + 16)


def _grade(sheet: Sheet, content: ReportContent, top: float, value_end: float) -> None:
    head = content.headline
    left = max(RIGHT, value_end + 20)
    width = PAGE_WIDTH_PX - MARGIN - 16 - left
    sheet.put(sheet.words("Grade"), left, top + 8, CAPTION)
    grade = head.grade[:1].upper() + head.grade[1:]
    style = Style(weight="bold", colour=INK)
    style = replace(style, size_pt=sheet.largest([(grade, style)], width, 76, (27, 22, 18, 15, 13)))
    y = top + 32
    for line in sheet.wrap(grade, style, width):
        sheet.put(line, left, y, style)
        y += sheet.line_px(style)
    y = max(y, top + 98)
    for text, text_style in ((head.grade_detail, BODY), (head.borderline, WARNING)):
        if text:
            y = sheet.paragraph(text, left, y, width, _fitting(sheet, text, text_style, width))


def _fitting(sheet: Sheet, text: str, style: Style, width: float) -> Style:
    """``style`` where one line holds ``text``, else a little smaller, for two lines."""
    return style if sheet.width(text, style) <= width else replace(style, size_pt=9.0)


def _strip_style(content: ReportContent) -> Style:
    if content.warnings:
        return Style(size_pt=10.5, weight="bold", colour=ON_AMBER)
    return Style(size_pt=10.5, weight="bold", colour="#3c4a57")


def _strip_lines(sheet: Sheet, content: ReportContent) -> list[str]:
    """The number of warnings and as many first sentences as two lines hold; each in full stands under Quality."""
    count, style, width = len(content.warnings), _strip_style(content), WIDTH - 2 * INSET
    if count == 0:
        return [sheet.words(NO_WARNINGS)]
    lead = f"⚠ {sheet.words(f'{count} warning' + 's' * (count > 1))}{sheet.words(': ')}"
    firsts = [_first_sentence(text) for text in content.warnings]
    for shown in range(count, 0, -1):
        more = " " + sheet.words(f"(+ {count - shown} more below)") if shown < count else ""
        lines = sheet.wrap(lead + " · ".join(firsts[:shown]) + more, style, width)
        if len(lines) <= 2:
            return lines
    rest = sheet.shorten(" ".join(lines[1:]), style, width)
    return [lines[0], rest]


def _first_sentence(text: str) -> str:
    return text.split(". ")[0].rstrip(".")


def _strip(sheet: Sheet, content: ReportContent, lines: list[str], top: float) -> None:
    style = _strip_style(content)
    height = len(lines) * sheet.line_px(style) + 12
    if content.warnings:
        rectangle(sheet, (MARGIN, top, WIDTH, height), AMBER, MARKER)
    for index, line in enumerate(lines):
        sheet.put(line, MARGIN + INSET, top + 5 + index * sheet.line_px(style), style)


def draw_statements(sheet: Sheet, content: ReportContent, top: float) -> float:
    """The two questions with their answers; gives the position below."""
    for statement in content.statements:
        style = replace(HEADING, colour=WARNING.colour) if statement.borderline else HEADING
        title = f"{statement.question}{sheet.words(': ')}{statement.answer}"
        sheet.put(title, MARGIN, top, style)
        top = sheet.paragraph(statement.text, MARGIN, top + sheet.line_px(HEADING), WIDTH, BODY) + 5
    return top + 5


def draw_refusal(sheet: Sheet, content: ReportContent, top: float) -> float:
    """That there is no number, why, and what to do; gives the position below."""
    text_style, inner = Style(size_pt=11), WIDTH - 2 * INSET
    paragraphs = [entry for entry in (("Why", content.reasons), ("What to do", content.advice)) if entry[1]]
    lines = sum(len(sheet.wrap(text, text_style, inner)) for _, texts in paragraphs for text in texts)
    height = 96 + lines * sheet.line_px(text_style) + len(paragraphs) * (sheet.line_px(HEADING) + 8) + 14
    rectangle(sheet, (MARGIN, top, WIDTH, height), REFUSED_PANEL)
    left: float = MARGIN + INSET
    sheet.put(content.headline.value, left, top + 14, Style(size_pt=30, weight="bold", colour=REFUSED_INK))
    y = top + 96
    for heading, texts in paragraphs:
        sheet.put(sheet.words(heading), left, y, replace(HEADING, colour=REFUSED_INK))
        y += sheet.line_px(HEADING)
        for text in texts:
            y = sheet.paragraph(text, left, y, inner, text_style)
        y += 8
    return top + height + 14
