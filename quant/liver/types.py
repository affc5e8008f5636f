"""What the liver finder hands on: a region with its exclusions, or coded refusals."""

from dataclasses import dataclass, field

from quant.acquisition import BoolArray
from quant.liver.parts import RegionParts
from quant.result import QcLine, Reason


@dataclass(frozen=True, kw_only=True)
class LiverRegion:
    """Parenchyma that may be measured, all arrays (z, y, x) in the voxel order of the acquisition.

    ``mask`` is ``None`` exactly when ``refusals`` is not empty; ``candidate`` then still holds what was rejected
    (``None`` where nothing was found), for the picture only. ``organ`` is the connected lean tissue taken for the
    liver in the imaged slices. ``excluded`` counts, by reason, voxels of the organ that are not in the region.
    ``checks`` holds the self-checks' values by name, ``parts`` R2* by slice and in discs (``None`` without a mask).
    """

    mask: BoolArray | None
    organ: BoolArray | None
    candidate: BoolArray | None
    excluded: dict[str, int] = field(default_factory=dict)
    refusals: tuple[Reason, ...] = ()
    qc: tuple[QcLine, ...] = ()
    checks: dict[str, float] = field(default_factory=dict)
    parts: RegionParts | None = None

    def __post_init__(self) -> None:
        if (self.mask is None) != bool(self.refusals):
            raise ValueError("a region has a mask exactly when nothing refuses it")
        if self.mask is not None and not self.mask.any():
            raise ValueError("an empty mask is a refusal, not a region")


class RegionNotFoundError(Exception):
    """The search cannot go on; ``reason`` says why."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.reason = Reason(code=code, text=text)
