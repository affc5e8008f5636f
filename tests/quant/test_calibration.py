"""Calibrations against the published numbers, field matching, validity."""

import numpy as np
import pytest

from quant.calibration import (
    CALIBRATIONS,
    UMOL_PER_MG,
    calibration_for,
    check_by_field,
    match_field,
    other_calibrations,
)
from tests.clinical_cases import BY_FIELD

# LIC at R2* 67.73 /s by calibration and field, as tabulated in the clinical reference, two decimals
WORKED_EXAMPLE = {
    ("garbowski-2014", 1.5): 2.08,
    ("wood-as-commonly-cited", 1.5): 1.92,
    ("henninger-2015", 1.5): 1.90,
    ("hernando-2021", 1.5): 1.73,
    ("hernando-2023", 1.5): 1.60,
    ("hankins-2009", 1.5): 1.44,
    ("hernando-2023", 2.89): 0.92,
    ("hernando-2023", 3.0): 0.88,
}
THRESHOLDS = (1.8, 2.0, 3.2, 5, 7, 15)
R2STAR_AT_THRESHOLDS = {
    ("hernando-2023", 1.5): (75, 83, 129, 198, 275, 582),
    ("henninger-2015", 1.5): (63, 72, 122, 197, 280, 613),
    ("hankins-2009", 1.5): (80, 88, 130, 195, 266, 552),
    ("wood-as-commonly-cited", 1.5): (63, 71, 118, 189, 268, 583),
    ("garbowski-2014", 1.5): (59, 65, 103, 161, 224, 475),
    ("hernando-2023", 2.89): (131, 145, 231, 359, 502, 1074),
    ("hernando-2023", 3.0): (136, 150, 239, 373, 521, 1114),
}


@pytest.mark.parametrize(("key", "lic"), WORKED_EXAMPLE.items())
def test_worked_example(key: tuple[str, float], lic: float) -> None:
    assert CALIBRATIONS[key].lic_mg_per_g(67.73) == pytest.approx(lic, abs=0.006)


@pytest.mark.parametrize(("key", "rates"), R2STAR_AT_THRESHOLDS.items())
def test_r2star_equivalents_of_the_thresholds(key: tuple[str, float], rates: tuple[int, ...]) -> None:
    inverses = [CALIBRATIONS[key].equation.inverse(lic) for lic in THRESHOLDS]
    assert inverses == pytest.approx(rates, abs=0.51)


def test_garbowski_equals_its_published_r2star_form() -> None:
    calibration = CALIBRATIONS["garbowski-2014", 1.5]
    rates = np.linspace(20, 1200, 50)
    assert calibration.lic_map(rates) == pytest.approx(0.02900 * rates**1.014, rel=2e-3)


@pytest.mark.parametrize("key", CALIBRATIONS)
def test_lic_rises_with_r2star_and_inverts(key: tuple[str, float]) -> None:
    calibration = CALIBRATIONS[key]
    rates = np.linspace(*calibration.valid_r2star_per_s, 200)
    lic = np.array([calibration.lic_mg_per_g(rate) for rate in rates])
    assert np.all(np.diff(lic) > 0)
    assert lic[0] >= -1e-9
    assert [calibration.equation.inverse(value) for value in lic] == pytest.approx(rates)
    step = 1e-3
    middle = float(rates[100])
    slope = (calibration.lic_mg_per_g(middle + step) - calibration.lic_mg_per_g(middle - step)) / (2 * step)
    assert calibration.equation.slope_at(middle) == pytest.approx(slope, rel=1e-6)


def test_slope_falls_with_field_strength() -> None:
    slopes = [CALIBRATIONS["hernando-2023", field].equation.slope_at(100) for field in (1.5, 2.89, 3.0)]
    assert slopes == sorted(slopes, reverse=True)
    assert slopes[2] / slopes[0] == pytest.approx(0.5, abs=0.05)  # R2* about doubles, so the slope about halves


@pytest.mark.parametrize(
    ("header", "nominal"),
    [(1.5, 1.5), (1.4940, 1.5), (1.55, 1.5), (2.8936, 2.89), (2.89362, 2.89), (3.0, 3.0), (2.98, 3.0)],
)
def test_field_strengths_of_headers(header: float, nominal: float) -> None:
    field = match_field(header)
    assert field is not None
    assert field.nominal_t == nominal


@pytest.mark.parametrize("header", [0.55, 1.0, 1.4, 2.0, 2.94, 7.0, 15000.0, float("nan")])
def test_other_field_strengths_have_no_calibration(header: float) -> None:
    assert match_field(header) is None
    assert calibration_for(header, BY_FIELD) is None


def test_site_choice_resolves_to_the_field() -> None:
    assert calibration_for(1.4940, {"1.5": "hernando-2023"}) is CALIBRATIONS["hernando-2023", 1.5]
    assert calibration_for(2.8936, BY_FIELD) is CALIBRATIONS["hernando-2023", 2.89]
    assert calibration_for(3.0, BY_FIELD) is CALIBRATIONS["hernando-2023", 3.0]
    assert calibration_for(3.0, {"1.5": "garbowski-2014"}) is None


