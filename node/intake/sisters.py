"""Images of the same slices that cannot be joined with an acquisition because a fact of theirs differs: named, for who
reads a refusal, or a result of too few echoes, must learn where the rest lies.

Siemens XA may export every volume into a study or a series of its own, or with a frame of reference of its own
(dcm2niix #394, #236). They are not joined over these borders (docs/decisions/0016).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.intake.grid import ECHO_TIME_TOLERANCE_S, POSITION_TOLERANCE_MM, along_normal, cluster, nearest, normal_of
from node.intake.stacks import same_frame
from node.model import InstanceHeader

Headers = Sequence[InstanceHeader]

SISTERS_WITHIN_S = 60.0
"""Volumes of one acquisition begin within this time; the next scan of the same slices rarely does."""

_PLACES = frozenset({"study", "frame of reference"})
"""Facts in which parts of one acquisition may differ only because of how it was exported."""

_MOST_NAMED = 3


def sisters(ours: Headers, others: Iterable[InstanceHeader], *, of_result: bool) -> str:
    """Where images of the same slices with other echoes or kinds lie, and in which facts they differ; empty when there
    are none. ``of_result``: ours will be measured, and only images that study or frame of reference alone keep
    from it are of interest; of a refused group those of another pulse sequence timing as well.
    """
    here = _here(ours)
    found = [other for other in others if _is_sister(here, other, of_result)]
    if not found:
        return ""
    kinds = ", ".join(sorted({plane.kind for header in found for plane in header.planes}))
    times = cluster((plane.echo_time_s for header in found for plane in header.planes), ECHO_TIME_TOLERANCE_S)
    echoes = ", ".join(f"{1000 * time:.4g}" for time in times)
    return (
        f"Images of the same slices ({kinds} at {echoes} ms) differ in {differences(ours, found)} and are not joined "
        f"({_places(found)})"
    )


@dataclass(frozen=True, kw_only=True)
class _Here:
    """What a group shows, each thing once and in ascending order: a study holds thousands of candidates."""

    first: InstanceHeader
    normal: tuple[float, float, float]
    heights_mm: tuple[float, ...]
    moments_s: tuple[float, ...]
    cells: frozenset[tuple[str, float]]


def _here(ours: Headers) -> _Here:
    normal = normal_of(ours[0].planes[0])
    planes = [plane for header in ours for plane in header.planes]
    return _Here(
        first=ours[0],
        normal=normal,
        heights_mm=cluster((along_normal(plane, normal) for plane in planes), POSITION_TOLERANCE_MM),
        moments_s=tuple(sorted({header.acquired_s for header in ours if header.acquired_s is not None})),
        cells=frozenset((plane.kind, plane.echo_time_s) for plane in planes),
    )


def _is_sister(here: _Here, other: InstanceHeader, of_result: bool) -> bool:
    first = here.first
    if not other.planes or other.group_key == first.group_key or not _same_patient(first, other):
        return False
    a, b = first.group_facts, other.group_facts
    if a is None or b is None or (a.matrix, a.pixel_spacing_mm) != (b.matrix, b.pixel_spacing_mm):
        return False
    if of_result and not a.differences(b).keys() <= _PLACES:
        return False
    return same_frame(first, other) and _near_in_time(here, other) and _same_slices(here, other) and _new(here, other)


def _same_patient(a: InstanceHeader, b: InstanceHeader) -> bool:
    """Over studies only where both name one; within a study the assembly has looked already."""
    return a.study_instance_uid == b.study_instance_uid or (
        a.names_patient and b.names_patient and a.bare_patient_id_hash == b.bare_patient_id_hash
    )


def _near_in_time(here: _Here, other: InstanceHeader) -> bool:
    if not here.moments_s or other.acquired_s is None:
        return True
    closest = here.moments_s[nearest(here.moments_s, other.acquired_s)]
    return abs(closest - other.acquired_s) <= SISTERS_WITHIN_S


def _same_slices(here: _Here, other: InstanceHeader) -> bool:
    heights = (along_normal(plane, here.normal) for plane in other.planes)
    return any(abs(here.heights_mm[nearest(here.heights_mm, z)] - z) <= POSITION_TOLERANCE_MM for z in heights)


def _new(here: _Here, other: InstanceHeader) -> bool:
    """Whether it shows an echo time or a kind that is not here."""
    return any(
        all(plane.kind != kind or abs(plane.echo_time_s - time) > ECHO_TIME_TOLERANCE_S for kind, time in here.cells)
        for plane in other.planes
    )


def differences(ours: Headers, found: Headers) -> str:
    """The facts that differ, with their values where they are short enough to read; both sides have facts."""
    facts = ours[0].group_facts
    told: dict[str, set[str]] = {}
    for there in {header.group_facts for header in found}:
        assert facts is not None
        assert there is not None
        for name, values in facts.differences(there).items():
            told.setdefault(name, set()).update(value or "-" for value in values)
    return ", ".join(name if name in _PLACES else f"{name} ({_values(told[name])})" for name in sorted(told))


def _values(values: set[str]) -> str:
    more = [f"+{len(values) - _MOST_NAMED}"] if len(values) > _MOST_NAMED else []
    return " / ".join([*sorted(values)[:_MOST_NAMED], *more])


def _places(found: Headers) -> str:
    places = sorted({(header.study_instance_uid, header.series_instance_uid) for header in found})
    named = [f"study {study} series {series}" for study, series in places[:_MOST_NAMED]]
    more = [f"and {len(places) - _MOST_NAMED} more"] if len(places) > _MOST_NAMED else []
    return ", ".join([*named, *more])
