"""What a technologist or radiologist can do about a coded reason, a few sentences each."""

from quant.next_scan import EARLY_TE_MS, median_spacing_ms, more_signal
from quant.quality import ADVISED_ECHOES, AT_LIMIT_BOUND
from quant.result import AcquisitionSummary, FitSummary, LiverIronResult

_BY_HAND = "Draw the liver on these images or their maps and send that region, or repeat the scan."
_ONE_BREATH = "Repeat in one breath-hold; check the images for motion, artefacts and lesions."
_ONE_BREATH_OR_MORE_LIVER = (  # R2* scatters, or the region does not stand for its organ
    "Repeat in one breath-hold with more slices through the right liver lobe, or draw the liver on these images or "
    "their maps and send that region; check the images for motion, artefacts and lesions."
)
_THROUGH_LIVER = "Repeat with axial slices through the middle of the right liver lobe."
_MORE_ECHOES = (
    "If the scan had more echoes, send them all; else repeat with 6 to 12 echoes, the first as early as possible "
    "(about 1 ms)."
)
_MODEL_ECHOES = (
    "Repeat with 6 to 12 echoes in one breath-hold, opposed and in-phase times among them; check for motion."
)
_CHECK_COPIES = (
    "Open the images at the scanner or in the archive: if they are whole there, have the way from there to ironnode "
    "checked; if not, repeat the scan."
)
_CHECK_CHANGES = "Magnitude images are needed as the scanner wrote them; check what changes them on their way."
_CHECK_HEADERS = "The headers contradict each other; check what changes them on the way from the scanner."
_DRAW_AGAIN = "Draw the liver again on these images or their maps, and send that region."
_ADVICE = {
    "region_low_signal": "Draw the region again in liver that has signal in the first echo, and send it.",
    **dict.fromkeys(
        (
            *("region_empty", "region_outside", "region_other_frame", "region_other_patient"),
            *("region_unreadable", "region_ambiguous", "region_not_liver", "region_not_measurable"),
        ),
        _DRAW_AGAIN,
    ),
    "roi_not_axial": "Repeat with axial slices, or draw the liver on these images or their maps and send that region.",
    "roi_single_slice": "Repeat with several axial slices through the middle of the right liver lobe.",
    "roi_too_small": "Repeat with more slices through the middle of the right liver lobe.",
    **dict.fromkeys(("roi_position", "roi_symmetric"), _THROUGH_LIVER),
    "roi_no_torso": "Repeat with a field of view that holds the whole abdomen.",
    "roi_wrong_side": "Check patient position and orientation as entered at the scanner.",
    "roi_field_gradient": "Repeat with thinner slices, below the lung base and away from gas.",
    "roi_ghosts": "Repeat in one breath-hold, without pulsation ghosts over the liver.",
    "roi_heterogeneous": _ONE_BREATH_OR_MORE_LIVER,
    "roi_too_few_echoes": _MORE_ECHOES,
    "too_few_echoes": _MORE_ECHOES,
    "echo_count": _MORE_ECHOES,
    "pooled_misfit": "Repeat all echoes in one breath-hold with one setting of the receiver.",
    "no_pixel_data": _CHECK_COPIES,
    "pixels_unreadable": _CHECK_COPIES,
    "header_unreadable": _CHECK_COPIES,
    "unknown_kind": _CHECK_CHANGES,
    "impossible_values": _CHECK_CHANGES,
    "scaling_incomplete": _CHECK_CHANGES,
    "modality_lut": _CHECK_CHANGES,
    "pixels_beyond_bits": _CHECK_CHANGES,
    "echo_after_repetition": _CHECK_HEADERS,
    "field_strength_contradicts": _CHECK_HEADERS,
    "mixed_acquisition": _CHECK_HEADERS,
    "no_field_strength": "Check what removes Magnetic Field Strength (0018,0087) on the way from the scanner.",
    "irregular_slices": "Repeat with one stack of slices at equal distances, and send that stack alone.",
    "internal_check_failed": "Tell whoever runs ironnode: its log names the fault. Measure the images by other means.",
    "several_patients": "Check at the scanner whose images they are, correct the study, and send it again.",
    "several_acquisitions": "Send each acquisition in a series of its own.",
}
_GENERAL = (
    "Repeat with a breath-hold multi-echo gradient echo through the liver: 6 to 12 echoes, first TE about 1 ms, "
    "echo spacing below 2 ms."
)


_FAINT = frozenset({"roi_low_signal", "roi_dark_organ", "roi_ghosts"})
"""Reasons that a stronger signal removes, or makes rarer."""
_NO_ORGAN = frozenset({"roi_no_liver", "roi_too_small", "roi_low_density"})
_DARK_LIVER = "If the liver is dark in the first echo, it may hold more iron than this scan can measure."
_AS_ADVISED_SPACING_MS = 2.0


def refusal_advice(result: LiverIronResult) -> tuple[str, ...]:
    """What to do about all the reasons of a result without a number, each thing once; nothing for a measured one."""
    if result.status == "measured":
        return ()
    said = (text for reason in result.reasons for text in advice_for(reason.code, result.acquisition, result.fit))
    return tuple(dict.fromkeys(said))


def advice_for(code: str, acquisition: AcquisitionSummary | None, fit: FitSummary | None) -> tuple[str, ...]:
    """What to do about the reason ``code``; nothing that ``acquisition`` had already is asked for."""
    stronger = () if acquisition is None else (more_signal(acquisition.echo_times_s, acquisition.field_t),)
    if code == "fraction_failed":
        same = _ONE_BREATH if _echoes_enough(acquisition) else _MODEL_ECHOES
        return (same, *(stronger if _lost_in_noise(fit) else ()))
    own = (_ADVICE[code],) if code in _ADVICE else ()
    if code == "roi_no_torso":  # noise hides an outline as well as a small field of view cuts it
        return (*own, *(stronger if _lost_in_noise(fit) else ()))
    if code in _FAINT:
        return (*own, *stronger) or (_BY_HAND,)
    if code in _NO_ORGAN and stronger:
        return (*(own or (_BY_HAND,)), _DARK_LIVER, *stronger)
    if own:
        return own
    if code.startswith("roi_"):
        return (_BY_HAND,)
    return (_ONE_BREATH, *stronger) if _as_advised(acquisition) else (_GENERAL,)


def _lost_in_noise(fit: FitSummary | None) -> bool:
    return fit is not None and fit.fraction_at_limit > AT_LIMIT_BOUND


def _echoes_enough(acquisition: AcquisitionSummary | None) -> bool:
    return acquisition is not None and len(acquisition.echo_times_s) >= ADVISED_ECHOES


def _as_advised(acquisition: AcquisitionSummary | None) -> bool:
    """Whether the echoes are those that the general advice asks for."""
    if acquisition is None or not _echoes_enough(acquisition):
        return False
    times_s = acquisition.echo_times_s
    return 1000 * times_s[0] <= EARLY_TE_MS and median_spacing_ms(times_s) < _AS_ADVISED_SPACING_MS
