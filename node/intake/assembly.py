"""From the headers of a study to its acquisitions: pure, and independent of the order and splitting of arrival.

Every instance ends in exactly one plan: an acquisition that can be measured (perhaps still incomplete), or a
declined group with a coded reason. Completeness is judged by the echo x slice grid, kind by kind, and by what the
vendor's headers promise of it.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from node.intake.admission import SEVERAL_PATIENTS
from node.intake.grid import EchoGrid, build_grid
from node.intake.sisters import sisters
from node.intake.stacks import (
    Assembly,
    Copy,
    Stack,
    assemblies,
    cluster_directions,
    one_origin,
    orientations,
    slabs,
)
from node.intake.strays import missed
from node.intake.vendors import one_element
from node.model import InstanceHeader, ObjectPart

MIN_ECHOES = 3
"""Signal at TE 0, R2* and one echo to see a deviation (reference: a constant or noise floor needs a third)."""

_LACKING = frozenset({"too_few_echoes", "no_magnitude"})
"""Reasons that images elsewhere could have lifted."""

Reason = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class AcquisitionPlan:
    """One acquisition of a study, or a group of instances that cannot be measured.

    ``key`` names it within the study and stays the same when more of it arrives. ``complete``: the grid has no hole
    and everything a header promises has come. ``promised``: a header says reliably that this is all. ``missing``
    names what is not there. ``declined`` is the coded reason; when ``final`` is false, more images could lift it.
    ``choice`` says why these images and not others were taken; ``companions`` are instances that are not measured and
    belong to the job all the same: the images left aside, and the scanner's own maps to compare with.
    """

    key: str
    study_instance_uid: str
    headers: tuple[InstanceHeader, ...]
    complete: bool
    promised: bool
    missing: tuple[str, ...] = ()
    declined: Reason | None = None
    final: bool = False
    choice: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()

    @property
    def job_uids(self) -> tuple[str, ...]:
        """The instances that a job of this plan reads, sorted: what is measured, and its companions."""
        return tuple(sorted({*(header.sop_instance_uid for header in self.headers), *self.companions}))


class Verdict(StrEnum):
    """What to do with a plan now."""

    READY = "ready"  # make a job from what is there
    DECLINE = "decline"  # record the reason; nothing to measure
    WAIT = "wait"  # look again when the study has been quiet for longer


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The verdict; ``quiet_s`` is the quiet time after which to ask again (``WAIT``), else 0."""

    verdict: Verdict
    quiet_s: float = 0.0


def plan_study(
    headers: Iterable[InstanceHeader], *, beside: Iterable[InstanceHeader] = ()
) -> tuple[AcquisitionPlan, ...]:
    """The plans of one study (or several), sorted by key; duplicates of an instance change nothing. ``beside`` are
    images of other studies: they are in no plan, and named where they are what a plan lacks."""
    unique = {header.sop_instance_uid: header for header in headers}
    usable, declined = _screen(unique.values())
    usable, mixed = _of_one_patient(usable)
    plans = [_declined(group, reason) for group, reason in (*declined, *mixed)]
    groups: defaultdict[tuple[str, str], list[InstanceHeader]] = defaultdict(list)
    for header in usable:
        groups[header.study_instance_uid, header.group_key].append(header)
    for _, group in sorted(groups.items()):
        for slab in slabs(group):
            plans.extend(_plan_slab(slab))
    known = [header for header in (*unique.values(), *beside) if header.planes]
    found = [_with_maps(_with_sisters(_with_strays(plan, plans), known), unique.values()) for plan in plans]
    return tuple(sorted(found, key=lambda plan: (plan.study_instance_uid, plan.key)))


def decide(plan: AcquisitionPlan, *, quiet_s: float, settle_s: float, complete_quiet_s: float) -> Decision:
    """What to do with a plan of a study whose last instance arrived ``quiet_s`` ago."""
    if plan.declined is not None:
        needed, verdict = 0.0 if plan.final else settle_s, Verdict.DECLINE
    elif plan.complete:
        needed, verdict = 0.0 if plan.promised else min(complete_quiet_s, settle_s), Verdict.READY
    else:
        needed, verdict = settle_s, Verdict.READY
    return Decision(verdict=verdict) if quiet_s >= needed else Decision(verdict=Verdict.WAIT, quiet_s=needed)


