"""From files to one acquisition in plain arrays: the only reader of pixels.

The plan (which images form the echo x slice grid) is the intake's; the siblings of this module decode, scale and
sort them. Here they are put together, with the facts that the record and the report need.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset

from node.errors import DeclinedError
from node.intake.assembly import AcquisitionPlan, plan_study
from node.intake.grid import PlaneRef, build_grid
from node.intake.headers import header_of, quiet_pydicom
from node.intake.planes import first_number, layers_of
from node.intake.tags import text, whole
from node.process.facts import (
    IndicationFacts,
    StudyFacts,
    contrast_given,
    fat_suppression_line,
    field_strength_t,
    indication_facts,
    study_facts,
)
from node.process.geometry import StackGeometry, stack_geometry
from node.process.quality import check_planes, check_runs, moment_lines, promise_lines, quality_lines
from node.process.selection import Selection, select
from node.process.signal import Signal, SourceFile, read_signal, read_source
from node.process.vendor_maps import VendorMap, found_lines, vendor_maps
from quant.acquisition import Geometry, MultiEcho
from quant.result import AcquisitionSummary, QcLine, Reason
from sr_templates.evidence import FrameRef, SourceSeries


@dataclass(frozen=True, kw_only=True)
class LoadedAcquisition:
    """One acquisition and everything said about it.

    ``refusals`` are reasons why no iron value may be stated although the images can be read.
    """

    acquisition: MultiEcho
    study: StudyFacts
    summary: AcquisitionSummary
    qc: tuple[QcLine, ...]
    refusals: tuple[Reason, ...]
    indication: IndicationFacts
    vendor_maps: tuple[VendorMap, ...] = ()


def read_acquisition(files: Sequence[Path]) -> LoadedAcquisition:
    """The one acquisition in the files.

    Raises:
        InputError: a file cannot be read or decoded; the text names it.
        DeclinedError: the files hold no acquisition that can be measured, or more than one.
        StorageError: the system does not give a file.
    """
    with quiet_pydicom():
        prepared = prepare(files)
        selection, sources, geometry = prepared.selection, prepared.sources, prepared.located.geometry
        signal = read_signal(selection, sources, _shape(prepared.header))
        check_planes(sources, signal.used)
        source = _source_series(selection, sources, signal, geometry)
        acquisition = MultiEcho(
            signal=signal.values,
            echo_times_s=np.array([selection.grid.echo_times_s[e] for e in selection.echoes]),
            field_t=prepared.field_t,
            geometry=geometry,
            saturated=signal.saturated,
        )
        maps = vendor_maps(sources.values(), geometry, acquisition.signal.shape[:3])
        fat = fat_suppression_line(source.datasets)
        said = (*found_lines(maps), *signal.qc, *([fat] if fat else []), *quality_lines(acquisition, sources, signal))
        return _loaded(acquisition, source, prepared.header, (*prepared.qc, *said), maps)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An acquisition as far as its headers tell it, before any pixel is decoded."""

    selection: Selection
    sources: Mapping[str, SourceFile]
    header: Dataset
    field_t: float
    located: StackGeometry
    qc: tuple[QcLine, ...]


def prepare(files: Sequence[Path]) -> Prepared:
    """Grid, geometry and field strength of the one acquisition in the files; raises as ``read_acquisition`` does."""
    sources = _sources(files)
    plan = _the_plan(sources)
    selection = select(build_grid(plan.headers))
    references = [_reference_plane(selection, z, 0) for z in range(len(selection.slices))]
    header = sources[references[0].sop_instance_uid].header
    layers = layers_of(header)[max(references[0].frame_number - 1, 0)]
    field_t, field_qc = field_strength_t(layers)
    located = stack_geometry(
        [sources[ref.sop_instance_uid].planes[ref.frame_number] for ref in references],
        first_number(layers, "SpacingBetweenSlices"),
    )
    chosen = (QcLine(code="input_chosen", severity="info", text=words) for words in plan.choice)
    check_runs(sources, selection)
    qc = (
        *chosen,
        *selection.qc,
        *promise_lines(plan.headers),
        *moment_lines(sources, selection),
        *field_qc,
        *located.qc,
    )
    return Prepared(selection=selection, sources=sources, header=header, field_t=field_t, located=located, qc=qc)


