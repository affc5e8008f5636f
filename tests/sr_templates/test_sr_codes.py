"""The code tables: standard codes as the dictionaries have them, private ones each defined once."""

import re
from pathlib import Path

import pytest
from highdicom.sr import CodedConcept
from pydicom.sr._concepts_dict import concepts as dictionary

import quant.liver
import quant.quality
from quant.calibration import CALIBRATIONS
from quant.grading import SCHEMES
from sr_templates import coded_values, codes

# Written otherwise than pydicom's dictionary, on purpose: units as they are printed, and meanings without the
# dictionary's technical suffix "(attribute)".
OWN_MEANING = {"ms", "%", "cm3", "mo", "246112005", "260753009"}
# Not in the dictionary: CID 225, CID 3716, CID 7469 and text of the standard; checked by hand.
ABSENT = {"mg/g", "mg/g/a", "ug/g", "umol/g", "T", "{voxels}", "{pixels}", "{-1:1}", "/s"}


def standard_concepts() -> list[CodedConcept]:
    found = []
    for value in vars(codes).values():
        for concept in value if isinstance(value, tuple) else (value,):
            if isinstance(concept, CodedConcept) and concept.scheme_designator in ("DCM", "SCT", "UCUM"):
                found.append(concept)
    return found


def known(scheme: str) -> dict[str, set[str]]:
    meanings: dict[str, set[str]] = {}
    for by_value in dictionary[scheme].values():
        for value, (meaning, _) in by_value.items():
            meanings.setdefault(value, set()).add(meaning.lower())
    return meanings


@pytest.mark.parametrize("scheme", ["DCM", "SCT", "UCUM"])
def test_standard_codes_mean_what_the_dictionary_says(scheme: str) -> None:
    meanings = known(scheme)
    checked = [c for c in standard_concepts() if c.scheme_designator == scheme and c.value not in ABSENT | OWN_MEANING]
    for concept in checked:
        assert concept.meaning.lower() in meanings.get(concept.value, set()), concept.meaning
    assert len(checked) >= {"DCM": 50, "SCT": 12, "UCUM": 1}[scheme]


def test_private_codes_are_short_and_unique() -> None:
    entries = list(codes.PRIVATE_CODES.values())
    assert len({entry.value for entry in entries}) == len(entries) == len(codes._TABLE)
    assert len({entry.meaning for entry in entries}) == len(entries)
    for entry in entries:
        assert len(entry.value) <= 16
        assert len(entry.meaning) <= 64
        assert entry.meaning.isascii()
        assert entry.definition.endswith(".")
    assert codes.SCHEME.startswith("99")
    assert len(codes.SCHEME) <= 16


@pytest.mark.parametrize("key", list(CALIBRATIONS))
def test_every_calibration_has_a_code_that_names_its_field(key: tuple[str, float]) -> None:
    method = coded_values.calibration_method(*key)
    assert method.scheme_designator == codes.SCHEME
    assert method.meaning.endswith(f"{key[1]} T")
    assert key[0].split("-")[0] in method.meaning.lower()


@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_every_grade_of_every_scheme_has_a_code_that_names_both(scheme: str) -> None:
    values = [coded_values.grade_value(scheme, code) for code in SCHEMES[scheme].codes]
    assert len({value.value for value in values}) == len(values)
    for value, label in zip(values, SCHEMES[scheme].labels, strict=True):
        assert value.meaning.startswith(f"{scheme}: ")
        assert value.meaning.endswith(label)


def test_severity_grows_with_the_grade() -> None:
    rank = {"None": 0, "Mild": 1, "Moderate": 2, "Severe": 3}
    for scheme in SCHEMES.values():
        words = [coded_values.grade_severity(scheme.id, code) for code in scheme.codes]
        ranks = [rank[word.meaning] for word in words if word is not None]
        assert ranks == sorted(ranks)
        assert ranks[0] == 0


def test_what_has_no_code_is_refused() -> None:
    with pytest.raises(ValueError, match="unheard-of"):
        coded_values.calibration_method("unheard-of", 1.5)
    with pytest.raises(ValueError, match="gigantic"):
        coded_values.grade_value("guglielmo-2023", "gigantic")


def test_no_other_module_holds_a_code() -> None:
    for path in Path(codes.__file__).parent.glob("*.py"):
        if path.name != "codes.py":
            assert not re.search(r'"(DCM|SCT|UCUM|LN|RADLEX|UMLS)"', path.read_text("utf-8")), path.name


def test_every_refusal_of_the_liver_search_has_a_code_of_its_own() -> None:
    sources = (Path(quant.liver.__file__).parent).glob("*.py")
    refusals = {code for path in sources for code in re.findall(r'"(roi_[a-z0-9_]+)"', path.read_text("utf-8"))}
    refusals -= {
        "roi_single_slice",
        "roi_high_r2star",
        "roi_field_gradient",
        "roi_discs",
        "roi_left_lobe",
        "roi_no_second_opinion",
    }  # warnings and information
    assert len(refusals) >= 10
    assert sorted(code for code in refusals if coded_values.absence_reason(code).value == "5100") == []


def test_every_refusal_of_the_quality_of_a_region_has_a_code_of_its_own() -> None:
    source = Path(quant.quality.__file__).read_text("utf-8")
    failures = set(re.findall(r'code="([a-z_]+)", severity="failure"', source))
    assert failures == {"echo_count", "fraction_failed", "pooled_misfit", "pdff_not_plausible"}
    assert len({coded_values.absence_reason(code).value for code in failures} - {"5100"}) == len(failures)