@pytest.mark.parametrize(
    ("by_field", "words"),
    [
        ({"3.0": "garbowski-2014"}, ['by_field."3.0"', "garbowski-2014", "hernando-2023"]),
        ({"1.5": "nobody-1999"}, ["nobody-1999", "garbowski-2014"]),
        ({"7.0": "hernando-2023"}, ['by_field."7.0"', "1.5, 2.89, 3.0"]),
        ({"three": "hernando-2023"}, ['by_field."three"']),
        ({"3": "hernando-2023", "3.0": "hernando-2023"}, ["twice"]),
    ],
)
def test_wrong_choices_are_named(by_field: dict[str, str], words: list[str]) -> None:
    with pytest.raises(ValueError, match="calibration") as caught:
        check_by_field(by_field)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("key", CALIBRATIONS)
@pytest.mark.parametrize("rate", [-5.0, 0.0, 0.01476, 0.06773, 2.0, 9.9, 5000.0, float("nan"), float("inf")])
def test_values_that_no_liver_has_are_refused(key: tuple[str, float], rate: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        CALIBRATIONS[key].lic_mg_per_g(rate)


def test_map_equals_the_scalar_and_keeps_holes() -> None:
    calibration = CALIBRATIONS["garbowski-2014", 1.5]
    rates = np.array([[np.nan, 67.73], [5.0, 400.0]], dtype=np.float32)
    lic = calibration.lic_map(rates)
    assert lic.dtype == np.float32
    assert np.isnan(lic[0, 0])
    assert lic[1, 0] == pytest.approx(calibration.lic_mg_per_g(10), rel=1e-6)  # at most that
    assert lic[0, 1] == pytest.approx(calibration.lic_mg_per_g(67.73), rel=1e-6)
    assert lic[1, 1] == pytest.approx(calibration.lic_mg_per_g(400), rel=1e-6)


@pytest.mark.parametrize("key", CALIBRATIONS)
def test_map_beyond_the_validity_range_shows_its_ends(key: tuple[str, float]) -> None:
    calibration = CALIBRATIONS[key]
    low, high = calibration.valid_r2star_per_s
    lic = calibration.lic_map(np.array([np.nan, 0.0, low - 1, low, 0.5 * (low + high), high, high + 1, 9000.0, np.inf]))
    assert np.isnan(lic[0])
    assert list(lic[1:4]) == [np.float32(calibration.lic_range_mg_per_g[0])] * 3
    assert list(lic[5:]) == [np.float32(calibration.lic_range_mg_per_g[1])] * 4
    assert lic[3] < lic[4] < lic[5] == pytest.approx(43.0)
    assert lic[3] >= 0


def test_others_are_every_other_equation_of_the_field() -> None:
    others = other_calibrations(CALIBRATIONS["garbowski-2014", 1.5], 67.73)
    assert {other.id for other in others} == {key[0] for key in WORKED_EXAMPLE if key[1] == 1.5} - {"garbowski-2014"}
    values = [other.lic_mg_per_g for other in others]
    assert values == sorted(values, reverse=True)
    assert (round(min(values), 1), round(max(values), 1)) == (1.4, 1.9)
    assert [other.id for other in other_calibrations(CALIBRATIONS["hernando-2023", 3.0], 67.73)] == ["hernando-2021"]
    assert other_calibrations(CALIBRATIONS["hernando-2023", 2.89], 67.73) == ()


def test_others_leave_out_negative_values() -> None:
    others = other_calibrations(CALIBRATIONS["garbowski-2014", 1.5], 14.0)
    assert "hankins-2009" not in {other.id for other in others}  # its line is below 0 under 16.2 /s
    assert min(other.lic_mg_per_g for other in others) > 0


def test_published_line_limits_at_the_worked_example() -> None:
    equation = CALIBRATIONS["hernando-2023", 1.5].equation
    sd = equation.line_sd(67.73)
    assert sd is not None
    assert 1.96 * sd == pytest.approx(0.5, abs=0.02)
    assert CALIBRATIONS["garbowski-2014", 1.5].equation.line_sd(67.73) is None
    assert CALIBRATIONS["henninger-2015", 1.5].equation.line_sd(67.73) is None


def test_molar_unit() -> None:
    assert pytest.approx(1000 / 55.845, abs=5e-4) == UMOL_PER_MG


def test_equation_texts_name_units() -> None:
    assert str(CALIBRATIONS["garbowski-2014", 1.5].equation) == "LIC = 31.94 × T2*^-1.014 (T2* in ms, LIC in mg/g)"
    assert str(CALIBRATIONS["hernando-2023", 1.5].equation) == "LIC = -0.16 + 0.02603 × R2* (R2* in /s, LIC in mg/g)"
    assert str(CALIBRATIONS["hernando-2021", 3.0].equation) == "LIC = 0.01410 × R2* (R2* in /s, LIC in mg/g)"
