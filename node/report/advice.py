"""What a technologist or radiologist can do about a coded reason, one sentence each."""

_SEE_REGION = (
    "Look at the outlined candidate. Measure R2* on the delivered map in a region placed by hand, or repeat the scan."
)
_ADVICE = {
    "roi_too_small": "Repeat with more slices through the middle of the right liver lobe.",
    "roi_position": "Repeat with axial slices through the middle of the right liver lobe.",
    "roi_wrong_side": "Check patient position and orientation as entered at the scanner.",
    "roi_low_signal": "Repeat with a higher signal-to-noise ratio: larger voxels or thicker slices.",
    "roi_dark_organ": "Repeat with a shorter first echo time and echo spacing, at 1.5 T if there is a choice.",
    "roi_heterogeneous": "Repeat in one breath-hold; check the images for motion, artefacts and lesions.",
    "too_few_echoes": "Repeat with 6 to 12 echoes, the first as early as possible (about 1 ms).",
    "low_snr": "Repeat with a higher signal-to-noise ratio: larger voxels or thicker slices.",
    "noise_only": "Repeat with a shorter first echo time and echo spacing, at 1.5 T if there is a choice.",
    "missing_images": "Send the complete series again; missing echoes or slices are then measured with the rest.",
}
_GENERAL = (
    "Repeat with a breath-hold multi-echo gradient echo through the liver: 6 to 12 echoes, first TE about 1 ms, "
    "echo spacing below 2 ms."
)


def advice_for(code: str) -> str:
    """What to do about the reason ``code``."""
    if code in _ADVICE:
        return _ADVICE[code]
    return _SEE_REGION if code.startswith("roi_") else _GENERAL
