"""What a technologist or radiologist can do about a coded reason, one sentence each."""

_BY_HAND = "Measure R2* on the delivered map in a region placed by hand, or repeat the scan."
_BETTER_SIGNAL = "Repeat with a higher signal-to-noise ratio: larger voxels or thicker slices."
_EARLIER_ECHOES = "Repeat with a shorter first echo time and echo spacing, at 1.5 T if there is a choice."
_MORE_ECHOES = "Repeat with 6 to 12 echoes, the first as early as possible (about 1 ms)."
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
    "roi_not_axial": "Repeat with axial slices, or measure R2* on the delivered map in a region placed by hand.",
    "roi_single_slice": "Repeat with several axial slices through the middle of the right liver lobe.",
    "roi_too_small": "Repeat with more slices through the middle of the right liver lobe.",
    "roi_position": "Repeat with axial slices through the middle of the right liver lobe.",
    "roi_no_torso": "Repeat with a field of view that holds the whole abdomen.",
    "roi_wrong_side": "Check patient position and orientation as entered at the scanner.",
    "roi_low_signal": _BETTER_SIGNAL,
    "roi_dark_organ": _EARLIER_ECHOES,
    "roi_high_r2star": _EARLIER_ECHOES,
    "roi_field_gradient": "Repeat with thinner slices, below the lung base and away from gas.",
    "roi_ghosts": "Repeat in one breath-hold, without pulsation ghosts over the liver, with a first echo below 1 ms.",
    "roi_heterogeneous": "Repeat in one breath-hold; check the images for motion, artefacts and lesions.",
    "roi_too_few_echoes": _MORE_ECHOES,
    "too_few_echoes": _MORE_ECHOES,
    "echo_count": _MORE_ECHOES,
    "fraction_failed": _MODEL_ECHOES,
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


def advice_for(code: str) -> str:
    """What to do about the reason ``code``."""
    if code in _ADVICE:
        return _ADVICE[code]
    return _BY_HAND if code.startswith("roi_") else _GENERAL
