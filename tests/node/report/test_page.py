"""The page: fixed size, equal bytes, nothing outside or on top of something else, the right words."""

import io
import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from node.report.content import report_content
from node.report.flow import Sheet, Style, drawable
from node.report.html import render_html
from node.report.page import PAGE_HEIGHT_PX, PAGE_WIDTH_PX, draw_page, render_page
from node.report.picture_files import picture_files
from tests.node.report.report_cases import CASES, PATIENT, measured, refused


def texts_of(sheet: Sheet) -> list[tuple[str, Bbox]]:
    renderer = sheet.canvas.get_renderer()
    sheet.canvas.draw()
    shown = [text for text in sheet.figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in shown]


@pytest.mark.parametrize("name", CASES)
def test_every_text_lies_on_the_page_and_on_no_other(name: str) -> None:
    case = CASES[name]()
    texts = texts_of(draw_page(case.result, case.pictures))
    for text, box in texts:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= PAGE_WIDTH_PX, text
        assert box.y1 <= PAGE_HEIGHT_PX, text
    for (first, a), (second, b) in combinations(texts, 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 1 or high <= 3, f"{first!r} and {second!r} overlap by {wide:.0f} x {high:.0f} pixels"


@pytest.mark.parametrize("name", CASES)
def test_smallest_type_stays_legible(name: str) -> None:
    case = CASES[name]()
    sheet = draw_page(case.result, case.pictures)
    assert min(text.get_fontsize() for text in sheet.figure.texts) >= 8.0


def words_on(sheet: Sheet) -> str:
    return " ".join(text.get_text() for text in sheet.figure.texts)


def test_the_verdict_is_on_the_page() -> None:
    case = CASES["mild"]()
    words = words_on(draw_page(case.result, case.pictures))
    for part in (
        "2.1 mg/g",
        "Mild",
        "37 µmol/g · 95 % interval 1.8 to 2.4 mg/g",
        "Borderline: normal",
        "above 1.8 mg/g",
        "below 7 mg/g",
        "67.7 /s",
        "14.8 ms",
        "guglielmo-2023",
        "doi:10.1186/1532-429X-16-40",
        "Hernando 2023 1.6",
        "Follow-up: 12 to 24 months",
        "Applied beyond the source's population.",
        "not yet approved by the site",
        "DOE, JANE Q",
        "12345678",
        "1990-05-04",
        "SIEMENS Avanto, 1.5 T",
        "For research use only. Not for diagnosis.",
        "Decision support, not a diagnosis.",
        "ironnode 0.1.0, method 1",
    ):
        assert part in words, part


def test_refusal_says_no_value_why_and_what_to_do() -> None:
    case = refused()
    words = words_on(draw_page(case.result, case.pictures))
    assert "No LIC value" in words
    assert "does not lie where the liver lies" in words
    assert "Repeat with axial slices through the middle of the right liver lobe." in words
    assert "rejected candidate dashed" in words
    assert "mg/g" not in words


def test_lower_bound_is_worded_everywhere() -> None:
    case = CASES["at least moderate"]()
    words = words_on(draw_page(case.result, case.pictures))
    assert "At least moderate" in words
    assert "R2* at least 500 /s" in words
    assert "95 % lower limit" in words
    assert "37 µmol/g · 95 % interval" not in words
    assert "whether it reaches 7 mg/g cannot be told" in words


def test_what_does_not_fit_is_counted() -> None:
    case = CASES["crowded"]()
    words = words_on(draw_page(case.result, case.pictures))
    assert "continued in the full report" in words
    assert "Quality: 13 warnings" in words


@pytest.mark.parametrize("name", ["mild", "normal at 3 T", "severe", "refused"])
def test_usual_reports_fit_whole(name: str) -> None:
    case = CASES[name]()
    words = " ".join(words_on(draw_page(case.result, case.pictures)).split())
    content = report_content(case.result)
    for text in (content.follow_up_flags, content.follow_up_text, *content.warnings, *content.notes):
        assert " ".join(text.split()) in words


def test_research_label_goes_only_with_a_signature() -> None:
    case = measured(67.73)
    words = words_on(draw_page(replace(case.result, research_use_only=False), case.pictures))
    assert "research use" not in words
    assert "Decision support, not a diagnosis." in words


def test_three_forms_of_one_figure() -> None:
    case = measured(67.73)
    page = render_page(case.result, case.pictures)
    assert page.rgb.shape == (PAGE_HEIGHT_PX, PAGE_WIDTH_PX, 3)
    assert page.rgb.dtype == np.uint8
    assert page.png.startswith(b"\x89PNG")
    assert b"Software" not in page.png
    assert b"tIME" not in page.png
    assert page.pdf.startswith(b"%PDF")
    assert b"CreationDate" not in page.pdf
    assert page.pdf.count(b"/Subtype /Image") <= 4  # pictures and colour bar; the text is text
    assert b"DejaVuSans" in page.pdf


def test_png_holds_the_same_pixels() -> None:
    case = measured(67.73)
    page = render_page(case.result, case.pictures)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(page.png)).convert("RGB")), page.rgb)


_DIGEST = """
import hashlib
from node.report.page import render_page
from tests.node.report.report_cases import measured
case = measured(67.73)
page = render_page(case.result, case.pictures)
print(hashlib.sha256(page.rgb.tobytes() + page.png + page.pdf).hexdigest())
"""


def test_another_process_gives_the_same_bytes(pytestconfig: pytest.Config) -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            check=True,
            capture_output=True,
            text=True,
            cwd=pytestconfig.rootpath,
            env={"PYTHONPATH": str(pytestconfig.rootpath), "PYTHONHASHSEED": seed, "HOME": "/nonexistent"},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop()) == 65


@pytest.mark.parametrize(
    "name", ["Yamada^Tarou=山田^太郎=やまだ^たろう", "=洪^吉洞", "محمد^علي", "$x_1$^O'Brien\\", "^", ""]
)
def test_names_in_any_script_are_drawn(name: str) -> None:
    case = measured(67.73, patient=replace(PATIENT, name=name))
    page = render_page(case.result, case.pictures)  # a missing glyph would be a warning, and so an error
    assert page.rgb.any()


def test_unknown_characters_are_shown_as_such() -> None:
    assert drawable("山a") == "\N{REPLACEMENT CHARACTER}a"
    assert drawable("Ångström Ж") == "Ångström Ж"


def test_wrapping_keeps_every_word_and_the_width() -> None:
    sheet = Sheet(width_px=400, height_px=300, dpi=150)
    style = Style(size_pt=10)
    text = "R2* above 785 /s is beyond these echo times; " + "W" * 80 + " end"
    lines = sheet.wrap(text, style, 300)
    assert all(sheet.width(line, style) <= 300 for line in lines)
    assert "".join(lines).replace(" ", "").replace("\N{NO-BREAK SPACE}", "") == text.replace(" ", "")
    assert any("785\N{NO-BREAK SPACE}/s" in line for line in lines)


def test_page_without_an_image_says_so() -> None:
    case = CASES["refused, headers only"]()
    words = " ".join(words_on(draw_page(case.result, case.pictures)).split())
    assert "No image could be shown." in words
    assert "cannot be decoded" in words
    assert "Quality: not assessed" in words
    for part in ("First echo", "Scanner", "Slice", "no warnings"):
        assert part not in words
    assert picture_files(case.result, case.pictures) == {}
    assert "No image could be shown." in render_html(case.result, case.pictures)
