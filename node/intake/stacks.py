"""Which images of a study belong together: stacks of one series, joined over series by what they show.

A *stack* is what one series contributes (its repetitions and reconstructions apart). Stacks are joined into one
assembly when they fill different cells of one echo x slice grid: echoes, kinds or slices in separate series. Stacks
that fill the same cells are repetitions, and become assemblies of their own, or second reconstructions of the same
echoes (Siemens' normalised copies), of which one is used.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from node.intake.grid import (
    ECHO_TIME_TOLERANCE_S,
    POSITION_TOLERANCE_MM,
    Cell,
    along_normal,
    cluster,
    nearest,
    normal_of,
)
from node.intake.vendors import FILTERED, RESHAPED, one_element
from node.model import InstanceHeader, PlaneHeader

_COSINE_TOLERANCE = 1e-3  # 0.06 degrees: far above rounding, far below any prescription
_ORIGIN_TOLERANCE_MM = 0.1
_WIDEST_GAP_MM = 20.0  # slices farther apart are not one stack
_UNIFORM_FRACTION = 0.02  # of the spacing
SAME_MOMENT_S = 0.05
"""Moments nearer than this are one: clocks are written to the millisecond, and two acquisitions are further apart."""


@dataclass(kw_only=True)
class Stack:
    """Images of one series (one repetition, one reconstruction) or of several joined ones.

    ``cells`` maps each cell of the common axes to the moment it was acquired (``None`` when not told).
    """

    headers: list[InstanceHeader]
    cells: dict[Cell, float | None]
    repeated: dict[Cell, int] = field(default_factory=dict)

    @property
    def series(self) -> frozenset[str]:
        """The series it comes from."""
        return frozenset(header.series_instance_uid for header in self.headers)

    @property
    def reshaped(self) -> frozenset[str]:
        """The corrections that moved its pixels: images with and without do not lie on each other."""
        return frozenset(word for header in self.headers for word in header.variant.split("\\") if word in RESHAPED)

    @property
    def filters(self) -> frozenset[str]:
        """What changed the values of its magnitudes after reconstruction."""
        magnitudes = (h for h in self.headers if any(plane.kind == "magnitude" for plane in h.planes))
        return frozenset(word for header in magnitudes for word in header.variant.split("\\") if word in FILTERED)

    @property
    def kind_assumed(self) -> bool:
        """Whether some of it is magnitude only because nothing names another kind."""
        return any(header.kind_assumed for header in self.headers)

    @property
    def slices(self) -> frozenset[int]:
        """Slice indices that have any plane."""
        return frozenset(z for _, z, _ in self.cells)

    def echoes(self, kind: str) -> frozenset[int]:
        """Echo indices that have a plane of the kind."""
        return frozenset(echo for found, _, echo in self.cells if found == kind)

    @property
    def holes(self) -> int:
        """Cells of its own echo x slice grid without a magnitude, and echoes and slices that a header promises."""
        magnitudes = sum(kind == "magnitude" for kind, _, _ in self.cells)
        echoes = max(len(self.echoes("magnitude")), *(header.expected_echoes or 0 for header in self.headers))
        slices = max(len(self.slices), *(header.expected_slices or 0 for header in self.headers))
        return echoes * slices - magnitudes

    @property
    def acquired_s(self) -> float:
        """First moment, for ordering; stacks that do not tell come last."""
        return min((moment for moment in self.cells.values() if moment is not None), default=float("inf"))

    @property
    def self_sufficient(self) -> bool:
        """Whether it is a whole decay by itself: at least three echoes of magnitude without a hole."""
        echoes = self.echoes("magnitude")
        whole = all(("magnitude", z, e) in self.cells for z in self.slices for e in echoes)
        return len(echoes) >= 3 and whole


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A second reconstruction that is not used, and why the other one was preferred."""

    stack: Stack
    why: str


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """One acquisition, and the second reconstructions of it that are not used."""

    stack: Stack
    copies: tuple[Copy, ...]


def slabs(headers: Iterable[InstanceHeader]) -> list[list[InstanceHeader]]:
    """Instances apart by orientation and in-plane origin, compared with tolerance; order of arrival is no matter."""
    found: list[list[InstanceHeader]] = []
    for header in sorted(headers, key=lambda header: header.sop_instance_uid):
        home = next((slab for slab in found if same_frame(slab[0], header)), None)
        if home is None:
            found.append([header])
        else:
            home.append(header)
    return found


