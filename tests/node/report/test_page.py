"""The page: fixed size, equal bytes, nothing outside or on top of something else, the right words."""

import hashlib
import io
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import StepPatch
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from PIL import Image

from node.report.content import report_content
from node.report.flow import REPLACEMENT, Sheet, Style, drawable
from node.report.html import render_html
from node.report.language import ENGLISH, Catalogue, translated
from node.report.language import catalogue as catalogue_of
from node.report.page import PAGE_HEIGHT_PX, PAGE_WIDTH_PX, RenderedPage, draw_page, render_page
from node.report.page_columns import MORE
from node.report.page_head import MARKER, NO_WARNINGS
from node.report.page_identity import identity_cells
from node.report.page_style import AMBER
from node.report.picture_files import picture_files
from node.report.pictures import ShownSlice
from node.report.plots import COLOUR_MARGIN_MM, coloured_part, draw_map, map_caption
from node.report.text import render_text
from quant.result import LiverIronResult, QcLine
from tests.node.report.report_cases import CASES, PATIENT, measured, refused


@cache
def page_of(name: str) -> Sheet:
    """The page of a case, drawn once; tests only read it."""
    case = CASES[name]()
    return draw_page(case.result, case.pictures)


@cache
def typical_page() -> RenderedPage:
    case = measured(67.73)
    return render_page(case.result, case.pictures)


def texts_of(sheet: Sheet) -> list[tuple[str, Bbox]]:
    renderer = sheet.canvas.get_renderer()
    sheet.canvas.draw()
    shown = [text for text in sheet.figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in shown]


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


def words_on(sheet: Sheet) -> str:
    return " ".join(text.get_text() for text in sheet.figure.texts)


def test_which_images_were_chosen_is_in_the_report_in_words() -> None:
    """As the planner words it: on the drawn page, in the HTML report and in the text."""
    case = CASES["mild"]()
    chosen = (
        "Of two reconstructions of the same echoes one was used because it is less filtered; 24 objects marked NORM"
    )
    line = QcLine(code="input_chosen", severity="info", text=chosen)
    result = replace(case.result, qc=(*case.result.qc, line))
    assert chosen in " ".join(words_on(draw_page(result, case.pictures)).split())
    assert chosen in " ".join(render_html(result, case.pictures).split())
    assert chosen in " ".join(render_text(result).split())


def test_the_verdict_is_on_the_page() -> None:
    words = words_on(page_of("mild"))
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
    case, words = CASES["at least moderate"](), words_on(page_of("at least moderate"))
    assert "At least moderate" in words
    numbers = dict(report_content(case.result).numbers)
    assert numbers["R2*"].startswith("at least ")
    assert f"R2* {numbers['R2*']}" in words
    assert "lower bound, no upper limit" in words
    assert "37 µmol/g · 95 % interval" not in words
    assert "whether it reaches 7 mg/g cannot be told" in words


@pytest.mark.parametrize("language", ["en", "de", "fr"])
@pytest.mark.parametrize("n_more", [0, 1, 20])
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


def assert_clinical_text_in_full(result: LiverIronResult, sheet: Sheet, language: Catalogue) -> None:
    """Every word of the warnings, of the comparison and of the follow-up; they may go on in the other column."""
    content = translated(report_content(result), language)
    shown = words_on(sheet).replace(language("Follow-up, continued"), " ").replace("\N{NO-BREAK SPACE}", " ").split()
    for text in (content.follow_up_flags, content.prior, content.follow_up_text, *content.warnings):
        assert " ".join(text.split()) in " ".join(shown)


def test_reasons_are_said_once() -> None:
    case = refused()
    (reason,) = case.result.reasons
    line = QcLine(code=reason.code, severity="failure", text=reason.text)
    result = replace(case.result, qc=(line, *case.result.qc))
    assert words_on(draw_page(result, case.pictures)).count("does not lie where the liver lies") == 1


def test_the_voxels_stand_on_the_scale_with_the_limits() -> None:
    """The tallest bar lies where most voxels lie; a lower bound shows none."""
    case = measured(67.73)
    voxels = np.concatenate([np.full(900, 5.0), np.full(90, 2.0), np.full(10, 0.1)])
    sheet = draw_page(case.result, replace(case.pictures, lic_of_voxels_mg_per_g=voxels))
    scale = next(ax for ax in sheet.figure.axes if ax.get_xscale() == "log")
    (bars,) = [patch for patch in scale.patches if isinstance(patch, StepPatch)]
    heights, edges, base = bars.get_data()
    heights = heights - base
    highest = int(np.argmax(heights))
    assert edges[highest] <= 5.0 < edges[highest + 1]
    assert heights[(edges[:-1] <= 2.0) & (edges[1:] > 2.0)] == pytest.approx(0.1 * heights[highest])
    assert heights[0] == pytest.approx(heights[highest] / 90)  # what lies beyond the axis
    limits = {line.get_xdata()[0] for line in scale.lines if line.get_linestyle() == "--"}
    assert limits == {1.8, 3.2, 7.0, 15.0}
    bounded = next(ax for ax in page_of("at least").figure.axes if ax.get_xscale() == "log")
    assert not any(isinstance(patch, StepPatch) for patch in bounded.patches)


