"""Quality lines of a measurement: what in the acquisition, the fit and the region weakens or supports the number.

The limits are this product's defaults unless a source is given; each line says the value, the limit and, where
something can be done, what to change at the next scan.
"""

import math
from collections.abc import Sequence

import numpy as np

from quant.acquisition import BoolArray
from quant.calibration import Calibration, match_field
from quant.fat_bias import LARGEST_PDFF, TYPICAL_PDFF, FatBias
from quant.fit import R2StarMap
from quant.flags import FitFlag
from quant.next_scan import CLOSE_SPACING_MS, EARLY_TE_MS, median_spacing_ms, more_signal
from quant.region import RegionMeasurement
from quant.result import QcLine, Severity
from quant.wording import format_lic, format_lic_range, format_percent, format_rate, format_t2star

ADVISED_ECHOES = 6  # 6 to 12 echo times: ESGAR/SAR consensus 2023 (10.1148/radiol.221856)
LEAST_ECHOES = 4
AT_LIMIT_WARNING = 0.05
AT_LIMIT_BOUND = 0.25
FAILED_WARNING = 0.10
FAILED_REFUSAL = 0.50
DISAGREEMENT_WARNING = 0.10
COIL_SHIFT_WARNING = 0.03  # of R2*
MISFIT_WARNING = 0.03  # of the first signal; livers of two volunteers at 3 T reach 0.024, simulated ones 0.005
MISFIT_REFUSAL = 0.15  # fat left out of the fit, 40 % of it, reaches 0.10
_CERTAIN, _CERTAIN_DISAGREEMENT = 3.0, 0.05  # joint standard deviations from which a smaller one counts, and that one
SMALL_REGION_VOXELS = 300
HETEROGENEITY_WARNING = 0.30
LOWEST_NORMAL_PER_S = {1.5: 23.7, 2.89: 25.3, 3.0: 25.3}
"""Lower end of healthy liver R2*: lowest of 100 volunteers at 1.5 T (10.1038/s41598-020-74968-z); mean less two
standard deviations of 20 controls at 3 T, 69.1 - 2 x 21.9 (Storey 2007, 10.1002/jmri.20816)."""
HIGHEST_PDFF_PERCENT = 60.0  # the most severe steatosis stays near 50 % (10.1148/radiol.12120896)
SEVERE_LIC_MG_PER_G = 15.0  # St Pierre 2005, Blood 105:855


def phase_line(fit: R2StarMap, region: BoolArray | None) -> QcLine | None:
    """How the phase of complex images was used, in ``region`` (z, y, x); ``None`` for magnitude images."""
    if fit.phase_note is None:
        return None
    if fit.b0_hz is None:
        if not fit.phase_faulty:
            return QcLine(code="phase_not_used", severity="info", text=fit.phase_note)
        text = f"{fit.phase_note} R2* is from the magnitudes; have the phase images of this protocol checked."
        return QcLine(code="phase_not_used", severity="warning", text=text)
    details = fit.phase_note.rstrip(".").removeprefix("phase used").lstrip(", ")
    text = "Water and fat are told apart by the phase of the images" + (f" ({details})." if details else ".")
    share = None
    if region is not None and region.any():
        share = float(np.mean((fit.flags[region] & FitFlag.PHASE_NOT_USED) != 0))
        if share > 0:
            text += f" {format_percent(share)} of the region by magnitude alone: the phase does not tell fat there."
    return QcLine(code="phase_used", severity="info", value=share, text=text)


def measurement_quality(
    region: RegionMeasurement,
    *,
    field_t: float,
    echo_times_s: Sequence[float],
    echoes_used: int,
    measurable_limit_per_s: float | None,
    calibration: Calibration | None,
    fat: FatBias | None,
) -> tuple[QcLine, ...]:
    """Every quality line that the region measurement and the echo times allow.

    A line of severity "failure" means that no LIC may be stated; then, and beyond the measurable limit, no line states
    the region's R2*, which a reader would take for the value.
    """
    bounded = measurable_limit_per_s is not None and reaches_limit(region, measurable_limit_per_s)
    judged = (_echo_count(echoes_used), _failed(region), _misfit(region), _plausible_fat(region))
    refused = any(line is not None and line.severity == "failure" for line in judged)
    echo_count, failed, misfit, plausible_fat = judged
    lines = [
        echo_count,
        _echo_times(region, echo_times_s, valued=not (bounded or refused)),
        None if bounded or refused else _echo_spacing(region, echo_times_s),
        _fat(fat, calibration, valued=not refused and not (bounded and _above(fat, measurable_limit_per_s))),
        None if refused else _limit(measurable_limit_per_s, calibration),
        _at_limit(region, more_signal(echo_times_s, field_t) if bounded else ""),
        failed,
        misfit,
        None if refused else _disagreement(region, valued=not bounded),
        _unknown_coils(region),
        None if refused else _plausible(region, field_t),
        plausible_fat,
        _size(region),
        None if bounded else _heterogeneity(region),
    ]
    return tuple(line for line in lines if line is not None)


