"""The tissues of the digital abdomen and what each of them emits.

Normal liver follows 10.1038/s41598-020-74968-z (28.7 /s at 1.5 T). The other rates are round, plausible figures of
healthy adults (order and field dependence after 10.1148/radiol.2303021331): they set the scene and nothing is
measured from them; ``AbdomenAnatomy.r2star_overrides`` replaces any of them.
"""

from dataclasses import dataclass
from enum import IntEnum


class Label(IntEnum):
    """What fills a point of the digital abdomen; the value is the one in ``PhantomTruth.labels``."""

    BACKGROUND = 0
    LIVER = 1
    HEPATIC_VEIN = 2
    PORTAL_VEIN = 3
    LIVER_LESION = 4
    GALL_BLADDER = 5
    BILE_DUCT = 6
    SPLEEN = 7
    KIDNEY_CORTEX = 8
    KIDNEY_MEDULLA = 9
    PANCREAS = 10
    STOMACH_WALL = 11
    STOMACH_CONTENT = 12
    BOWEL_WALL = 13
    BOWEL_CONTENT = 14
    GAS = 15
    LUNG = 16
    HEART = 17
    BLOOD_POOL = 18
    AORTA = 19
    VENA_CAVA = 20
    MUSCLE = 21
    SUBCUTANEOUS_FAT = 22
    VISCERAL_FAT = 23
    CORTICAL_BONE = 24
    MARROW = 25
    DISC = 26
    CEREBROSPINAL_FLUID = 27
    SPINAL_CORD = 28
    ASCITES = 29
    SKIN = 30
    BRAIN = 31
    WATER = 32
    SPLANCHNIC_VEIN = 33


@dataclass(frozen=True, kw_only=True)
class Tissue:
    """What one tissue emits at one field.

    ``s0`` is the signal at echo time zero relative to liver (proton density with the usual T1 weighting of a
    low-flip-angle spoiled gradient echo), ``spread`` the relative variation of R2* inside the tissue, ``texture``
    that of ``s0``.
    """

    s0: float
    r2star_per_s: float
    pdff: float = 0.0
    spread: float = 0.03
    texture: float = 0.03


_NO_SIGNAL = Tissue(s0=0.0, r2star_per_s=0.0, spread=0.0, texture=0.0)

# (s0, R2* at 1.5 T, R2* at 3 T, fat fraction)
_AT_1_5_AND_3_T: dict[Label, tuple[float, float, float, float]] = {
    Label.LIVER: (1.0, 30.0, 45.0, 0.02),
    Label.HEPATIC_VEIN: (1.12, 12.0, 24.0, 0.0),
    Label.PORTAL_VEIN: (1.15, 9.0, 17.0, 0.0),
    Label.LIVER_LESION: (0.95, 14.0, 20.0, 0.0),
    Label.SPLANCHNIC_VEIN: (1.15, 9.0, 17.0, 0.0),
    Label.GALL_BLADDER: (0.90, 3.0, 4.5, 0.0),
    Label.BILE_DUCT: (0.90, 4.0, 6.0, 0.0),
    Label.SPLEEN: (1.05, 22.0, 36.0, 0.0),
    Label.KIDNEY_CORTEX: (1.05, 16.0, 24.0, 0.0),
    Label.KIDNEY_MEDULLA: (0.95, 20.0, 33.0, 0.0),
    Label.PANCREAS: (1.0, 27.0, 42.0, 0.07),
    Label.STOMACH_WALL: (0.85, 30.0, 45.0, 0.03),
    Label.STOMACH_CONTENT: (0.72, 9.0, 14.0, 0.02),
    Label.BOWEL_WALL: (0.88, 28.0, 42.0, 0.03),
    Label.BOWEL_CONTENT: (0.75, 26.0, 42.0, 0.04),
    Label.LUNG: (0.22, 480.0, 1100.0, 0.0),
    Label.HEART: (0.90, 28.0, 40.0, 0.0),
    Label.BLOOD_POOL: (1.15, 7.0, 12.0, 0.0),
    Label.AORTA: (1.30, 5.0, 8.0, 0.0),
    Label.VENA_CAVA: (1.12, 11.0, 22.0, 0.0),
    Label.MUSCLE: (0.82, 31.0, 43.0, 0.02),
    Label.SUBCUTANEOUS_FAT: (1.30, 30.0, 46.0, 0.95),
    Label.VISCERAL_FAT: (1.25, 32.0, 52.0, 0.92),
    Label.CORTICAL_BONE: (0.10, 500.0, 700.0, 0.05),
    Label.MARROW: (0.95, 95.0, 160.0, 0.42),
    Label.DISC: (0.70, 18.0, 26.0, 0.0),
    Label.CEREBROSPINAL_FLUID: (0.75, 3.0, 5.0, 0.0),
    Label.SPINAL_CORD: (0.85, 14.0, 20.0, 0.0),
    Label.ASCITES: (0.80, 3.0, 5.0, 0.0),
    Label.SKIN: (0.60, 60.0, 90.0, 0.10),
    Label.BRAIN: (0.85, 15.0, 22.0, 0.0),
    Label.WATER: (1.0, 4.0, 5.0, 0.0),
}
_SPREAD = {Label.LIVER: (0.04, 0.03), Label.LUNG: (0.25, 0.35), Label.BOWEL_CONTENT: (0.35, 0.15)}
_SPREAD |= {Label.STOMACH_CONTENT: (0.3, 0.10), Label.MARROW: (0.12, 0.06), Label.MUSCLE: (0.05, 0.06)}
_SPREAD |= {Label.PANCREAS: (0.1, 0.10), Label.VISCERAL_FAT: (0.05, 0.04)}


def tissue_at(label: Label, field_t: float) -> Tissue:
    """The tissue at a field strength: R2* linear in the field through the values at 1.5 and 3 T."""
    if label not in _AT_1_5_AND_3_T:
        return _NO_SIGNAL
    s0, low, high, pdff = _AT_1_5_AND_3_T[label]
    spread, texture = _SPREAD.get(label, (0.04, 0.03))
    r2star = max(low + (high - low) * (field_t - 1.5) / 1.5, 1.0)
    return Tissue(s0=s0, r2star_per_s=r2star, pdff=pdff, spread=spread, texture=texture)
