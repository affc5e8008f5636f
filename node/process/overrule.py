"""The reader overrules: what was found automatically, measured anew in the region that a person drew.

The fit is the same, but for the noise of the region (``quant.tissue_noise``). The self-checks of the region only warn,
for the person decides what is liver; a region that cannot be measured at all is refused like any other.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from node.errors import DeclinedError
from node.intake.headers import patient_id_hash
from node.intake.tags import text
from node.process.drawn_region import DrawnRegion, Place, read_region
from node.process.measured import Measured
from node.process.pixels import LoadedAcquisition
from node.process.revision import REGION_REFUSALS
from quant.acquisition import BoolArray
from quant.follow_up import no_lic
from quant.liver import LiverRegion, check_region, not_measured
from quant.region import measure_region
from quant.result import AutomaticRegion, LiverIronResult, QcLine, ReaderRegion, Reason
from quant.threads import thread_limit
from quant.tissue_noise import fit_with_noise_of
from quant.wording import format_lic, format_percent, format_rate
from sr_templates.identity import frame_of_reference_uid

_MOST_NOT_MEASURED = 0.5  # share of a region without a usable fit, as for the automatic one


def overruled(automatic: Measured, region: Path, *, threads: int) -> Measured:
    """The measurement inside the region of a file; refused, with a coded reason, where that cannot be used.

    Raises:
        StorageError: the system does not give the file.
    """
    assert automatic.fit is not None  # without a fit there is nothing to overrule
    loaded, fit = automatic.loaded, automatic.fit
    try:
        drawn = read_region(region, place_of(loaded))
        kept, excluded = _measurable(drawn, automatic)
        if not loaded.refusals:
            fit = fit_with_noise_of(loaded.acquisition, fit, kept, threads=threads)
        if fit is not automatic.fit:
            automatic = replace(automatic, fit=fit)
            kept, excluded = _measurable(drawn, automatic)
    except DeclinedError as error:
        return _refused(automatic, Reason(code=error.code, text=error.text))
    if loaded.refusals:  # of the images themselves: no region helps
        return replace(_refused(automatic, *loaded.refusals), drawn=drawn)
    try:
        measurement = measure_region(loaded.acquisition, fit, kept)
    except ValueError as error:
        return _refused(
            automatic, Reason(code="region_not_measurable", text=f"The drawn region cannot be measured: {error}.")
        )
    with thread_limit(threads):
        warnings = check_region(loaded.acquisition, fit, drawn.mask)
    qc = (_used_line(drawn), *_name_line(drawn), *warnings)
    found = LiverRegion(mask=kept, organ=drawn.mask, candidate=drawn.mask, excluded=excluded, qc=qc)
    return Measured(loaded=loaded, fit=fit, region=found, measurement=measurement, refusals=(), drawn=drawn)


def place_of(loaded: LoadedAcquisition) -> Place:
    """Where the images lie, and the frames of reference of the images and of the maps made of them."""
    source = loaded.study.source
    told = frozenset(text(ds, "FrameOfReferenceUID") for ds in source.datasets) - {""}
    derived = frozenset(frame_of_reference_uid(uid) for uid in loaded.study.series_instance_uids)
    first = source.datasets[source.frames[0][0].dataset_index]
    z, y, x, _ = loaded.acquisition.signal.shape
    return Place(
        geometry=source.geometry,
        shape=(z, y, x),
        frame_of_reference_uids=told or derived,
        sop_instance_uids=frozenset() if told else frozenset(text(ds, "SOPInstanceUID") for ds in source.datasets),
        patient_id_hashes=(loaded.study.patient_id_hash, patient_id_hash(first, with_issuer=False)),
    )


def compared(
    result: LiverIronResult, measured: Measured, automatic_result: LiverIronResult, automatic: Measured
) -> LiverIronResult:
    """``result`` of a drawn region with the automatic region's beside it."""
    if result.status != "measured":
        of_region = result.reasons[0].code in REGION_REFUSALS
        return replace(result, follow_up=no_lic(result.reasons[0].text)) if of_region else result
    assert result.roi is not None
    assert measured.drawn is not None
    beside = _beside(result, automatic_result, _overlap(measured, automatic))
    reader = ReaderRegion(
        sop_instance_uid=measured.drawn.sop_instance_uid,
        label=measured.drawn.label,
        drawn_by=measured.drawn.drawn_by,
        automatic=beside,
    )
    line = QcLine(
        code="region_against_automatic", severity="info", text=beside.text, value=beside.r2star_difference_percent
    )
    return replace(result, roi=replace(result.roi, reader=reader), qc=(line, *result.qc))


