"""Self-checks: does the region lie where, and look as, liver parenchyma does? Any hit refuses it.

Limits separate correct from wrong regions on simulated abdomens (plain, hard, and without a right-sided liver) and
leave a margin around the values of correct ones. Likeness to the spleen or the kidney is deliberately no check: in
transfused patients they resemble the liver.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from quant.acquisition import BoolArray, FloatArray
from quant.liver.images import WorkingImages
from quant.liver.organ import Organ, find_opposite
from quant.liver.parameters import FinderParameters
from quant.liver.parenchyma import share_behind
from quant.liver.plane import Plane, median, occupied, square
from quant.liver.search import Search
from quant.liver.tissue import Tissue
from quant.liver.torso import Torso
from quant.result import QcLine, Reason


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
    opposite_front: float  # the same of the largest organ opposite
    explained: float  # share of lean tissue where the liver belongs that the organ covers
    body_share: float  # largest share of the torso's area in one slice
    mirror_likeness: float  # share of the organ whose mirror image has the same features
    solidity: float
    r2star_sd: float  # robust SD of ln(R2* + 30)
    r2star_sd_expected: float  # what noise explains, with a margin
    bimodality: float  # between-class variance over that of a Gaussian, 0 (one class) to 1
    structure_share: float
    r2star_per_s: float
    density: float
    first_echo_snr: float
    dark_share: float  # dark tissue elsewhere over the organ's area
    pooled_r2star_per_s: float  # of the region's decay as a whole, which noise hardly touches
    pooled_density: float
    ghosts: float  # in the air beside the body, over the region's first echo
    rival_score: float  # of the best rival with a comparable radius, over the organ's

    def as_dict(self) -> dict[str, float]:
        """By name."""
        return {f.name: float(getattr(self, f.name)) for f in fields(self)}


_RIVAL_RADIUS = 0.6  # of the organ's: thinner rivals do not count
_DARK_R2STAR_PER_S, _DARK_OVER_REGION, _DARK_DENSITY = 400.0, 2.0, 0.3
_DARK_CLEARANCE_MM, _DARK_OPENING_SCALED_MM = 6.0, 8.0
_NOISE_MARGIN, _NATURAL_SD = 1.3, 0.09  # expected SD = margin x noise + spread of healthy texture


def measure(
    search: Search, torso: Torso, images: WorkingImages, ghost_level: float, parameters: FinderParameters
) -> Measures:
    """Values of all self-checks for one search's region; ``ghost_level`` as by ``quant.liver.ghosts``."""
    organ, parenchyma, tissue = search.organ, search.parenchyma, search.tissue
    region, plane = parenchyma.region, images.plane
    r2star = search.r2star_per_s
    first_echo = float(np.median(parenchyma.fine_first_echo[region]))
    opposite = find_opposite(tissue, search.pieces, torso, images, parameters)
    away_from_wall = tissue.wall_mm > parameters.wall_distance_scaled_mm * torso.scale
    return Measures(
        area_mm2=float(region.sum() * plane.pixel_mm2),
        radius_scaled_mm=organ.best.radius_mm / torso.scale,
        right_left=float(np.median(torso.right_left[region])),
        front_back=float(np.median(torso.front_back[region])),
        behind=share_behind(organ, torso),
        lateral_gap=_lateral_gap(organ.filled, tissue.wall_mm > 0, torso),
        right_over_left=organ.own_mm3 / max(opposite.thick_mm3 if opposite else 0.0, 1.0),
        front=_foremost(organ.thick, torso),
        opposite_front=_foremost(opposite.thick, torso) if opposite else 1.0,
        explained=_explained(organ, tissue, torso),
        body_share=float((organ.filled.sum((1, 2)) * plane.pixel_mm2 / np.maximum(torso.area_mm2, 1)).max()),
        mirror_likeness=_mirror_likeness(organ.pieces, tissue, torso, images, parameters.node_depth_mm),
        solidity=organ.best.solidity,
        r2star_sd=parenchyma.log_r2star_sd,
        r2star_sd_expected=_NATURAL_SD + _NOISE_MARGIN * parenchyma.expected_sd,
        bimodality=bimodality(parenchyma.fine_log_r2star[region]),
        structure_share=parenchyma.structure_share,
        r2star_per_s=r2star,
        density=organ.best.density,
        first_echo_snr=first_echo / images.sigma,
        dark_share=_dark_share(organ, region, tissue, torso, plane, away_from_wall, r2star),
        pooled_r2star_per_s=parenchyma.pooled.r2star_per_s,
        pooled_density=parenchyma.pooled.density,
        ghosts=ghost_level / max(first_echo, images.sigma),
        rival_score=max(
            (c.score / organ.best.score for c in organ.rivals if c.radius_mm > _RIVAL_RADIUS * organ.best.radius_mm),
            default=0.0,
        ),
    )


def _foremost(thick: BoolArray, torso: Torso) -> float:
    return float(np.percentile(torso.front_back[thick], 3)) if thick.any() else 1.0


