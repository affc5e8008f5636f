"""The region on the acquisition's own voxels, without those that the R2* fit could not measure."""

from dataclasses import dataclass

import numpy as np

from quant.acquisition import BoolArray, MultiEcho
from quant.fit import R2StarMap
from quant.flags import FitFlag
from quant.liver.dephasing import dephased
from quant.liver.images import WorkingImages
from quant.liver.orientation import PatientAxes
from quant.liver.search import Search
from quant.liver.torso import Torso

MOST_IN_GRADIENT = 0.5  # of the region: with more of it the rest is no sample of the liver, and all of it is kept
_RIGHT_LOBE = 0.40  # of the torso's width from the right: the middle hepatic vein lies near 0.42


@dataclass(frozen=True, kw_only=True)
class NativeRegion:
    """Arrays (z, y, x) in stored order. ``found`` is the region of the search, ``measurable`` what the fit left of it;
    ``excluded`` counts voxels of ``organ`` outside ``measurable`` by reason; ``right`` is the right lobe's side.
    ``gradient_share`` is how much of what was measured lies where the field changes too steeply (``dephasing``)."""

    organ: BoolArray
    found: BoolArray
    measurable: BoolArray
    right: BoolArray
    excluded: dict[str, int]
    gradient_share: float

    @property
    def in_gradient(self) -> bool:
        """Whether too much of the region lies in a field gradient to leave it out."""
        return self.gradient_share > MOST_IN_GRADIENT

    @property
    def unmeasurable_share(self) -> float:
        """Share of the found region that the fit could not measure."""
        return 1 - float(self.measurable.sum() / self.found.sum())


def to_native(
    search: Search, torso: Torso, images: WorkingImages, axes: PatientAxes, acquisition: MultiEcho, fit: R2StarMap
) -> NativeRegion:
    """Replicates working pixels to native voxels and takes out what the fit flags as not measured.

    Voxels at the measurable limit stay, also where they carry no value: leaving them out would turn a liver too dark to
    measure into a less loaded one.
    """

    def stored(mask: BoolArray) -> BoolArray:
        return axes.restore(_replicate(mask, images, axes.turn(fit.flags).shape))

    parts = search.parenchyma
    organ, found = stored(search.organ.filled | parts.region), stored(parts.region)
    lost = not_measured(acquisition, fit)
    measured = found & ~np.logical_or.reduce(list(lost.values()))
    in_gradient = measured & dephased(acquisition, fit)
    gradient_share = float(in_gradient.sum() / max(measured.sum(), 1))
    if gradient_share > MOST_IN_GRADIENT:
        in_gradient = np.zeros_like(found)
    structure = stored(parts.structure) & organ & ~found
    excluded = {
        "vessel": structure,
        "edge": organ & ~found & ~structure,
        **{reason: found & mask for reason, mask in lost.items()},
        "field_gradient": in_gradient,
    }
    return NativeRegion(
        organ=organ,
        found=found,
        measurable=measured & ~in_gradient,
        right=stored((torso.right_left >= 0) & (torso.right_left < _RIGHT_LOBE)),
        excluded={reason: int(mask.sum()) for reason, mask in excluded.items()},
        gradient_share=gradient_share,
    )


def not_measured(acquisition: MultiEcho, fit: R2StarMap) -> dict[str, BoolArray]:
    """Voxels (z, y, x) that the fit could not measure, by reason."""
    flags = fit.flags
    at_limit = (flags & FitFlag.AT_LIMIT) != 0
    saturated = (flags & FitFlag.SATURATED) != 0
    if acquisition.saturated is not None:
        saturated |= acquisition.saturated
    noise = ((flags & FitFlag.NOISE_ONLY) != 0) & ~saturated
    unfit = (np.isnan(fit.r2star_per_s) | ((flags & FitFlag.FAILED) != 0)) & ~at_limit & ~noise & ~saturated
    return {"low_snr": noise, "poor_fit": unfit, "saturated": saturated}


def _replicate(mask: BoolArray, images: WorkingImages, shape: tuple[int, ...]) -> BoolArray:
    native = np.zeros(shape, bool)
    block = mask.repeat(images.blocks[0], 1).repeat(images.blocks[1], 2)
    y, x = (first * size for first, size in zip(images.origin, images.blocks, strict=True))
    native[:, y : y + block.shape[1], x : x + block.shape[2]] = block
    return native


def to_working(mask: BoolArray, images: WorkingImages, axes: PatientAxes) -> BoolArray:
    """Working pixels at least half covered by ``mask`` (z, y, x) in stored order; ``images`` are not cropped yet."""
    turned = axes.turn(mask)
    (height, width), shape = images.blocks, images.x_mm.shape
    cut = turned[:, : shape[1] * height, : shape[2] * width]
    return np.asarray(cut.reshape(len(cut), shape[1], height, shape[2], width).mean((2, 4)) >= 0.5)
