"""Grade schemes: exact band edges, candidates, lower bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.grading import SCHEMES, grade, scheme_by_id
from quant.uncertainty import Normal

DEFAULT = scheme_by_id("guglielmo-2023")


@pytest.mark.parametrize(
    ("edge", "below", "at"),
    [(1.8, "normal", "mild"), (3.2, "mild", "moderate"), (7.0, "moderate", "severe"), (15.0, "severe", "extreme")],
)
def test_bands_are_half_open_on_the_unrounded_value(edge: float, below: str, at: str) -> None:
    assert grade(DEFAULT, Normal(mean=math.nextafter(edge, 0), sd=0)).label == below
    assert grade(DEFAULT, Normal(mean=edge, sd=0)).label == at


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@given(lic=st.floats(0, 60), sd=st.floats(0.01, 3))
def test_every_lic_has_one_grade_among_its_candidates(scheme, lic: float, sd: float) -> None:
    graded = grade(scheme, Normal(mean=lic, sd=sd))
    assert graded.code in [candidate.code for candidate in graded.candidates]
    assert graded.borderline == (len(graded.candidates) > 1)
    assert 0.95 - 1e-9 <= sum(candidate.probability for candidate in graded.candidates) <= 1 + 1e-9
    assert all(candidate.probability > 0 for candidate in graded.candidates)


def test_edge_inside_the_interval_is_borderline_with_probabilities() -> None:
    graded = grade(DEFAULT, Normal(mean=1.9, sd=0.1))
    assert [(c.label, round(c.probability, 3)) for c in graded.candidates] == [("normal", 0.159), ("mild", 0.841)]
    assert graded.borderline
    clear = grade(DEFAULT, Normal(mean=2.4, sd=0.1))
    assert [c.label for c in clear.candidates] == ["mild"]
    assert not clear.borderline


def test_lower_bound() -> None:
    graded = grade(DEFAULT, Normal(mean=6.5, sd=1.0), at_least=True)
    assert (graded.code, graded.label) == ("moderate", "at least moderate")
    assert [c.label for c in graded.candidates] == ["at least moderate"]
    assert graded.candidates[0].probability == pytest.approx(0.9995, abs=1e-3)
    near_edge = grade(DEFAULT, Normal(mean=7.1, sd=0.2), at_least=True)
    assert [c.label for c in near_edge.candidates] == ["moderate", "at least severe"]
    assert grade(DEFAULT, Normal(mean=20, sd=1), at_least=True).label == "extreme"


def test_schemes_agree_on_numbers_and_differ_in_words() -> None:
    assert scheme_by_id("esgar-sar-2023").edges_mg_per_g == DEFAULT.edges_mg_per_g == (1.8, 3.2, 7.0, 15.0)
    labels = {scheme_id: grade(scheme, Normal(mean=2.1, sd=0)).label for scheme_id, scheme in SCHEMES.items()}
    assert labels == {
        "guglielmo-2023": "mild",
        "esgar-sar-2023": "borderline",
        "reference-terms": "above reference, borderline",
        "brazilian-cardiology": "mild",
        "clinically-significant-7": "not significant",
        "paisant-2017": "overload",
    }
    assert all(scheme.source for scheme in SCHEMES.values())


def test_band_texts() -> None:
    assert [DEFAULT.band_text(code) for code in DEFAULT.codes] == [
        "< 1.8 mg/g",
        "1.8 to < 3.2 mg/g",
        "3.2 to < 7 mg/g",
        "7 to < 15 mg/g",
        "≥ 15 mg/g",
    ]


def test_unknown_scheme_is_named() -> None:
    with pytest.raises(ValueError, match=r"grading\.scheme: brunt .*guglielmo-2023"):
        scheme_by_id("brunt")
