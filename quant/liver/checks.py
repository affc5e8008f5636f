"""Self-checks: does the region lie where, and look as, liver parenchyma does? Any hit refuses it.

Limits separate correct from wrong regions on simulated abdomens (plain, hard, and without a right-sided liver) and
leave a margin around the values of correct ones. Likeness to the spleen or the kidney is deliberately no check: in
transfused patients they resemble the liver.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from quant.liver.measures import Measures
from quant.result import QcLine, Reason

_DARK_PER_S = 300.0  # from which tissue may be lung
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
_REACHES_FORWARD = 0.30  # of the torso's depth: most livers do
# Right over left, where both sides look alike: either may be the liver, the other its spleen. More of it where the
# region lies in the back half, as spleens do, less (but not below the second) where it reaches further forward.
_ALIKE_CLEARLY_RIGHT, _ALIKE_LEAST_RIGHT = 2.0, 1.5
_FAIRLY_ALIKE, _BACK_HALF, _ALIKE_BEHIND_CLEARLY_RIGHT = 0.30, 0.50, 3.0
_BEHIND, _BEHIND_CLEARLY_RIGHT = 0.57, 4.0  # a region as far back as a spleen, and what then tells that it is none
# One liver across the midline (the organ opposite is part of the one found) belongs to the side that holds clearly more
# of it; a region towards the middle may be the left lobe of a liver at the left, which reaches over.
_ONE_ORGAN, _ONE_ORGAN_CLEARLY_RIGHT, _MIDDLE_CLEARLY_RIGHT = 0.5, 1.5, 2.0
_SPLEEN_ALONE_FRONT = 0.39  # of the torso's depth: organs that begin behind it may be a spleen with nothing opposite
_LOBE_MIDDLE, _LOBE_FRONT = 0.32, 0.36  # a region further to the middle and the front: a left lobe, mirrored
_OWN_LEFT_PART = 0.10  # of the torso's depth: the left part of a liver reaches about as far forward as the right one
_FURTHER_FORWARD = 0.03  # of the torso's depth, by which an organ in the liver's place exceeds a spleen opposite
_NO_LIVER_OPPOSITE = 4.5  # right over left from which the organ opposite is too small for the liver
_STOMACH_FRONT, _SPLEEN_FRONT = 0.20, 0.40  # of the torso's depth: stomach and bowel before it, a spleen behind it
# R2* of the region against that of the whole organ, which may differ as much as two scans do (6.6 %, Bachtiar et al.
# 2019); above the second, R2* and fat of single pixels are too uncertain to ask for it.
_NO_SAMPLE, _FAT_KNOWN_PER_S = 0.065, 150.0
LEAST_BODY_SHARE = 0.055  # of the torso's cross-section, that a whole liver fills
_REGION_MARGIN = 0.01  # of the torso's depth, between the front of an organ and that of the region in it
_REGION_BEHIND = 0.15  # of the torso's depth, between these: the region lies in another organ than what reaches forward
# Where the great vessels tell the side, nothing at the right is a spleen and nothing at the left the liver: then the
# region may lie further to the middle or the side, and the organ opposite outweigh it, though not by as much as without
# a liver. Correct regions of right lobes reach up to 0.35, a liver with situs inversus to 0.4.
_PLACES, _PLACES_OF_SIDE_KNOWN = (0.15, 0.37), (0.12, 0.40)
_DEPTHS = (0.27, 0.64)  # of the torso's depth, between which the region of a right lobe lies
_SIDE_KNOWN_LEAST_RIGHT = 0.4


def _most_alike(m: Measures) -> float:
    """Mirror likeness that a liver and its surroundings may have."""
    if m.r2star_per_s > _DARK_PAIR_PER_S:
        return _ALIKE_DARK
    return _ALIKE_PAIR if abs(m.front - m.opposite_front) < _ALIKE_FORWARD else 0.50


def side_known(m: Measures) -> bool:
    """Whether the great vessels show that the images are not mirrored and the patient has no situs inversus."""
    return m.vessel_side > 0


def _other_side(m: Measures) -> bool:
    """Whether the organ opposite is rather the liver than the one found."""
    lobe = m.right_left > _LOBE_MIDDLE and m.front_back < _LOBE_FRONT and not side_known(m)
    return lobe or m.right_over_left < _least_right_over_left(m)


def _least_right_over_left(m: Measures) -> float:
    """How many times as large as the organ opposite the one found has to be."""
    if side_known(m):
        return _SIDE_KNOWN_LEAST_RIGHT
    forward = float(np.clip(m.opposite_front - m.front, *_FORWARD))
    needed = [_needed(_CLEARLY_RIGHT, forward)]
    if m.front_back > _BEHIND:
        needed.append(_BEHIND_CLEARLY_RIGHT)
    if m.mirror_likeness > _ALIKE_PAIR:
        needed.append(max(_needed(_ALIKE_CLEARLY_RIGHT, max(forward, 0.0)), _ALIKE_LEAST_RIGHT))
    if m.mirror_likeness > _FAIRLY_ALIKE and m.front_back > _BACK_HALF:
        needed.append(_ALIKE_BEHIND_CLEARLY_RIGHT)
    if m.opposite_within > _ONE_ORGAN:
        needed.append(_ONE_ORGAN_CLEARLY_RIGHT)
    if m.right_left > _MIDDLE:
        needed.append(_MIDDLE_CLEARLY_RIGHT)
    return max(needed)


def _needed(right_over_left: float, forward: float) -> float:
    """Right over left that an organ needs which reaches ``forward`` beyond the one opposite."""
    return right_over_left * float(np.exp(-_PER_FORWARD * forward))


def _own_left_part(m: Measures) -> bool:
    """Whether the organ opposite is the left part of the one found, and no second organ joined with it."""
    return m.opposite_within > _ONE_ORGAN and m.opposite_front < m.front + _OWN_LEFT_PART


def _as_a_spleen(m: Measures) -> bool:
    """Whether the region lies as far behind as a spleen while the organ opposite reaches as far forward.

    A liver's lower end may lie as far behind, but then its spleen lies further behind.
    """
    if side_known(m) or _own_left_part(m) or m.right_over_left > _NO_LIVER_OPPOSITE:
        return False
    if m.opposite_front < _STOMACH_FRONT:
        return False
    front = max(m.front, m.region_front - _REGION_MARGIN)
    return front > _REACHES_FORWARD and m.opposite_front < front + _FURTHER_FORWARD


def _joined(m: Measures) -> bool:
    """Whether what reaches forward in the organ found is not what holds the region: liver and spleen taken for one."""
    if side_known(m) or _own_left_part(m) or m.right_over_left > _NO_LIVER_OPPOSITE:
        return False
    if m.opposite_front > _SPLEEN_FRONT:
        return False
    return m.region_behind > _REGION_BEHIND


def _denser_than_lung(m: Measures) -> bool:
    return m.pooled_density > _LUNG_DENSITY and m.pooled_r2star_per_s > _LUNG_R2STAR_PER_S


def _least_density(m: Measures) -> float:
    if m.r2star_per_s < _DARK_PER_S:
        return 0.58
    return 0.70 if m.first_echo_snr > _CLEAR_SNR else 0.80


def _least_snr(m: Measures) -> float:
    if m.r2star_per_s < _DARK_PER_S:
        return 3.0
    return _FAINT_SNR if _denser_than_lung(m) else 5.0


def _least_explained(m: Measures) -> float:
    return _MIDDLE_EXPLAINED if m.right_left > _MIDDLE else 0.20


def _widest_spread(m: Measures) -> float:
    return max(0.20, 2 * m.r2star_sd_expected)


def _places(m: Measures) -> tuple[float, float]:
    """Between which the region of a right lobe lies, in units of the torso's width from the right."""
    return _PLACES_OF_SIDE_KNOWN if side_known(m) else _PLACES


