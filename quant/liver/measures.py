"""Values by which the self-checks judge a region: place, size, likeness to what else lies in the body, noise."""

from dataclasses import dataclass, fields

import numpy as np

from quant.acquisition import BoolArray, FloatArray
from quant.liver.images import WorkingImages
from quant.liver.lungs import lung_signs
from quant.liver.organ import Organ, find_opposite, robust_sd
from quant.liver.parameters import FinderParameters
from quant.liver.parenchyma import share_behind
from quant.liver.plane import median, occupied, square
from quant.liver.search import Search
from quant.liver.tissue import Tissue, noisy_log_r2star
from quant.liver.torso import Torso, spleen_bed


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Values of the self-checks. Places are in units of the torso's extent, shares 0..1, volumes relative."""

    area_mm2: float  # of the region, summed over slices
    radius_scaled_mm: float  # largest inscribed radius of the organ over the body scale
    right_left: float  # median place of the region
    front_back: float
    behind: float  # share of the organ where only the muscles of the back are
    lateral_gap: float  # between the organ and the right inner wall
    right_over_left: float  # prior-weighted volume over that of the largest organ opposite
    front: float  # foremost part of the organ's thick part: the liver reaches forward, a spleen does not
    region_front: float  # foremost part of the region
    region_behind: float  # how far it lies behind the foremost part of the organ
    opposite_front: float  # foremost part of the largest organ opposite
    opposite_within: float  # share of the largest organ opposite that lies in the organ found
    explained: float  # share of lean tissue where the liver belongs that the organ covers
    body_share: float  # largest share of the torso's area in one slice
    mirror_likeness: float  # share of the organ whose mirror image has the same features
    solidity: float
    r2star_sd: float  # robust SD of ln(R2* + 30)
    r2star_sd_expected: float  # what noise explains, with a margin
    r2star_sd_simulated: float  # what simulated noise explains at the region's decay
    bimodality: float  # between-class variance over that of a Gaussian, 0 (one class) to 1
    structure_share: float
    r2star_per_s: float
    region_over_organ: float  # R2* of the region over that of all homogeneous tissue of the organ, off the wall
    density: float
    first_echo_snr: float
    dark_share: float  # dark tissue elsewhere, but a spleen where the side is known, over the organ's area
    faint_opposite: float  # tissue at the left with hardly any signal beside the region's, over the organ's area
    darker_in_front: float  # darker tissue about the middle and the left, in front, over the organ's area
    pooled_r2star_per_s: float  # of the region's decay as a whole, which noise hardly touches
    pooled_density: float
    body_density: float  # as by ``lungs``, of dark tissue (so the next three)
    water_density: float
    lung_likelihood: float
    second_lung: float
    ghosts: float  # in the air beside the body, over the region's first echo
    rival_score: float  # of the best rival with a comparable radius, over the organ's
    vessel_side: float  # above 0 where the vena cava lies right of the aorta, below where left (``great_vessels``)

    def as_dict(self) -> dict[str, float]:
        """By name."""
        return {f.name: float(getattr(self, f.name)) for f in fields(self)}


_RIVAL_RADIUS = 0.6  # of the organ's: thinner rivals do not count
_DARK_R2STAR_PER_S, _DARK_OVER_REGION, _DARK_DENSITY = 400.0, 2.0, 0.3
_DARK_CLEARANCE_MM, _DARK_OPENING_SCALED_MM = 6.0, 8.0
_DARKER_R2STAR_PER_S, _DARKER_OVER_REGION = 120.0, 1.5
_FAINT = 0.15  # of the region's first echo: receive shading does not do that, lung, gas and a liver beyond 1500 /s do
_MIDLINE = 0.5  # of the torso's width
_MIDDLE, _FRONT = 0.35, 0.42  # of the torso's width and depth: the spleen lies behind
# Expected SD = margin x noise + spread of healthy texture; simulated: without margin, in quadrature.
_NOISE_MARGIN, _NATURAL_SD = 1.3, 0.09


