"""Who and what was examined: identifiers are never cut, and never shown with signs that stand for missing glyphs."""

from collections.abc import Sequence
from dataclasses import replace

from node.report.content import ReportContent
from node.report.flow import Sheet, Style, drawable
from node.report.language import ENGLISH, Catalogue
from node.report.page_style import INK, LABEL, MARGIN, SMALLEST_PT, STRONG, WARNING, WIDTH
from node.report.pictures import PagePictures, PatientLines

ELSEWHERE = "see study"
"""Stands for a value in a script that the page's font does not hold (Chinese, Japanese, Korean, Thai and others)."""
_SHARES = (0.44, 0.26, 0.30)
_SIZES = (9.5, 9.0, 8.5, SMALLEST_PT)
_APART = 16

Cell = tuple[str, str]


def draw_identity(sheet: Sheet, content: ReportContent, pictures: PagePictures, top: float) -> float:
    """Title, patient, study and scanner; gives the position below."""
    title = Style(size_pt=16, weight="bold", colour=INK)
    sheet.put(content.title, MARGIN, top, title)
    top += sheet.line_px(title) + 2
    cells = identity_cells(pictures.patient, sheet.words)
    for row in (cells[:3], cells[3:]):
        top = _row(sheet, row, top)
    for label, value in _scanner(sheet, content, pictures):
        top = _cell(sheet, (label, value), MARGIN, top, WIDTH, Style(size_pt=9)) + 1
    if content.revision:
        top = sheet.paragraph(content.revision, MARGIN, top, WIDTH, WARNING) + 1
    return top + 9


def identity_cells(patient: PatientLines, words: Catalogue = ENGLISH) -> tuple[Cell, ...]:
    """Label and value of everything that identifies the examination, three to a row."""
    names = [name for name in patient.names if _printable(name)]
    elsewhere, nothing = words(ELSEWHERE), words("not given")
    name = names[0] if names else f"{words('name')}{words(': ')}{elsewhere}" if patient.names else ""
    cells = (
        ("Patient", name),
        ("Born", " ".join(part for part in (patient.birth_date, patient.sex) if part)),
        ("Study date", patient.study_date),
        ("Patient ID", patient.patient_id),
        ("Accession", patient.accession_number),
        ("Institution", patient.institution),
    )
    return tuple((words(label), (value if _printable(value) else elsewhere) or nothing) for label, value in cells)


def _printable(value: str) -> bool:
    return drawable(value, STRONG.weight) == " ".join(value.split())


def _scanner(sheet: Sheet, content: ReportContent, pictures: PagePictures) -> list[Cell]:
    rows = dict(content.scanner)
    scanner, echoes, images = (sheet.words(label) for label in ("Scanner", "Echoes", "Images"))
    lines = [(scanner, "; ".join(rows[label] for label in (scanner, echoes) if label in rows))]
    shown = pictures.shown
    if images in rows:
        thick = shown is not None and shown.slice_thickness_mm > 0  # not with NaN, where no header states it
        thickness = sheet.words(f"slice thickness {shown.slice_thickness_mm:.3g} mm") if shown and thick else ""
        lines.append((images, "; ".join(part for part in (rows[images], thickness) if part)))
    return [line for line in lines if line[1]]


def _row(sheet: Sheet, cells: Sequence[Cell], top: float) -> float:
    left, bottoms = float(MARGIN), []
    for cell, share in zip(cells, _SHARES, strict=True):
        bottoms.append(_cell(sheet, cell, left, top, share * WIDTH - _APART, STRONG))
        left += share * WIDTH
    return max(bottoms) + 3


def _cell(sheet: Sheet, cell: Cell, left: float, top: float, width: float, style: Style) -> float:
    """Label and value: on one line as large as fits, else small and on several lines."""
    label, value = cell
    start = sheet.width(label, LABEL) + 12
    room = width - start
    sizes = [size for size in _SIZES if size <= style.size_pt]
    fitting = [size for size in sizes if sheet.width(value, replace(style, size_pt=size)) <= room]
    sheet.put(label, left, top, LABEL)
    if fitting:
        sheet.put(value, left + start, top, replace(style, size_pt=fitting[0]))
        return top + sheet.line_px(style)
    return sheet.paragraph(value, left + start, top, room, replace(style, size_pt=sizes[-1]))
