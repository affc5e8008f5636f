"""The lower part of the page: numbers and follow-up on the left, their origin and the quality lines on the right.

What does not fit at the smallest type goes on in the other column, and is left out in this order: the rest of the
notes; then, where the page has no smaller pictures to give it room, the last warnings (failures come first). The
numbers, the whole follow-up and the first warnings stay, none of them cut; what is left out is counted, with its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from node.report.content import ReportContent
from node.report.flow import Sheet, Style
from node.report.page_style import BODY, COLUMN, FOOT, HEADING, LABEL, MARGIN, RIGHT, SMALLEST_PT, WARNING, WIDTH
from node.report.trend import TREND_TITLE, draw_trend
from quant.result import LiverIronResult

_TABLE = Style(size_pt=9)
_TABLE_LABEL = replace(LABEL, size_pt=8.5)
_SIZES = (10.0, 9.5, 9.0, 8.5, SMALLEST_PT)
_BOTTOM = FOOT - 8
_TREND_PX, _TREND_AXIS = 165, 28
_CARRY_LEFT, _CARRY_RIGHT = 1, 2  # lines for the heading of what goes on in the other column, and what is above it
MORE = "… continued in the full report"


class Room(IntEnum):
    """What the columns hold in full: not even warnings and follow-up, these, or the notes as well."""

    NOT_ENOUGH = 0
    CLINICAL = 1
    ALL = 2


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One line as it is put; ``entry`` numbers the text it belongs to."""

    text: str
    style: Style
    entry: int