def _measurable(drawn: DrawnRegion, automatic: Measured) -> tuple[BoolArray, dict[str, int]]:
    assert automatic.fit is not None
    lost = not_measured(automatic.loaded.acquisition, automatic.fit)
    excluded = {reason: int((drawn.mask & mask).sum()) for reason, mask in lost.items()}
    kept = drawn.mask & ~np.logical_or.reduce(list(lost.values()))
    share = 1 - float(kept.sum() / drawn.mask.sum())
    if share > _MOST_NOT_MEASURED:
        text = f"Of the drawn region {format_percent(share)} hold noise only, are saturated or could not be fitted."
        raise DeclinedError("region_low_signal", text)
    return kept, excluded


def _refused(automatic: Measured, *reasons: Reason) -> Measured:
    lines = tuple(QcLine(code=reason.code, severity="failure", text=reason.text) for reason in reasons)
    region = LiverRegion(mask=None, organ=None, candidate=None, refusals=reasons, qc=lines)
    return replace(automatic, region=region, measurement=None, refusals=reasons)


def _used_line(drawn: DrawnRegion) -> QcLine:
    what = "contours (RT Structure Set)" if drawn.kind == "rtstruct" else "a segmentation"
    by = f", drawn by {drawn.drawn_by}" if drawn.drawn_by else ""
    named = f' "{drawn.label}"' if drawn.label else ""
    text = f"The region was not found automatically: it comes from {what}{named}{by}."
    return QcLine(code="region_drawn", severity="info", text=text)


def _name_line(drawn: DrawnRegion) -> tuple[QcLine, ...]:
    if drawn.named:
        return ()
    text = f'The drawn region is the only one of its object; its name ("{drawn.label}") does not say that it is liver.'
    return (QcLine(code="region_not_named", severity="warning", text=text),)


def _overlap(measured: Measured, automatic: Measured) -> float | None:
    ours = None if measured.region is None else measured.region.mask
    theirs = None if automatic.region is None else automatic.region.mask
    if ours is None or theirs is None:
        return None
    return float(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()))


def _beside(result: LiverIronResult, automatic: LiverIronResult, overlap: float | None) -> AutomaticRegion:
    assert result.r2star_per_s is not None
    if automatic.r2star_per_s is None or automatic.roi is None:
        why = automatic.reasons[0].text
        return AutomaticRegion(
            r2star_per_s=None, lic_mg_per_g=None, n_voxels=None, overlap=None, r2star_difference_percent=None,
            lic_difference_mg_per_g=None, why_not=why, text=f"The automatic region gave no value: {why}",
        )  # fmt: skip
    ours, theirs = result.r2star_per_s.median, automatic.r2star_per_s.median
    percent = 100 * (ours / theirs - 1)
    text = f"The automatic region gives R2* {format_rate(theirs)} /s; the drawn region reads {percent:+.1f} %"
    lic = None if automatic.lic_mg_per_g is None else automatic.lic_mg_per_g.median
    difference = None if lic is None or result.lic_mg_per_g is None else result.lic_mg_per_g.median - lic
    if lic is not None and difference is not None:
        text += f" (LIC {format_lic(lic)} mg/g automatic, {round(difference, 1) + 0.0:+.1f} mg/g)"
    return AutomaticRegion(
        r2star_per_s=theirs,
        lic_mg_per_g=lic,
        n_voxels=automatic.roi.n_voxels,
        overlap=overlap,
        r2star_difference_percent=percent,
        lic_difference_mg_per_g=difference,
        why_not=None,
        text=f"{text}. Overlap of the regions (Dice) {0.0 if overlap is None else overlap:.2f}.",
    )
