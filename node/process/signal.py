"""Planes into arrays: decoded file by file and frame by frame into preallocated memory."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from node.errors import DeclinedError
from node.intake.grid import PlaneRef
from node.intake.headers import read_dataset
from node.intake.planes import Plane, planes_of
from node.intake.tags import text
from node.intake.vendors import PHASE_SEEN
from node.process.frames import StoredPlane, at_limit, read_planes, stored_limit
from node.process.scaling import modality_values, phase_unit_rad
from node.process.selection import Phase, Selection
from quant.result import QcLine

_AGREEMENT = 0.01  # GE's real and imaginary agree with its magnitude to 0.001 (UKRIN-MAPS/ukat, seen)
_BRIGHT = 0.1  # of the largest magnitude: noise and rounding are left out of the comparison
_MAX_PHASE_RAD = 3.3  # a phase image stays within one turn; 5 % for rounding of its scale
_NEGATIVE_FRACTION = 0.01  # of the maximum: interpolation rings below zero, real or phase images go far below


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One instance: its file, its header, and its planes by frame number (0 for a classic image)."""

    path: Path
    header: Dataset
    planes: Mapping[int, Plane]


def read_source(path: Path) -> SourceFile:
    """The header of one file and its planes."""
    ds = read_dataset(path)
    return SourceFile(path=path, header=ds, planes={plane.frame_number or 0: plane for plane in planes_of(ds)})


@dataclass(frozen=True, kw_only=True)
class Signal:
    """``values`` (z, y, x, e) float32 magnitude or complex64; ``saturated`` (z, y, x); ``used`` every plane read."""

    values: npt.NDArray[Any]
    saturated: npt.NDArray[np.bool_]
    used: frozenset[PlaneRef]
    qc: tuple[QcLine, ...]


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    kind: str
    z: int
    e: int


def read_signal(selection: Selection, files: Mapping[str, SourceFile], shape: tuple[int, int]) -> Signal:
    """The signal of the selected grid. ``shape`` is (rows, columns).

    Complex when phase can be had and agrees with the magnitude; else magnitude, with the reason among the quality
    lines.
    """
    reader = _Reader(selection, files, shape)
    reader.try_one()
    magnitude, saturated = reader.magnitude()
    complex_values, qc = _with_phase(reader, magnitude)
    values = magnitude if complex_values is None else complex_values
    return Signal(values=values, saturated=saturated, used=frozenset(reader.used), qc=(*reader.qc, *qc))


def _with_phase(
    reader: "_Reader", magnitude: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.complex64] | None, tuple[QcLine, ...]]:
    source = reader.selection.phase
    if source is Phase.NONE:
        incomplete = len(reader.selection.grid.kinds) > 1
        text = "Magnitude only: images of other kinds do not cover every slice and echo."
        return None, (QcLine(code="phase_not_used", severity="info", text=text),) if incomplete else ()
    before = frozenset(reader.used)
    if source is Phase.REAL_IMAGINARY:
        found, doubt = _agreeing(reader.complex_of_parts(), magnitude)
    else:
        found, doubt = reader.complex_of_phase(magnitude)
    if found is None:
        reader.used = set(before)
        text = f"Magnitude only: {doubt}."
        return None, (QcLine(code="phase_not_used", severity="info", text=text),)
    return found, ()


def _agreeing(
    parts: npt.NDArray[np.complex64], magnitude: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.complex64] | None, str]:
    """Image by image, for one that disagrees is enough."""
    bright = magnitude > _BRIGHT * magnitude.max()
    for z, e in np.ndindex(magnitude.shape[0], magnitude.shape[3]):
        here = bright[z, :, :, e]
        stored = magnitude[z, :, :, e][here]
        apart = float(np.median(np.abs(np.abs(parts[z, :, :, e][here]) - stored) / stored)) if here.any() else 0.0
        if apart > _AGREEMENT:
            return None, f"real and imaginary images differ from the magnitude by {100 * apart:.1f} %"
    return parts, ""


