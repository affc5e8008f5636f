"""The page in German and French: everything is said, no number changes, nothing is lost."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from node.config import load_config
from node.errors import ConfigError
from node.intake.admission import decline_plane
from node.intake.assembly import AcquisitionPlan, plan_study
from node.intake.grid import build_grid
from node.intake.planes import planes_of
from node.intake.sisters import sisters
from node.intake.strays import missed
from node.process.pipeline import declined_output
from node.process.settings import settings_of
from node.report.content import report_content
from node.report.html import render_html
from node.report.language import ENGLISH, Catalogue, catalogue, translated
from node.report.page import draw_page, render_page
from tests.further import further
from tests.node.intake.test_assembly import ECHO_TIMES_MS, image, measurable
from tests.node.intake.test_sisters import volume
from tests.node.mr_images import Scan, classic
from tests.node.printed_text import text_of_html, text_of_pdf
from tests.node.report.emitted_texts import data_texts, pieces
from tests.node.report.page_parts import assert_clinical_text_in_full, html_of, texts_of
from tests.node.report.report_cases import CASES

LANGUAGES = ("de", "fr")
INVENTED = {"four late echoes", "nearly all voxels failed", "refused", "refused, no candidate", "crowded"}
"""Cases with sentences that the tests made up."""
SAME_EVERYWHERE = re.compile(
    r"([<≥]? ?[\d.]+ )?(mg/g|ms|T)( = [\d.]+ µmol/g| \([\d.]+ µmol/g\))?|[\d.]+|(doi:)?10\.\d+/\S+"
    r"|SIEMENS Avanto|Blood 2009;113:4853"
    r"|(Garbowski 2014|Hernando 20\d\d|Henninger 2015|Hankins 2009|Wood \(as commonly cited\))"
)


PRINTED = (
    ("R2*", "/s", "r2star_per_s"),
    ("T2*", "ms", "t2star_ms"),
    ("LIC, dry weight", "mg/g", "lic_mg_per_g"),
    ("Fat fraction", "%", "pdff_percent"),
)


class Listening(Catalogue):
    """A catalogue that remembers what it did not know."""

    def __init__(self, language: str) -> None:
        vars(self).update(vars(catalogue(language)))
        self.missing: set[str] = set()

    def __call__(self, text: str) -> str:
        self.missing.update(self.unknown(text))
        return super().__call__(text)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.values() for text in strings(item))
    elif isinstance(value, (tuple, list)):
        yield from (text for item in value for text in strings(item))


def digits(texts: Iterator[str]) -> Counter[str]:
    return Counter(number for text in texts for number in re.findall(r"\d+(?:\.\d+)?", text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_of_the_code_has_a_translation(language: str) -> None:
    keys = catalogue(language).texts
    known = "\0".join(re.sub(r"\{[#=]?\w+\}|\d+(?:\.\d+)?", "\0", key) for key in keys)
    assert [f"{place}: {words}" for place, words in pieces() if words not in known] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_of_the_tables_has_a_translation(language: str) -> None:
    words = catalogue(language)
    assert {text for text in data_texts() if words.unknown(text)} == set()


def test_both_languages_know_the_same_sentences() -> None:
    assert catalogue("de").texts.keys() == catalogue("fr").texts.keys()


WITH_PICTURES = {"mild", "followed up", "refused", "refused, headers only"}


@pytest.mark.parametrize("language", ["de", *further(["fr"])])
@pytest.mark.parametrize("name", sorted(set(CASES) - INVENTED))
def test_no_english_is_left(name: str, language: str) -> None:
    case, words = CASES[name](), Listening(language)
    sheet = draw_page(case.result, case.pictures, words)
    html = html_of(case, words) if name in WITH_PICTURES else render_html(case.result, None, {}, words)
    assert_clinical_text_in_full(case.result, sheet, catalogue(language))
    assert f'<html lang="{language}">' in html
    pieces_missing = {piece for text in words.missing for piece in text.split(", ")}
    assert {piece for piece in pieces_missing if not SAME_EVERYWHERE.fullmatch(piece)} == set()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CASES)
def test_no_number_changes(name: str, language: str) -> None:
    content = report_content(CASES[name]().result)
    said = translated(content, catalogue(language))
    assert said.headline.value == content.headline.value or content.headline.kind == "refused"
    assert digits(strings(asdict(said))) == digits(strings(asdict(content)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_page_and_html_state_the_numbers_of_the_record(language: str) -> None:
    """Under the label in the page's language, in the PDF's text and in the HTML, stands the record's median."""
    case, words = CASES["crowded"](), catalogue(language)
    record = case.result.to_record()
    pdf = text_of_pdf(render_page(case.result, case.pictures, words).pdf)
    html = text_of_html(html_of(case, words))
    for form in (pdf, html):
        said = "".join(form.split())
        for label, unit, key in PRINTED:
            found = set(re.findall(re.escape("".join(words(label).split())) + rf"(\d+\.?\d*){unit}", said))
            (number,) = found
            half_digit = 0.5001 * 10.0 ** -len(number.partition(".")[2])
            assert float(number) == pytest.approx(record[key]["median"], abs=half_digit), label
    assert {"de": "für", "fr": "Réservé"}[language] in pdf  # accents are text in the PDF too


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["at least moderate", "followed up", "crowded"])
def test_longer_words_have_room(name: str, language: str) -> None:
    case = CASES[name]()
    sheet = draw_page(case.result, case.pictures, catalogue(language))
    boxes = texts_of(sheet)
    for index, (text, box) in enumerate(boxes):
        assert box.x0 >= 0, text
        assert box.x1 <= sheet.width_px, text
        for other, beside in boxes[index + 1 :]:
            assert not box.overlaps(beside), (text, other)


