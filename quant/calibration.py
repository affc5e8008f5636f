"""Published R2*-to-LIC calibrations, and which one applies at a field strength.

LIC is liver iron concentration in mg iron per g dry weight. R2* of the same liver is about twice as high at 3 T as
at 1.5 T (Storey 2007, 10.1002/jmri.20816), so an equation is never used at another field strength than its own;
2.89 T (sold as 3 T by one vendor) has its own equation.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.result import CalibrationUsed, OtherCalibration

UMOL_PER_MG = 17.907
"""1 mg iron in umol: 1000 / 55.845 g/mol (IUPAC standard atomic weight of iron)."""

LOWEST_R2STAR_PER_S = 10.0
"""No liver relaxes more slowly: the lowest of 100 healthy volunteers was 23.7 /s at 1.5 T
(10.1038/s41598-020-74968-z). A smaller number is a fluid, a failed fit or a unit mistake (T2* in s or short T2* in
ms in place of R2*), and the linear calibrations reach negative LIC there."""

HIGHEST_LIC_MG_PER_G = 43.0
"""Top of the reference standards: R2 MRI was calibrated on 0.3 to 42.7 mg/g (St Pierre 2005, Blood 105:855), the
Garbowski cohort reached 42 mg/g (10.1186/1532-429X-16-40)."""

_Z95 = 1.959964


@dataclass(frozen=True, kw_only=True)
class FieldStrength:
    """A nominal field strength and the DICOM values of Magnetic Field Strength (0018,0087) that mean it."""

    nominal_t: float
    low_t: float
    high_t: float

    @property
    def label(self) -> str:
        """The field strength as configuration and reports write it: "1.5", "2.89", "3.0"."""
        return f"{self.nominal_t:.2f}" if round(self.nominal_t, 1) != self.nominal_t else f"{self.nominal_t:.1f}"


FIELD_STRENGTHS = (
    FieldStrength(nominal_t=1.5, low_t=1.45, high_t=1.55),  # scanners also write 1.4940
    FieldStrength(nominal_t=2.89, low_t=2.85, high_t=2.93),  # written as 2.8936
    FieldStrength(nominal_t=3.0, low_t=2.95, high_t=3.05),
)


def match_field(field_t: float) -> FieldStrength | None:
    """The calibrated field strength that ``field_t`` (tesla, from the header) means, or ``None``."""
    return next((f for f in FIELD_STRENGTHS if f.low_t <= field_t <= f.high_t), None)


@dataclass(frozen=True, kw_only=True)
class LinearEquation:
    """LIC = intercept + slope x R2*; ``ci95`` are the published 95 % confidence limits of the line, where given."""

    intercept_mg_per_g: float
    slope_mg_s_per_g: float
    intercept_ci95: tuple[float, float] | None = None
    slope_ci95: tuple[float, float] | None = None

    def lic(self, r2star_per_s: Any) -> Any:
        """LIC in mg/g, number or array."""
        return self.intercept_mg_per_g + self.slope_mg_s_per_g * r2star_per_s

    def slope_at(self, r2star_per_s: float) -> float:  # noqa: ARG002 - a line has one slope
        """dLIC/dR2*."""
        return self.slope_mg_s_per_g

    def inverse(self, lic_mg_per_g: float) -> float:
        """R2* in /s."""
        return (lic_mg_per_g - self.intercept_mg_per_g) / self.slope_mg_s_per_g

    def line_sd(self, r2star_per_s: float) -> float | None:
        """Standard deviation of the line at ``r2star_per_s`` in mg/g; ``None`` when not published.

        Intercept and slope errors are taken as independent because their covariance is not published. In a
        regression over positive R2* it is negative, so this is the larger of the possible values.
        """
        if self.intercept_ci95 is None or self.slope_ci95 is None:
            return None
        intercept_sd = (self.intercept_ci95[1] - self.intercept_ci95[0]) / (2 * _Z95)
        slope_sd = (self.slope_ci95[1] - self.slope_ci95[0]) / (2 * _Z95)
        return math.hypot(intercept_sd, slope_sd * r2star_per_s)

    def __str__(self) -> str:
        slope = f"{self.slope_mg_s_per_g:.5f} × R2*"
        if self.intercept_mg_per_g == 0:
            return f"LIC = {slope} (R2* in /s, LIC in mg/g)"
        sign = "-" if self.intercept_mg_per_g < 0 else ""
        return f"LIC = {sign}{abs(self.intercept_mg_per_g):.5g} + {slope} (R2* in /s, LIC in mg/g)"


@dataclass(frozen=True, kw_only=True)
class PowerLawEquation:
    """LIC = factor x T2*^exponent with T2* in ms; no uncertainty is published for the one that is used."""

    factor: float
    exponent: float

    def lic(self, r2star_per_s: Any) -> Any:
        """LIC in mg/g, number or array."""
        return self.factor * (1000 / r2star_per_s) ** self.exponent

    def slope_at(self, r2star_per_s: float) -> float:
        """dLIC/dR2*."""
        return float(-self.exponent * self.lic(r2star_per_s) / r2star_per_s)

    def inverse(self, lic_mg_per_g: float) -> float:
        """R2* in /s."""
        return float(1000 / (lic_mg_per_g / self.factor) ** (1 / self.exponent))

    def line_sd(self, r2star_per_s: float) -> float | None:  # noqa: ARG002 - same signature as the line's
        """``None``: not published."""
        return None

    def __str__(self) -> str:
        return f"LIC = {self.factor} × T2*^{self.exponent} (T2* in ms, LIC in mg/g)"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """One published equation at one field strength.

    ``reference`` is what LIC was measured with in that study; ``caution`` is what a reader must know before
    relying on it (empty: nothing known). ``doi`` is the journal citation where no DOI could be confirmed.
    """

    id: str
    name: str
    field_t: float
    equation: LinearEquation | PowerLawEquation
    doi: str
    reference: str
    caution: str = ""

    @property
    def valid_r2star_per_s(self) -> tuple[float, float]:
        """R2* range over which the equation may be used: a liver's lowest R2* (or where LIC reaches 0) up to the
        highest LIC of the reference standards."""
        zero = self.equation.inverse(0.0) if isinstance(self.equation, LinearEquation) else 0.0
        return max(LOWEST_R2STAR_PER_S, zero), self.equation.inverse(HIGHEST_LIC_MG_PER_G)

    @property
    def lic_range_mg_per_g(self) -> tuple[float, float]:
        """LIC at the ends of the validity range: the lowest and the highest that a map can show."""
        low, high = self.valid_r2star_per_s
        return max(0.0, float(self.equation.lic(low))), float(self.equation.lic(high))

    def covers(self, r2star_per_s: float) -> bool:
        """Whether ``r2star_per_s`` lies in the validity range (NaN does not)."""
        low, high = self.valid_r2star_per_s
        return low <= r2star_per_s <= high

    def lic_mg_per_g(self, r2star_per_s: float) -> float:
        """LIC of one R2*.

        Raises:
            ValueError: ``r2star_per_s`` is outside the validity range.
        """
        if not self.covers(r2star_per_s):
            low, high = self.valid_r2star_per_s
            raise ValueError(
                f"R2* {r2star_per_s:g} /s is outside {low:.0f} to {high:.0f} /s, where {self.id} applies at "
                f"{self.field_t} T (is it T2*, or in another unit?)"
            )
        return float(self.equation.lic(r2star_per_s))

    def lic_map(self, r2star_per_s: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """LIC of every voxel, same shape, float32; NaN only where R2* is NaN.

        R2* outside the validity range gives the end of ``lic_range_mg_per_g``: a voxel there means at least the upper
        end, or at most the lower one. Without a value the most loaded voxels would show as holes.
        """
        values = np.asarray(r2star_per_s, dtype=np.float64)
        lic = self.equation.lic(np.clip(values, *self.valid_r2star_per_s))
        return np.asarray(np.clip(lic, *self.lic_range_mg_per_g), dtype=np.float32)

    def used(self) -> CalibrationUsed:
        """As the record states it."""
        return CalibrationUsed(id=self.id, field_t=self.field_t, equation=str(self.equation), doi=self.doi)


def _linear(intercept: float, slope: float, **ci95: tuple[float, float]) -> LinearEquation:
    return LinearEquation(intercept_mg_per_g=intercept, slope_mg_s_per_g=slope, **ci95)


_HERNANDO_2023 = {
    "id": "hernando-2023",
    "name": "Hernando 2023",
    "doi": "10.1148/radiol.213256",
    "reference": "spin-echo R2 MRI; 207 people, 4 centres, 3 vendors",
}
_HERNANDO_2021 = {
    "id": "hernando-2021",
    "name": "Hernando 2021",
    "doi": "10.1007/s00330-020-07123-x",
    "reference": "spin-echo R2 MRI; one centre",
}

_ALL = (
    Calibration(
        id="garbowski-2014",
        name="Garbowski 2014",
        field_t=1.5,
        equation=PowerLawEquation(factor=31.94, exponent=-1.014),
        doi="10.1186/1532-429X-16-40",
        reference="liver biopsy; 50 samples of 25 transfused patients",
        caution="reads 15 to 32 % above the linear 1.5 T calibrations from 130 /s upward",
    ),
    Calibration(
        **_HERNANDO_2023,
        field_t=1.5,
        equation=_linear(-0.16, 2.603e-2, intercept_ci95=(-0.64, 0.32), slope_ci95=(2.468e-2, 2.738e-2)),
    ),
    Calibration(
        **_HERNANDO_2023,
        field_t=2.89,
        equation=_linear(-0.03, 1.400e-2, intercept_ci95=(-0.51, 0.45), slope_ci95=(1.33e-2, 1.471e-2)),
        caution="one scanner; the confidence limits at this field come from a single transcription",
    ),
    Calibration(
        **_HERNANDO_2023,
        field_t=3.0,
        equation=_linear(-0.03, 1.349e-2, intercept_ci95=(-0.51, 0.45), slope_ci95=(1.282e-2, 1.417e-2)),
    ),
    Calibration(
        **_HERNANDO_2021,
        field_t=1.5,
        equation=_linear(-0.04, 2.62e-2),
        caution="transcriptions disagree on the sign of the 0.04 mg/g intercept",
    ),
    Calibration(**_HERNANDO_2021, field_t=3.0, equation=_linear(0.0, 1.41e-2)),
    Calibration(
        id="henninger-2015",
        name="Henninger 2015",
        field_t=1.5,
        equation=_linear(0.277, 0.024),  # the printed confidence limits contradict the printed slope: not used
        doi="10.1055/s-0034-1399318",
        reference="liver biopsy; 17 patients",
    ),
    Calibration(
        id="hankins-2009",
        name="Hankins 2009",
        field_t=1.5,
        equation=_linear(-0.45485, 0.02802),
        doi="Blood 2009;113:4853",
        reference="liver biopsy; transfused patients",
        caution="coefficients taken from an open-source implementation",
    ),
    Calibration(
        id="wood-as-commonly-cited",
        name="Wood (as commonly cited)",
        field_t=1.5,
        equation=_linear(0.202, 0.0254),
        doi="10.1182/blood-2004-10-3982",
        reference="liver biopsy; 22 patients",
        caution="these coefficients are in common use and credited to Wood 2005, which by one reading prints others",
    ),
)

CALIBRATIONS: dict[tuple[str, float], Calibration] = {(c.id, c.field_t): c for c in _ALL}
"""Every calibration by its id and nominal field strength in tesla."""


def check_by_field(by_field: Mapping[str, str]) -> dict[float, Calibration]:
    """The calibration chosen for each nominal field strength.

    Raises:
        ValueError: a key is not a calibrated field strength, stands twice, or its id has no equation there; the
            text names the key.
    """
    chosen: dict[float, Calibration] = {}
    for key, calibration_id in by_field.items():
        field = _nominal(key)
        if field is None:
            known = ", ".join(f.label for f in FIELD_STRENGTHS)
            raise ValueError(f'calibration.by_field."{key}": not a field strength with a calibration ({known})')
        if field.nominal_t in chosen:
            raise ValueError(f'calibration.by_field."{key}": {field.label} T stands twice')
        calibration = CALIBRATIONS.get((calibration_id, field.nominal_t))
        if calibration is None:
            known = ", ".join(c.id for c in _ALL if c.field_t == field.nominal_t)
            raise ValueError(
                f'calibration.by_field."{key}": {calibration_id} has no equation at {field.label} T (possible: {known})'
            )
        chosen[field.nominal_t] = calibration
    return chosen


def _nominal(key: str) -> FieldStrength | None:
    try:
        value = float(key)
    except ValueError:
        return None
    return next((f for f in FIELD_STRENGTHS if f.nominal_t == value), None)


def calibration_for(field_t: float, by_field: Mapping[str, str]) -> Calibration | None:
    """The site's calibration at the scanner's field strength; ``None`` when there is none.

    Raises:
        ValueError: ``by_field`` is wrong (see ``check_by_field``).
    """
    chosen = check_by_field(by_field)
    field = match_field(field_t)
    return None if field is None else chosen.get(field.nominal_t)


def other_calibrations(used: Calibration, r2star_per_s: float) -> tuple[OtherCalibration, ...]:
    """What every other published calibration of the same field gives, in falling order of LIC.

    A calibration whose validity range does not cover ``r2star_per_s`` is left out.
    """
    others = (c for c in _ALL if c.field_t == used.field_t and c.id != used.id and c.covers(r2star_per_s))
    listed = (OtherCalibration(id=c.id, lic_mg_per_g=c.lic_mg_per_g(r2star_per_s), doi=c.doi) for c in others)
    return tuple(sorted(listed, key=lambda other: -other.lic_mg_per_g))