def _nearer(value: float, bounds: tuple[float, float]) -> float:
    return min(bounds, key=lambda bound: abs(value - bound))


MeasuresT = TypeVar("MeasuresT", bound=Measures, contravariant=True)


@dataclass(frozen=True, kw_only=True)
class Check(Generic[MeasuresT]):
    """One self-check: refuses with ``code`` when ``hit``; ``shown`` is the measure that the quality line gives.

    ``limit`` is that of ``shown``, as applied to these measures where it depends on others.

    ``anywhere``: holds of liver tissue wherever it lies, not of the right lobe's place and size.
    """

    code: str
    shown: str
    limit: float | Callable[[MeasuresT], float]
    hit: Callable[[MeasuresT], bool]
    text: str
    anywhere: bool = False


CHECKS: tuple[Check[Measures], ...] = (
    Check(
        code="roi_too_small",
        shown="area_mm2",
        limit=500.0,  # below 5 cm2 agreement with the whole liver falls: Vu et al. 2016, on fat
        hit=lambda m: m.area_mm2 < 500,
        text="Less than 5 cm2 of clean parenchyma was found.",
        anywhere=True,
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
        limit=lambda m: _nearer(m.right_left, _places(m)),
        hit=lambda m: not _places(m)[0] < m.right_left < _places(m)[1],
        text="The region does not lie in the right part of the body where the liver is.",
    ),
    Check(
        code="roi_position",
        shown="front_back",
        limit=lambda m: _nearer(m.front_back, _DEPTHS),
        hit=lambda m: not _DEPTHS[0] < m.front_back < _DEPTHS[1],
        text="The region lies too far to the front or the back for the liver.",
    ),
    Check(
        code="roi_position",
        shown="behind",
        limit=0.27,  # regions with more of it took in wall muscle too
        hit=lambda m: m.behind > 0.27,
        text="The organ found cannot be told from the muscles of the back.",
        anywhere=True,
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
        shown="vessel_side",
        limit=0.0,
        hit=lambda m: m.vessel_side < 0,
        text="The vena cava lies left of the aorta: mirrored images or situs inversus.",
        anywhere=True,
    ),
    Check(
        code="roi_wrong_side",
        shown="right_over_left",
        limit=_least_right_over_left,
        hit=_other_side,
        text="A larger organ of that kind lies on the left: mirrored images, situs inversus or a very large spleen.",
    ),
    Check(
        code="roi_wrong_side",
        shown="region_front",
        limit=_REACHES_FORWARD,
        hit=_as_a_spleen,
        text="The region lies behind as in a spleen, and the organ opposite reaches as far forward: mirrored images or "
        "situs inversus.",
    ),
    Check(
        code="roi_wrong_side",
        shown="front",
        limit=_SPLEEN_ALONE_FRONT,
        hit=lambda m: m.front > _SPLEEN_ALONE_FRONT,
        text="The organ found begins as far behind as a spleen: mirrored images, or the lower end of a liver.",
    ),
    Check(
        code="roi_wrong_side",
        shown="region_behind",
        limit=_REGION_BEHIND,
        hit=_joined,
        text="The region lies far behind the front of the organ found, as in a spleen joined with a liver at the left.",
    ),
    Check(
        code="roi_position",
        shown="explained",
        limit=_least_explained,
        hit=lambda m: m.explained < _least_explained(m),
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
        limit=LEAST_BODY_SHARE,
        hit=lambda m: m.body_share < LEAST_BODY_SHARE,
        text="The organ found is too small a part of the body's cross-section for a liver.",
    ),
    Check(
        code="roi_symmetric",
        shown="mirror_likeness",
        limit=_most_alike,
        hit=lambda m: m.mirror_likeness > _most_alike(m),
        text="The body looks alike on both sides, as no upper abdomen does.",
    ),
    Check(
        code="roi_heterogeneous",
        shown="solidity",
        limit=0.70,
        hit=lambda m: m.solidity < 0.70,
        text="The organ found is patchy.",
        anywhere=True,
    ),
    Check(
        code="roi_heterogeneous",
        shown="r2star_sd",
        limit=_widest_spread,
        hit=lambda m: m.r2star_sd > _widest_spread(m),
        text="R2* varies more within the organ than noise and liver texture explain.",
        anywhere=True,
    ),
    Check(
        code="roi_heterogeneous",
        shown="bimodality",
        limit=0.60,
        hit=lambda m: m.bimodality > 0.60 and m.r2star_sd > 0.10,
        text="The region falls into two groups of R2*, as if it held two tissues.",
        anywhere=True,
    ),
    Check(
        code="roi_heterogeneous",
        shown="structure_share",
        limit=0.50,
        hit=lambda m: m.structure_share > 0.50,
        text="More than half of the organ's deep part had to be left out as vessels, lesions or artefacts.",
        anywhere=True,
    ),
    Check(
        code="roi_heterogeneous",
        shown="region_over_organ",
        limit=lambda m: _nearer(m.region_over_organ, (1 - _NO_SAMPLE, 1 + _NO_SAMPLE)),
        hit=lambda m: m.r2star_per_s < _FAT_KNOWN_PER_S and abs(m.region_over_organ - 1) > _NO_SAMPLE,
        text="R2* of the region is not that of the whole organ, for which it may not stand.",
        anywhere=True,
    ),
    Check(
        code="roi_implausible_r2star",
        shown="r2star_per_s",
        limit=17.0,
        hit=lambda m: m.r2star_per_s < 17,
        text="R2* of the organ found is lower than in any liver.",
        anywhere=True,
    ),
    Check(
        code="roi_implausible_r2star",
        shown="pooled_r2star_per_s",
        limit=2300.0,
        hit=lambda m: m.pooled_r2star_per_s > 2300,
        text="R2* of the organ found is above what these echoes can show.",
        anywhere=True,
    ),
    Check(
        code="roi_low_density",
        shown="density",
        limit=_least_density,
        hit=lambda m: m.density < _least_density(m),
        text="The organ found has too little signal at echo time zero for liver: it may be lung.",
        anywhere=True,
    ),
    Check(
        code="roi_low_signal",
        shown="first_echo_snr",
        limit=_least_snr,
        hit=lambda m: m.first_echo_snr < _least_snr(m),
        text="The first echo in the organ found is hardly above the noise.",
        anywhere=True,
    ),
    Check(
        code="roi_ghosts",
        shown="ghosts",
        limit=0.30,  # up to it R2* reads 20 % low at most, above it 30 to 85 %
        hit=lambda m: m.ghosts > 0.30,
        text="Ghosts (breathing or pulsation) are as strong as the signal of the organ found, so that its decay cannot "
        "be seen.",
        anywhere=True,
    ),
    Check(
        code="roi_dark_organ",
        shown="dark_share",
        limit=0.60,
        hit=lambda m: m.dark_share > 0.60,
        text="A large, much darker organ lies elsewhere in the same slices and may be the liver.",
        anywhere=True,
    ),
    Check(
        code="roi_dark_organ",
        shown="darker_in_front",
        limit=0.10,
        hit=lambda m: m.front > _REACHES_FORWARD and m.darker_in_front > 0.10,
        text="The organ found lies behind as a spleen does, and a darker one lies in front at the left.",
    ),
    Check(
        code="roi_rival",
        shown="rival_score",
        limit=0.40,
        hit=lambda m: m.rival_score > 0.40,
        text="Two organs with different R2* compete for being the liver.",
        anywhere=True,
    ),
)


def refused_by(
    measures: MeasuresT, checks: Sequence[Check[MeasuresT]]
) -> tuple[tuple[Reason, ...], tuple[QcLine, ...]]:
    """Reasons, and one quality line with value and limit for each, of the ``checks`` that hit."""
    hits = [check for check in checks if check.hit(measures)]
    values = measures.as_dict()
    lines = tuple(
        QcLine(
            code=check.code,
            severity="failure",
            text=check.text,
            value=values[check.shown],
            limit=check.limit(measures) if callable(check.limit) else check.limit,
        )
        for check in hits
    )
    return tuple(Reason(code=check.code, text=check.text) for check in hits), lines