def test_english_is_what_the_record_says() -> None:
    content = report_content(CASES["mild"]().result)
    assert translated(content, ENGLISH) == content


def test_values_in_a_sentence_are_translated_too() -> None:
    words = Catalogue("xx", {"{grade} iron, {#n} of {#m}": "{n}/{m}: fer {grade}", "mild": "leger"})
    assert words("mild iron, 1 of 2") == "1/2: fer leger"
    assert words("Mild iron, 1 of 2") == "1/2: fer Mild"
    assert words("mild iron, one of 2") == "mild iron, one of 2"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_list_in_a_gap_is_said_piece_by_piece(language: str) -> None:
    """The first piece's entry does not take the others for what stands in its gap."""
    first, second = "calibration hernando-2023 (1.5 T) then, garbowski-2014 (1.5 T) now", "method version 0 then, 1 now"
    words = catalogue(language)
    said = words(f"Earlier measurement 2024-08-30: LIC 3.4 mg/g (hernando-2023); not comparable: {first}; {second}.")
    assert words(first) in said
    assert words(second) in said


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["Born", "Fit and Source", "Grade, mild", "Dr. Study"])
def test_names_stay_as_they_are_written(name: str, language: str) -> None:
    for sentence in (
        f"Policy approved by {name} on 2026-01-02.",
        f"A contrast agent was given ({name}); it changes R2* and hides iron.",
        f'The region was not found automatically: it comes from a segmentation "{name}", drawn by {name}.',
    ):
        said = catalogue(language)(sentence)
        assert said.count(name) == sentence.count(name)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sites_own_text_is_not_said_half_in_another_language(language: str) -> None:
    for text in (
        "Call the iron clinic, mild and severe cases first.",
        "Repeat yearly; complex cases to Dr. Born.",
        "Indicate: mild",
    ):
        assert catalogue(language)(text) == text


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_long_text_from_a_header_does_not_halt_the_page(language: str) -> None:
    text = "Source: " + "; written for " * 700 + "nobody"
    assert catalogue(language)(text) == text


def test_what_is_not_known_stays_and_is_told() -> None:
    words = Catalogue("xx", {"Known.": "Connu."})
    assert words("Known. Not known at all. Known.") == "Connu. Not known at all. Connu."
    assert words.unknown("Known. Not known at all. Known.") == ["Not known at all."]


