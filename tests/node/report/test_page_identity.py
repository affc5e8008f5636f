"""Whose page it is: names in any script, long ones, characters that the page has no letters for."""

from dataclasses import replace

import pytest
from matplotlib.text import Text

from node.report.flow import REPLACEMENT, Sheet, drawable
from node.report.page import draw_page
from node.report.page_identity import identity_cells
from tests.node.report.page_parts import words_on
from tests.node.report.report_cases import PATIENT, measured


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


def test_unknown_characters_are_shown_as_such() -> None:
    assert drawable("山a") == "\N{REPLACEMENT CHARACTER}a"
    assert drawable("Ångström Ж") == "Ångström Ж"
