"""What travels from the numerics to the record."""

from dataclasses import dataclass

from node.process.drawn_region import DrawnRegion
from node.process.pixels import LoadedAcquisition
from quant.fit import R2StarMap
from quant.liver import LiverRegion
from quant.region import RegionMeasurement
from quant.result import Reason


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the numerics made of an acquisition; ``measurement`` is ``None`` exactly when there are ``refusals``.

    ``fit`` and ``region`` are ``None`` when the signal itself cannot be fitted. ``drawn`` is there when ``region`` is
    one that a reader drew.
    """

    loaded: LoadedAcquisition
    fit: R2StarMap | None
    region: LiverRegion | None
    measurement: RegionMeasurement | None
    refusals: tuple[Reason, ...]
    drawn: DrawnRegion | None = None
