"""Room on the page: nothing outside or on top of something else, and what gives way where it is short."""

from dataclasses import replace
from itertools import combinations

import pytest

from node.report.content import report_content
from node.report.flow import Sheet, Style
from node.report.language import ENGLISH, translated
from node.report.language import catalogue as catalogue_of
from node.report.page import PAGE_HEIGHT_PX, PAGE_WIDTH_PX, draw_page
from node.report.page_columns import MORE
from quant.result import QcLine
from tests.further import further
from tests.node.report.page_parts import assert_clinical_text_in_full, page_of, texts_of, words_on
from tests.node.report.report_cases import CASES


@pytest.mark.parametrize("name", CASES)
def test_every_text_lies_on_the_page_on_no_other_and_stays_legible(name: str) -> None:
    texts = texts_of(page_of(name))
    for text, box in texts:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= PAGE_WIDTH_PX, text
        assert box.y1 <= PAGE_HEIGHT_PX, text
    for (first, a), (second, b) in combinations(texts, 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 1 or high <= 3, f"{first!r} and {second!r} overlap by {wide:.0f} x {high:.0f} pixels"
    assert min(text.get_fontsize() for text in page_of(name).figure.texts) >= 8.0


@pytest.mark.parametrize(
    ("language", "n_more"),
    [("de", 0), ("fr", 1), ("de", 20), *further([("en", 0), ("fr", 0), ("en", 1), ("de", 1), ("en", 20), ("fr", 20)])],
)
def test_what_does_not_fit_is_counted_and_nothing_is_cut(language: str, n_more: int) -> None:
    """However many warnings there are: the follow-up is whole, warnings are whole or counted, failures first."""
    case, catalogue = CASES["crowded"](), catalogue_of(language)
    further = [QcLine(code=f"m{n}", severity="warning", text=f"More {n}: {'not so; ' * 9 * n}.")
               for n in range(n_more)]  # fmt: skip
    worst = QcLine(code="worst", severity="failure", text="This one is the worst of all that is said.")
    result = replace(case.result, qc=(*case.result.qc, *further, worst))
    content = translated(report_content(result), catalogue)
    shown = " ".join(words_on(draw_page(result, case.pictures, catalogue)).replace("\N{NO-BREAK SPACE}", " ").split())
    for heading in ("Follow-up, continued", "Warnings, continued"):
        shown = shown.replace(f"{catalogue(heading)} ", "")
    whole = [text for text in content.warnings if " ".join(f"⚠ {text}".split()) in shown]
    left_out = len(content.warnings) - len(whole)
    assert whole == list(content.warnings[: len(whole)])  # the first ones
    assert content.warnings[0].startswith("This one is the worst")
    assert shown.count("⚠ ") - len(whole) <= 1  # the marker beside the value, and none that is cut
    assert 1 <= len(whole) < len(content.warnings)
    counted = catalogue(f"… {left_out} further warnings: see the structured report")
    for heading in (counted, catalogue(f"Quality: {len(content.warnings)} warnings")):
        assert " ".join(heading.split()) in shown
    for text in (content.follow_up_flags, content.prior, content.follow_up_text):
        assert " ".join(text.split()) in shown


@pytest.mark.parametrize("name", sorted(set(CASES) - {"crowded"}))
def test_warnings_and_follow_up_stand_in_full(name: str) -> None:
    assert_clinical_text_in_full(CASES[name]().result, page_of(name), ENGLISH)


@pytest.mark.parametrize("name", ["mild", "normal at 3 T", "severe", "refused"])
def test_usual_reports_fit_whole(name: str) -> None:
    words = " ".join(words_on(page_of(name)).split())
    content = report_content(CASES[name]().result)
    for text in (content.follow_up_flags, content.follow_up_text, *content.warnings, *content.notes):
        assert " ".join(text.split()) in words


def test_notes_give_way_before_warnings_and_flags() -> None:
    case = CASES["crowded"]()
    content = report_content(case.result)
    words = " ".join(words_on(draw_page(case.result, case.pictures)).split())
    assert len(content.warnings) > 10
    for text in content.warnings[:3]:
        assert " ".join(text.split()) in words
    for statement in content.statements:
        assert " ".join(statement.text.split()) in words
    assert " ".join(content.follow_up_flags.split()) in words
    assert not any(" ".join(text.split()) in words for text in content.notes)
    assert "10 further warnings: see the structured report" in words


@pytest.mark.parametrize("n_notes", [0, 10, 40])
@pytest.mark.parametrize("name", ["four late echoes", "nearly all voxels failed"])
def test_few_warnings_stand_in_full_however_many_notes(name: str, n_notes: int) -> None:
    case = CASES[name]()
    notes = tuple(QcLine(code=f"n{n}", severity="info", text=f"Note {n}: {'as it is ' * 12}.") for n in range(n_notes))
    result = replace(case.result, qc=(*case.result.qc, *notes))
    content = report_content(result)
    words = " ".join(words_on(draw_page(result, case.pictures)).split())
    for text in (*content.warnings, content.follow_up_flags):
        assert " ".join(text.split()) in words
    assert all(" ".join(text.split()) in words for text in content.notes) or MORE in words
    assert MORE in words or n_notes < 40


def test_wrapping_keeps_every_word_and_the_width() -> None:
    sheet = Sheet(width_px=400, height_px=300, dpi=150)
    style = Style(size_pt=10)
    text = "R2* above 785 /s is beyond these echo times; " + "W" * 80 + " end"
    lines = sheet.wrap(text, style, 300)
    assert all(sheet.width(line, style) <= 300 for line in lines)
    assert "".join(lines).replace(" ", "").replace("\N{NO-BREAK SPACE}", "") == text.replace(" ", "")
    assert any("785\N{NO-BREAK SPACE}/s" in line for line in lines)
