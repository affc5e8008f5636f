"""What a heap of DICOM files holds, as the node sees it: for the day when a scanner sends something new.

The same reader and the same planning as in the node; nothing is decoded, nothing is measured.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.uid import UID

from node.errors import DeclinedError
from node.intake.assembly import AcquisitionPlan
from node.intake.grid import EchoGrid, build_grid, normal_of
from node.intake.headers import quiet_pydicom, read_dataset
from node.intake.planes import first_text, layers_of, planes_of
from node.intake.tags import text
from node.model import InstanceHeader
from node.process.found import Found, read_headers
from node.process.pixels import prepare
from node.process.quality import check_planes

_MAX_LINES = 20


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """``plans`` in the order of the node, the files they are made of, and unreadable files in words; by key of the plan
    its scanner, and why it would be refused when its headers are looked at together."""

    plans: tuple[AcquisitionPlan, ...]
    found: Found
    left_out: tuple[str, ...]
    equipment: Mapping[str, str]
    refused: Mapping[str, str]


def inspect_files(paths: Sequence[Path]) -> Inspection:
    """Read every header below ``paths`` and plan; unreadable files are listed, not fatal.

    Raises:
        InputError: nothing readable was found, or a file that was named cannot be read.
    """
    left_out: list[str] = []
    found = read_headers(paths, left_out.append)
    plans = found.plans()
    equipment = {plan.key: _equipment(found.files_of(plan)[0]) for plan in plans}
    refused = {plan.key: _refusal(found.files_of(plan)) for plan in plans if plan.declined is None}
    return Inspection(plans=plans, found=found, left_out=tuple(left_out), equipment=equipment, refused=refused)


def _refusal(files: Sequence[Path]) -> str:
    try:
        with quiet_pydicom():
            prepared = prepare(files)
            check_planes(prepared.sources, (ref for cell in prepared.selection.grid.cells.values() for ref in cell))
    except DeclinedError as error:
        return f"{error.code}: {error.text}"
    return ""


def _equipment(path: Path) -> str:
    with quiet_pydicom():
        ds = read_dataset(path)
        layers = (layers_of(ds) or ((ds,),))[0]
        parts = (text(ds, "Manufacturer"), text(ds, "ManufacturerModelName"), text(ds, "SoftwareVersions"))
        strength = first_text(layers, "MagneticFieldStrength")
    return ", ".join(part for part in (" ".join(filter(None, parts)), strength and f"{strength} T") if part)


def as_text(inspection: Inspection) -> str:
    """The inspection as a person reads it."""
    lines = list(_summary(inspection))
    for plan in inspection.plans:
        lines += ["", *(_acquisition(plan, inspection) if plan.declined is None else _declined(plan, inspection))]
    return "\n".join(lines)


def _summary(inspection: Inspection) -> Iterator[str]:
    measurable = sum(plan.declined is None for plan in inspection.plans)
    studies = {plan.study_instance_uid for plan in inspection.plans}
    yield (
        f"{len(inspection.found.headers)} objects in {len(studies)} studies: {measurable} acquisitions to measure, "
        f"{len(inspection.plans) - measurable} groups declined"
    )
    yield from _some(f"unreadable   {line}" for line in inspection.left_out)
    yield from _some(f"duplicate    {line}" for line in inspection.found.duplicates)


def _acquisition(plan: AcquisitionPlan, inspection: Inspection) -> Iterator[str]:
    grid = build_grid(plan.headers)
    yield f"acquisition  {plan.key}"
    yield from _facts(plan, inspection)
    yield from _grid_lines(grid, plan.headers)
    if refused := inspection.refused[plan.key]:
        yield f"  refused    {refused}"
    yield f"  state      {'complete' if plan.complete else 'incomplete'}{', as promised' if plan.promised else ''}"
    yield from _some(f"  missing    {words}" for words in plan.missing)
    yield from (f"  choice     {words}" for words in plan.choice)
    if plan.companions:
        yield f"  beside     {len(plan.companions)} objects that are only compared or left aside"


def _declined(plan: AcquisitionPlan, inspection: Inspection) -> Iterator[str]:
    assert plan.declined is not None  # asked for declined plans only
    code, words = plan.declined
    yield f"declined     {code}: {words}"
    yield from _facts(plan, inspection)
    if any(header.planes for header in plan.headers):
        yield from _grid_lines(build_grid(h for h in plan.headers if h.planes), plan.headers)
    else:
        yield from _plane_lines(inspection.found.files_of(plan)[0])


def _plane_lines(path: Path) -> Iterator[str]:
    """What the planes of an object say that is no input: the raw facts, for it may be a new dialect."""
    with quiet_pydicom():
        planes = planes_of(read_dataset(path))
    counted = Counter(
        (
            "\\".join(plane.image_type) or "no type",
            plane.kind if plane.kind_told else "kind not told",
            "no echo time" if plane.echo_time_s is None else f"TE {1000 * plane.echo_time_s:.4g} ms",
            f"unit {plane.units}" if plane.units else "no unit",
        )
        for plane in planes
    )
    yield from _some(f"  planes     {n} x {', '.join(facts)}" for facts, n in sorted(counted.items()))


def _facts(plan: AcquisitionPlan, inspection: Inspection) -> Iterator[str]:
    series = Counter(header.series_instance_uid for header in plan.headers)
    yield f"  scanner    {inspection.equipment[plan.key] or 'not told'}"
    yield f"  objects    {len(plan.headers)} in {len(series)} series: {_classes(plan.headers)}"
    yield from _some(f"  series     {uid} ({n})" for uid, n in sorted(series.items()))
    variants = sorted({header.variant for header in plan.headers if header.variant})
    if variants:
        yield f"  variants   {', '.join(variants)}"


def _classes(headers: Iterable[InstanceHeader]) -> str:
    counted = Counter(UID(header.sop_class_uid).name for header in headers)
    return ", ".join(f"{n} {name}" for name, n in sorted(counted.items()))


def _grid_lines(grid: EchoGrid, headers: Sequence[InstanceHeader]) -> Iterator[str]:
    """Kinds as rows, echoes as columns, slices that are there as numbers."""
    n_slices = len(grid.positions_mm)
    low, high = (f"{position:.1f}" for position in (grid.positions_mm[0], grid.positions_mm[-1]))
    yield f"  slices     {n_slices}, {low} to {high} mm along {_orientation(headers)}"
    yield f"  echoes     {len(grid.echo_times_s)}"
    counted = defaultdict[tuple[str, int], int](int)
    repeated = 0
    for (kind, _, echo), refs in grid.cells.items():
        counted[kind, echo] += 1
        repeated += len(refs) > 1
    width = max(9, *(len(kind) for kind in grid.kinds))
    yield f"  {'TE ms':>10} " + " ".join(f"{kind:>{width}}" for kind in grid.kinds)
    for echo, time in enumerate(grid.echo_times_s):
        cells = " ".join(f"{f'{counted[kind, echo]}/{n_slices}':>{width}}" for kind in grid.kinds)
        yield f"  {1000 * time:>10.4g} {cells}"
    if repeated:
        yield f"  repeated   {repeated} cells hold more than one image"


def _orientation(headers: Sequence[InstanceHeader]) -> str:
    normal = normal_of(next(plane for header in headers for plane in header.planes))
    axis = max(range(3), key=lambda index: abs(normal[index]))
    name = ("sagittal", "coronal", "axial")[axis]
    return name if abs(normal[axis]) > 0.999 else f"{name} (oblique)"


def _some(lines: Iterable[str]) -> Iterator[str]:
    every = list(lines)
    yield from every[:_MAX_LINES]
    if len(every) > _MAX_LINES:
        yield f"  ... and {len(every) - _MAX_LINES} more"


def as_record(inspection: Inspection) -> dict[str, Any]:
    """The inspection as plain JSON types."""
    return {
        "objects": len(inspection.found.headers),
        "unreadable": list(inspection.left_out),
        "duplicates": list(inspection.found.duplicates),
        "groups": [_group_record(plan, inspection) for plan in inspection.plans],
    }


def _group_record(plan: AcquisitionPlan, inspection: Inspection) -> dict[str, Any]:
    shown = [header for header in plan.headers if header.planes]
    grid = build_grid(shown) if shown else None
    return {
        "key": plan.key,
        "study_instance_uid": plan.study_instance_uid,
        "series_instance_uids": sorted({header.series_instance_uid for header in plan.headers}),
        "scanner": inspection.equipment[plan.key],
        "objects": len(plan.headers),
        "declined": None if plan.declined is None else {"code": plan.declined[0], "text": plan.declined[1]},
        "refused": inspection.refused.get(plan.key, ""),
        "complete": plan.complete,
        "missing": list(plan.missing),
        "choice": list(plan.choice),
        "companions": len(plan.companions),
        "echo_times_ms": [] if grid is None else [round(1000 * t, 4) for t in grid.echo_times_s],
        "slice_positions_mm": [] if grid is None else [round(p, 3) for p in grid.positions_mm],
        "kinds": [] if grid is None else list(grid.kinds),
        "repeated_cells": 0 if grid is None else sum(len(refs) > 1 for refs in grid.cells.values()),
    }