def _sources(files: Sequence[Path]) -> dict[str, SourceFile]:
    """The instances by SOP Instance UID; a second file of the same instance is left out."""
    found: dict[str, SourceFile] = {}
    for path in sorted(files):
        source = read_source(path)
        found.setdefault(text(source.header, "SOPInstanceUID"), source)
    return found


def _the_plan(sources: Mapping[str, SourceFile]) -> AcquisitionPlan:
    plans = plan_study(header_of(source.header, source.path) for source in sources.values())
    measurable = [plan for plan in plans if plan.declined is None]
    if len(measurable) == 1:
        return measurable[0]
    if measurable:
        text = f"The files hold {len(measurable)} acquisitions (other geometry, or repetitions); one at a time."
        raise DeclinedError("several_acquisitions", text)
    if not plans:
        raise DeclinedError("no_images", "There are no files to measure.")
    nearest = max(plans, key=lambda plan: (not plan.final, len(plan.headers)))
    assert nearest.declined is not None  # none is measurable
    raise DeclinedError(*nearest.declined)


def _shape(header: Dataset) -> tuple[int, int]:
    rows, columns = whole(header, "Rows"), whole(header, "Columns")
    assert rows, "the intake declines images without Rows"
    assert columns, "the intake declines images without Columns"
    return rows, columns


def _reference_plane(selection: Selection, z: int, e: int) -> PlaneRef:
    """The plane that stands for a cell in geometry and evidence: its magnitude, else its real image."""
    found = selection.plane("magnitude", z, e) or selection.plane("real", z, e)
    assert found is not None  # the selection holds only cells that are there
    return found


def _source_series(
    selection: Selection, sources: Mapping[str, SourceFile], signal: Signal, geometry: Geometry
) -> SourceSeries:
    uids = sorted({ref.sop_instance_uid for ref in signal.used})
    index = {uid: position for position, uid in enumerate(uids)}

    def frame_ref(ref: PlaneRef) -> FrameRef:
        return FrameRef(dataset_index=index[ref.sop_instance_uid], frame_number=ref.frame_number or None)

    grid = [
        [_reference_plane(selection, z, e) for e in range(len(selection.echoes))] for z in range(len(selection.slices))
    ]
    shown = {ref for row in grid for ref in row}
    return SourceSeries(
        datasets=tuple(sources[uid].header for uid in uids),
        frames=tuple(tuple(frame_ref(ref) for ref in row) for row in grid),
        geometry=geometry,
        further=tuple(frame_ref(ref) for ref in sorted(signal.used - shown)),
    )


def _loaded(
    acquisition: MultiEcho,
    source: SourceSeries,
    header: Dataset,
    qc: tuple[QcLine, ...],
    maps: tuple[VendorMap, ...],
) -> LoadedAcquisition:
    kind: Literal["magnitude", "complex"] = "complex" if acquisition.is_complex else "magnitude"
    agent = next((found for ds in source.datasets if (found := contrast_given(ds)) is not None), None)
    n_slices, rows, columns, _ = acquisition.signal.shape
    contrast = "" if agent is None else f"A contrast agent was given ({agent}); it changes R2* and hides iron."
    return LoadedAcquisition(
        acquisition=acquisition,
        study=study_facts(source),
        summary=AcquisitionSummary(
            field_t=acquisition.field_t,
            manufacturer=text(header, "Manufacturer"),
            model=text(header, "ManufacturerModelName"),
            kind=kind,
            echo_times_s=tuple(float(t) for t in acquisition.echo_times_s),
            n_slices=n_slices,
            rows=rows,
            columns=columns,
            spacing_mm=acquisition.geometry.spacing_mm,
        ),
        qc=(*qc, *([QcLine(code="contrast_given", severity="failure", text=contrast)] if contrast else [])),
        refusals=(Reason(code="contrast_given", text=contrast),) if contrast else (),
        indication=indication_facts(header),
        vendor_maps=maps,
    )
