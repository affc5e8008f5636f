"""The two statements every report makes: LIC against the upper reference limit, and against clinical significance.

"Is it normal?" (1.8 mg/g) and "does it matter?" (7 mg/g) are different questions; one adjective cannot answer both.
Both limits are used in the R2 MRI validation (St Pierre 2005, Blood 105:855), with 3.2 and 15 mg/g. What 3.2, 7 and 15
mg/g have to do with complications is in the thalassaemia review of 1997, which does not hold 1.8 (Olivieri and
Brittenham, Blood 89:739).
"""

from collections.abc import Sequence

from quant.calibration import UMOL_PER_MG, Calibration, match_field
from quant.result import LicStatistics, OtherCalibration, View, Views
from quant.wording import LIC_THRESHOLDS_MG_PER_G, format_lic, join_words

REFERENCE_LIMIT_MG_PER_G = 1.8
CLINICAL_LIMIT_MG_PER_G = 7.0
REFERENCE_SOURCE = "St Pierre 2005, Blood 105:855"
CLINICAL_SOURCE = "Olivieri and Brittenham 1997, Blood 89:739"


def make_views(
    lic: LicStatistics,
    calibration: Calibration,
    others: Sequence[OtherCalibration],
    with_fat: tuple[float, float] | None = None,
) -> Views:
    """The statements on ``lic``, measured with ``calibration``; ``others`` is what other equations give.

    ``with_fat`` is the range of LIC, mg/g, that fat would allow where it is not modelled and matters.
    """
    at_reference = _doubts(lic, others, with_fat, REFERENCE_LIMIT_MG_PER_G)
    at_clinical = _doubts(lic, others, with_fat, CLINICAL_LIMIT_MG_PER_G)
    return Views(
        reference=View(
            limit_mg_per_g=REFERENCE_LIMIT_MG_PER_G,
            above=lic.median >= REFERENCE_LIMIT_MG_PER_G,
            text=_reference(lic, calibration, others, at_reference),
            borderline=bool(at_reference),
        ),
        clinical=View(
            limit_mg_per_g=CLINICAL_LIMIT_MG_PER_G,
            above=lic.median >= CLINICAL_LIMIT_MG_PER_G,
            text=_clinical(lic, at_clinical),
            borderline=bool(at_clinical),
        ),
    )


def value_text(lic: LicStatistics) -> str:
    """``2.1 mg/g (37 µmol/g)``, ``at least 24.0 mg/g (430 µmol/g)``, ``< 0.5 mg/g``."""
    number = format_lic(lic.median)
    text = f"{number} mg/g" if number.startswith("<") else f"{number} mg/g ({lic.median * UMOL_PER_MG:.0f} µmol/g)"
    return f"at least {text}" if lic.bound == "at_least" else text


def _reference(
    lic: LicStatistics, calibration: Calibration, others: Sequence[OtherCalibration], doubts: Sequence[str]
) -> str:
    limit = REFERENCE_LIMIT_MG_PER_G
    side = "above" if lic.median >= limit else "below"
    field = match_field(calibration.field_t)
    assert field is not None  # calibrations exist at nominal field strengths only
    text = (
        f"LIC {value_text(lic)}, {side} the {limit} mg/g upper reference limit ({REFERENCE_SOURCE}) when "
        f"{calibration.name} ({field.label} T) is used"
    )
    if others:
        text += f"; {_others(others, field.label, 'at least ' if lic.bound else '')}"
    if side == "below" and lic.bound == "at_least":
        doubts = ["a lower bound cannot show that it is below"]
    return f"{text}{', so the value is borderline: ' + join_words(doubts) if doubts else ''}."


def _others(others: Sequence[OtherCalibration], field: str, bound: str) -> str:
    values = [other.lic_mg_per_g for other in others]
    noun = f"other published {field} T calibrations give" if len(others) > 1 else f"another {field} T calibration gives"
    ends = dict.fromkeys(format_lic(end) for end in (min(values), max(values)))  # as the table prints each of them
    return f"{noun} {bound}{' to '.join(ends)}"


def _doubts(
    lic: LicStatistics, others: Sequence[OtherCalibration], with_fat: tuple[float, float] | None, limit: float
) -> list[str]:
    doubts = []
    if _crosses(lic, limit):
        what = "the bound's own 95 % interval" if lic.bound else "the 95 % interval"
        doubts.append(f"{what} includes {limit:g}")
    if with_fat is not None and with_fat[0] < limit <= with_fat[1]:
        doubts.append("fat, which is not modelled, may have moved it across")
    if lic.bound is None and any((other.lic_mg_per_g >= limit) != (lic.median >= limit) for other in others):
        doubts.append("calibrations disagree on the side")
    return doubts


def _crosses(lic: LicStatistics, limit: float) -> bool:
    low, high = lic.interval95
    return low < limit <= high


def _clinical(lic: LicStatistics, doubts: Sequence[str]) -> str:
    limit = CLINICAL_LIMIT_MG_PER_G
    below = [f"{edge:g}" for edge in LIC_THRESHOLDS_MG_PER_G[1:] if lic.median < edge]
    above = [f"{edge:g}" for edge in LIC_THRESHOLDS_MG_PER_G[1:] if lic.median >= edge]
    text = ""
    if above:
        text = f"At or above the {join_words(above)} mg/g threshold{_s(above)}"
    if below and lic.bound is None:
        text += f"{', below' if above else 'Below'} the {join_words(below)} mg/g threshold{_s(below)}"
    if lic.bound == "at_least" and not above:
        return f"The value is a lower bound: whether it reaches {limit:g} mg/g cannot be told."
    if lic.median >= limit:
        verdict = f"Clinically significant overload by the {limit:g} mg/g criterion."
    elif lic.bound == "at_least":
        verdict = f"The value is a lower bound: whether it reaches {limit:g} mg/g cannot be told."
    else:
        verdict = f"No clinically significant overload by the {limit:g} mg/g criterion."
    doubt = f" Borderline: {join_words(doubts)}." if doubts else ""
    return f"{text} linked to complications ({CLINICAL_SOURCE}). {verdict}{doubt}"


def _s(items: Sequence[str]) -> str:
    return "s" if len(items) > 1 else ""