def _lateral_gap(organ: BoolArray, inner: BoolArray, torso: Torso) -> float:
    """Smallest gap over the slices, in torso widths, between the organ and the right inner wall."""
    both = [z for z in torso.slices if (organ[z] & inner[z]).any()]
    place = torso.right_left
    return min((float(place[z][organ[z] & inner[z]].min() - place[z][inner[z]].min()) for z in both), default=1.0)


def _explained(organ: Organ, tissue: Tissue, torso: Torso) -> float:
    zone = (organ.prior > 0.6) & (tissue.fat_fraction < 0.62) & torso.mask & (tissue.density > 0.3)
    zone &= occupied(organ.filled)
    return float((organ.filled & zone).sum() / max(zone.sum(), 1))


def _dark_share(
    organ: Organ,
    region: BoolArray,
    tissue: Tissue,
    torso: Torso,
    plane: Plane,
    away_from_wall: BoolArray,
    r2star_per_s: float,
) -> float:
    """Much darker tissue elsewhere in the region's slices: then that may be the liver, and this a full stomach."""
    slices = np.flatnonzero(region.any((1, 2)))
    middle = median(tissue.r2star_per_s[slices], square(5))
    dark = (middle > max(_DARK_R2STAR_PER_S, _DARK_OVER_REGION * r2star_per_s)) & (
        tissue.density[slices] > _DARK_DENSITY
    )
    dark &= away_from_wall[slices] & (plane.distance_from(organ.filled[slices]) > _DARK_CLEARANCE_MM)
    dark = plane.open(dark, _DARK_OPENING_SCALED_MM * torso.scale)
    return float(dark.sum() / max(organ.filled[slices].sum(), 1))


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


# Faint tissue may be lung, whose pooled decay has less signal at echo time zero or is slower than this.
_FAINT_SNR, _LUNG_DENSITY, _LUNG_R2STAR_PER_S = 4.0, 0.65, 1200.0
_CLEAR_SNR = 6.0  # first-echo SNR from which the signal at echo time zero of dark tissue is known well enough
# A spleen as loaded as the liver is no reason to refuse; thighs, pelvis and bottles have no iron.
_ALIKE_DARK, _DARK_PAIR_PER_S = 0.75, 80.0
_ALIKE_PAIR = 0.40  # bright organs that reach forward alike on both sides are thighs rather than liver and spleen
_MIDDLE, _MIDDLE_EXPLAINED = 0.30, 0.32  # towards the middle only an organ that fills the liver's space is one
# Right over left that tells a liver from the organ opposite, and how it changes with how much further forward one of
# the two reaches: a spleen lies behind.
_CLEARLY_RIGHT, _PER_FORWARD, _FORWARD = 1.25, 3.0, (-0.3, 0.2)
_ALIKE_FORWARD = 0.08  # of the torso's depth
_BEHIND, _BEHIND_CLEARLY_RIGHT = 0.57, 4.0  # a region as far back as a spleen, and what then tells that it is none


def _most_alike(m: Measures) -> float:
    """Mirror likeness that a liver and its surroundings may have."""
    if m.r2star_per_s > _DARK_PAIR_PER_S:
        return _ALIKE_DARK
    return _ALIKE_PAIR if abs(m.front - m.opposite_front) < _ALIKE_FORWARD else 0.50


def _other_side(m: Measures) -> bool:
    """Whether the organ opposite is rather the liver than the one found."""
    if m.front_back > _BEHIND and m.right_over_left < _BEHIND_CLEARLY_RIGHT:
        return True
    forward = float(np.clip(m.opposite_front - m.front, *_FORWARD))
    return m.right_over_left < _CLEARLY_RIGHT * float(np.exp(-_PER_FORWARD * forward))


def _denser_than_lung(m: Measures) -> bool:
    return m.pooled_density > _LUNG_DENSITY and m.pooled_r2star_per_s > _LUNG_R2STAR_PER_S


@dataclass(frozen=True, kw_only=True)
class Check:
    """One self-check: refuses with ``code`` when ``hit``; ``shown`` is the measure that the quality line gives."""

    code: str
    shown: str
    limit: float
    hit: Callable[[Measures], bool]
    text: str