def _screen(
    headers: Iterable[InstanceHeader],
) -> tuple[list[InstanceHeader], list[tuple[list[InstanceHeader], Reason]]]:
    """Instances that could be measured, and groups (same series, same reason) that cannot."""
    usable: list[InstanceHeader] = []
    declined: defaultdict[tuple[str, str, str], list[InstanceHeader]] = defaultdict(list)
    by_series: defaultdict[tuple[str, str], list[InstanceHeader]] = defaultdict(list)
    for header in headers:
        by_series[header.study_instance_uid, header.series_instance_uid].append(header)
    for (study, series), members in by_series.items():
        candidates = [header for header in members if header.declined is None]
        scout = _localiser(candidates)
        for header in members:
            reason = header.declined or scout or _no_stack(header)
            if reason is None:
                usable.append(header)
            else:
                declined[study, series, reason[0]].append(header)
    return usable, [(group, _common_reason(group)) for _, group in sorted(declined.items())]


def _of_one_patient(
    usable: list[InstanceHeader],
) -> tuple[list[InstanceHeader], list[tuple[list[InstanceHeader], Reason]]]:
    """The images of studies that name one patient, and by series those of studies that name several: whose liver such
    images show, and whose study a result would lie in, nobody can tell."""
    studies: defaultdict[str, list[InstanceHeader]] = defaultdict(list)
    for header in usable:
        studies[header.study_instance_uid].append(header)
    kept: list[InstanceHeader] = []
    mixed: defaultdict[tuple[str, str], list[InstanceHeader]] = defaultdict(list)
    counts: dict[str, int] = {}
    for study, members in studies.items():
        counts[study] = _patients(members)
        for header in members:
            if counts[study] > 1:
                mixed[study, header.series_instance_uid].append(header)
            else:
                kept.append(header)
    return kept, [(group, _several_patients(counts[study])) for (study, _), group in sorted(mixed.items())]


def _several_patients(count: int) -> Reason:
    text = f"The images of this study carry {count} different Patient IDs (0010,0020); whose they are is not told."
    return SEVERAL_PATIENTS, text


def _patients(headers: list[InstanceHeader]) -> int:
    """How many patients are named; an identifier with its issuer and the same without are one."""
    bare = {header.bare_patient_id_hash for header in headers}
    issued = {h.patient_id_hash for h in headers if h.patient_id_hash != h.bare_patient_id_hash}
    return max(len(bare), len(issued))


def _common_reason(group: list[InstanceHeader]) -> Reason:
    first = min(group, key=lambda header: header.sop_instance_uid)
    candidates = [header for header in group if header.declined is None]
    return first.declined or _no_stack(first) or _localiser(candidates) or ("localiser", "A localiser.")


def _localiser(candidates: list[InstanceHeader]) -> Reason | None:
    """A series of one echo time in several orientations is a localiser."""
    if len({plane.echo_time_s for header in candidates for plane in header.planes}) != 1:
        return None
    directions = cluster_directions(plane.orientation for header in candidates for plane in header.planes)
    if len(directions) < 2:
        return None
    return "localiser", f"A series of one echo time in {len(directions)} orientations is a localiser."


def _no_stack(header: InstanceHeader) -> Reason | None:
    if orientations(header) > 1:
        return "mixed_geometry", "One object holds slices of several orientations; they are no single stack."
    if not one_origin(header):
        return "mixed_geometry", "One object holds slices that do not lie above each other; they are no single stack."
    return None


def _plan_slab(slab: list[InstanceHeader]) -> Iterable[AcquisitionPlan]:
    found, ambiguous = assemblies(slab)
    prefix = f"{slab[0].group_key}-{_digest(_frame_label(slab[0]))}"
    for index, assembly in enumerate(found):
        yield from _plan_assembly(assembly, f"{prefix}-{index + 1}")
    for stack in ambiguous:
        yield _declined(stack.headers, _ambiguity(stack), within=prefix)


def _with_strays(plan: AcquisitionPlan, plans: list[AcquisitionPlan]) -> AcquisitionPlan:
    """The plan, incomplete when images that would have filled its grid are there and do not fit into it."""
    if plan.declined is not None:
        return plan
    others = (other for other in plans if other is not plan and other.study_instance_uid == plan.study_instance_uid)
    found = (missed(plan.headers, other.headers, other.declined, final=other.final) for other in others)
    lines = [words for words in found if words]
    missing = (*plan.missing, *sorted(lines))
    return replace(plan, missing=missing, complete=plan.complete and not lines, promised=plan.promised and not lines)