def test_a_translation_with_another_number_is_not_taken() -> None:
    for english, said in (("7 mg/g", "70 mg/g"), ("At 7 mg/g, {#n}", "Bei 70 mg/g, {n}"), ("two", "2")):
        with pytest.raises(ValueError, match=re.escape(english)):
            Catalogue("xx", {english: said})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('texts: {"a {#n}": "b"}', '"a {#n}"'),
        ('texts: {"a": "b {n}"}', '"b {n}"'),
        ("texts: [a]", "texts:"),
        ("texts: {a: {b: c}}", "texts:"),
        ("{", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_at_once(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "own.yaml").write_text(content)
    (tmp_path / "config.yaml").write_text("report: {language: de, texts_file: own.yaml}")
    with pytest.raises(ConfigError, match=r"report\.texts_file") as error:
        settings_of(load_config(tmp_path / "config.yaml"))
    assert said in str(error.value)
    assert "own.yaml" in str(error.value)


def test_a_site_has_the_last_word(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text('language: de-AT\ntexts: {"mild": "gering"}')
    words = catalogue("de", own)
    assert (words.language, words("mild"), words("severe")) == ("de-AT", "gering", "schwer")


def test_a_sites_own_texts_stand_in_the_report_and_the_record_names_the_settings(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text('texts: {"Modality is CT, not MR.": "Das ist ein CT."}')
    (tmp_path / "config.yaml").write_text("report: {language: de, texts_file: own.yaml}")
    config = load_config(tmp_path / "config.yaml")
    reason = ("not_mr", "Modality is CT, not MR.")
    plan = AcquisitionPlan(
        key="a", study_instance_uid="1.2", headers=(), complete=False, promised=False, declined=reason
    )
    output = declined_output([plan], config)
    assert "Das ist ein CT." in text_of_html(output.files["report.html"].decode())
    assert output.record["reasons"] == [{"code": "not_mr", "text": "Modality is CT, not MR."}]
    assert output.record["settings_digest"] == config.method_digest()


@pytest.mark.parametrize("language", LANGUAGES)
def test_why_images_are_declined_is_said(language: str) -> None:
    words = catalogue(language)
    for reason in (
        "Modality is CT, not MR.",
        "CT Image Storage is not an MR image.",
        "Image type ORIGINAL\\PRIMARY\\LOCALIZER is a localiser, not a measured echo.",
        "Image type DERIVED\\PRIMARY\\P is the scanner's field map, not a measured echo, with 2 echo time(s) beside "
        "it; R2* needs at least 3.",
        "The sequence is SE\\IR; R2* needs gradient echoes, and spin echoes measure R2.",
        "Image Position (0020,0032) and Image Orientation (0020,0037) missing or impossible.",
        "The images of this study carry 2 different Patient IDs (0010,0020); whose they are is not told.",
        "Only 2 echo times (2.30, 4.60 ms); R2* needs at least 3.",
        "The object was made by ironnode; own results are never measured again.",
        'The rule "no-research" of this site\'s configuration declines it.',
    ):
        assert words.unknown(reason) == []
        assert words(reason) != reason


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_missing_and_where_it_lies_is_said(language: str) -> None:
    """The words of sisters and strays, alone and joined with others into the line of an incomplete acquisition."""
    words = catalogue(language)
    elsewhere = {"study_instance_uid": "1.2", "repetition_time_ms": "121.0"}
    whole, apart = volume(0, ECHO_TIMES_MS[:3], {}), volume(1, ECHO_TIMES_MS[3:], {"study_instance_uid": "1.2"})
    rest = volume(0, ECHO_TIMES_MS[3:], {"repetition_time_ms": "121.0"})
    (plan,) = measurable(plan_study([*whole, *apart]))
    holes = build_grid([image(z, t) for z in range(2) for t in ECHO_TIMES_MS if (z, t) != (1, 2.4)]).describe_holes()
    no_echo = decline_plane(replace(planes_of(classic(Scan(), 0, 1.2))[0], echo_time_s=None, echo_time_told_ms=0.0))
    lines = [
        *plan.missing,
        missed(whole, rest, None, final=False),
        *holes,
        missed(whole, rest, no_echo, final=True),
        sisters(volume(2, ECHO_TIMES_MS[:2], {}), volume(3, ECHO_TIMES_MS[2:], elsewhere), of_result=False),
    ]
    assert all(lines)
    for line in (
        *lines,
        f"The acquisition is incomplete. Missing or not usable: {'; '.join(line.rstrip('.') for line in lines)}.",
    ):
        assert words.unknown(line) == []
        assert digits(iter([words(line)])) == digits(iter([line]))
        assert not re.search(r"\b(slices|study|differ|acquired|series that)\b", words(line))
