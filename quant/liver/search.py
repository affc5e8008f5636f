"""One search for the liver at one set of parameters, and its repetition with others."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quant.acquisition import BoolArray
from quant.liver.images import WorkingImages
from quant.liver.organ import Organ, find_organ, given_organ
from quant.liver.parameters import FinderParameters
from quant.liver.parenchyma import Parenchyma, find_parenchyma
from quant.liver.pieces import Pieces, find_pieces
from quant.liver.tissue import R2STAR_OFFSET_PER_S, FittedBody, Tissue, find_homogeneous
from quant.liver.torso import Torso
from quant.liver.types import RegionNotFoundError
from quant.threads import each_part

# Looser and tighter edges, and a deeper region: (edge factor, depth in mm).
_PERTURBATIONS = ((1.35, 7.0), (0.73, 7.0), (1.0, 9.0))


@dataclass(frozen=True, kw_only=True)
class Search:
    """What one search found, on the working grid."""

    tissue: Tissue
    pieces: Pieces
    organ: Organ
    parenchyma: Parenchyma

    @property
    def r2star_per_s(self) -> float:
        """Median of the five-point median images' R2* in the region."""
        values = self.parenchyma.fine_log_r2star[self.parenchyma.region]
        return float(np.exp(np.median(values)) - R2STAR_OFFSET_PER_S)


def search(body: FittedBody, torso: Torso, images: WorkingImages, parameters: FinderParameters) -> Search:
    """Homogeneous tissue to pieces to the organ to its parenchyma; raises RegionNotFoundError."""
    tissue = find_homogeneous(body, images.plane, parameters)
    pieces = find_pieces(tissue, torso, images.plane, parameters)
    organ = find_organ(tissue, pieces, torso, images, parameters)
    parenchyma = find_parenchyma(organ, tissue, torso, images, parameters)
    return Search(tissue=tissue, pieces=pieces, organ=organ, parenchyma=parenchyma)


def search_within(
    mask: BoolArray, body: FittedBody, torso: Torso, images: WorkingImages, parameters: FinderParameters
) -> Search:
    """As ``search``, in an organ that is given as ``mask`` (z, y, x on the working grid)."""
    tissue = find_homogeneous(body, images.plane, parameters)
    organ = given_organ(mask, tissue, torso, images, parameters)
    parenchyma = find_parenchyma(organ, tissue, torso, images, parameters)
    pieces = find_pieces(tissue, torso, images.plane, parameters)
    return Search(tissue=tissue, pieces=pieces, organ=organ, parenchyma=parenchyma)


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Largest relative change of R2*, smallest and median overlap (Dice) of the region under perturbed parameters."""

    r2star_change: float
    overlap: float
    median_overlap: float


def stability(found: Search, again: Callable[[FinderParameters], Search], parameters: FinderParameters) -> Stability:
    """Repeats the search (``again``) with perturbed parameters; a search that finds nothing overlaps by 0."""
    region = found.parenchyma.region
    changes, overlaps = [0.0] * len(_PERTURBATIONS), [0.0] * len(_PERTURBATIONS)

    def vary(part: slice) -> None:
        (edge_factor, depth_mm), at = _PERTURBATIONS[part.start], part.start
        try:
            other = again(parameters.perturbed(edge_factor, depth_mm))
        except RegionNotFoundError:
            return
        changes[at] = abs(other.r2star_per_s / found.r2star_per_s - 1)
        both = (other.parenchyma.region & region).sum()
        overlaps[at] = float(2 * both / (other.parenchyma.region.sum() + region.sum()))

    each_part(len(_PERTURBATIONS), 1, vary)
    return Stability(r2star_change=max(changes), overlap=min(overlaps), median_overlap=float(np.median(overlaps)))
