"""What a study is still told when the pixels or the geometry of an acquisition cannot be used: the headers suffice.

A refusal refers to one echo of one set of parallel slices, wherever they lie, as a measurement would refer to its
images; everything else of the acquisition is listed as evidence.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.errors import DeclinedError, InputError, UnreadableError
from node.intake.grid import ECHO_TIME_TOLERANCE_S, cluster, nearest
from node.intake.headers import header_of, quiet_pydicom
from node.intake.planes import Plane
from node.intake.stacks import alike, cluster_directions
from node.model import InstanceHeader
from node.process.facts import StudyFacts, study_facts
from node.process.geometry import loose_geometry
from node.process.signal import SourceFile, read_source
from quant.acquisition import Geometry
from quant.result import Reason
from sr_templates.evidence import FrameRef, SourceSeries

_KINDS = ("magnitude", "real", "imaginary", "phase")


@dataclass(frozen=True, kw_only=True)
class _Located:
    """A plane that could have been measured, and the instance that holds it."""

    header: InstanceHeader
    plane: Plane


@dataclass(frozen=True, kw_only=True)
class _Echo:
    """One echo: a plane for each slice, ascending along the normal."""

    planes: tuple[_Located, ...]
    geometry: Geometry


def refusal_reason(error: InputError) -> Reason:
    """The coded reason of a refusal; its text names no file, for the name of a file may identify a patient."""
    if isinstance(error, (DeclinedError, UnreadableError)):
        return Reason(code=error.code, text=error.text)
    return Reason(code="header_unreadable", text="A file of the acquisition is damaged; its header cannot be read.")


def study_of_headers(files: Sequence[Path]) -> StudyFacts | None:
    """What the headers say of the study and of the images; ``None`` when no image among them could be measured.

    Raises:
        StorageError: the system does not give a file.
    """
    with quiet_pydicom():
        readable = _readable(files)
        group = _largest_group([header for header, _ in readable.values()])
        planes = [
            _Located(header=header, plane=readable[header.sop_instance_uid][1].planes[plane.frame_number or 0])
            for header in group
            for plane in header.planes
        ]
        if not planes:
            return None
        evidence = {
            uid: source
            for uid, (header, source) in readable.items()
            if header.study_instance_uid == group[0].study_instance_uid and header.declined is None
        }
        return study_facts(_source_series(_fullest_echo(_parallel(planes)), evidence))


def _readable(files: Sequence[Path]) -> dict[str, tuple[InstanceHeader, SourceFile]]:
    """The instances whose header can be used, by SOP Instance UID in ascending order."""
    found: dict[str, tuple[InstanceHeader, SourceFile]] = {}
    for path in sorted(files):
        try:
            source = read_source(path)
            header = header_of(source.header, path)
        except InputError:
            continue
        found.setdefault(header.sop_instance_uid, (header, source))
    return dict(sorted(found.items()))


def _largest_group(headers: Iterable[InstanceHeader]) -> list[InstanceHeader]:
    """The instances of one study and matrix that hold most planes; the first of equals."""
    groups: defaultdict[tuple[str, str], list[InstanceHeader]] = defaultdict(list)
    for header in headers:
        groups[header.study_instance_uid, header.group_key].append(header)
    ordered = [group for _, group in sorted(groups.items())]
    return max(ordered, key=lambda group: sum(len(header.planes) for header in group), default=[])


def _parallel(planes: Sequence[_Located]) -> list[_Located]:
    """The planes of the most frequent orientation."""
    orientations = [_orientation(located) for located in planes]
    common = max(cluster_directions(orientations), key=lambda known: sum(alike(known, o) for o in orientations))
    return [located for located, found in zip(planes, orientations, strict=True) if alike(common, found)]


def _orientation(located: _Located) -> tuple[float, ...]:
    assert located.plane.orientation is not None  # the intake declines planes without one
    return located.plane.orientation


def _fullest_echo(planes: Sequence[_Located]) -> _Echo:
    """The echo with most slices, the earliest of equals, of magnitude images where there are any."""
    kind = min({located.plane.kind for located in planes}, key=_KINDS.index)
    chosen = [(located.plane.echo_time_s or 0.0, located) for located in planes if located.plane.kind == kind]
    centres = cluster((time for time, _ in chosen), ECHO_TIME_TOLERANCE_S)
    echoes: defaultdict[int, list[_Located]] = defaultdict(list)
    for time, located in chosen:
        echoes[nearest(centres, time)].append(located)
    found = [_distinct(members) for _, members in sorted(echoes.items())]
    return max(found, key=lambda echo: len(echo.planes))


def _distinct(planes: Sequence[_Located]) -> _Echo:
    kept, geometry = loose_geometry([located.plane for located in planes])
    return _Echo(planes=tuple(planes[index] for index in kept), geometry=geometry)


def _source_series(echo: _Echo, evidence: dict[str, SourceFile]) -> SourceSeries:
    index = {uid: position for position, uid in enumerate(evidence)}
    refs = (
        FrameRef(dataset_index=index[located.header.sop_instance_uid], frame_number=located.plane.frame_number)
        for located in echo.planes
    )
    return SourceSeries(
        datasets=tuple(source.header for source in evidence.values()),
        frames=tuple((ref,) for ref in refs),
        geometry=echo.geometry,
    )
