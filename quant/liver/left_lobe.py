"""A left lobe alone, as after resection of the right one: looked for where no liver was found at the right.

The lobe lies across the midline at the front, where stomach, heart and bowel lie too, and where a liver with situs
inversus or in mirrored images reaches over to. It is reported only where it holds more iron than any of the former,
ends before the left wall, and nothing as dark lies where a right lobe would or at the left in front of the spleen.
"""

from dataclasses import dataclass

import numpy as np

from quant.acquisition import BoolArray
from quant.liver.checks import CHECKS, Check
from quant.liver.images import WorkingImages
from quant.liver.measures import Measures, share_elsewhere
from quant.liver.parameters import DEFAULTS, FinderParameters
from quant.liver.search import Search
from quant.liver.side import side_known
from quant.liver.torso import BEHIND_LEFT_LOBE, Torso, spleen_bed
from quant.result import QcLine

_LEAST_R2STAR_PER_S = DEFAULTS.left_lobe().min_candidate_r2star_per_s
_AS_DARK = 0.6  # of the organ's R2*
_SPLEEN_AND_SPINE = 0.42  # of the torso's width: left of it and behind these may be as dark as the liver
# A left lobe lies more to the left than to the right, its middle at 0.515 of the width from the right and more; in
# mirrored images it lies at 0.485 and less.
_LEAST_MIDDLE, _MOST_MIDDLE = 0.51, 0.62
_LEAST_MIDDLE_OF_SIDE_KNOWN = 0.42  # where the great vessels tell that the images are not mirrored
# One slice shows less of what else there is: it must leave more room at the left and behind, and be clear of noise. The
# tip of a lobe, narrower than this, may lie on either side.
_ALONE_LEAST_WIDTH = 0.22
_ALONE_LEFTMOST, _ALONE_ELSEWHERE, _ALONE_BEHIND, _ALONE_SNR = 0.78, 0.02, 0.10, 8.0
# Much darker tissue, over the organ's area: beside liver or lung stomach and heart look like a lobe; 0 beside lobes.
_DARKER_ELSEWHERE = 0.15
_OTHERWISE = ("dark_share", "second_lung")  # judged by another limit; a lobe's own left end


@dataclass(frozen=True, kw_only=True)
class LeftLobeMeasures(Measures):
    """And where the organ as a whole lies, in units of the torso's width from the right."""

    rightmost: float
    middle: float
    leftmost: float
    elsewhere: float  # tissue as dark, over the organ's area, that is neither spleen nor spine
    elsewhere_left: float  # the part of it that no right lobe can be
    behind_left: float  # the same where the spleen lies
    slices: float  # that the region has


def measure_left_lobe(
    measures: Measures, search: Search, torso: Torso, images: WorkingImages, parameters: FinderParameters
) -> LeftLobeMeasures:
    """Adds what tells a left lobe alone."""
    across = torso.right_left[search.organ.filled]
    rightmost, middle, leftmost = (float(np.percentile(across, share)) for share in (1, 50, 99))
    behind = torso.front_back > BEHIND_LEFT_LOBE

    def as_dark(within: BoolArray) -> float:
        above = _AS_DARK * measures.pooled_r2star_per_s
        return share_elsewhere(search, torso, images, parameters, above_per_s=above, within=within)

    return LeftLobeMeasures(
        **measures.as_dict(),
        rightmost=rightmost,
        middle=middle,
        leftmost=leftmost,
        elsewhere=as_dark(~(behind & (torso.right_left > _SPLEEN_AND_SPINE))),
        elsewhere_left=as_dark(~behind & (torso.right_left > _SPLEEN_AND_SPINE)),
        behind_left=as_dark(spleen_bed(torso)),
        slices=float(search.parenchyma.region.any((1, 2)).sum()),
    )


def _about_the_midline(m: LeftLobeMeasures) -> bool:
    least = _LEAST_MIDDLE_OF_SIDE_KNOWN if side_known(m) else _LEAST_MIDDLE
    return least < m.middle < _MOST_MIDDLE and (m.rightmost > 0.22 or side_known(m))


def _stands_alone(m: LeftLobeMeasures) -> bool:
    """Whether one slice shows well enough that the organ is no edge of a liver at the left."""
    room = m.leftmost < _ALONE_LEFTMOST and m.elsewhere < _ALONE_ELSEWHERE and m.behind_left < _ALONE_BEHIND
    return room and m.leftmost - m.rightmost > _ALONE_LEAST_WIDTH and m.first_echo_snr > _ALONE_SNR


LEFT_LOBE_CHECKS: tuple[Check[LeftLobeMeasures], ...] = (
    *(check for check in CHECKS if check.anywhere and check.shown not in _OTHERWISE),
    Check(
        code="roi_dark_organ",
        shown="dark_share",
        limit=_DARKER_ELSEWHERE,
        hit=lambda m: m.dark_share > _DARKER_ELSEWHERE,
        text="Much darker tissue lies elsewhere in the same slices: the organ found may be stomach or heart.",
    ),
    Check(
        code="roi_position",
        shown="middle",
        limit=_MOST_MIDDLE,
        hit=lambda m: not _about_the_midline(m),
        text="The organ found does not lie about the midline, more to the left, as a left lobe does.",
    ),
    Check(
        code="roi_wrong_side",
        shown="leftmost",
        limit=0.82,
        hit=lambda m: m.leftmost > 0.82 and not side_known(m),
        text="The organ found reaches to the left wall, as a liver with situs inversus or in mirrored images does.",
    ),
    Check(
        code="roi_position",
        shown="front_back",
        limit=0.42,
        hit=lambda m: m.front_back > 0.42 or m.front > 0.30,
        text="The organ found lies too far back for a left lobe.",
    ),
    Check(
        code="roi_too_small",
        shown="radius_scaled_mm",
        limit=14.0,
        hit=lambda m: m.radius_scaled_mm < 14,
        text="The organ found is too thin for a left lobe.",
    ),
    Check(
        code="roi_position",
        shown="body_share",
        limit=0.30,
        hit=lambda m: m.body_share > 0.30,
        text="The organ found fills more of the body than a left lobe can.",
    ),
    Check(
        code="roi_no_liver",
        shown="pooled_r2star_per_s",
        limit=_LEAST_R2STAR_PER_S,
        hit=lambda m: min(m.r2star_per_s, m.pooled_r2star_per_s) < _LEAST_R2STAR_PER_S,
        text="An organ about the midline may be stomach or heart: with so little iron they look the same.",
    ),
    Check(
        code="roi_wrong_side",
        shown="slices",
        limit=2.0,
        hit=lambda m: m.slices < 2 and not (side_known(m) or _stands_alone(m)),
        text="This one slice does not tell a left lobe from the edge of a liver with situs inversus.",
    ),
    Check(
        code="roi_rival",
        shown="elsewhere",
        limit=0.05,
        hit=lambda m: (m.elsewhere_left if side_known(m) else m.elsewhere) > 0.05,
        text="Tissue as dark as the organ found lies where a right lobe would, or at the left.",
    ),
    Check(
        code="roi_wrong_side",
        shown="behind_left",
        limit=0.25,
        hit=lambda m: m.behind_left > 0.25 and not side_known(m),
        text="Tissue as dark as the organ found lies behind at the left: a spleen or the liver of a situs inversus.",
    ),
)


def left_lobe_warning() -> QcLine:
    """What a reader should know of a left lobe that is reported."""
    return QcLine(
        code="roi_left_lobe",
        severity="warning",
        text="Only a left lobe was found, where heart beat and stomach gas raise R2*: look at the region.",
    )