@pytest.mark.parametrize("name", ["mild", "normal at 3 T", "severe", "refused"])
def test_usual_reports_fit_whole(name: str) -> None:
    words = " ".join(words_on(page_of(name)).split())
    content = report_content(CASES[name]().result)
    for text in (content.follow_up_flags, content.follow_up_text, *content.warnings, *content.notes):
        assert " ".join(text.split()) in words


def test_research_label_goes_only_with_a_signature() -> None:
    case = measured(67.73)
    words = words_on(draw_page(replace(case.result, research_use_only=False), case.pictures))
    assert "research use" not in words
    assert "Decision support, not a diagnosis." in words


def test_three_forms_of_one_figure() -> None:
    page = typical_page()
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
    page = typical_page()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(page.png)).convert("RGB")), page.rgb)


_DIGEST = """
import hashlib
from node.report.language import ENGLISH, Catalogue, translated
from node.report.language import catalogue as catalogue_of
from node.report.page import render_page
from tests.node.report.report_cases import measured
case = measured(67.73)
page = render_page(case.result, case.pictures)
print(hashlib.sha256(page.rgb.tobytes() + page.png + page.pdf).hexdigest())
"""


def test_another_process_gives_the_same_bytes(pytestconfig: pytest.Config) -> None:
    page = typical_page()
    other = subprocess.run(
        [sys.executable, "-c", _DIGEST],
        check=True,
        capture_output=True,
        text=True,
        cwd=pytestconfig.rootpath,
        env={"PYTHONPATH": str(pytestconfig.rootpath), "PYTHONHASHSEED": "2", "HOME": "/nonexistent"},
    ).stdout.strip()
    assert other == hashlib.sha256(page.rgb.tobytes() + page.png + page.pdf).hexdigest()


@pytest.mark.parametrize(
    "name", ["Yamada^Tarou=山田^太郎=やまだ^たろう", "=洪^吉洞", "محمد^علي", "$x_1$^O'Brien\\", "^", ""]
)
def test_names_in_any_script_are_drawn(name: str) -> None:
    case = measured(67.73, patient=replace(PATIENT, name=name))
    sheet = draw_page(case.result, case.pictures)
    assert sheet.pixels().any()  # a missing glyph would be a warning, and so an error
    assert REPLACEMENT not in words_on(sheet)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou"),
        ("山田^太郎==Yamada^Tarou", "Yamada, Tarou"),
        ("=洪^吉洞", "name: see study"),
        ("Łukasiewicz^Żaneta", "Łukasiewicz, Żaneta"),
        ("^", "not given"),
    ],
)
def test_a_name_is_shown_in_letters_that_the_page_has(name: str, shown: str) -> None:
    assert dict(identity_cells(replace(PATIENT, name=name)))["Patient"] == shown


def test_other_identity_in_another_script_is_referred_to_the_study() -> None:
    cells = dict(identity_cells(replace(PATIENT, institution="東京病院", accession_number="")))
    assert cells["Institution"] == "see study"
    assert cells["Accession"] == "not given"


def _identity_on(sheet: Sheet) -> list[Text]:
    end = max(t.get_position()[1] for t in sheet.figure.texts if t.get_text().startswith("Liver iron concentration"))
    verdict = min(
        t.get_position()[1] for t in sheet.figure.texts if t.get_text().startswith("Liver iron concentration")
    )
    return [t for t in sheet.figure.texts if verdict < t.get_position()[1] < end]


def test_long_identity_stands_whole() -> None:
    patient = replace(
        PATIENT,
        name="Wolfeschlegelsteinhausenbergerdorff-Featherstonehaugh^Maximiliana Theodora^Ottilie",
        patient_id="0123456789" * 4,
        accession_number="WWWW-2025-083117",
        institution="Universitätsklinikum für Radiologie und Nuklearmedizin am Rande der Stadt",
    )
    case = measured(67.73, patient=patient)
    assert case.result.acquisition is not None
    scanner = replace(case.result.acquisition, manufacturer="GE MEDICAL SYSTEMS", model="DISCOVERY MR750", rows=256)
    sheet = draw_page(replace(case.result, acquisition=scanner), case.pictures)
    texts = [text.get_text() for text in _identity_on(sheet)]
    joined = "".join(texts).replace(" ", "").replace("\N{NO-BREAK SPACE}", "")
    for value in (patient.display_name, patient.patient_id, patient.accession_number, patient.institution):
        pieces = [text for text in texts if text.replace(" ", "") in value.replace(" ", "")]
        assert "".join(pieces).replace(" ", "") == value.replace(" ", "")
    assert "GEMEDICALSYSTEMSDISCOVERYMR750,1.5T" in joined
    assert "slicethickness7mm" in joined
    assert not any("…" in text for text in texts)


