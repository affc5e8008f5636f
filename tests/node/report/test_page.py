"""What the page says and shows: the verdict, the views, the warnings, the pictures."""

import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import StepPatch
from matplotlib.text import Annotation

from node.report.content import report_content
from node.report.flow import Sheet
from node.report.language import catalogue
from node.report.page import draw_page
from node.report.page_head import MARKER, NO_WARNINGS
from node.report.page_style import AMBER
from node.report.picture_files import picture_files
from node.report.pictures import ShownSlice
from node.report.plots import COLOUR_MARGIN_MM, coloured_part, draw_map, map_caption
from node.report.text import render_text
from quant.result import Bound, LobesSummary, PartSummary, QcLine
from tests.node.report.page_parts import html_of, page_of, texts_of, words_on
from tests.node.report.report_cases import CASES, measured, refused


def test_which_images_were_chosen_is_in_the_report_in_words() -> None:
    """As the planner words it: on the drawn page, in the HTML report and in the text."""
    case = CASES["mild"]()
    chosen = (
        "Of two reconstructions of the same echoes one was used because it is less filtered; 24 objects marked NORM"
    )
    line = QcLine(code="input_chosen", severity="info", text=chosen)
    result = replace(case.result, qc=(*case.result.qc, line))
    assert chosen in " ".join(words_on(draw_page(result, case.pictures)).split())
    assert chosen in " ".join(html_of(replace(case, result=result)).split())
    assert chosen in " ".join(render_text(result).split())


def test_the_change_since_the_last_measurement_stands_by_the_verdict() -> None:
    """The three-Tesla measurement of 2019 does not count; with the shipped repeatability 100 /s are a true change."""
    followed = CASES["followed up"]()
    assert followed.result.prior is not None
    change = "-2.5 mg/g since 2024-08-30, more than the repeatability"
    assert report_content(followed.result).headline.change == change
    assert change in words_on(page_of("followed up"))
    assert change in render_text(followed.result)
    steady = replace(followed.result.prior, change_mg_per_g=-0.04, exceeds_repeatability=False)
    content = report_content(replace(followed.result, prior=steady))
    assert content.headline.change == "+0.0 mg/g since 2024-08-30, within the repeatability"
    assert report_content(CASES["mild"]().result).headline.change == ""


def test_lobes_stand_side_by_side_where_both_are_measured() -> None:
    result = CASES["mild"]().result
    region, r2star = result.roi, result.r2star_per_s
    assert region is not None
    assert r2star is not None
    one = PartSummary(n_voxels=900, volume_ml=80, r2star_median_per_s=66, r2star_q1_per_s=None, r2star_q3_per_s=None)
    other = replace(one, r2star_median_per_s=71.0)

    def row(right: PartSummary | None, left: PartSummary | None, bound: Bound | None = None) -> str | None:
        stated = replace(
            result,
            roi=replace(region, lobes=LobesSummary(right=right, left=left)),
            r2star_per_s=replace(r2star, bound=bound),
        )
        return dict(report_content(stated).numbers).get("Lobes")

    assert row(one, other) == "right 2.0, left 2.2 mg/g (66.0, 71.0 /s)"
    assert row(one, None) is None
    assert row(one, replace(other, r2star_median_per_s=None)) is None  # beyond the measurable limit
    assert row(one, other, bound="at_least") is None
    for language in ("de", "fr"):
        assert catalogue(language).unknown(row(one, other) or "") == []


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


def test_research_label_goes_only_with_a_signature() -> None:
    case = measured(67.73)
    words = words_on(draw_page(replace(case.result, research_use_only=False), case.pictures))
    assert "research use" not in words
    assert "Decision support, not a diagnosis." in words


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
        assert "no warnings" not in html_of(case).lower()


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


@pytest.mark.parametrize("name", ["mild", "severe", "followed up", "crowded"])
def test_the_histogram_stands_clear_of_the_words_above_it(name: str) -> None:
    sheet = page_of(name)
    boxes = texts_of(sheet)
    top = next(ax for ax in sheet.figure.axes if ax.get_xscale() == "log").get_window_extent().y1
    above = min(box.y0 - top for _, box in boxes if box.y0 > top - 30 and box.y1 > top + 10)
    assert above > 6  # pixels of 1754


def test_a_lower_bound_is_the_first_of_the_warnings() -> None:
    case = CASES["four late echoes"]()
    first = report_content(case.result).warnings[0]
    assert case.result.qc[0].text != first
    assert "a lower bound only" in first


def test_borderline_stands_in_the_title_of_the_statement() -> None:
    words = words_on(page_of("mild"))
    assert re.search(r"Upper reference limit: [^:]*borderline", words)
    assert "measurement only" in words
    assert not re.search(r"Upper reference limit: [^:]*borderline", words_on(page_of("severe")))


def test_page_without_an_image_says_so() -> None:
    case = CASES["refused, headers only"]()
    words = " ".join(words_on(page_of("refused, headers only")).split())
    assert "No image could be shown." in words
    assert "cannot be decoded" in words
    assert "Quality: not assessed" in words
    for part in ("First echo", "Scanner", "Slice", "no warnings"):
        assert part not in words
    assert picture_files(case.result, case.pictures) == {}
    assert "No image could be shown." in html_of(case)