CHECKS = (
    Check(
        code="roi_too_small",
        shown="area_mm2",
        limit=500.0,  # below 5 cm2 agreement with the whole liver falls: Vu et al. 2016, on fat
        hit=lambda m: m.area_mm2 < 500,
        text="Less than 5 cm2 of clean parenchyma was found.",
    ),
    Check(
        code="roi_too_small",
        shown="radius_scaled_mm",
        limit=20.0,
        hit=lambda m: m.radius_scaled_mm < 20,
        text="The organ found is too thin for a liver.",
    ),
    Check(
        code="roi_position",
        shown="right_left",
        limit=0.39,  # correct regions of right lobes: up to 0.38; a liver with situs inversus reaches over to 0.4
        hit=lambda m: not 0.14 < m.right_left < 0.39,
        text="The region does not lie in the right part of the body where the liver is.",
    ),
    Check(
        code="roi_position",
        shown="front_back",
        limit=0.64,
        hit=lambda m: not 0.27 < m.front_back < 0.64,
        text="The region lies too far to the front or the back for the liver.",
    ),
    Check(
        code="roi_position",
        shown="behind",
        limit=0.27,  # regions with more of it took in wall muscle too
        hit=lambda m: m.behind > 0.27,
        text="The organ found cannot be told from the muscles of the back.",
    ),
    Check(
        code="roi_position",
        shown="lateral_gap",
        limit=0.27,
        hit=lambda m: m.lateral_gap > 0.27,
        text="The organ found does not reach the right side wall as the liver does.",
    ),
    Check(
        code="roi_wrong_side",
        shown="right_over_left",
        limit=_CLEARLY_RIGHT,
        hit=_other_side,
        text="A larger organ of that kind lies on the left: mirrored images, situs inversus or a very large spleen.",
    ),
    Check(
        code="roi_position",
        shown="explained",
        limit=0.20,
        hit=lambda m: m.explained < (_MIDDLE_EXPLAINED if m.right_left > _MIDDLE else 0.20),
        text="The organ found fills too little of the space where the liver should be.",
    ),
    Check(
        code="roi_position",
        shown="body_share",
        limit=0.55,
        hit=lambda m: m.body_share > 0.55,
        text="The organ found fills more of the body than a liver can.",
    ),
    Check(
        code="roi_too_small",
        shown="body_share",
        limit=0.055,
        hit=lambda m: m.body_share < 0.055,
        text="The organ found is too small a part of the body's cross-section for a liver.",
    ),
    Check(
        code="roi_symmetric",
        shown="mirror_likeness",
        limit=0.50,
        hit=lambda m: m.mirror_likeness > _most_alike(m),
        text="The body looks alike on both sides, as no upper abdomen does.",
    ),
    Check(
        code="roi_heterogeneous",
        shown="solidity",
        limit=0.70,
        hit=lambda m: m.solidity < 0.70,
        text="The organ found is patchy.",
    ),
    Check(
        code="roi_heterogeneous",
        shown="r2star_sd",
        limit=0.20,
        hit=lambda m: m.r2star_sd > max(0.20, 2 * m.r2star_sd_expected),
        text="R2* varies more within the organ than noise and liver texture explain.",
    ),
    Check(
        code="roi_heterogeneous",
        shown="bimodality",
        limit=0.60,
        hit=lambda m: m.bimodality > 0.60 and m.r2star_sd > 0.10,
        text="The region falls into two groups of R2*, as if it held two tissues.",
    ),
    Check(
        code="roi_heterogeneous",
        shown="structure_share",
        limit=0.50,
        hit=lambda m: m.structure_share > 0.50,
        text="More than half of the organ's deep part had to be left out as vessels, lesions or artefacts.",
    ),
    Check(
        code="roi_implausible_r2star",
        shown="r2star_per_s",
        limit=17.0,
        hit=lambda m: m.r2star_per_s < 17,
        text="R2* of the organ found is lower than in any liver.",
    ),
    Check(
        code="roi_implausible_r2star",
        shown="pooled_r2star_per_s",
        limit=2300.0,
        hit=lambda m: m.pooled_r2star_per_s > 2300,
        text="R2* of the organ found is above what these echoes can show.",
    ),
    Check(
        code="roi_low_density",
        shown="density",
        limit=0.58,
        hit=lambda m: m.density < (0.58 if m.r2star_per_s < 300 else 0.70 if m.first_echo_snr > _CLEAR_SNR else 0.80),
        text="The organ found has too little signal at echo time zero for liver: it may be lung.",
    ),
    Check(
        code="roi_low_signal",
        shown="first_echo_snr",
        limit=3.0,
        hit=lambda m: m.first_echo_snr < (3 if m.r2star_per_s < 300 else _FAINT_SNR if _denser_than_lung(m) else 5),
        text="The first echo in the organ found is hardly above the noise.",
    ),
    Check(
        code="roi_ghosts",
        shown="ghosts",
        limit=0.30,  # up to it R2* reads 20 % low at most, above it 30 to 85 %
        hit=lambda m: m.ghosts > 0.30,
        text="Ghosts (breathing or pulsation) are as strong as the signal of the organ found, so that its decay cannot "
        "be seen.",
    ),
    Check(
        code="roi_dark_organ",
        shown="dark_share",
        limit=0.60,
        hit=lambda m: m.dark_share > 0.60,
        text="A large, much darker organ lies elsewhere in the same slices and may be the liver.",
    ),
    Check(
        code="roi_rival",
        shown="rival_score",
        limit=0.40,
        hit=lambda m: m.rival_score > 0.40,
        text="Two organs with different R2* compete for being the liver.",
    ),
)


def refused_by(measures: Measures) -> tuple[tuple[Reason, ...], tuple[QcLine, ...]]:
    """Reasons, and one quality line with value and limit for each."""
    hits = [check for check in CHECKS if check.hit(measures)]
    values = measures.as_dict()
    return (
        tuple(Reason(code=check.code, text=check.text) for check in hits),
        tuple(
            QcLine(code=check.code, severity="failure", text=check.text, value=values[check.shown], limit=check.limit)
            for check in hits
        ),
    )