def reaches_limit(region: RegionMeasurement, limit_per_s: float) -> bool:
    """Whether the region's value is only a lower bound: the median is at the measurable limit, or more than a quarter
    of the voxels are and the median is not far below it. (Voxels with little decay are too uncertain as well; they
    carry the same flag and bound nothing.)"""
    many = region.fraction_at_limit > AT_LIMIT_BOUND and region.median > limit_per_s / 2
    return region.median >= limit_per_s or many


def _echo_count(echoes: int) -> QcLine:
    if echoes < LEAST_ECHOES:
        text = f"Only {echoes} echoes could be used; at least {LEAST_ECHOES} are needed."
        return QcLine(code="echo_count", severity="failure", value=echoes, limit=LEAST_ECHOES, text=text)
    if echoes < ADVISED_ECHOES:
        text = f"{echoes} echoes; {ADVISED_ECHOES} to 12 are advised. Add echoes at the next scan."
        return QcLine(code="echo_count", severity="warning", value=echoes, limit=ADVISED_ECHOES, text=text)
    text = f"{echoes} echoes ({ADVISED_ECHOES} to 12 advised)."
    return QcLine(code="echo_count", severity="info", value=echoes, limit=ADVISED_ECHOES, text=text)


def _echo_times(region: RegionMeasurement, echo_times_s: Sequence[float], *, valued: bool) -> QcLine:
    first_ms, last_ms = 1000 * echo_times_s[0], 1000 * echo_times_s[-1]
    t2star_ms = 1000 / region.median if region.median > 0 else math.inf
    of_t2star = "" if not valued or math.isinf(t2star_ms) else f" ({format_t2star(t2star_ms)} ms)"
    if first_ms > t2star_ms:
        text = f"The first echo ({first_ms:.2f} ms) comes later than T2*{of_t2star}: most signal is gone."
        if first_ms > EARLY_TE_MS:
            text += " Shorten the first TE at the next scan."
        return QcLine(code="echo_times", severity="warning", value=first_ms, limit=t2star_ms, text=text)
    if last_ms < t2star_ms / 4:  # healthy liver at 1.5 T, T2* 35 ms, is measured well by echoes up to 9 ms
        text = (
            f"The last echo ({last_ms:.2f} ms) comes before a quarter of T2*{of_t2star}: little decay is seen. "
            "Add later echoes at the next scan."
        )
        return QcLine(code="echo_times", severity="warning", value=last_ms, limit=t2star_ms / 4, text=text)
    text = f"Echo times {first_ms:.2f} to {last_ms:.2f} ms"
    text += "." if not valued else f"; T2* of the liver {format_t2star(t2star_ms)} ms."
    return QcLine(code="echo_times", severity="info", value=first_ms, text=text)


def _echo_spacing(region: RegionMeasurement, echo_times_s: Sequence[float]) -> QcLine | None:
    """Nothing where the spacing catches the decay, or could hardly be shorter."""
    spacing_ms = median_spacing_ms(echo_times_s)
    t2star_ms = 1000 / region.median if region.median > 0 else math.inf
    if spacing_ms <= max(t2star_ms, CLOSE_SPACING_MS):
        return None
    text = (
        f"The echo spacing ({spacing_ms:.2f} ms) is longer than T2* ({format_t2star(t2star_ms)} ms): few echoes catch "
        "the decay. Shorten the echo spacing at the next scan."
    )
    return QcLine(code="echo_spacing", severity="warning", value=spacing_ms, limit=t2star_ms, text=text)