def orientations(header: InstanceHeader) -> int:
    """How many different orientations the planes of one instance have."""
    return len(cluster_directions(plane.orientation for plane in header.planes))


def one_origin(header: InstanceHeader) -> bool:
    """Whether the planes of one instance lie straight above each other, as slices of one stack do."""
    return all(_straight_above(header.planes[0], plane) for plane in header.planes)


def cluster_directions(cosines: Iterable[Sequence[float]]) -> list[Sequence[float]]:
    """One representative of every orientation."""
    found: list[Sequence[float]] = []
    for candidate in sorted(set(map(tuple, cosines))):
        if not any(alike(candidate, known) for known in found):
            found.append(candidate)
    return found


def assemblies(slab: Sequence[InstanceHeader]) -> tuple[list[Assembly], list[Stack]]:
    """The acquisitions in a slab, and the stacks that repeat a cell within themselves (nobody can say which counts)."""
    stacks, axis = _stacks(slab)
    sound = sorted((stack for stack in stacks if not stack.repeated), key=_preference)
    joined: list[Stack] = []
    copies: defaultdict[int, list[Copy]] = defaultdict(list)
    chosen: list[Stack] = []
    for stack in sound:
        free = [known for known in joined if _complements(known, stack, axis)]
        copied = next((index for index, known in enumerate(joined) if _same_echoes(known, stack)), None)
        if copied is not None:
            copies[copied].append(Copy(stack=stack, why=_why(chosen[copied], stack)))
        elif free:
            _join(min(free, key=lambda known: _apart(known, stack)), stack)
        else:
            joined.append(stack)
            chosen.append(replace(stack, headers=list(stack.headers), cells=dict(stack.cells)))
    kept = _merged(joined, copies, axis)
    order = sorted(kept, key=lambda index: _order(joined[index]))
    found = [Assembly(stack=joined[index], copies=tuple(copies[index])) for index in order]
    return found, [stack for stack in stacks if stack.repeated]


def _merged(joined: list[Stack], copies: dict[int, list[Copy]], axis: tuple[float, ...]) -> list[int]:
    """Indices of what is left when stacks that have come to complement each other are joined: two may have nothing in
    common until a third one lies between them."""
    kept = list(range(len(joined)))
    pairs = ((a, b) for a in kept for b in kept if a < b and _complements(joined[a], joined[b], axis))
    while (pair := next(pairs, None)) is not None:
        a, b = pair
        _join(joined[a], joined[b])
        copies.setdefault(a, []).extend(copies.pop(b, []))
        kept.remove(b)
        pairs = ((a, b) for a in kept for b in kept if a < b and _complements(joined[a], joined[b], axis))
    return kept


def same_frame(known: InstanceHeader, other: InstanceHeader) -> bool:
    """Whether two instances share orientation and in-plane origin."""
    a, b = known.planes[0], other.planes[0]
    return alike(a.orientation, b.orientation) and _straight_above(a, b)


def _straight_above(a: PlaneHeader, b: PlaneHeader) -> bool:
    shift = [p - q for p, q in zip(b.position_mm, a.position_mm, strict=True)]
    row, column = a.orientation[:3], a.orientation[3:]
    in_plane = (sum(s * d for s, d in zip(shift, axis, strict=True)) for axis in (row, column))
    return all(abs(offset) <= _ORIGIN_TOLERANCE_MM for offset in in_plane)


