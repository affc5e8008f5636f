"""Which body the digital abdomen has: build, variants of liver and spleen, what disturbs the picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from quant.phantom.labels import Label

Region = Literal["abdomen", "pelvis", "thighs", "head", "bottle"]
LiverVariant = Literal["normal", "small", "large", "left_only", "cirrhotic", "absent"]
SpleenVariant = Literal["normal", "large", "absent"]

_RANGES: dict[str, tuple[float, float]] = {
    "body_scale": (0.5, 1.4),
    "subcutaneous_fat_mm": (2.0, 60.0),
    "roll_deg": (-30.0, 30.0),
    "heterogeneity": (0.0, 0.4),
    "texture": (0.0, 0.3),
    "coil_shading": (0.0, 1.0),
    "ghosts": (0.0, 0.5),
    "susceptibility": (0.0, 3.0),
    "ascites_mm": (0.0, 40.0),
    "lesions": (0, 20),
    "gas": (0.0, 1.0),
    "variation": (0.0, 2.0),
}


@dataclass(frozen=True, kw_only=True)
class AbdomenAnatomy:
    """One body. Lengths in millimetres at ``body_scale`` 1 (an adult torso 33 cm wide).

    ``heterogeneity`` is the relative standard deviation of smooth R2* variation inside the liver, ``texture`` that of
    fine signal texture in every tissue, ``coil_shading`` the strength of the receive profile (0.35: the front is about
    1.4 times as bright as the spine), ``ghosts`` the amplitude of breathing ghosts relative to the moving tissue.
    ``susceptibility`` scales the field of lung and gas, which also dephases thick slices (1: linear shim only; 0.5: a
    good higher-order shim), ``gas`` is the share of stomach and colon filled with gas, ``variation`` scales the seed's
    anatomical variability. ``r2star_overrides`` (1/s), ``pdff_overrides`` (fractions) and ``s0_overrides`` (relative to
    liver) replace the literature values of other tissues.
    """

    region: Region = "abdomen"
    body_scale: float = 1.0
    subcutaneous_fat_mm: float = 17.0
    roll_deg: float = 0.0
    situs_inversus: bool = False
    liver: LiverVariant = "normal"
    spleen: SpleenVariant = "normal"
    ascites_mm: float = 0.0
    lesions: int = 0
    gas: float = 0.35
    arms: bool = False
    heterogeneity: float = 0.04
    texture: float = 0.03
    coil_shading: float = 0.35
    ghosts: float = 0.0
    susceptibility: float = 0.5
    variation: float = 1.0
    r2star_overrides: Mapping[Label, float] = field(default_factory=dict)
    pdff_overrides: Mapping[Label, float] = field(default_factory=dict)
    s0_overrides: Mapping[Label, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie between {low:g} and {high:g}, not {getattr(self, name)!r}")
        for name, allowed in (("region", Region), ("liver", LiverVariant), ("spleen", SpleenVariant)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} must be one of {', '.join(get_args(allowed))}, not {getattr(self, name)!r}")
        if any(value <= 0 for value in self.r2star_overrides.values()):
            raise ValueError("r2star_overrides must be above 0")
        if any(not 0 <= value <= 1 for value in self.pdff_overrides.values()):
            raise ValueError("pdff_overrides are fractions between 0 and 1")
        if any(value < 0 for value in self.s0_overrides.values()):
            raise ValueError("s0_overrides must not be below 0")
