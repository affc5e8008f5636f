"""Is what was found at the patient's right the liver, or a spleen: mirrored images, or a patient with situs inversus?

Limits of the self-checks (``checks``) that tell the two by place and size, and how the great vessels relieve them.
"""

import numpy as np

from quant.liver.measures import Measures

MIDDLE = 0.30  # of the torso's width from the right: a region further on lies towards the middle
MIRROR_ALIKE = 0.40  # mirror likeness: above, bright organs are rather thighs or buttocks than liver and spleen
# Right over left that tells a liver from the organ opposite, and how it changes with how much further forward one of
# the two reaches: a spleen lies behind.
_CLEARLY_RIGHT, _PER_FORWARD, _FORWARD = 1.25, 3.0, (-0.3, 0.2)
REACHES_FORWARD = 0.30  # of the torso's depth: most livers do
# Right over left, where both sides look alike: either may be the liver, the other its spleen. More of it where the
# region lies in the back half, as spleens do, less (but not below the second) where it reaches further forward.
_ALIKE_CLEARLY_RIGHT, _ALIKE_LEAST_RIGHT = 2.0, 1.5
_FAIRLY_ALIKE, _BACK_HALF, _ALIKE_BEHIND_CLEARLY_RIGHT = 0.30, 0.50, 3.0
_BEHIND, _BEHIND_CLEARLY_RIGHT = 0.57, 4.0  # a region as far back as a spleen, and what then tells that it is none
# One liver across the midline (the organ opposite is part of the one found) belongs to the side that holds clearly more
# of it; a region towards the middle may be the left lobe of a liver at the left, which reaches over. Bright left lobes
# in mirrored images have up to 3.4 where both hold.
_ONE_ORGAN, _ONE_ORGAN_CLEARLY_RIGHT, _MIDDLE_CLEARLY_RIGHT, _BOTH_CLEARLY_RIGHT = 0.5, 1.5, 2.0, 4.0
# Of the torso's depth: organs that begin behind it may be a spleen with nothing opposite. With the side known only a
# right kidney begins as far behind, and lies behind the second.
_SPLEEN_ALONE_FRONT, _KIDNEY_ALONE_FRONT, _BEFORE_KIDNEY = 0.39, 0.43, 0.55
_LOBE_MIDDLE, _LOBE_FRONT = 0.32, 0.36  # a region further to the middle and the front: a left lobe, mirrored
_OWN_LEFT_PART = 0.10  # of the torso's depth: the left part of a liver reaches about as far forward as the right one
_FURTHER_FORWARD = 0.03  # of the torso's depth, by which an organ in the liver's place exceeds a spleen opposite
_NO_LIVER_OPPOSITE = 4.5  # right over left from which the organ opposite is too small for the liver
_STOMACH_FRONT, _SPLEEN_FRONT = 0.20, 0.40  # of the torso's depth: stomach and bowel before it, a spleen behind it
_REGION_MARGIN = 0.01  # of the torso's depth, between the front of an organ and that of the region in it
REGION_BEHIND = 0.15  # of the torso's depth, between these: the region lies in another organ than what reaches forward
# Where the great vessels tell the side, nothing at the right is a spleen and nothing at the left the liver: then the
# region may lie further to the middle or the side, and the organ opposite outweigh it, though not by as much as without
# a liver. Correct regions of right lobes reach up to 0.33, left lobes alone in mirrored images from 0.35, a liver with
# situs inversus to 0.4. The wider margin to the wall moves regions of bright livers to the middle.
_PLACES, _PLACES_OF_SIDE_KNOWN = (0.15, 0.34), (0.12, 0.40)
_WIDE_MARGIN_PER_S, _MOST_OF_BRIGHT = 100.0, 0.37
_SIDE_KNOWN_LEAST_RIGHT = 0.4


def side_known(m: Measures) -> bool:
    """Whether the great vessels show that the images are not mirrored and the patient has no situs inversus."""
    return m.vessel_side > 0


def on_other_side(m: Measures) -> bool:
    """Whether the organ opposite is rather the liver than the one found."""
    lobe = m.right_left > _LOBE_MIDDLE and m.front_back < _LOBE_FRONT and not side_known(m)
    return lobe or m.right_over_left < least_right_over_left(m)


def least_right_over_left(m: Measures) -> float:
    """How many times as large as the organ opposite the one found has to be."""
    if side_known(m):
        return _SIDE_KNOWN_LEAST_RIGHT
    forward = float(np.clip(m.opposite_front - m.front, *_FORWARD))
    needed = [_needed(_CLEARLY_RIGHT, forward)]
    if m.front_back > _BEHIND:
        needed.append(_BEHIND_CLEARLY_RIGHT)
    if m.mirror_likeness > MIRROR_ALIKE:
        needed.append(max(_needed(_ALIKE_CLEARLY_RIGHT, max(forward, 0.0)), _ALIKE_LEAST_RIGHT))
    if m.mirror_likeness > _FAIRLY_ALIKE and m.front_back > _BACK_HALF:
        needed.append(_ALIKE_BEHIND_CLEARLY_RIGHT)
    one_organ, towards_middle = m.opposite_within > _ONE_ORGAN, m.right_left > MIDDLE
    if one_organ:
        needed.append(_ONE_ORGAN_CLEARLY_RIGHT)
    if towards_middle:
        both = one_organ and m.r2star_per_s < _WIDE_MARGIN_PER_S
        needed.append(_BOTH_CLEARLY_RIGHT if both else _MIDDLE_CLEARLY_RIGHT)
    return max(needed)


def _needed(right_over_left: float, forward: float) -> float:
    """Right over left that an organ needs which reaches ``forward`` beyond the one opposite."""
    return right_over_left * float(np.exp(-_PER_FORWARD * forward))


def _own_left_part(m: Measures) -> bool:
    """Whether the organ opposite is the left part of the one found, and no second organ joined with it."""
    return m.opposite_within > _ONE_ORGAN and m.opposite_front < m.front + _OWN_LEFT_PART


def lies_as_a_spleen(m: Measures) -> bool:
    """Whether the region lies as far behind as a spleen while the organ opposite reaches as far forward.

    A liver's lower end may lie as far behind, but then its spleen lies further behind.
    """
    if side_known(m) or _own_left_part(m) or m.right_over_left > _NO_LIVER_OPPOSITE:
        return False
    if m.opposite_front < _STOMACH_FRONT:
        return False
    front = max(m.front, m.region_front - _REGION_MARGIN)
    return front > REACHES_FORWARD and m.opposite_front < front + _FURTHER_FORWARD


def joined_with_spleen(m: Measures) -> bool:
    """Whether what reaches forward in the organ found is not what holds the region: liver and spleen taken for one."""
    if side_known(m) or _own_left_part(m) or m.right_over_left > _NO_LIVER_OPPOSITE:
        return False
    if m.opposite_front > _SPLEEN_FRONT:
        return False
    return m.region_behind > REGION_BEHIND


def most_in_front(m: Measures) -> float:
    """How far behind the foremost part of a liver begins, in units of the torso's depth."""
    return _KIDNEY_ALONE_FRONT if side_known(m) and m.front_back < _BEFORE_KIDNEY else _SPLEEN_ALONE_FRONT


def places(m: Measures) -> tuple[float, float]:
    """Between which the region of a right lobe lies, in units of the torso's width from the right."""
    if side_known(m):
        return _PLACES_OF_SIDE_KNOWN
    least, most = _PLACES
    return least, _MOST_OF_BRIGHT if m.r2star_per_s < _WIDE_MARGIN_PER_S else most