def alike(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two orientations (six direction cosines each) are one."""
    return all(abs(p - q) <= _COSINE_TOLERANCE for p, q in zip(a, b, strict=True))


def _stacks(slab: Sequence[InstanceHeader]) -> tuple[list[Stack], tuple[float, ...]]:
    """The slab's stacks on common axes, and the slice positions of those axes."""
    normal = normal_of(slab[0].planes[0])
    positions = cluster((along_normal(p, normal) for h in slab for p in h.planes), POSITION_TOLERANCE_MM)
    echo_times = cluster((p.echo_time_s for h in slab for p in h.planes), ECHO_TIME_TOLERANCE_S)
    members: defaultdict[tuple[str, str, str], list[InstanceHeader]] = defaultdict(list)
    for header in slab:
        members[header.series_instance_uid, header.variant, header.repeat].append(header)
    stacks = []
    for _, headers in sorted(members.items()):
        stack = Stack(headers=headers, cells={})
        for header in headers:
            for plane in header.planes:
                z = nearest(positions, along_normal(plane, normal))
                cell = (plane.kind, z, nearest(echo_times, plane.echo_time_s))
                if cell in stack.cells:
                    stack.repeated[cell] = stack.repeated.get(cell, 1) + 1
                stack.cells[cell] = header.acquired_s
        stacks.append(stack)
    return stacks, positions


def _preference(stack: Stack) -> tuple[bool, bool, bool, int, bool, int, int, tuple[float, str, str]]:
    """What is measured when several would do: magnitude before other kinds alone, images whose kind is named before
    those of an assumed kind (they may be phase), combined before one channel's,
    complete before partial, complex before magnitude, untouched before filtered or normalised, more echoes before
    fewer, then the earlier one."""
    magnitude = stack.echoes("magnitude")
    words = {word for header in stack.headers for word in header.variant.split("\\")}
    with_phase = bool(stack.echoes("phase")) or bool(stack.echoes("real") & stack.echoes("imaginary"))
    channel = all(one_element(header.coil) for header in stack.headers)
    filters = len(words & FILTERED)
    assumed = stack.kind_assumed
    return (not magnitude, assumed, channel, stack.holes, not with_phase, filters, -len(magnitude), _order(stack))


_ADVANTAGES = (
    *("it has magnitude images", "its kind of image is named", "its channels are combined"),
    *("it is complete", "it has phase"),
    *("it is less filtered", "it has more echoes"),
)


def _why(used: Stack, copy: Stack) -> str:
    """The first of the criteria of preference that tells the two apart."""
    compared = zip(_ADVANTAGES, _preference(used), _preference(copy), strict=False)
    return next(
        (advantage for advantage, ours, theirs in compared if ours != theirs), "it was acquired or listed first"
    )


def _order(stack: Stack) -> tuple[float, str, str]:
    first = min(stack.headers, key=lambda header: header.sop_instance_uid)
    return stack.acquired_s, min(stack.series), first.repeat


def _complements(known: Stack, stack: Stack, positions: Sequence[float]) -> bool:
    """Whether two stacks fill different cells of what can be one grid."""
    if known.cells.keys() & stack.cells.keys():
        return False
    if known.reshaped != stack.reshaped or not _alike_filtered(known, stack):
        return False
    if known.series & stack.series:
        return True
    other_echoes = known.echoes("magnitude") != stack.echoes("magnitude")
    if other_echoes and known.self_sufficient and stack.self_sufficient:
        return False
    if known.slices & stack.slices:
        return True
    return not other_echoes and _uniform([positions[z] for z in sorted(known.slices | stack.slices)])


def _alike_filtered(known: Stack, stack: Stack) -> bool:
    """Whether magnitudes of both went through the same filters: an echo that was evened out decays by another factor.
    Phase is not filtered so, and pairs with either."""
    filters = [one.filters for one in (known, stack) if one.echoes("magnitude")]
    return len(filters) < 2 or filters[0] == filters[1]


def _uniform(positions: Sequence[float]) -> bool:
    gaps = [b - a for a, b in pairwise(positions)]
    return max(gaps) <= _WIDEST_GAP_MM and max(gaps) - min(gaps) <= _UNIFORM_FRACTION * max(gaps)


def _same_echoes(known: Stack, stack: Stack) -> bool:
    """Whether the stack reconstructs echoes again that another series or reconstruction already shows."""
    both = known.cells.keys() & stack.cells.keys()
    labels = {(header.series_instance_uid, header.variant) for header in known.headers}
    if 2 * len(both) < len(stack.cells) or all(
        (header.series_instance_uid, header.variant) in labels for header in stack.headers
    ):
        return False
    moments = [(known.cells[cell], stack.cells[cell]) for cell in both]
    if all(a is None or b is None for a, b in moments):
        other_variant = {h.variant for h in known.headers}.isdisjoint(h.variant for h in stack.headers)
        return other_variant or known.kind_assumed != stack.kind_assumed
    return all(a is not None and b is not None and abs(a - b) <= SAME_MOMENT_S for a, b in moments)


def _apart(known: Stack, stack: Stack) -> float:
    """Seconds between two stacks; equal when one of them does not tell."""
    a, b = known.acquired_s, stack.acquired_s
    return abs(a - b) if a != float("inf") and b != float("inf") else 0.0


def _join(known: Stack, stack: Stack) -> None:
    known.headers.extend(stack.headers)
    known.cells.update(stack.cells)