@dataclass(frozen=True, kw_only=True)
class _Space:
    """What is left of a column."""

    left: float
    top: float
    bottom: float = _BOTTOM

    def lines(self, line_px: float) -> int:
        return max(int((self.bottom - self.top) // line_px), 0)


def draw_columns(
    sheet: Sheet, content: ReportContent, result: LiverIronResult, top: float, *, with_trend: bool
) -> Room:
    """Both columns down to the footer, the trend at the bottom of one of them; gives what has room."""
    origin = _origin(sheet, content)
    if content.numbers:
        left_top = _table(sheet, content.numbers, MARGIN, top, COLUMN) + 12
        right_top = _table(sheet, origin, RIGHT, top, COLUMN) + 12
    else:
        left_top = right_top = _table(sheet, origin, MARGIN, top, WIDTH) + 12
    heading = f"{sheet.words('Follow-up')}{sheet.words(': ')}{content.follow_up_title}"
    left = _Space(left=MARGIN, top=_headings(sheet, heading, MARGIN, left_top, HEADING))
    quality = sheet.words(quality_heading(content))
    style = replace(HEADING, colour=WARNING.colour) if content.warnings else HEADING
    right = _Space(left=RIGHT, top=_headings(sheet, quality, RIGHT, right_top, style) if quality else right_top)
    if with_trend:
        left, right = _with_trend(sheet, content, result, left, right)
    for size in _SIZES:
        follow_up, warnings, notes = _all_lines(sheet, content, size)
        line_px = sheet.line_px(Style(size_pt=size))
        if _fits(left.lines(line_px), right.lines(line_px), follow_up, warnings + notes):
            room = Room.ALL
            break
    else:
        clinical = _fits(left.lines(line_px), right.lines(line_px), follow_up, warnings)
        room = Room.CLINICAL if clinical else Room.NOT_ENOUGH
    if room is Room.NOT_ENOUGH:
        warnings = _foremost(sheet, warnings, follow_up, left.lines(line_px), right.lines(line_px))
    _place(sheet, left, right, follow_up, warnings, notes)
    return room


def _with_trend(
    sheet: Sheet, content: ReportContent, result: LiverIronResult, left: _Space, right: _Space
) -> tuple[_Space, _Space]:
    """Draws the trend at the bottom of the column with more room to spare; gives what is left of both."""
    line_px = sheet.line_px(Style(size_pt=SMALLEST_PT))
    follow_up, warnings, notes = _all_lines(sheet, content, SMALLEST_PT)
    spare_left = left.lines(line_px) - len(follow_up)
    if right.lines(line_px) - len(warnings) - len(notes) > max(spare_left, _TREND_PX // line_px):
        return left, replace(right, bottom=_trend(sheet, result, RIGHT))
    return replace(left, bottom=_trend(sheet, result, MARGIN)), right


def _trend(sheet: Sheet, result: LiverIronResult, left: float) -> float:
    """Draws the trend above the footer; gives its top."""
    top = _BOTTOM - _TREND_PX
    sheet.put(sheet.words(TREND_TITLE), left, top, _TABLE_LABEL)
    head = sheet.line_px(_TABLE_LABEL) + 4
    box = (left + _TREND_AXIS, top + head, COLUMN - _TREND_AXIS, _TREND_PX - head - _TREND_AXIS)
    draw_trend(sheet.figure.add_axes(sheet.box(*box)), result, SMALLEST_PT)
    return top - 6


def quality_heading(content: ReportContent) -> str:
    """The heading over the quality lines; on a refusal nothing that could reassure."""
    count = len(content.warnings)
    if count:
        return f"Quality: {count} warning{'s' if count > 1 else ''}"
    if content.headline.kind != "refused":
        return "Quality: no warnings"
    if not content.scanner:
        return "Quality: not assessed"
    return "Quality notes" if content.notes else ""


def _origin(sheet: Sheet, content: ReportContent) -> list[tuple[str, str]]:
    rows = [*content.calibration]
    if content.others:
        rows.append(
            (sheet.words("Others give"), ", ".join(f"{other.name} {other.lic}" for other in content.others) + " mg/g")
        )
    wanted = [sheet.words(label) for label in (("Fit",) if content.numbers else ("Echo times", "Fit"))]
    return rows + [row for row in content.scanner if row[0] in wanted]


def _table(sheet: Sheet, rows: Sequence[tuple[str, str]], left: float, top: float, width: float) -> float:
    value_left = max((sheet.width(label, _TABLE_LABEL) for label, _ in rows), default=0.0) + 14
    for label, value in rows:
        sheet.put(label, left, top + 1, _TABLE_LABEL)
        top = sheet.paragraph(value, left + value_left, top, width - value_left, _TABLE) + 1
    return top


def _headings(sheet: Sheet, text: str, left: float, top: float, style: Style) -> float:
    return sheet.paragraph(text, left, top, COLUMN, style)


def _all_lines(sheet: Sheet, content: ReportContent, size_pt: float) -> tuple[list[_Line], list[_Line], list[_Line]]:
    flags = [(content.follow_up_flags, WARNING)]
    follow_up = [*flags, (content.prior, BODY), (content.follow_up_text, BODY)]
    warnings = [(f"⚠ {text}", WARNING) for text in content.warnings]
    notes = [(f"• {text}", BODY) for text in content.notes]
    return (
        _lines(sheet, follow_up, size_pt),
        _lines(sheet, warnings, size_pt),
        _lines(sheet, notes, size_pt, first=len(warnings)),
    )


def _lines(sheet: Sheet, entries: Sequence[tuple[str, Style]], size_pt: float, first: int = 0) -> list[_Line]:
    return [
        _Line(text=line, style=replace(style, size_pt=size_pt), entry=index)
        for index, (text, style) in enumerate(entries, first)
        for line in sheet.wrap(text, replace(style, size_pt=size_pt), COLUMN)
    ]


def _fits(left: int, right: int, follow_up: list[_Line], quality: list[_Line]) -> bool:
    """Whether all lines have room, one column's going on in the other, below a heading, where their own is full."""
    over_left, over_right = max(len(follow_up) - left, 0), max(len(quality) - _whole(quality, right), 0)
    return over_left + over_right == 0 or (
        over_left + (_CARRY_LEFT if over_left else 0) <= right - len(quality)
        or over_right + (_CARRY_RIGHT if over_right else 0) <= left - len(follow_up)
    )


def _foremost(sheet: Sheet, warnings: list[_Line], follow_up: list[_Line], left: int, right: int) -> list[_Line]:
    """The first of ``warnings`` that have room beside the whole follow-up, in full, and how many more there are."""
    count = len({line.entry for line in warnings})
    for kept in range(count - 1, -1, -1):
        further = count - kept
        said = sheet.words(f"… {further} further warning{'s' if further > 1 else ''}: see the structured report")
        style = replace(WARNING, size_pt=SMALLEST_PT)
        told = [_Line(text=line, style=style, entry=count) for line in sheet.wrap(said, style, COLUMN)]
        shown = [line for line in warnings if line.entry < kept] + told
        if _fits(left, right, follow_up, shown):
            break
    return shown


def _place(
    sheet: Sheet, left: _Space, right: _Space, follow_up: list[_Line], warnings: list[_Line], notes: list[_Line]
) -> None:
    """Warnings before follow-up text before notes: each takes what the one before it leaves."""
    styles = [line.style for line in (*follow_up, *warnings, *notes)]
    line_px = sheet.line_px(styles[0] if styles else BODY)
    here, there = right.lines(line_px), left.lines(line_px)
    kept = _whole(warnings, here)
    if kept < len(warnings):
        over, flags = warnings[kept:], sum(line.entry == 0 for line in follow_up)
        below = _put(sheet, left, follow_up, max(there - len(over) - 2, flags + 1), line_px)
        _put(sheet, right, warnings[:kept], kept, line_px)
        rest = [_heading_line(sheet.words("Warnings, continued"), over), *over, *notes]
        _put(sheet, below, rest, below.lines(line_px), line_px)
        return
    right = _put(sheet, right, warnings, len(warnings), line_px)
    if len(follow_up) > there and right.lines(line_px) > len(follow_up) - there:
        _put(sheet, left, follow_up[:there], there, line_px)
        over = follow_up[there:]
        right = _put(sheet, right, [_heading_line(sheet.words("Follow-up, continued"), over), *over], here, line_px)
        _put(sheet, right, notes, right.lines(line_px), line_px)
        return
    below = _put(sheet, left, follow_up, there, line_px)
    here, spare = right.lines(line_px), below.lines(line_px)
    if len(notes) > here and spare > 2:
        here = _whole(notes, here)
        _put(sheet, right, notes[:here], here, line_px)
        rest = [_heading_line(sheet.words("Quality notes, continued"), notes), *notes[here:]]
        _put(sheet, below, rest, spare, line_px)
        return
    _put(sheet, right, notes, here, line_px)


def _whole(lines: list[_Line], room: int) -> int:
    """How many of ``lines`` to put where ``room`` would hold: up to the end of a text, so that none is torn apart."""
    while 0 < room < len(lines) and lines[room].entry == lines[room - 1].entry:
        room -= 1
    return room


def _heading_line(text: str, lines: list[_Line]) -> _Line:
    return _Line(text=text, style=replace(lines[0].style, weight="bold", colour=HEADING.colour), entry=-1)


def _put(sheet: Sheet, space: _Space, lines: list[_Line], room: int, line_px: float) -> _Space:
    """The lines that ``room`` holds, the last one saying how many texts go on elsewhere; gives what is left."""
    shown = lines if len(lines) <= room else lines[: max(room - 1, 0)]
    top = space.top
    for line in shown:
        sheet.put(line.text, space.left, top, line.style)
        top += line_px
    if len(shown) < len(lines) and room > 0:
        count = len({line.entry for line in lines[len(shown) :]})
        more = sheet.words(f"{MORE} ({count} more)")
        sheet.put(more, space.left, top, replace(LABEL, size_pt=lines[0].style.size_pt))
        top += line_px
    return replace(space, top=top)