def _axes(sheet: Sheet, name: str) -> list[Axes]:
    return [ax for ax in sheet.figure.axes if ax.get_label() == name]


@pytest.mark.parametrize("name", CASES)
def test_warnings_are_marked_beside_the_value(name: str) -> None:
    case = CASES[name]()
    content = report_content(case.result)
    sheet = page_of(name)
    words, count = words_on(sheet), len(content.warnings)
    measured_one = content.headline.kind != "refused"
    assert len(_axes(sheet, MARKER)) == (measured_one and count > 0)
    assert (NO_WARNINGS in words) == (measured_one and count == 0)
    if measured_one and count:
        assert f"⚠ {count} warning" in words
    if name == "at least":
        pixels = sheet.pixels().reshape(-1, 3)
        amber = np.all(pixels == [int(AMBER[i : i + 2], 16) for i in (1, 3, 5)], axis=1).sum()
        assert amber > 20_000  # more than 1 % of the page


def test_mostly_failed_voxels_are_said_beside_the_value() -> None:
    sheet = page_of("nearly all voxels failed")
    strip = next(ax for ax in sheet.figure.axes if ax.get_label() == MARKER).get_position()
    inside = [t.get_text() for t in sheet.figure.texts if strip.y0 <= t.get_position()[1] <= strip.y1]
    assert any("91 % of the voxels failed" in text for text in inside), inside


def test_refusal_says_nothing_reassuring() -> None:
    for name in ("refused", "refused, no candidate", "refused, headers only"):
        case = CASES[name]()
        assert "no warnings" not in words_on(page_of(name)).lower()
        assert "no warnings" not in render_html(case.result, case.pictures).lower()


def test_lic_is_coloured_in_the_region_only() -> None:
    shown = measured(67.73).pictures.shown
    assert shown is not None
    assert shown.region is not None
    coloured = coloured_part(shown)
    away = np.argwhere(coloured & ~shown.region)
    inside = np.argwhere(shown.region)
    nearest = [np.hypot(*((inside - voxel) * shown.pixel_spacing_mm).T).min() for voxel in away]
    assert coloured[shown.region].all()
    assert 0 < max(nearest) <= COLOUR_MARGIN_MM
    assert coloured_part(replace(shown, map_quantity="r2star_per_s")).all()
    assert not coloured_part(replace(shown, region=None)).any()
    assert not coloured_part(replace(shown, region_rejected=True)).any()
    colourful = np.ptp(draw_map_pixels(shown), axis=2) > 30
    assert 0 < colourful.mean() < 0.3
    assert (np.ptp(draw_map_pixels(replace(shown, map_quantity="r2star_per_s")), axis=2) > 30).mean() > 0.5


def draw_map_pixels(shown: ShownSlice) -> np.ndarray:
    sheet = Sheet(width_px=300, height_px=200, dpi=100)
    draw_map(sheet.figure.add_axes((0, 0, 1, 1)), shown, 2.0)
    return sheet.pixels().astype(int)


def test_map_says_where_it_has_no_value() -> None:
    shown = measured(67.73).pictures.shown
    assert shown is not None
    assert shown.map_values is not None
    assert map_caption(shown) == "Liver region only"
    holed = np.where(shown.region, np.nan, shown.map_values)
    assert map_caption(replace(shown, map_values=holed)) == "Liver region only; black: no value"
    assert map_caption(replace(shown, map_quantity="r2star_per_s")) == "Black: no value"
    whole = np.nan_to_num(shown.map_values)
    assert map_caption(replace(shown, map_quantity="r2star_per_s", map_values=whole)) == ""


def test_lower_bound_is_an_arrow_to_the_right() -> None:
    case, sheet = CASES["at least"](), page_of("at least")
    words = words_on(sheet)
    assert "≥" in words
    assert "Liver iron concentration, at least" in words
    assert "95 % interval" not in words.split("Follow-up")[0].split("Region")[0]
    scale = next(ax for ax in sheet.figure.axes if ax.get_xscale() == "log")
    arrow = next(text for text in scale.texts if isinstance(text, Annotation))
    assert arrow.xy[0] > arrow.xyann[0]
    assert case.result.lic_mg_per_g is not None
    assert min(line.get_xdata()[0] for line in scale.lines) == pytest.approx(case.result.lic_mg_per_g.median)


def test_borderline_stands_in_the_title_of_the_statement() -> None:
    words = words_on(page_of("mild"))
    assert re.search(r"Upper reference limit: [^:]*borderline", words)
    assert "measurement only" in words
    assert not re.search(r"Upper reference limit: [^:]*borderline", words_on(page_of("severe")))


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
    words = " ".join(words_on(page_of("refused, headers only")).split())
    assert "No image could be shown." in words
    assert "cannot be decoded" in words
    assert "Quality: not assessed" in words
    for part in ("First echo", "Scanner", "Slice", "no warnings"):
        assert part not in words
    assert picture_files(case.result, case.pictures) == {}
    assert "No image could be shown." in render_html(case.result, case.pictures)
