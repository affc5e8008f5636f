"""The maps: what each shows, in which units, and how it is stored and labelled."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from highdicom.sr import CodedConcept

from quant.result import LiverIronResult, Statistics
from sr_templates import coded_values, codes

NO_VALUE = 0  # stored values of the classic images
SMALLEST_STORED = 1
LARGEST_STORED = 65535


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One mapped quantity. ``stored_per_unit`` times the value in ``unit`` gives the 16-bit stored value of the
    classic image; ``stored_text`` names the unit of that stored value; ``window_uppers`` are the
    upper ends of its windows in ``unit``, the one that viewers open with first. They are fixed, so that the maps of
    different patients and dates look alike: white is the same value in all; ``decimals`` is what the report states."""

    key: str
    label: str
    concept: CodedConcept
    unit: CodedConcept
    stored_per_unit: int
    stored_text: str
    window_uppers: tuple[float, ...]
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
    window_uppers=(250, 500, 1500),  # 7 mg/g is 224 to 280 /s at 1.5 T, 502 to 521 /s at 3 T
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
    window_uppers=(7, 15, 45),  # white from the limit of clinical significance; 1.8 mg/g is a quarter of it
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
    window_uppers=(50,),
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
    window_uppers=(40,),
    decimals=2,
    series=4,
    explanation="Proton density fat fraction",
    method=codes.FIT_METHOD,
)


def window_text(quantity: Quantity, upper: float) -> str:
    """What a window shows."""
    return f"{quantity.label} 0 to {upper:g} {quantity.unit.value}"


QUANTITIES = (R2STAR, LIC, T2STAR, PDFF)


@dataclass(frozen=True, kw_only=True)
class ResultMaps:
    """The maps, each (z, y, x) float32 with slices ascending along the normal and NaN (or infinity) where there is no
    value.

    ``lic_mg_per_g`` is ``None`` without a calibration, ``pdff_percent`` when the input cannot give it. ``ranges`` are
    the lowest and the highest value that a map can show, by the quantity's key: a voxel at an end of it lies there or
    beyond. A quantity that is not in it has no such ends.
    """

    r2star_per_s: npt.NDArray[np.float32]
    lic_mg_per_g: npt.NDArray[np.float32] | None = None
    t2star_ms: npt.NDArray[np.float32] | None = None
    pdff_percent: npt.NDArray[np.float32] | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for quantity, values in self.items():
            if values.ndim != 3 or values.shape != self.r2star_per_s.shape:
                raise ValueError(f"the {quantity.label} map has shape {values.shape}, not {self.r2star_per_s.shape}")

    def items(self) -> list[tuple[Quantity, npt.NDArray[np.float32]]]:
        """The maps that exist, in the order of the result set."""
        arrays = (self.r2star_per_s, self.lic_mg_per_g, self.t2star_ms, self.pdff_percent)
        return [(quantity, array) for quantity, array in zip(QUANTITIES, arrays, strict=True) if array is not None]


def stored_value(quantity: Quantity, value: float) -> int:
    """``value`` as a classic image stores it: 1 for what is smaller than that, 65535 for what is larger."""
    return int(min(max(round(value * quantity.stored_per_unit), SMALLEST_STORED), LARGEST_STORED))


def ends_in_words(quantity: Quantity, value_range: tuple[float, float] | None, *, stored: bool) -> str:
    """What a voxel at an end of the map's range means, as numbers of the classic image (``stored``) or the unit's."""
    if value_range is None:
        return ""
    unit = quantity.unit.value
    low, high = value_range
    if not stored:
        return f"{high:.4g} = that or more, {low:.4g} = that or less"
    least, most = (stored_value(quantity, end) for end in value_range)
    low, high = (end / quantity.stored_per_unit for end in (least, most))
    return f"{most} means {high:g} {unit} or more, {least} means {low:g} {unit} or less"


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
    return round(float(value), quantity.decimals) + 0.0  # never minus zero


def measurement_method(quantity: Quantity, result: LiverIronResult) -> CodedConcept | None:
    """How the quantity was obtained; for LIC the published equation."""
    if quantity.key == LIC.key and result.calibration is not None:
        return coded_values.calibration_method(result.calibration.id, result.calibration.field_t)
    return quantity.method