def _with_sisters(plan: AcquisitionPlan, known: Sequence[InstanceHeader]) -> AcquisitionPlan:
    """The plan with images named that other studies, frames of reference or timings keep from it."""
    if plan.declined is None:
        words = sisters(plan.headers, known, of_result=True)
        if not words:
            return plan
        return replace(plan, missing=(*plan.missing, words), complete=False, promised=False)
    code, text = plan.declined
    words = sisters(plan.headers, known, of_result=False) if code in _LACKING else ""
    return replace(plan, declined=(code, f"{text} {words}.")) if words else plan


def _with_maps(plan: AcquisitionPlan, headers: Iterable[InstanceHeader]) -> AcquisitionPlan:
    """The plan with the maps of the scanner's own that lie in its study."""
    if plan.declined is not None:
        return plan
    maps = (h.sop_instance_uid for h in headers if h.map_of and h.study_instance_uid == plan.study_instance_uid)
    return replace(plan, companions=tuple(sorted({*plan.companions, *maps})))


def _frame_label(header: InstanceHeader) -> str:
    plane = header.planes[0]
    row, column = plane.orientation[:3], plane.orientation[3:]
    origin = (sum(p * d for p, d in zip(plane.position_mm, axis, strict=True)) for axis in (row, column))
    return "/".join([*(f"{c + 0.0:.1f}" for c in plane.orientation), *(f"{o:.0f}" for o in origin)])


