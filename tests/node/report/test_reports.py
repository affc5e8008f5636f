"""HTML, text and pictures: same numbers as the record, self-contained, safe."""

import base64
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest

from node.report.content import report_content
from node.report.html import render_html
from node.report.picture_files import picture_files
from node.report.pictures import PatientLines, edge_letters, representative_slice
from node.report.plots import body_box, map_top, outline_loops
from node.report.text import render_text
from node.report.trend import has_trend
from quant.acquisition import Geometry
from tests.node.report.page_parts import html_of, page_of
from tests.node.report.report_cases import CASES, PATIENT, abdomen, base_result, measured, refused

_VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Checks nesting and collects what matters."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data.strip())


def parse(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


@cache
def html_of_case(name: str) -> str:
    return html_of(CASES[name]())


@pytest.mark.parametrize("name", CASES)
def test_html_is_whole_and_self_contained(name: str) -> None:
    case, html = CASES[name](), html_of_case(name)
    page = parse(html)
    lic, shown, decay = case.result.lic_mg_per_g, case.pictures.shown, case.pictures.decay
    wanted = 2 * (shown is not None) + sum(bool(part) for part in (lic, decay, has_trend(case.result)))
    assert len(page.images) == wanted
    for image in page.images:
        assert image["alt"]
        source = image["src"]
        assert source is not None
        assert base64.b64decode(source.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    assert not re.search(r"(?:src|href)=\"(?!data:)", html)
    assert "<script" not in html
    assert 'lang="en"' in html


def test_html_repeats() -> None:
    case = CASES["followed up"]()
    assert html_of(case) == html_of_case("followed up")


@pytest.mark.parametrize("name", CASES)
def test_all_reports_say_the_same(name: str) -> None:
    """Whatever the record says in numbers stands in HTML and text; headline and grade on the page as well."""
    case = CASES[name]()
    content = report_content(case.result)
    words = " ".join(" ".join(parse(html_of_case(name)).words).split())
    text = " ".join(render_text(case.result).split())
    page = " ".join(t.get_text() for t in page_of(name).figure.texts)
    parts = [content.headline.value, content.headline.interval, content.headline.grade_detail, content.follow_up_title]
    parts += [value for _, value in (*content.numbers, *content.calibration)]
    parts += [statement.text for statement in content.statements]
    parts += [*content.reasons, *content.advice, *content.warnings, *content.notes, *content.labels]
    for part in parts:
        assert " ".join(part.split()) in words
        if part != content.follow_up_title or content.headline.kind != "refused":
            assert " ".join(part.split()) in text
    assert content.headline.value in page
    assert content.headline.grade.lower() in page.lower() or content.headline.kind == "refused"


def test_text_holds_no_patient_identification_and_fits_a_terminal() -> None:
    text = render_text(measured(67.73).result)
    assert "DOE" not in text
    assert max(len(line) for line in text.splitlines()) <= 88
    assert text.startswith("Liver iron concentration by MRI (R2*)\n")
    assert "LIC 2.1 mg/g   (37 µmol/g · 95 % interval 1.8 to 2.4 mg/g)" in text
    assert "Grade: mild" in text


def test_a_lower_bound_is_one_bound_everywhere() -> None:
    text = render_text(CASES["at least"]().result)
    assert "LIC at least 25.0 mg/g   (at least 447 µmol/g · lower bound, no upper limit)" in text
    assert "R2*              at least 785 /s" in text
    assert "T2*              at most 1.27 ms" in text
    assert "quartiles" not in text
    assert "95 % lower limit" not in text
    assert re.search(r"Hernando 2023: at least \d", text)
    record = CASES["at least"]().result.to_record()
    for name, upper in (("lic_mg_per_g", 1), ("r2star_per_s", 1), ("t2star_ms", 0)):
        statistics = record[name]
        assert [statistics[key] for key in ("mean", "sd", "q1", "q3")] == [None] * 4
        assert statistics["interval95"][upper] is None
        assert statistics["interval95"][1 - upper] is not None


def test_titles_of_the_views_say_what_is_not_settled() -> None:
    statements = report_content(measured(215).result).statements
    assert statements[1].answer == "below 7 mg/g (borderline)"
    bounded = report_content(measured(300, 3.0, fraction_at_limit=0.6, measurable_limit_per_s=400.0).result).statements
    assert [s.answer for s in bounded] == ["above 1.8 mg/g", "cannot be told whether at or above 7 mg/g"]
    text = render_text(measured(215).result)
    assert "(measurement only)\nThe choice of calibration is not in these probabilities." in text


def test_notes_that_say_nothing_are_left_out() -> None:
    notes = " ".join(report_content(measured(67.73).result).notes)
    assert "0 % of the voxels" not in notes
    assert "voxels in the region." not in notes
    assert "12 echoes (6 to 12 advised)" not in notes
    assert "1 % of the voxels in the region failed" in notes


def test_refusal_in_text() -> None:
    text = render_text(refused().result)
    assert "No LIC value: not measurable" in text
    assert "What to do" in text
    declined = replace(base_result(1.5), status="declined", acquisition=None, fit=None)
    assert "Not measured: not this examination" in render_text(declined)
    assert "<img" not in render_html(declined, None, {})


def test_html_escapes_what_comes_from_outside() -> None:
    patient = replace(PATIENT, name="<script>alert(1)</script>^&", institution='"><b>')
    html = html_of(measured(67.73, patient=patient))
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "<b>" not in html


def test_pictures_are_png_and_repeat() -> None:
    case = measured(67.73)
    files = picture_files(case.result, case.pictures)
    assert set(files) == {"scale.png", "anatomy.png", "map.png", "decay.png"}
    assert all(png.startswith(b"\x89PNG") for png in files.values())
    assert picture_files(case.result, case.pictures) == files
    assert set(picture_files(refused().result, refused().pictures)) == {"anatomy.png", "map.png"}


def test_outline_follows_pixel_edges() -> None:
    region = np.zeros((6, 7), dtype=bool)
    region[1:4, 2:6] = True
    region[2, 3] = False
    loops = outline_loops(region)
    assert sorted(len(loop) - 1 for loop in loops) == [4, 14]  # the hole and the outer border, in pixel edges
    outer = np.array(max(loops, key=len))
    assert tuple(outer[0]) == tuple(outer[-1])
    assert (outer.min(axis=0).tolist(), outer.max(axis=0).tolist()) == ([1.5, 0.5], [5.5, 3.5])
    assert outline_loops(np.zeros((3, 3), dtype=bool)) == []
    border = np.ones((2, 2), dtype=bool)
    assert len(outline_loops(border)[0]) - 1 == 8


def test_representative_slice_is_the_largest_and_middlemost() -> None:
    region = np.zeros((5, 4, 4), dtype=bool)
    assert representative_slice(None, 5) == 2
    assert representative_slice(region, 5) == 2
    region[1:4, :2] = True
    assert representative_slice(region, 5) == 2
    region[4] = True
    assert representative_slice(region, 5) == 4


def test_edge_letters_are_the_patients_directions() -> None:
    acquisition, _, _ = abdomen(50)
    assert edge_letters(acquisition.geometry) == ("R", "L", "A", "P")
    coronal = Geometry(
        positions_mm=np.zeros((1, 3)),
        row_direction=np.array([1.0, 0, 0]),
        column_direction=np.array([0, 0, -1.0]),
        spacing_mm=(5, 1, 1),
        slice_thickness_mm=5,
    )
    assert edge_letters(coronal) == ("R", "L", "H", "F")


def test_body_box_crops_air_only() -> None:
    anatomy = np.zeros((64, 64))
    anatomy[10:40, 20:60] = 100
    rows, columns = body_box(anatomy)
    assert (rows.start, rows.stop, columns.start, columns.stop) == (8, 42, 18, 62)
    assert body_box(np.zeros((8, 8))) == (slice(0, 8), slice(0, 8))


def test_colour_range_leaves_room_above_the_region() -> None:
    assert map_top("lic_mg_per_g", 2.08) == 4.0
    assert map_top("lic_mg_per_g", 12.6) == 24.0
    assert map_top("lic_mg_per_g", 90) == 45.0
    assert map_top("r2star_per_s", 67.73) == 200.0


def test_names_are_shown_as_people_write_them() -> None:
    assert PatientLines(name="DOE^JANE^Q^^").display_name == "DOE, JANE Q"
    assert PatientLines(name="Yamada^Tarou=山田^太郎").display_name == "Yamada, Tarou"
    assert PatientLines(name="=洪^吉洞").display_name == "洪, 吉洞"
    assert PatientLines(name="^").display_name == ""
