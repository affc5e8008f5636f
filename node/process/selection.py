"""Which slices and echoes of an incomplete grid to keep, and which kinds of image make the signal."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from node.errors import DeclinedError
from node.intake.assembly import MIN_ECHOES
from node.intake.grid import EchoGrid, PlaneRef
from quant.result import QcLine


class Phase(Enum):
    """Where the phase of the signal comes from."""

    NONE = "none"
    REAL_IMAGINARY = "real and imaginary"
    PHASE_IMAGE = "magnitude and phase"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The full sub-grid to read. ``slices`` and ``echoes`` index the grid's axes, ascending."""

    grid: EchoGrid
    slices: tuple[int, ...]
    echoes: tuple[int, ...]
    phase: Phase
    qc: tuple[QcLine, ...]

    def plane(self, kind: str, z: int, e: int) -> PlaneRef | None:
        """The plane of a kept slice and echo (indices into ``slices`` and ``echoes``)."""
        found = self.grid.cells.get((kind, self.slices[z], self.echoes[e]), ())
        return found[0] if found else None

    def has_all(self, *kinds: str) -> bool:
        """Whether every kept cell has a plane of each kind."""
        return all((kind, z, e) in self.grid.cells for kind in kinds for z in self.slices for e in self.echoes)


def select(grid: EchoGrid) -> Selection:
    """The largest part of the grid without holes. A cell counts when it has a magnitude, or real with imaginary."""
    available = np.array(
        [[_available(grid, z, e) for e in range(len(grid.echo_times_s))] for z in range(len(grid.positions_mm))]
    )
    slices, echoes = keep_full(available)
    if len(echoes) < MIN_ECHOES or not slices:
        text = f"Only {len(echoes)} echoes are complete in any slice; R2* needs at least {MIN_ECHOES}."
        raise DeclinedError("too_few_echoes", text)
    whole = Selection(grid=grid, slices=slices, echoes=echoes, phase=Phase.NONE, qc=_dropped(grid, slices, echoes))
    return Selection(grid=grid, slices=slices, echoes=echoes, phase=_phase(whole), qc=whole.qc)


def keep_full(available: npt.NDArray[np.bool_]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Slices and echoes whose cells are all available, from (z, e) availability, dropping the emptier line first.

    The first echo carries most of what heavy iron leaves, so it goes only when most slices lack it.
    """
    slices, echoes = list(range(available.shape[0])), list(range(available.shape[1]))
    while slices and echoes and not available[np.ix_(slices, echoes)].all():
        holes = ~available[np.ix_(slices, echoes)]
        by_slice, by_echo = holes.mean(axis=1), holes.mean(axis=0)
        if by_echo[0] <= 0.5:
            by_echo[0] = 0.0
        if by_echo.max() > by_slice.max():
            del echoes[int(by_echo.argmax())]
        else:
            del slices[int(by_slice.argmax())]
    return tuple(slices), tuple(echoes)


def _available(grid: EchoGrid, z: int, e: int) -> bool:
    cells = grid.cells
    return ("magnitude", z, e) in cells or (("real", z, e) in cells and ("imaginary", z, e) in cells)


def _phase(selection: Selection) -> Phase:
    if selection.has_all("real", "imaginary"):
        return Phase.REAL_IMAGINARY
    return Phase.PHASE_IMAGE if selection.has_all("magnitude", "phase") else Phase.NONE


def _dropped(grid: EchoGrid, slices: tuple[int, ...], echoes: tuple[int, ...]) -> tuple[QcLine, ...]:
    left_out = [
        *(f"slice {z + 1} at {grid.positions_mm[z]:.1f} mm" for z in range(len(grid.positions_mm)) if z not in slices),
        *(grid.describe_echo(e) for e in range(len(grid.echo_times_s)) if e not in echoes),
    ]
    if not left_out:
        return ()
    text = f"Left out because images are missing: {', '.join(left_out)}."
    return (QcLine(code="incomplete_grid", severity="warning", text=text, value=float(len(left_out)), limit=0.0),)