def _digest(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()[:8]


def _plan_assembly(assembly: Assembly, key: str) -> Iterable[AcquisitionPlan]:
    stack, difference = _without_phase_difference(assembly.stack)
    for copy in assembly.copies:
        text = "A second reconstruction of echoes that are measured from other images"
        yield _declined(copy.stack.headers, ("second_reconstruction", f"{text}, because {copy.why} there."), within=key)
    if difference:
        text = "One phase image per slice beside several magnitude echoes is a phase difference, not an echo's phase."
        yield _declined(difference, ("phase_difference", text), within=key)
    grid = build_grid(stack)
    missing = (*grid.describe_holes(), *_promises_broken(grid, stack), *_parts_missing(stack))
    images = _images_promised(stack)
    whole_object = len(stack) == 1 and len(grid.echo_times_s) >= MIN_ECHOES
    declined = _one_of_many_channels(assembly) or _of_unnamed_kinds(assembly) or _cannot_be_measured(grid)
    yield AcquisitionPlan(
        key=key,
        study_instance_uid=stack[0].study_instance_uid,
        headers=_sorted(stack),
        complete=not missing and declined is None,
        promised=not missing and (images is not None or whole_object),
        missing=missing,
        declined=declined,
        choice=(*(_choice(copy) for copy in assembly.copies), *_repetition_choice(stack)),
        companions=tuple(sorted(h.sop_instance_uid for copy in assembly.copies for h in copy.stack.headers)),
    )


def _one_of_many_channels(assembly: Assembly) -> Reason | None:
    """Per-channel images in series of their own, and no combined ones among them (dcm2niix #631)."""
    stacks = (assembly.stack, *(copy.stack for copy in assembly.copies))
    coils = {header.coil for stack in stacks for header in stack.headers}
    if len(coils) < 2 or not all(one_element(coil) for coil in coils):
        return None
    return (
        "single_channel",
        f"The same images came of {len(coils)} receive channels; only combined ones can be measured.",
    )


def _of_unnamed_kinds(assembly: Assembly) -> Reason | None:
    """Two images of each cell, no kind named for either: one may be magnitude and the other its phase."""
    stack = assembly.stack
    variants = {header.variant for header in stack.headers}
    twins = (copy.stack for copy in assembly.copies if copy.stack.kind_assumed)
    if not stack.kind_assumed or all(variants.isdisjoint(h.variant for h in twin.headers) for twin in twins):
        return None
    text = "Two sets of images show the same slices and echoes, and nothing names their kinds (Image Type (0008,0008))."
    return "unknown_kind", text


def _choice(copy: Copy) -> str:
    words = sorted({word for header in copy.stack.headers for word in header.variant.split("\\") if word})
    marked = f" marked {', '.join(words)}" if words else ""
    left = f"{len(copy.stack.headers)} objects{marked} were left aside"
    return f"Of two reconstructions of the same echoes one was used because {copy.why}; {left}."


def _repetition_choice(stack: list[InstanceHeader]) -> Iterable[str]:
    """A job names objects, not frames: what repeats inside of one cannot be an acquisition of its own."""
    most = max(header.repetitions for header in stack)
    if most > 1:
        yield f"One object holds {most} repetitions of the same slices and echoes; the first whole one was used."


def _without_phase_difference(stack: Stack) -> tuple[list[InstanceHeader], list[InstanceHeader]]:
    """Siemens' field-map phase poses as the phase of the last echo (reference: dcm_qa_fmap)."""
    if len(stack.echoes("magnitude")) < 2 or len(stack.echoes("phase")) != 1:
        return stack.headers, []
    phases = [h for h in stack.headers if all(plane.kind == "phase" for plane in h.planes)]
    return [h for h in stack.headers if h not in phases], phases


def _promises_broken(grid: EchoGrid, headers: list[InstanceHeader]) -> tuple[str, ...]:
    echoes = max((h.expected_echoes or 0 for h in headers), default=0)
    slices = max((h.expected_slices or 0 for h in headers), default=0)
    images = _images_promised(headers)
    series = Counter(h.series_instance_uid for h in headers)
    here = max(series.values())
    return tuple(
        f"{there} of {promised} {what} that the header promises"
        for there, promised, what in (
            (len(grid.echo_times_s), echoes, "echoes"),
            (len(grid.positions_mm), slices, "slices"),
            (here, images or 0, "images"),
        )
        if there < promised
    )


def _parts_missing(headers: list[InstanceHeader]) -> Iterable[str]:
    """Parts of concatenations that are not there."""
    parts: defaultdict[str, list[ObjectPart]] = defaultdict(list)
    for header in headers:
        if header.part is not None:
            parts[header.part.concatenation_uid].append(header.part)
    for uid, here in sorted(parts.items()):
        total = max(max(part.number, part.total) for part in here)
        if lost := sorted(set(range(1, total + 1)) - {part.number for part in here}):
            yield f"part {', '.join(map(str, lost))} of {total} of the concatenation {uid}"


def _images_promised(headers: list[InstanceHeader]) -> int | None:
    return max((h.expected_images for h in headers if h.expected_images is not None), default=None)


def _cannot_be_measured(grid: EchoGrid) -> Reason | None:
    both = grid.echoes("real") & grid.echoes("imaginary")
    echoes = grid.echoes("magnitude") or both
    if not echoes:
        kinds = " and ".join(grid.kinds)
        return "no_magnitude", f"Only {kinds} images came; there is no magnitude, nor real with imaginary."
    if len(echoes) >= MIN_ECHOES:
        return None
    times = ", ".join(f"{1000 * grid.echo_times_s[echo]:.4g}" for echo in sorted(echoes))
    hint = " Two echoes are what field-map sequences give." if len(echoes) == 2 else ""
    count = "one echo time" if len(echoes) == 1 else f"{len(echoes)} echo times"
    return "too_few_echoes", f"Only {count} ({times} ms); R2* needs at least {MIN_ECHOES}.{hint}"


def _ambiguity(stack: Stack) -> Reason:
    most = max(stack.repeated.values())
    if len({header.coil for header in stack.headers}) > 1:
        return "single_channel", "Slices occur once per receive coil; only combined images can be measured."
    echoes = {plane.echo_time_s for header in stack.headers for plane in header.planes}
    if len(echoes) == 1 and most > 2:
        text = f"{most} images of each slice carry the same echo time; the echoes cannot be told apart."
        return "equal_echo_times", text
    if len(echoes) == 1:
        text = "Two images of the same kind, slice and echo time, and no other echo: a field map beside its magnitude."
        return "field_map", text
    text = f"{len(stack.repeated)} cells of the echo x slice grid hold several images; which one counts is not told."
    return "ambiguous_planes", text


def _declined(group: list[InstanceHeader], reason: Reason, *, within: str = "") -> AcquisitionPlan:
    """``within`` is the acquisition or slab whose content led to it: more images could then change the reason."""
    headers = _sorted(group)
    apart = (within, headers[0].variant, headers[0].repeat) if within else ()
    return AcquisitionPlan(
        key=f"declined-{reason[0]}-{_digest('/'.join((headers[0].series_instance_uid, *apart)))}",
        study_instance_uid=headers[0].study_instance_uid,
        headers=headers,
        complete=False,
        promised=False,
        declined=reason,
        final=not within,
    )


def _sorted(headers: Iterable[InstanceHeader]) -> tuple[InstanceHeader, ...]:
    return tuple(sorted(headers, key=lambda header: header.sop_instance_uid))
