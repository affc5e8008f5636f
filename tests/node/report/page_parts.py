"""Pages of the cases, and what stands on them."""

from functools import cache

from matplotlib.text import Text
from matplotlib.transforms import Bbox

from node.report.content import report_content
from node.report.flow import Sheet
from node.report.html import render_html
from node.report.language import ENGLISH, Catalogue, translated
from node.report.page import draw_page
from node.report.picture_files import picture_files
from quant.result import LiverIronResult
from tests.node.report.report_cases import CASES, Case


@cache
def page_of(name: str) -> Sheet:
    """The page of a case, drawn once; tests only read it."""
    case = CASES[name]()
    return draw_page(case.result, case.pictures)


def texts_of(sheet: Sheet) -> list[tuple[str, Bbox]]:
    renderer = sheet.canvas.get_renderer()
    sheet.canvas.draw()
    shown = [text for text in sheet.figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in shown]


def words_on(sheet: Sheet) -> str:
    return " ".join(text.get_text() for text in sheet.figure.texts)


def assert_clinical_text_in_full(result: LiverIronResult, sheet: Sheet, language: Catalogue) -> None:
    """Every word of the warnings, of the comparison and of the follow-up; they may go on in the other column."""
    content = translated(report_content(result), language)
    shown = words_on(sheet).replace(language("Follow-up, continued"), " ").replace("\N{NO-BREAK SPACE}", " ").split()
    for text in (content.follow_up_flags, content.prior, content.follow_up_text, *content.warnings):
        assert " ".join(text.split()) in " ".join(shown)


def html_of(case: Case, words: Catalogue = ENGLISH) -> str:
    """The HTML report of a case with its pictures."""
    drawn = picture_files(case.result, case.pictures, words)
    return render_html(case.result, case.pictures, drawn, words)
