"""The two statements every report makes: LIC against the upper reference limit, and against clinical significance.

"Is it normal?" (1.8 mg/g) and "does it matter?" (7 mg/g) are different questions; one adjective cannot answer both.
Both limits stand in the R2 MRI validation (St Pierre 2005, Blood 105:855), with 3.2 and 15 mg/g.
"""

from collections.abc import Sequence

from quant.calibration import UMOL_PER_MG, Calibration, match_field
from quant.result import LicStatistics, OtherCalibration, View, Views
from quant.wording import LIC_THRESHOLDS_MG_PER_G, format_lic, format_lic_range, join_words

REFERENCE_LIMIT_MG_PER_G = 1.8
CLINICAL_LIMIT_MG_PER_G = 7.0
SOURCE = "St Pierre 2005, Blood 105:855"


def make_views(lic: LicStatistics, calibration: Calibration, others: Sequence[OtherCalibration]) -> Views:
    """The statements on ``lic``, measured with ``calibration``; ``others`` is what other equations give."""
    return Views(
        reference=View(
            limit_mg_per_g=REFERENCE_LIMIT_MG_PER_G,
            above=lic.median >= REFERENCE_LIMIT_MG_PER_G,
            text=_reference(lic, calibration, others),
        ),
        clinical=View(
            limit_mg_per_g=CLINICAL_LIMIT_MG_PER_G,
            above=lic.median >= CLINICAL_LIMIT_MG_PER_G,
            text=_clinical(lic, others),
        ),
    )


def value_text(lic: LicStatistics) -> str:
    """``2.1 mg/g (37 µmol/g)``, ``at least 24.0 mg/g (430 µmol/g)``, ``< 0.5 mg/g``."""
    number = format_lic(lic.median)
    text = f"{number} mg/g" if number.startswith("<") else f"{number} mg/g ({lic.median * UMOL_PER_MG:.0f} µmol/g)"
    return f"at least {text}" if lic.bound == "at_least" else text


def _reference(lic: LicStatistics, calibration: Calibration, others: Sequence[OtherCalibration]) -> str:
    limit = REFERENCE_LIMIT_MG_PER_G
    side = "above" if lic.median >= limit else "below"
    field = match_field(calibration.field_t)
    assert field is not None  # calibrations exist at nominal field strengths only
    text = (
        f"LIC {value_text(lic)}, {side} the {limit} mg/g upper reference limit ({SOURCE}) when "
        f"{calibration.name} ({field.label} T) is used"
    )
    if others:
        text += f"; {_others(others, field.label)}"
    doubts = _doubts(lic, others, limit)
    if side == "below" and lic.bound == "at_least":
        doubts = ["a lower bound cannot show that it is below"]
    return f"{text}{', so the value is borderline: ' + join_words(doubts) if doubts else ''}."


def _others(others: Sequence[OtherCalibration], field: str) -> str:
    values = [other.lic_mg_per_g for other in others]
    noun = f"other published {field} T calibrations give" if len(others) > 1 else f"another {field} T calibration gives"
    return f"{noun} {format_lic_range(min(values), max(values))}"


def _doubts(lic: LicStatistics, others: Sequence[OtherCalibration], limit: float) -> list[str]:
    doubts = []
    if _crosses(lic, limit):
        doubts.append(f"the 95 % interval includes {limit:g}")
    if lic.bound is None and any((other.lic_mg_per_g >= limit) != (lic.median >= limit) for other in others):
        doubts.append("calibrations disagree on the side")
    return doubts


def _crosses(lic: LicStatistics, limit: float) -> bool:
    low, high = lic.interval95
    return low < limit <= (lic.median if lic.bound == "at_least" else high)


def _clinical(lic: LicStatistics, others: Sequence[OtherCalibration]) -> str:
    limit = CLINICAL_LIMIT_MG_PER_G
    below = [f"{edge:g}" for edge in LIC_THRESHOLDS_MG_PER_G[1:] if lic.median < edge]
    above = [f"{edge:g}" for edge in LIC_THRESHOLDS_MG_PER_G[1:] if lic.median >= edge]
    text = ""
    if above:
        text = f"At or above the {join_words(above)} mg/g threshold{_s(above)}"
    if below and lic.bound is None:
        text += f"{', below' if above else 'Below'} the {join_words(below)} mg/g threshold{_s(below)}"
    if lic.bound == "at_least" and not above:
        return f"The value is a lower bound: whether it reaches {limit:g} mg/g cannot be told ({SOURCE})."
    if lic.median >= limit:
        verdict = f"Clinically significant overload by the {limit:g} mg/g criterion."
    elif lic.bound == "at_least":
        verdict = f"The value is a lower bound: whether it reaches {limit:g} mg/g cannot be told."
    else:
        verdict = f"No clinically significant overload by the {limit:g} mg/g criterion."
    doubts = _doubts(lic, others, limit)
    doubt = f" Borderline: {join_words(doubts)}." if doubts else ""
    return f"{text} linked to treatment goals and complications ({SOURCE}). {verdict}{doubt}"


def _s(items: Sequence[str]) -> str:
    return "s" if len(items) > 1 else ""