def measure(
    search: Search,
    torso: Torso,
    images: WorkingImages,
    parameters: FinderParameters,
    *,
    ghost_level: float,
    vessel_side: float,
) -> Measures:
    """Values of all self-checks for one search's region; ``ghost_level`` as by ``quant.liver.ghosts``, ``vessel_side``
    as by ``quant.liver.great_vessels``."""
    organ, parenchyma, tissue = search.organ, search.parenchyma, search.tissue
    region, plane = parenchyma.region, images.plane
    r2star = search.r2star_per_s
    first_echo = float(np.median(parenchyma.fine_first_echo[region]))
    simulated_sd = robust_sd(noisy_log_r2star(images, parenchyma.pooled.decay), 0.0)
    lung = lung_signs(search, torso, images, parameters)
    opposite = find_opposite(tissue, search.pieces, torso, images, parameters)
    front, region_front = _foremost(organ.thick, torso), _foremost(region, torso)
    return Measures(
        area_mm2=float(region.sum() * plane.pixel_mm2),
        radius_scaled_mm=organ.best.radius_mm / torso.scale,
        right_left=float(np.median(torso.right_left[region])),
        front_back=float(np.median(torso.front_back[region])),
        behind=share_behind(organ, torso),
        lateral_gap=_lateral_gap(organ.filled, tissue.wall_mm > 0, torso),
        right_over_left=organ.own_mm3 / max(opposite.thick_mm3 if opposite else 0.0, 1.0),
        front=front,
        region_front=region_front,
        region_behind=region_front - front,
        opposite_front=_foremost(opposite.thick, torso) if opposite else 1.0,
        opposite_within=_share_within(opposite.thick, organ.filled) if opposite else 0.0,
        explained=_explained(organ, tissue, torso),
        body_share=float((organ.filled.sum((1, 2)) * plane.pixel_mm2 / np.maximum(torso.area_mm2, 1)).max()),
        mirror_likeness=_mirror_likeness(organ.pieces, tissue, torso, images, parameters.node_depth_mm),
        solidity=organ.best.solidity,
        r2star_sd=parenchyma.log_r2star_sd,
        r2star_sd_expected=_NATURAL_SD + _NOISE_MARGIN * parenchyma.expected_sd,
        r2star_sd_simulated=float(np.hypot(_NATURAL_SD, simulated_sd)),
        bimodality=bimodality(parenchyma.fine_log_r2star[region]),
        structure_share=parenchyma.structure_share,
        r2star_per_s=r2star,
        region_over_organ=_over_organ(region, organ, tissue, torso, parameters),
        density=organ.best.density,
        first_echo_snr=first_echo / images.sigma,
        dark_share=share_elsewhere(
            search,
            torso,
            images,
            parameters,
            above_per_s=max(_DARK_R2STAR_PER_S, _DARK_OVER_REGION * r2star),
            within=~spleen_bed(torso) if vessel_side > 0 else None,
        ),
        faint_opposite=_faint_opposite(search, torso, images, parameters, below=_FAINT * first_echo),
        darker_in_front=share_elsewhere(
            search,
            torso,
            images,
            parameters,
            above_per_s=max(_DARKER_R2STAR_PER_S, _DARKER_OVER_REGION * r2star),
            within=(torso.right_left > _MIDDLE) & (torso.front_back < _FRONT),
        ),
        pooled_r2star_per_s=parenchyma.pooled.r2star_per_s,
        pooled_density=parenchyma.pooled.density,
        body_density=lung.body_density,
        water_density=lung.water_density,
        lung_likelihood=lung.lung_likelihood,
        second_lung=lung.second_lung,
        ghosts=ghost_level / max(first_echo, images.sigma),
        rival_score=max(
            (c.score / organ.best.score for c in organ.rivals if c.radius_mm > _RIVAL_RADIUS * organ.best.radius_mm),
            default=0.0,
        ),
        vessel_side=vessel_side,
    )


def _foremost(mask: BoolArray, torso: Torso) -> float:
    return float(np.percentile(torso.front_back[mask], 3)) if mask.any() else 1.0


def _over_organ(region: BoolArray, organ: Organ, tissue: Tissue, torso: Torso, parameters: FinderParameters) -> float:
    whole = organ.thick & tissue.homogeneous & (tissue.wall_mm > parameters.core_wall_scaled_mm * torso.scale)
    if not whole.any():
        return 1.0
    return float(np.median(tissue.r2star_per_s[region]) / np.median(tissue.r2star_per_s[whole]))


def _share_within(mask: BoolArray, organ: BoolArray) -> float:
    return float((mask & organ).sum() / max(mask.sum(), 1))


