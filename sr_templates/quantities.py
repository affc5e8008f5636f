"""The maps: what each shows, in which units, and how it is stored and labelled."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from highdicom.sr import CodedConcept

from quant.result import LiverIronResult, Statistics
from sr_templates import codes


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One mapped quantity. ``stored_per_unit`` times the value in ``unit`` gives the 16-bit stored value of the
    classic image; ``stored_text`` names the unit of that stored value; ``window_upper`` is in ``unit``, and fixed so
    that the maps of different patients look alike; ``decimals`` is what the report states."""

    key: str
    label: str
    concept: CodedConcept
    unit: CodedConcept
    stored_per_unit: int
    stored_text: str
    window_upper: float
    decimals: int
    series: int
    explanation: str
    method: CodedConcept | None = None


R2STAR = Quantity(
    key="r2star",
    label="R2*",
    concept=codes.R2STAR,
    unit=codes.PER_SECOND,
    stored_per_unit=1,
    stored_text="/s",
    window_upper=500,
    decimals=2,
    series=1,
    explanation="R2* of liver tissue water signal",
    method=codes.FIT_METHOD,
)
LIC = Quantity(
    key="lic",
    label="LIC",
    concept=codes.LIC,
    unit=codes.MG_PER_G,
    stored_per_unit=1000,
    stored_text="ug/g dry weight",
    window_upper=15,
    decimals=3,
    series=2,
    explanation="Liver iron concentration, dry weight",
)
T2STAR = Quantity(
    key="t2star",
    label="T2*",
    concept=codes.T2STAR,
    unit=codes.MILLISECOND,
    stored_per_unit=100,
    stored_text="0.01 ms",
    window_upper=50,
    decimals=3,
    series=3,
    explanation="T2* = 1 / R2*",
    method=codes.FIT_METHOD,
)
PDFF = Quantity(
    key="pdff",
    label="PDFF",
    concept=codes.FAT_FRACTION,
    unit=codes.PERCENT,
    stored_per_unit=10,
    stored_text="0.1 %",
    window_upper=40,
    decimals=2,
    series=4,
    explanation="Proton density fat fraction",
    method=codes.FIT_METHOD,
)
QUANTITIES = (R2STAR, LIC, T2STAR, PDFF)


@dataclass(frozen=True, kw_only=True)
class ResultMaps:
    """The maps, each (z, y, x) float32 with slices ascending along the normal and NaN (or infinity) where there is no
    value.

    ``lic_mg_per_g`` is ``None`` without a calibration, ``pdff_percent`` when the input cannot give it.
    """

    r2star_per_s: npt.NDArray[np.float32]
    lic_mg_per_g: npt.NDArray[np.float32] | None = None
    t2star_ms: npt.NDArray[np.float32] | None = None
    pdff_percent: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        for quantity, values in self.items():
            if values.ndim != 3 or values.shape != self.r2star_per_s.shape:
                raise ValueError(f"the {quantity.label} map has shape {values.shape}, not {self.r2star_per_s.shape}")

    def items(self) -> list[tuple[Quantity, npt.NDArray[np.float32]]]:
        """The maps that exist, in the order of the result set."""
        arrays = (self.r2star_per_s, self.lic_mg_per_g, self.t2star_ms, self.pdff_percent)
        return [(quantity, array) for quantity, array in zip(QUANTITIES, arrays, strict=True) if array is not None]


def statistics_of(result: LiverIronResult, quantity: Quantity) -> Statistics | None:
    """The region's statistics of a quantity."""
    by_key: dict[str, Statistics | None] = {
        "r2star": result.r2star_per_s,
        "lic": result.lic_mg_per_g,
        "t2star": result.t2star_ms,
        "pdff": result.pdff_percent,
    }
    return by_key[quantity.key]


def stated(quantity: Quantity, value: float) -> float:
    """``value`` as the report states it: rounded before it is written, so that no two attributes can differ."""
    return round(float(value), quantity.decimals)


def measurement_method(quantity: Quantity, result: LiverIronResult) -> CodedConcept | None:
    """How the quantity was obtained; for LIC the published equation."""
    if quantity.key == LIC.key and result.calibration is not None:
        return codes.calibration_method(result.calibration.id, result.calibration.field_t)
    return quantity.method