def _fat(fat: FatBias | None, calibration: Calibration | None, *, valued: bool) -> QcLine | None:
    if fat is None:
        return None
    low, high = fat.r2star_per_s
    typical = f"{100 * fat.typical:+.0f} % with {format_percent(TYPICAL_PDFF)} fat"
    text = (
        "Fat is not modelled: these echo times and this noise do not tell it from water, and it would "
        f"{'lower' if fat.typical < 0 else 'raise'} R2* here ({typical})."
    )
    if valued:
        most = format_percent(LARGEST_PDFF)
        text += f" With 0 to {most} fat the true R2* may be {format_rate(low)} to {format_rate(high)} /s"
        if calibration is not None and calibration.covers(low) and calibration.covers(high):
            text += f" (LIC {format_lic_range(calibration.lic_mg_per_g(low), calibration.lic_mg_per_g(high))} mg/g)"
        text += "."
    text += " Use 6 or more echoes that include opposed and in-phase times at the next scan."
    return QcLine(code="fat_not_modelled", severity="warning", value=fat.typical, text=text)


def _above(fat: FatBias | None, limit_per_s: float | None) -> bool:
    """Whether R2* is above the measurable limit with all fat that there may be, so that the bound holds."""
    return fat is not None and limit_per_s is not None and fat.r2star_per_s[0] >= limit_per_s


def _limit(limit_per_s: float | None, calibration: Calibration | None) -> QcLine | None:
    if limit_per_s is None:
        return None
    text = f"R2* above {limit_per_s:.0f} /s"
    severe = None
    if calibration is not None:
        if calibration.covers(limit_per_s):
            text += f" (LIC {format_lic(calibration.lic_mg_per_g(limit_per_s))} mg/g)"
        severe = calibration.equation.inverse(SEVERE_LIC_MG_PER_G)
    text += " is beyond these echo times and this noise; it is reported as at least that."
    if severe is not None and limit_per_s < severe:
        text += f" An LIC of {SEVERE_LIC_MG_PER_G:.0f} mg/g ({severe:.0f} /s) cannot be measured."
    return QcLine(code="measurable_limit", severity="info", value=limit_per_s, limit=severe, text=text)


def _at_limit(region: RegionMeasurement, remedy: str) -> QcLine:
    """``remedy``: what to change where the value is a lower bound for it; else empty."""
    fraction = region.fraction_at_limit
    text = f"{format_percent(fraction)} of the voxels are too uncertain to stand alone, or beyond the measurable limit."
    severity: Severity = "info" if fraction <= AT_LIMIT_WARNING else "warning"
    limit = AT_LIMIT_WARNING
    if remedy:
        severity, limit = "warning", AT_LIMIT_BOUND
        text += f" {remedy}"
    return QcLine(code="fraction_at_limit", severity=severity, value=fraction, limit=limit, text=text)


def _failed(region: RegionMeasurement) -> QcLine:
    fraction = region.fraction_failed
    text = f"{format_percent(fraction)} of the voxels in the region failed to fit, or fit poorly."
    if fraction > FAILED_REFUSAL:
        text += " The decay is not the one that the method assumes, so its R2* means nothing."
        return QcLine(code="fraction_failed", severity="failure", value=fraction, limit=FAILED_REFUSAL, text=text)
    severity: Severity = "warning" if fraction > FAILED_WARNING else "info"
    return QcLine(code="fraction_failed", severity=severity, value=fraction, limit=FAILED_WARNING, text=text)


def _misfit(region: RegionMeasurement) -> QcLine:
    decay = region.pooled_decay
    apart = np.abs(decay.signal - decay.model) / decay.model.max()
    echo = int(apart.argmax())
    worst = float(apart[echo])
    text = (
        f"The mean decay of the region leaves the fitted curve by {format_percent(worst)} of its first signal at most "
        f"(echo {echo + 1}, {1000 * decay.echo_times_s[echo]:.2f} ms)."
    )
    if worst <= MISFIT_WARNING:
        return QcLine(code="pooled_misfit", severity="info", value=worst, limit=MISFIT_WARNING, text=text)
    text += " Echoes of different gain or of different breath-holds, ghosts, or fat that is not modelled do this, and "
    if worst > MISFIT_REFUSAL:
        text += "so large a misfit leaves R2* without meaning."
        return QcLine(code="pooled_misfit", severity="failure", value=worst, limit=MISFIT_REFUSAL, text=text)
    text += "shift R2*. Look at the decay curve before using the value."
    return QcLine(code="pooled_misfit", severity="warning", value=worst, limit=MISFIT_WARNING, text=text)