def _lateral_gap(organ: BoolArray, inner: BoolArray, torso: Torso) -> float:
    """Smallest gap over the slices, in torso widths, between the organ and the right inner wall."""
    both = [z for z in torso.slices if (organ[z] & inner[z]).any()]
    place = torso.right_left
    return min((float(place[z][organ[z] & inner[z]].min() - place[z][inner[z]].min()) for z in both), default=1.0)


def _explained(organ: Organ, tissue: Tissue, torso: Torso) -> float:
    zone = (organ.prior > 0.6) & (tissue.fat_fraction < 0.62) & torso.mask & (tissue.density > 0.3)
    zone &= occupied(organ.filled)
    return float((organ.filled & zone).sum() / max(zone.sum(), 1))


def share_elsewhere(
    search: Search,
    torso: Torso,
    images: WorkingImages,
    parameters: FinderParameters,
    *,
    above_per_s: float,
    within: BoolArray | None = None,
) -> float:
    """Tissue of R2* above ``above_per_s`` elsewhere in the region's slices (and ``within``), over the organ's area.

    Where it is much darker than the organ, that may be the liver, and this a full stomach.
    """
    tissue, organ, plane = search.tissue, search.organ, images.plane
    slices = np.flatnonzero(search.parenchyma.region.any((1, 2)))
    dark = (median(tissue.r2star_per_s[slices], square(5)) > above_per_s) & (tissue.density[slices] > _DARK_DENSITY)
    dark &= tissue.wall_mm[slices] > parameters.wall_distance_scaled_mm * torso.scale
    dark &= plane.distance_from(organ.filled[slices]) > _DARK_CLEARANCE_MM
    if within is not None:
        dark &= within[slices]
    dark = plane.open(dark, _DARK_OPENING_SCALED_MM * torso.scale)
    return float(dark.sum() / max(organ.filled[slices].sum(), 1))


def _faint_opposite(
    search: Search, torso: Torso, images: WorkingImages, parameters: FinderParameters, *, below: float
) -> float:
    """What lies at the left in the region's slices with a first echo below this, over the organ's area: a liver so dark
    that noise hides its decay has no R2* by which ``share_elsewhere`` could know it."""
    slices = np.flatnonzero(search.parenchyma.region.any((1, 2)))
    faint = torso.mask[slices] & (images.first_echo[slices] < below) & (torso.right_left[slices] > _MIDLINE)
    faint &= search.tissue.wall_mm[slices] > parameters.wall_distance_scaled_mm * torso.scale
    faint = images.plane.open(faint, _DARK_OPENING_SCALED_MM * torso.scale)
    return float(faint.sum() / max(search.organ.filled[slices].sum(), 1))


def _mirror_likeness(
    pieces: BoolArray, tissue: Tissue, torso: Torso, images: WorkingImages, node_depth_mm: float
) -> float:
    """Share of the organ that finds the same features at the same place on the other side (bottle, thighs, pelvis)."""
    z, y, x = np.nonzero(pieces & (np.abs(torso.right_left - 0.5) > 0.1))
    if len(z) == 0:
        return 0.0
    mirrored_x_mm = torso.x_range_mm[z].sum(1) - images.x_mm[z, y, x]
    step_mm = float(np.mean(np.diff(images.x_mm[0], axis=1)))
    shift = np.rint((mirrored_x_mm - images.x_mm[z, y, x]) / step_mm).astype(int)
    there = np.clip(x + shift, 0, pieces.shape[2] - 1)
    alike = images.plane.distance(tissue.homogeneous)[z, y, there] > node_depth_mm
    for feature, within in ((tissue.log_s1, 0.2), (tissue.log_r2star, 0.15), (tissue.fat_fraction, 0.1)):
        alike &= np.abs(feature[z, y, there] - feature[z, y, x]) < within
    return float(alike.mean())


def bimodality(values: FloatArray) -> float:
    """Between-class variance share of the best split, from 0 for a Gaussian (2 / pi) to 1 for two points."""
    ordered = np.sort(values.astype(float))
    n, variance = len(ordered), float(ordered.var())
    if n < 40 or variance == 0:
        return 0.0
    total, i = np.cumsum(ordered), np.arange(1, n)
    between = i * (n - i) / n**2 * (total[:-1] / i - (total[-1] - total[:-1]) / (n - i)) ** 2
    return float(max(0.0, (between.max() / variance - 2 / np.pi) / (1 - 2 / np.pi)))
