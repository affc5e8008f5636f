"""The echo x slice grid of an acquisition, from plane headers: which cells there are, and which are missing."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from node.model import InstanceHeader, PlaneHeader

Cell = tuple[str, int, int]
"""Kind, slice index (ascending along the normal), echo index (ascending echo time)."""

POSITION_TOLERANCE_MM = 0.05
"""Positions nearer than this are one slice: written positions jitter by 0.0001 mm (dcm_qa_xa30), and no slice
spacing is below 0.5 mm."""

ECHO_TIME_TOLERANCE_S = 1e-5
"""Echo times nearer than this are one echo: they are written to 0.001 ms or better."""

_KINDS = ("magnitude", "phase", "real", "imaginary")
_MAX_CELLS_NAMED = 20


@dataclass(frozen=True, order=True)
class PlaneRef:
    """One plane: the instance, and the 1-based frame of a multi-frame object (0 for a classic image)."""

    sop_instance_uid: str
    frame_number: int


@dataclass(frozen=True, kw_only=True)
class EchoGrid:
    """Axes and content. ``positions_mm`` are slice positions along the normal; a sound cell holds one plane."""

    positions_mm: tuple[float, ...]
    echo_times_s: tuple[float, ...]
    cells: Mapping[Cell, tuple[PlaneRef, ...]]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of which there is at least one plane."""
        found = {kind for kind, _, _ in self.cells}
        return tuple(kind for kind in _KINDS if kind in found)

    def echoes(self, kind: str) -> frozenset[int]:
        """Echo indices at which there is a plane of the kind."""
        return frozenset(echo for found, _, echo in self.cells if found == kind)

    def slices(self, kind: str) -> frozenset[int]:
        """Slice indices at which there is a plane of the kind."""
        return frozenset(index for found, index, _ in self.cells if found == kind)

    def holes(self, kind: str) -> tuple[Cell, ...]:
        """Cells of the full grid without a plane of the kind."""
        every = ((kind, z, e) for z in range(len(self.positions_mm)) for e in range(len(self.echo_times_s)))
        return tuple(cell for cell in every if cell not in self.cells)

    def describe(self, cell: Cell) -> str:
        """The cell in words: slice (from 1) and position, echo (from 1) and time, kind."""
        kind, z, e = cell
        return f"slice {z + 1} at {self.positions_mm[z]:.1f} mm, {self.describe_echo(e)}, {kind}"

    def describe_echo(self, echo: int) -> str:
        """The echo in words."""
        return f"echo {echo + 1} ({1000 * self.echo_times_s[echo]:.4g} ms)"

    def describe_holes(self) -> tuple[str, ...]:
        """What is missing, in words, every kind that began to arrive; whole echoes in one line."""
        lines = [line for kind in self.kinds for line in self._holes_in_words(kind)]
        more = len(lines) - _MAX_CELLS_NAMED
        return tuple(lines if more <= 0 else [*lines[:_MAX_CELLS_NAMED], f"and {more} more"])

    def _holes_in_words(self, kind: str) -> Iterator[str]:
        present = self.echoes(kind)
        for echo in range(len(self.echo_times_s)):
            if echo not in present:
                yield f"{self.describe_echo(echo)}, {kind}, in every slice"
        yield from (self.describe(cell) for cell in self.holes(kind) if cell[2] in present)


def normal_of(plane: PlaneHeader) -> tuple[float, float, float]:
    """Unit slice normal: row direction x column direction."""
    a, b, c, d, e, f = plane.orientation
    return (b * f - c * e, c * d - a * f, a * e - b * d)


def along_normal(plane: PlaneHeader, normal: Sequence[float]) -> float:
    """The plane's position projected on a normal, in mm."""
    return sum(position * direction for position, direction in zip(plane.position_mm, normal, strict=True))


def cluster(values: Iterable[float], tolerance: float) -> tuple[float, ...]:
    """Ascending representatives (middle members) of groups of values whose neighbours are within the tolerance."""
    groups: list[list[float]] = []
    for value in sorted(values):
        if groups and value - groups[-1][-1] <= tolerance:
            groups[-1].append(value)
        else:
            groups.append([value])
    return tuple(group[len(group) // 2] for group in groups)


def nearest(centres: Sequence[float], value: float) -> int:
    """Index of the centre nearest to a value."""
    right = bisect_left(centres, value)
    candidates = [index for index in (right - 1, right) if 0 <= index < len(centres)]
    return min(candidates, key=lambda index: abs(centres[index] - value))


def build_grid(headers: Iterable[InstanceHeader]) -> EchoGrid:
    """The grid of instances that share orientation; positions are projected on the first one's normal."""
    headers = tuple(headers)
    normal = normal_of(min(headers, key=lambda header: header.sop_instance_uid).planes[0])
    located = [(h, p, along_normal(p, normal)) for h in headers for p in h.planes]
    positions = cluster((position for _, _, position in located), POSITION_TOLERANCE_MM)
    echo_times = cluster((plane.echo_time_s for _, plane, _ in located), ECHO_TIME_TOLERANCE_S)
    cells: defaultdict[Cell, list[PlaneRef]] = defaultdict(list)
    for header, plane, position in located:
        cell = (plane.kind, nearest(positions, position), nearest(echo_times, plane.echo_time_s))
        cells[cell].append(PlaneRef(header.sop_instance_uid, plane.frame_number or 0))
    return EchoGrid(
        positions_mm=positions,
        echo_times_s=echo_times,
        cells={cell: tuple(sorted(found)) for cell, found in cells.items()},
    )
