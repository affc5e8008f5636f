"""Finds measurable liver parenchyma without a human, or says why not."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from quant.acquisition import BoolArray, MultiEcho
from quant.fit import R2StarMap
from quant.liver.checks import CHECKS, LEAST_BODY_SHARE, refused_by
from quant.liver.ghosts import ghost_level
from quant.liver.great_vessels import vessel_side
from quant.liver.images import WorkingImages, prepare
from quant.liver.left_lobe import LEFT_LOBE_CHECKS, left_lobe_warning, measure_left_lobe
from quant.liver.measures import Measures, measure
from quant.liver.native import MOST_IN_GRADIENT, NativeRegion, to_native, to_working
from quant.liver.orientation import PatientAxes, axial_axes
from quant.liver.parameters import DEFAULTS, FinderParameters
from quant.liver.parts import measure_parts
from quant.liver.search import Search, Stability, search, search_within, stability
from quant.liver.tissue import FittedBody, fit_body
from quant.liver.torso import Torso, find_torso, liver_prior
from quant.liver.types import LiverRegion, RegionNotFoundError
from quant.result import QcLine, Reason

_MARGIN = 4  # working pixels kept around the torso
_MIN_ECHOES = 3  # S0, R2* and a check of the model
_STILL_MUCH = 0.25  # of its largest cross-section
_OF_WHOLE_LIVERS = frozenset(
    check.text
    for check in CHECKS
    if (check.code == "roi_too_small" or not check.anywhere) and check.shown != "right_left"
)
_MAX_UNMEASURABLE = 0.5  # share of the region without a usable fit
_MAX_R2STAR_CHANGE, _MIN_OVERLAP = 0.05, 0.4
# Above this R2* noise alone shifts the median more, and breaks up the search with tighter or looser edges: two of the
# three varied searches have to meet the region.
_NOISY_R2STAR_CHANGE, _NOISY_R2STAR_PER_S = 0.10, 600.0
_DARK_R2STAR_PER_S, _LEAST_DARK_MM2 = 300.0, 500.0  # half of what counts there, since noise makes some of it brighter
_SECOND_OPINION_CHANGE, _SECOND_OPINION_OVERLAP = 0.10, 0.6  # either is enough, where the two regions meet at all
_HIGH_R2STAR_PER_S = 1200.0  # above: regions are found less often and vary more


def find_liver(acquisition: MultiEcho, fit: R2StarMap, parameters: FinderParameters = DEFAULTS) -> LiverRegion:
    """Region of right-lobe parenchyma (or of a dark left lobe, where that is all there is), or coded refusals.

    The search works in patient coordinates, so the same anatomy gives the same region however it was stored.
    """
    try:
        scene = _seen(acquisition, fit, parameters)
    except RegionNotFoundError as error:
        return _refused(error)
    region = _refused_or(lambda: _find(scene, parameters))
    if region.mask is not None:
        return region
    if _shows_dark_tissue(scene, parameters):
        coarser = parameters.coarser()
        second = _refused_or(lambda: _find(_seen(acquisition, fit, coarser, side=scene.side), coarser))
        if second.mask is not None and second.checks["r2star_per_s"] > _NOISY_R2STAR_PER_S:
            return second
    left = _refused_or(lambda: _find(scene, parameters.left_lobe(), left_lobe=True))
    return region if left.mask is None else left


def judge_liver(
    acquisition: MultiEcho, fit: R2StarMap, outline: BoolArray, parameters: FinderParameters = DEFAULTS
) -> LiverRegion:
    """Region of parenchyma within a liver that another program has outlined, (z, y, x) in stored order.

    The outline is trimmed and judged by the same self-checks; the built-in search stays as second opinion: where it
    reports a region of another R2* elsewhere, neither is reported.
    """
    if outline.shape != acquisition.signal.shape[:3]:
        raise ValueError(f"the outline has shape {outline.shape}, the images {acquisition.signal.shape[:3]}")
    if not outline.any():
        reason = Reason(code="roi_no_liver", text="The segmentation model found no liver.")
        return LiverRegion(mask=None, organ=None, candidate=None, refusals=(reason,))
    judged = _refused_or(lambda: _find(_seen(acquisition, fit, parameters, outline), parameters))
    return judged if judged.mask is None else _with_second_opinion(judged, find_liver(acquisition, fit, parameters))


def check_region(
    acquisition: MultiEcho, fit: R2StarMap, drawn: BoolArray, parameters: FinderParameters = DEFAULTS
) -> tuple[QcLine, ...]:
    """What the self-checks say of the region (z, y, x) that a person drew: warnings, for the person decides.

    A person may draw a disc; it is not blamed for being smaller than a liver, or for lying elsewhere than a whole one.
    """
    as_drawn = replace(parameters, own_border=False)
    judged = _refused_or(lambda: _find(_seen(acquisition, fit, as_drawn, drawn), as_drawn))
    a_part = judged.checks.get("body_share", 1.0) < LEAST_BODY_SHARE
    reasons = [reason for reason in judged.refusals if not (a_part and reason.text in _OF_WHOLE_LIVERS)]
    if not judged.checks:
        unchecked = "It is too small to be checked, or lies in uneven tissue."
        reasons = [replace(r, text=unchecked) if r.code == "roi_too_small" else r for r in reasons]
    return tuple(
        QcLine(code=reason.code, severity="warning", text=f"Self-check of the drawn region: {reason.text}")
        for reason in dict.fromkeys(reasons)
    )


def _refused(error: RegionNotFoundError) -> LiverRegion:
    return LiverRegion(mask=None, organ=None, candidate=None, refusals=(error.reason,))


def _refused_or(found: Callable[[], LiverRegion]) -> LiverRegion:
    try:
        return found()
    except RegionNotFoundError as error:
        return _refused(error)


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """What searches share; ``given`` (z, y, x) on the working grid is the outline of another program, if any."""

    acquisition: MultiEcho
    fit: R2StarMap
    axes: PatientAxes
    images: WorkingImages
    torso: Torso
    body: FittedBody
    ghosts: float
    side: float  # of the great vessels; the coarser images of the second search hardly show them
    given: BoolArray | None


def _seen(
    acquisition: MultiEcho,
    fit: R2StarMap,
    parameters: FinderParameters,
    outline: BoolArray | None = None,
    side: float | None = None,
) -> _Scene:
    """The images prepared, the ``side`` told where it is not known; raises RegionNotFoundError where nothing can be
    looked for in them."""
    if len(acquisition.echo_times_s) < _MIN_ECHOES:
        raise RegionNotFoundError("roi_too_few_echoes", f"The automatic region needs at least {_MIN_ECHOES} echoes.")
    axes = axial_axes(acquisition.geometry, acquisition.signal.shape[:3])
    images = prepare(acquisition, axes, (fit.sigma, fit.coils), parameters)
    torso = find_torso(images, parameters)
    ghosts = ghost_level(images, torso)
    box = torso.box(_MARGIN)
    given = None if outline is None else to_working(outline, images, axes)[:, box[0], box[1]]
    images, torso = images.cropped(*box), torso.cropped(*box)
    body = fit_body(images, torso, parameters)
    return _Scene(
        acquisition=acquisition,
        fit=fit,
        axes=axes,
        images=images,
        torso=torso,
        body=body,
        ghosts=ghosts,
        side=vessel_side(body, torso, images.plane, images.field_t) if side is None else side,
        given=given,
    )


def _shows_dark_tissue(scene: _Scene, parameters: FinderParameters) -> bool:
    """Whether the second search, for dark livers only, may find one."""
    dark = (scene.body.r2star_per_s > _DARK_R2STAR_PER_S) & (liver_prior(scene.torso, parameters) > 0)
    return bool(dark.sum() * scene.images.plane.pixel_mm2 > _LEAST_DARK_MM2)


def _find(scene: _Scene, parameters: FinderParameters, *, left_lobe: bool = False) -> LiverRegion:
    images, torso, fit, geometry = scene.images, scene.torso, scene.fit, scene.acquisition.geometry

    def again(varied: FinderParameters) -> Search:
        if scene.given is None:
            return search(scene.body, torso, images, varied)
        return search_within(scene.given, scene.body, torso, images, varied)

    found = again(parameters)
    measures = measure(found, torso, images, parameters, ghost_level=scene.ghosts, vessel_side=scene.side)
    if left_lobe:
        measures = measure_left_lobe(measures, found, torso, images, parameters)
        refusals, qc = refused_by(measures, LEFT_LOBE_CHECKS)
    else:
        refusals, qc = refused_by(measures, CHECKS)
    native = to_native(found, torso, images, scene.axes, scene.acquisition, fit)
    checks = measures.as_dict() | {"unmeasurable_share": native.unmeasurable_share}
    if not refusals:
        stable = stability(found, again, parameters)
        checks |= {"stability_r2star_change": stable.r2star_change, "stability_overlap": stable.overlap}
        refusals, qc = _late_refusals(stable, native, measures)
    parts = None if refusals else measure_parts(native.measurable, native.right, fit, geometry)
    return LiverRegion(
        mask=None if refusals else native.measurable,
        organ=native.organ,
        candidate=native.found,
        excluded=native.excluded,
        refusals=refusals,
        qc=(
            *qc,
            *_warnings(measures, native),
            *(() if refusals else beyond_slices(native.organ)),
            *((left_lobe_warning(),) if left_lobe else ()),
            *(() if parts is None else (parts.line(),)),
        ),
        checks=checks,
        parts=parts,
    )


def _with_second_opinion(judged: LiverRegion, own: LiverRegion) -> LiverRegion:
    """The judged region if the built-in one agrees in R2* or in place; with a warning where there is none."""
    assert judged.mask is not None
    if own.mask is None:
        text = "The built-in search would not have reported a region here: look at the region."
        line = QcLine(code="roi_no_second_opinion", severity="warning", text=text)
        return replace(judged, qc=(*judged.qc, line))
    change = abs(judged.checks["r2star_per_s"] / own.checks["r2star_per_s"] - 1)
    overlap = float(2 * (judged.mask & own.mask).sum() / (judged.mask.sum() + own.mask.sum()))
    checks = judged.checks | {"second_opinion_change": change, "second_opinion_overlap": overlap}
    agrees = change <= _SECOND_OPINION_CHANGE or overlap >= _SECOND_OPINION_OVERLAP
    if agrees and overlap > 0:
        return replace(judged, checks=checks)
    reason = Reason(
        code="roi_models_disagree",
        text="The segmentation model and the built-in search point to different organs: a reader's region is needed.",
    )
    line = QcLine(code=reason.code, severity="failure", text=reason.text, value=overlap, limit=_SECOND_OPINION_OVERLAP)
    return replace(judged, mask=None, parts=None, refusals=(reason,), qc=(*judged.qc, line), checks=checks)


def _late_refusals(
    stable: Stability, native: NativeRegion, measures: Measures
) -> tuple[tuple[Reason, ...], tuple[QcLine, ...]]:
    """Checks that only regions take which passed all others."""
    lines = []
    noisy = measures.r2star_per_s > _NOISY_R2STAR_PER_S
    most_change, overlap = (
        (_NOISY_R2STAR_CHANGE, stable.median_overlap) if noisy else (_MAX_R2STAR_CHANGE, stable.overlap)
    )
    if stable.r2star_change > most_change or overlap < _MIN_OVERLAP:
        lines.append(
            QcLine(
                code="roi_unstable",
                severity="failure",
                text="The region changes when the search is varied slightly (overlap of the regions).",
                value=overlap,
                limit=_MIN_OVERLAP,
            )
        )
    if native.unmeasurable_share > _MAX_UNMEASURABLE:
        lines.append(
            QcLine(
                code="roi_low_signal",
                severity="failure",
                text="Most voxels of the region hold noise only or could not be fitted.",
                value=native.unmeasurable_share,
                limit=_MAX_UNMEASURABLE,
            )
        )
    return tuple(Reason(code=line.code, text=line.text) for line in lines), tuple(lines)


def beyond_slices(organ: BoolArray) -> tuple[QcLine, ...]:
    """That the liver (z, y, x) goes on where no slice was acquired: a slice at the end still cuts much of it."""
    area = organ.sum(axis=(1, 2))
    n_ends = sum(bool(end > _STILL_MUCH * area.max()) for end in (area[0], area[-1]))
    if n_ends == 0 or area.size == 1:
        return ()
    ends = "one end" if n_ends == 1 else "both ends"
    text = f"The liver goes on beyond the slices at {ends}. Add slices at the next scan to measure more of it."
    return (QcLine(code="liver_beyond_slices", severity="info", text=text),)


def _warnings(measures: Measures, native: NativeRegion) -> tuple[QcLine, ...]:
    """What a reader should know of a region that is reported, or was refused for other reasons."""
    n_slices = int(native.measurable.any((1, 2)).sum())
    told = (
        (
            n_slices == 1,
            "roi_single_slice",
            "The region lies in one slice only. Add slices through the right liver lobe at the next scan.",
            float(n_slices),
            2.0,
        ),
        (
            native.in_gradient,
            "roi_field_gradient",
            "In most of the region the field changes so steeply that it adds 5 % or more to R2*.",
            native.gradient_share,
            MOST_IN_GRADIENT,
        ),
        (
            measures.r2star_per_s > _HIGH_R2STAR_PER_S,
            "roi_high_r2star",
            "R2* is so high (in 1/s) that liver and neighbours are hard to tell apart: look at the region.",
            measures.r2star_per_s,
            _HIGH_R2STAR_PER_S,
        ),
    )
    return tuple(
        QcLine(code=code, severity="warning", text=text, value=value, limit=limit)
        for applies, code, text, value, limit in told
        if applies
    )
