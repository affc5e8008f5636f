"""What headers and stored values say about the input: contradictions that forbid a number, and lines for the report."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median
from typing import Literal

import numpy as np

from node.errors import DeclinedError
from node.intake.admission import RIDES_ALONG, SEVERAL_PATIENTS, decline_plane
from node.intake.grid import ECHO_TIME_TOLERANCE_S, PlaneRef, cluster
from node.intake.planes import Plane, first_number, layers_of
from node.intake.tags import number, text
from node.intake.vendors import NORMALISED
from node.model import InstanceHeader
from node.process.frames import is_lossy
from node.process.scaling import SCALE_TOLERANCE, scale_untold, scales_disagree
from node.process.selection import Selection
from node.process.signal import Signal, SourceFile
from quant.acquisition import MultiEcho
from quant.quality import ADVISED_ECHOES
from quant.result import QcLine

_SATURATED_WARNING = 0.001  # of all voxels
_UNEVEN_ECHOES = 0.02  # of the mean echo spacing
_SLOPE_TOLERANCE = 1e-6
_FIELD_TOLERANCE = 1e-3
_SCALES_APART = 0.01  # over the echoes; 2 /s of R2* over 6 ms, what a repeated scan differs by
_ONE_BREATH_S = 5.0  # two breath-holds begin further apart; clocks of one run may be written by slice or by echo


@dataclass(frozen=True, kw_only=True)
class _Used:
    """A plane that the signal was made of, and the file that holds it."""

    source: SourceFile
    plane: Plane


def check_planes(sources: Mapping[str, SourceFile], refs: Iterable[PlaneRef]) -> None:
    """Refuse planes whose headers contradict each other in what the signal is made with.

    Raises:
        DeclinedError: scaling is told for some images only or is no scale, field strengths or patients differ, or an
            echo comes after the next pulse.
    """
    used = _used(sources, refs)
    _check_patient(used)
    for kind in ("magnitude", "real", "imaginary"):
        _check_scaling(kind, [entry.plane for entry in used if entry.plane.kind == kind])
    _check_field(used)
    for entry in used:
        _check_repetition(entry)


def _used(sources: Mapping[str, SourceFile], refs: Iterable[PlaneRef]) -> list[_Used]:
    return [
        _Used(source=sources[ref.sop_instance_uid], plane=sources[ref.sop_instance_uid].planes[ref.frame_number])
        for ref in sorted(refs)
    ]


def _check_patient(used: list[_Used]) -> None:
    """One acquisition is of one person: a scanner writes the same name and birth date into each of its images."""
    headers = list({id(entry.source): entry.source.header for entry in used}.values())
    for keyword, name in (
        ("PatientID", "Patient ID (0010,0020)"),
        ("PatientName", "Patient's Name (0010,0010)"),
        ("PatientBirthDate", "Patient's Birth Date (0010,0030)"),
    ):
        told = {text(header, keyword).casefold().rstrip("^ ") for header in headers} - {""}
        if len(told) > 1:
            words = f"Images of one acquisition differ in {name}; whose they are is not told."
            raise DeclinedError(SEVERAL_PATIENTS, words)


def _check_scaling(kind: str, planes: list[Plane]) -> None:
    for name, none, told in (
        ("Rescale Slope (0028,1053)", 1.0, [plane.slope for plane in planes]),
        ("Rescale Intercept (0028,1052)", 0.0, [plane.intercept for plane in planes]),
    ):
        without = sum(value is None for value in told)
        if without and any(value not in (None, none) for value in told):
            text = f"{name} is missing or no number in {without} of {len(told)} {kind} images; their scale is unknown."
            raise DeclinedError("scaling_incomplete", text)
    if scale_untold(planes):
        text = f"The {kind} images have no Rescale Slope (0028,1053), but another element scales them differently."
        raise DeclinedError("scaling_incomplete", text)
    if (apart := scales_disagree(planes)) > _SCALES_APART:
        text = (
            f"Rescale Slope (0028,1053) and a second scale in the headers (Philips (2005,100E) or Real World Value "
            f"Mapping) differ by up to {100 * apart:.0f} % over the echoes of a slice; the {kind} images have another "
            "decay by each, and which one is the signal is not told."
        )
        raise DeclinedError("mixed_scaling", text)
    if (lowest := min((plane.slope for plane in planes if plane.slope is not None), default=1.0)) <= 0:
        raise DeclinedError("impossible_values", f"Rescale Slope (0028,1053) is {lowest:g}; that is no scale.")


def _check_field(used: list[_Used]) -> None:
    headers = {id(entry.source): entry.source.header for entry in used}.values()
    told = [t for header in headers if (t := first_number(layers_of(header)[0], "MagneticFieldStrength")) is not None]
    if told and max(told) - min(told) > _FIELD_TOLERANCE * max(told):
        text = (
            f"Images of one acquisition say {min(told):g} T and {max(told):g} T; which calibration applies is not told."
        )
        raise DeclinedError("field_strength_contradicts", text)


def _check_repetition(entry: _Used) -> None:
    layers = layers_of(entry.source.header)[max((entry.plane.frame_number or 0) - 1, 0)]
    repetition_ms = first_number(layers, "RepetitionTime")
    echo_ms = 1000 * (entry.plane.echo_time_s or 0.0)
    if repetition_ms is not None and 0 < repetition_ms <= echo_ms:
        text = (
            f"Echo time {echo_ms:.4g} ms is not below the repetition time {repetition_ms:.4g} ms; one of them is wrong."
        )
        raise DeclinedError("echo_after_repetition", text)


def quality_lines(acquisition: MultiEcho, sources: Mapping[str, SourceFile], signal: Signal) -> list[QcLine]:
    """The quality of the input, as far as headers and stored values tell it."""
    used = _used(sources, signal.used)
    planes = [entry.plane for entry in used]
    lines = [*_echo_lines(acquisition), *_echo_number_lines(used), *_saturation(acquisition)]
    if lossy := sum(is_lossy(source.header) for source in {id(entry.source): entry.source for entry in used}.values()):
        text = f"{lossy} images were compressed with loss; small signal differences may be gone."
        lines.append(QcLine(code="lossy_compression", severity="warning", text=text, value=float(lossy), limit=0.0))
    if any(NORMALISED.intersection(plane.image_type) for plane in planes):
        text = (
            "Intensity-normalised images: the factor does not change R2*, but uneven noise can make it a few percent "
            "low from about 250 /s on."
        )
        lines.append(QcLine(code="normalised_images", severity="info", text=text))
    if not all(plane.kind_told for plane in planes):
        text = "No header element names the kind of image; magnitude is assumed, and no pixel is negative."
        lines.append(QcLine(code="kind_assumed", severity="info", text=text))
    lines += _scaling_lines([plane for plane in planes if plane.kind == "magnitude"])
    return [*lines, *_frames_left_out(sources)]


def moment_lines(sources: Mapping[str, SourceFile], selection: Selection) -> list[QcLine]:
    """Echoes of one slice that the scanner acquired at different moments: in breath-holds of their own, or because one
    of two runs was lost. Echoes of one train lie milliseconds apart."""
    apart_s = max(_later_s(_cells(sources, selection)).values(), default=0.0)
    if apart_s <= _ONE_BREATH_S:
        return []
    words = (
        f"Echoes of one slice were acquired up to {apart_s:.0f} s apart. What moved or was adjusted "
        "between them counts as decay."
    )
    return [QcLine(code="echoes_apart", severity="warning", text=words, value=apart_s, limit=_ONE_BREATH_S)]


def check_runs(sources: Mapping[str, SourceFile], selection: Selection) -> None:
    """Refuse a grid that was filled from two repetitions of which half is lost: two breaths are no decay.

    Echoes or slices that were acquired apart by design come from the same run in every slice, or every echo.

    Raises:
        DeclinedError: two runs, by their number or the scanner's clock, share slices and the echoes in them.
    """
    cells = _cells(sources, selection)
    late = {cell: str(later_s > _ONE_BREATH_S) for cell, later_s in _later_s(cells).items()}
    if _runs_mixed({cell: plane.run for cell, plane in cells.items()}) or _runs_mixed(late):
        text = (
            "The images come from two repetitions (Acquisition Number (0020,0012), Temporal Position or Acquisition "
            "Time (0008,0032)), and neither is whole; echoes of two breaths make no decay."
        )
        raise DeclinedError("mixed_repetitions", text)


def _cells(sources: Mapping[str, SourceFile], selection: Selection) -> dict[tuple[int, int], Plane]:
    """The magnitude plane (else the real one) of every (slice, echo) of the selection."""
    cells = {}
    for z, e in np.ndindex(len(selection.slices), len(selection.echoes)):
        ref = selection.plane("magnitude", z, e) or selection.plane("real", z, e)
        if ref is not None:
            cells[z, e] = sources[ref.sop_instance_uid].planes[ref.frame_number]
    return cells


def _later_s(cells: Mapping[tuple[int, int], Plane]) -> dict[tuple[int, int], float]:
    """How much later than the first echo of its slice each plane with a time was acquired."""
    told = {cell: plane.acquired_s for cell, plane in cells.items() if plane.acquired_s is not None}
    first: dict[int, float] = {}
    for (z, _), moment in told.items():
        first[z] = min(first.get(z, moment), moment)
    return {cell: moment - first[cell[0]] for cell, moment in told.items()}


def _runs_mixed(run: Mapping[tuple[int, int], str]) -> bool:
    """Whether two runs meet in a slice and have an echo in common, if only in another slice."""
    echoes: defaultdict[str, set[int]] = defaultdict(set)
    meet: defaultdict[int, set[str]] = defaultdict(set)
    for (z, e), label in run.items():
        echoes[label].add(e)
        meet[z].add(label)
    return any(echoes[a] & echoes[b] for labels in meet.values() for a, b in combinations(sorted(labels), 2))


def promise_lines(headers: Iterable[InstanceHeader]) -> list[QcLine]:
    """More echo times in a series than its headers tell: an image that is no echo may stand among them."""
    times: defaultdict[str, set[float]] = defaultdict(set)
    told: defaultdict[str, int] = defaultdict(int)
    for header in headers:
        times[header.series_instance_uid] |= {plane.echo_time_s for plane in header.planes}
        told[header.series_instance_uid] = max(told[header.series_instance_uid], header.expected_echoes or 0)
    found = {series: len(cluster(each, ECHO_TIME_TOLERANCE_S)) for series, each in times.items()}
    beyond = [(found[series], count) for series, count in told.items() if 0 < count < found[series]]
    if not beyond:
        return []
    there, promised = max(beyond)
    text = f"{there} echo times in a series whose headers tell {promised} echoes; a map may stand among the echoes."
    return [QcLine(code="more_echoes_than_told", severity="warning", text=text, value=there, limit=promised)]


def _scaling_lines(planes: list[Plane]) -> list[QcLine]:
    lines = []
    offsets = [plane.intercept for plane in planes if plane.intercept]
    if offsets:
        text = f"Magnitude images have a rescale intercept (up to {max(offsets, key=abs):g}); it was applied."
        lines.append(QcLine(code="rescale_intercept", severity="warning", text=text, value=max(offsets, key=abs)))
    if (apart := scales_disagree(planes)) > SCALE_TOLERANCE:
        text = (
            f"Two scalings in the headers (rescale; scale slope or real world value) disagree by {100 * apart:.2g} % "
            "over the echoes of a slice; the rescale was applied."
        )
        lines.append(QcLine(code="mixed_scaling", severity="warning", text=text, value=apart, limit=SCALE_TOLERANCE))
    elif _slopes_vary(planes) and not all(plane.scale_slope for plane in planes):
        text = "Images have different rescale slopes; each was scaled with its own."
        lines.append(QcLine(code="rescale_varies", severity="warning", text=text))
    return lines


def _slopes_vary(planes: list[Plane]) -> bool:
    slopes = [plane.slope for plane in planes if plane.slope is not None]
    return bool(slopes) and max(slopes) - min(slopes) > _SLOPE_TOLERANCE * max(slopes)


def _echo_lines(acquisition: MultiEcho) -> list[QcLine]:
    lines, count = [], len(acquisition.echo_times_s)
    if count < ADVISED_ECHOES:
        text = f"{count} echoes; {ADVISED_ECHOES} to 12 are advised. Add echoes at the next scan."
        lines.append(QcLine(code="few_echoes", severity="warning", text=text, value=float(count), limit=ADVISED_ECHOES))
    steps = np.array([b - a for a, b in pairwise(acquisition.echo_times_s)])
    spread = float((steps.max() - steps.min()) / steps.mean())
    if spread > _UNEVEN_ECHOES:
        text = f"Echo spacing varies from {1000 * steps.min():.3g} to {1000 * steps.max():.3g} ms (or is rounded)."
        lines.append(QcLine(code="uneven_echo_spacing", severity="info", text=text, value=spread, limit=_UNEVEN_ECHOES))
    return lines


def _echo_number_lines(used: list[_Used]) -> list[QcLine]:
    """Echo Numbers are only a cross-check of the echo times: GE repeats 1, Siemens XA and UIH have none, and Philips
    counts its maps among the echoes (dcm2niix #359; dcm_qa_uih; ukat side-cars). In order they must be."""
    times_by_number: defaultdict[float, list[float]] = defaultdict(list)
    for entry in used:
        told = number(entry.source.header, "EchoNumbers") if entry.plane.frame_number is None else None
        if told is not None:
            times_by_number[told].append(entry.plane.echo_time_s or 0.0)
    medians = [median(times) for _, times in sorted(times_by_number.items())]
    if all(a < b for a, b in pairwise(medians)):
        return []
    text = "Echo Numbers (0018,0086) and echo times are in different order; the echo times were used."
    return [QcLine(code="echo_numbers_disagree", severity="warning", text=text)]


def _saturation(acquisition: MultiEcho) -> list[QcLine]:
    assert acquisition.saturated is not None  # the reader of pixels always gives it
    fraction = float(acquisition.saturated.mean())
    if fraction == 0:
        return []
    text = f"{100 * fraction:.2g} % of voxels reached the stored maximum; their decay is cut off at the top."
    severity: Literal["info", "warning"] = "warning" if fraction > _SATURATED_WARNING else "info"
    return [QcLine(code="saturated", severity=severity, text=text, value=fraction, limit=_SATURATED_WARNING)]


def _frames_left_out(sources: Mapping[str, SourceFile]) -> list[QcLine]:
    """Frames of multi-frame objects that are no echo: maps that ride along, or damage worth a warning."""
    frames = [plane for source in sources.values() for plane in source.planes.values() if plane.frame_number]
    counts = Counter(reason for plane in frames if (reason := decline_plane(plane)) is not None)
    lines = []
    for (code, words), count in sorted(counts.items()):
        severity: Literal["info", "warning"] = "info" if code in RIDES_ALONG else "warning"
        text = f"{count} frames are not used ({code}): {words}"
        lines.append(QcLine(code="frames_left_out", severity=severity, text=text, value=float(count)))
    return lines