def _disagreement(region: RegionMeasurement, *, valued: bool) -> QcLine | None:
    if region.median <= 0:
        return None
    if not math.isfinite(region.pooled_r2star_per_s):
        text = "The mean decay of the region cannot be fitted, so nothing stands beside the median of the voxels."
        return QcLine(code="pooled_disagreement", severity="warning", text=text)
    apart = abs(region.pooled_r2star_per_s - region.median)
    relative = apart / region.median
    certain = apart > _CERTAIN * math.hypot(region.sd_fit_per_s, region.pooled_sd_per_s)
    bad = relative > DISAGREEMENT_WARNING or (certain and relative > _CERTAIN_DISAGREEMENT)
    text = f"Pooled fit and median of voxel fits are {format_percent(relative)} apart."
    if valued:
        text = (
            f"Pooled fit {format_rate(region.pooled_r2star_per_s)} /s, median of voxel fits "
            f"{format_rate(region.median)} /s ({format_percent(relative)} apart)."
        )
    if bad:
        text += " Noise, mixed tissue or motion may bias the value."
    severity: Severity = "warning" if bad else "info"
    return QcLine(code="pooled_disagreement", severity=severity, value=relative, limit=DISAGREEMENT_WARNING, text=text)


def _unknown_coils(region: RegionMeasurement) -> QcLine | None:
    relative = region.coil_shift_per_s / region.median if region.median > 0 else 0.0
    if relative <= COIL_SHIFT_WARNING:
        return None
    text = (
        "The images hold no air and no decay near the noise that would tell how many coils were combined. One is "
        f"assumed; with eight R2* would read {format_rate(region.coil_shift_per_s)} /s higher. Send images with "
        "background, or combined to one channel."
    )
    return QcLine(code="coils_unknown", severity="warning", value=relative, limit=COIL_SHIFT_WARNING, text=text)


def _plausible_fat(region: RegionMeasurement) -> QcLine | None:
    if region.pdff_percent is None or region.pdff_percent.median <= HIGHEST_PDFF_PERCENT:
        return None
    median = region.pdff_percent.median
    text = (
        f"Fat fraction of {median:.0f} % in the region: no liver holds so much fat, so water and fat are exchanged (a "
        "phase error) or the region is not liver. No number is stated; the magnitude images may still be measurable."
    )
    return QcLine(code="pdff_not_plausible", severity="failure", value=median, limit=HIGHEST_PDFF_PERCENT, text=text)


def _plausible(region: RegionMeasurement, field_t: float) -> QcLine | None:
    field = match_field(field_t)
    lowest = None if field is None else LOWEST_NORMAL_PER_S[field.nominal_t]
    if field is None or lowest is None or region.median >= lowest:
        return None
    text = (
        f"R2* {format_rate(region.median)} /s is below that of healthy liver at {field.label} T "
        f"({format_rate(lowest)} /s). Check that the region lies in the liver."
    )
    return QcLine(code="r2star_below_normal_liver", severity="warning", value=region.median, limit=lowest, text=text)


def _size(region: RegionMeasurement) -> QcLine:
    small = region.n_voxels < SMALL_REGION_VOXELS
    text = f"{region.n_voxels} voxels in the region."
    if small:
        text = f"Small region: {region.n_voxels} voxels (at least {SMALL_REGION_VOXELS} wanted)."
    severity: Severity = "warning" if small else "info"
    return QcLine(code="region_size", severity=severity, value=region.n_voxels, limit=SMALL_REGION_VOXELS, text=text)


def _heterogeneity(region: RegionMeasurement) -> QcLine | None:
    if region.median <= 0:
        return None
    relative = region.tissue_sd_per_s / region.median
    bad = relative > HETEROGENEITY_WARNING
    text = f"R2* varies by {format_percent(relative)} within the region beyond fit noise."
    if bad:
        text += " One number describes this liver poorly; look at the map."
    severity: Severity = "warning" if bad else "info"
    return QcLine(code="heterogeneity", severity=severity, value=relative, limit=HETEROGENEITY_WARNING, text=text)
