"""Self-checks: does the region lie where, and look as, liver parenchyma does? Any hit refuses it.

Limits separate correct from wrong regions on simulated abdomens (plain, hard, and without a right-sided liver) and
leave a margin around the values of correct ones. Likeness to the spleen or the kidney is deliberately no check: in
transfused patients they resemble the liver.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from quant.liver.lungs import LEAST_OF_LIVER, MOST_OF_LUNG
from quant.liver.measures import Measures
from quant.liver.side import (
    MIDDLE,
    MIRROR_ALIKE,
    REACHES_FORWARD,
    REGION_BEHIND,
    joined_with_spleen,
    least_right_over_left,
    lies_as_a_spleen,
    most_in_front,
    on_other_side,
    places,
    side_known,
)
from quant.result import QcLine, Reason

_DARK_PER_S = 300.0  # from which tissue may be lung
# Faint tissue may be lung, whose pooled decay has less signal at echo time zero or is slower than this; with more
# signal than the third it is none of one R2* (what dephases decays faster at first), and tells nothing.
_FAINT_SNR, _LUNG_DENSITY, _MOST_DENSITY, _LUNG_R2STAR_PER_S = 4.0, 0.65, 1.4, 1200.0
_LEAST_POOLED_DENSITY = 0.60  # of dark tissue; 0.61 and more in 166 right regions above 300 /s
# Of a second lung (``lungs``) right regions of dark tissue show 0.06 at most, lungs 0.3 and more.
_MOST_OF_SECOND_LUNG = 0.12
# Chi-squared of lung 3 above that of fatty liver: lungs show 2.8 at most, one of 71 right regions less than 5.
_MOST_LIKE_LUNG = 0.22
_CLEAR_SNR = 6.0  # first-echo SNR from which the signal at echo time zero of dark tissue is known well enough
# A spleen as loaded as the liver is no reason to refuse; thighs, pelvis and bottles have no iron.
_ALIKE_DARK, _DARK_PAIR_PER_S = 0.75, 80.0
_ALIKE_FORWARD = 0.08  # of the torso's depth: bright organs that reach forward alike on both sides are thighs
_LEAST_EXPLAINED, _MIDDLE_EXPLAINED = 0.20, 0.32  # towards the middle only an organ that fills the liver's space is one
# R2* of the region against that of the whole organ, which may differ as much as two scans do (6.6 %, Bachtiar et al.
# 2019); above the second, R2* and fat of single pixels are too uncertain to ask for it.
_NO_SAMPLE, _SAMPLE_KNOWN_PER_S = 0.065, 300.0
# Most dark livers that can be measured spread up to 1.1 times as much as simulated noise; where the noise varies over
# the image (intensity-normalised) and R2* reads a quarter low or more, 1.13 to 1.9 times. Beyond the spread of
# the second R2* reads up to a third low; below the density of the third it may be lung.
_WIDEST_SPREAD, _MOST_OF_SIMULATED, _MOST_BY_NOISE, _AS_DENSE_AS_LIVER = 0.20, 1.1, 0.55, 0.90
_MAY_BE_LUNG = "The organ found has too little signal at echo time zero for liver: it may be lung."
LEAST_BODY_SHARE = 0.055  # of the torso's cross-section, that a whole liver fills
_DEPTHS = (0.27, 0.64)  # of the torso's depth, between which the region of a right lobe lies


def _most_alike(m: Measures) -> float:
    """Mirror likeness that a liver and its surroundings may have."""
    if m.r2star_per_s > _DARK_PAIR_PER_S:
        return _ALIKE_DARK
    return MIRROR_ALIKE if abs(m.front - m.opposite_front) < _ALIKE_FORWARD else 0.50


def _denser_than_lung(m: Measures) -> bool:
    return _LUNG_DENSITY < m.pooled_density < _MOST_DENSITY and m.pooled_r2star_per_s > _LUNG_R2STAR_PER_S


def _as_thin_as_lung(m: Measures) -> bool:
    """Of right regions one is (docs/methods/region.md)."""
    dark = m.r2star_per_s > _DARK_PER_S
    return dark and m.body_density < LEAST_OF_LIVER and m.water_density < MOST_OF_LUNG


def _least_density(m: Measures) -> float:
    if m.r2star_per_s < _DARK_PER_S:
        return 0.58
    return 0.70 if m.first_echo_snr > _CLEAR_SNR else 0.80


def _least_snr(m: Measures) -> float:
    if m.r2star_per_s < _DARK_PER_S:
        return 3.0
    return _FAINT_SNR if _denser_than_lung(m) else 5.0


def _least_explained(m: Measures) -> float:
    return _MIDDLE_EXPLAINED if m.right_left > MIDDLE else _LEAST_EXPLAINED


def _widest_spread(m: Measures) -> float:
    dark = m.r2star_per_s > _DARK_PER_S  # below, 188 right regions spread by 0.16 at most, whatever the bound expects
    bound = max(_WIDEST_SPREAD, 2 * m.r2star_sd_expected) if dark else _WIDEST_SPREAD
    if m.pooled_density < _AS_DENSE_AS_LIVER:
        return bound
    return max(bound, min(_MOST_OF_SIMULATED * m.r2star_sd_simulated, _MOST_BY_NOISE))


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
        limit=lambda m: _nearer(m.right_left, places(m)),
        hit=lambda m: not places(m)[0] < m.right_left < places(m)[1],
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
        limit=least_right_over_left,
        hit=on_other_side,
        text="A larger organ of that kind lies on the left: mirrored images, situs inversus or a very large spleen.",
    ),
    Check(
        code="roi_wrong_side",
        shown="region_front",
        limit=REACHES_FORWARD,
        hit=lies_as_a_spleen,
        text="The region lies behind as in a spleen, and the organ opposite reaches as far forward: mirrored images or "
        "situs inversus.",
    ),
    Check(
        code="roi_wrong_side",
        shown="front",
        limit=most_in_front,
        hit=lambda m: m.front > most_in_front(m),
        text="The organ found begins as far behind as a spleen: mirrored images, or the lower end of a liver.",
    ),
    Check(
        code="roi_wrong_side",
        shown="region_behind",
        limit=REGION_BEHIND,
        hit=joined_with_spleen,
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
        hit=lambda m: m.r2star_per_s < _SAMPLE_KNOWN_PER_S and abs(m.region_over_organ - 1) > _NO_SAMPLE,
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
        text=_MAY_BE_LUNG,
        anywhere=True,
    ),
    Check(
        code="roi_low_density",
        shown="pooled_density",
        limit=_LEAST_POOLED_DENSITY,
        hit=lambda m: m.r2star_per_s > _DARK_PER_S and m.pooled_density < _LEAST_POOLED_DENSITY,
        text=_MAY_BE_LUNG,
        anywhere=True,
    ),
    Check(
        code="roi_low_density",
        shown="body_density",
        limit=LEAST_OF_LIVER,
        hit=_as_thin_as_lung,
        text=_MAY_BE_LUNG,
        anywhere=True,
    ),
    Check(
        code="roi_low_density",
        shown="lung_likelihood",
        limit=_MOST_LIKE_LUNG,
        hit=lambda m: m.r2star_per_s > _DARK_PER_S and m.lung_likelihood > _MOST_LIKE_LUNG,
        text="The echoes of the organ found do not tell a fatty liver from lung.",
        anywhere=True,
    ),
    Check(
        code="roi_low_density",
        shown="second_lung",
        limit=_MOST_OF_SECOND_LUNG,
        hit=lambda m: m.r2star_per_s > _DARK_PER_S and m.second_lung > _MOST_OF_SECOND_LUNG,
        text="Tissue with as little signal at echo time zero lies at the left: the two may be lungs.",
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
        shown="faint_opposite",
        limit=0.45,
        hit=lambda m: m.faint_opposite > 0.45 and not side_known(m),
        text="A large part of the body at the left shows hardly any signal: it may be a liver too dark to be seen.",
        anywhere=True,
    ),
    Check(
        code="roi_dark_organ",
        shown="darker_in_front",
        limit=0.10,
        hit=lambda m: m.front > REACHES_FORWARD and m.darker_in_front > 0.10,
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