class _Reader:
    """Reads the planes of a selection; remembers which it used and what was noticed."""

    def __init__(self, selection: Selection, files: Mapping[str, SourceFile], shape: tuple[int, int]) -> None:
        self.selection = selection
        self.files = files
        self.shape = (len(selection.slices), *shape, len(selection.echoes))
        self.used: set[PlaneRef] = set()
        self.qc: list[QcLine] = []

    def try_one(self) -> None:
        """Decode one plane before memory is taken for all: its header may claim any size."""
        next(self._planes(self._magnitude_or_parts))

    def magnitude(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Magnitude (z, y, x, e), from real and imaginary where a cell has no magnitude; saturated voxels (z, y, x)."""
        values = np.zeros(self.shape, dtype=np.float32)
        saturated = np.zeros(self.shape[:3], dtype=np.bool_)
        told = True
        unsigned: set[str] = set()
        for wanted, source, plane, stored in self._planes(self._magnitude_or_parts):
            if not stored.any():
                self._refuse_empty(wanted)
            here = values[wanted.z, :, :, wanted.e]
            scaled = modality_values(stored, plane)
            if wanted.kind == "magnitude":
                here[...] = scaled
                told = told and plane.kind_told
                saturated[wanted.z] |= at_limit(stored, stored_limit(source.header))
            else:
                np.hypot(here, scaled, out=here)
                if stored.dtype.kind == "u" and scaled.min() >= 0:
                    unsigned.add(wanted.kind)
        for kind in sorted(unsigned):
            text = f"Pixel Representation (0028,0103) lets no pixel of a {kind} image be negative; its signs are lost."
            raise DeclinedError("impossible_values", text)
        self._refuse_impossible(values, told)
        return values, saturated

    def complex_of_parts(self) -> npt.NDArray[np.complex64]:
        """real + i imaginary, (z, y, x, e)."""
        values = np.zeros(self.shape, dtype=np.complex64)
        for wanted, _, plane, stored in self._planes(lambda _z, _e: ("real", "imaginary")):
            here = values[wanted.z, :, :, wanted.e]
            (here.real if wanted.kind == "real" else here.imag)[...] = modality_values(stored, plane)
        return values

    def complex_of_phase(self, magnitude: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.complex64] | None, str]:
        """magnitude x exp(i phase), (z, y, x, e); ``None`` and why when the phase has no known unit."""
        values = magnitude.astype(np.complex64)
        scales, maker = set(), ""
        for wanted, source, plane, stored in self._planes(lambda _z, _e: ("phase",)):
            unit = phase_unit_rad(source.header, plane)
            if unit is None:
                return None, "the unit of the phase images is not told"
            scales.add((unit, plane.slope is None, plane.intercept is None))
            if len(scales) > 1:
                return None, "the phase images differ in unit or scale"
            phase = modality_values(stored, plane) * np.float32(unit[0]) + np.float32(unit[1])
            if float(np.abs(phase).max()) > _MAX_PHASE_RAD:
                return None, "the phase images exceed one turn in their own unit"
            values[wanted.z, :, :, wanted.e] *= np.exp(1j * phase)
            maker = text(source.header, "Manufacturer")
        self._say_assumption(maker)
        return values, ""

    def _say_assumption(self, maker: str) -> None:
        if maker.upper().startswith(PHASE_SEEN):
            return
        words = (
            f"Phase was read by the unit or full scale that the images state; that {maker or 'an unnamed maker'} "
            "writes it so is assumed, for no such file is known."
        )
        self.qc.append(QcLine(code="phase_unit_assumed", severity="info", text=words))

    def _magnitude_or_parts(self, z: int, e: int) -> tuple[str, ...]:
        return ("magnitude",) if self.selection.plane("magnitude", z, e) else ("real", "imaginary")

    def _planes(
        self, kinds: Callable[[int, int], tuple[str, ...]]
    ) -> Iterator[tuple[_Wanted, SourceFile, Plane, StoredPlane]]:
        """Every wanted plane, file by file (each file is decoded once)."""
        by_file: defaultdict[str, list[tuple[int, _Wanted]]] = defaultdict(list)
        for z in range(self.shape[0]):
            for e in range(self.shape[3]):
                for kind in kinds(z, e):
                    ref = self.selection.plane(kind, z, e)
                    assert ref is not None  # the selection holds only cells that are there
                    by_file[ref.sop_instance_uid].append((ref.frame_number, _Wanted(kind=kind, z=z, e=e)))
                    self.used.add(ref)
        for uid, wanted in sorted(by_file.items()):
            source = self.files[uid]
            ordered = sorted(wanted, key=lambda entry: entry[0])
            stored = read_planes(source.path, source.header, [frame for frame, _ in ordered])
            for (frame, cell), plane in zip(ordered, stored, strict=True):
                yield cell, source, source.planes[frame], plane

    def _refuse_empty(self, wanted: _Wanted) -> None:
        grid, z, e = self.selection.grid, self.selection.slices[wanted.z], self.selection.echoes[wanted.e]
        raise DeclinedError("impossible_values", f"Every pixel is 0 in {grid.describe((wanted.kind, z, e))}.")

    def _refuse_impossible(self, values: npt.NDArray[np.float32], told: bool) -> None:
        lowest, highest = float(values.min()), float(values.max())
        if not np.isfinite([lowest, highest]).all():
            raise DeclinedError("impossible_values", "Rescaled pixels are not finite; slope or intercept is absurd.")
        if lowest < -_NEGATIVE_FRACTION * max(highest, 0.0):
            said = "called magnitude" if told else "of a kind that no header element names"
            text = f"Images {said} have negative pixels (down to {lowest:g}); they are no magnitude."
            raise DeclinedError("unknown_kind", text)
        if highest == 0:
            raise DeclinedError("impossible_values", "Every pixel is 0.")
        if lowest < 0:
            count = int(np.count_nonzero(values < 0))
            np.maximum(values, 0, out=values)
            text = f"{count} slightly negative pixels (down to {lowest:g}, from interpolation) were taken as 0."
            self.qc.append(QcLine(code="negative_pixels", severity="info", text=text, value=float(count)))
