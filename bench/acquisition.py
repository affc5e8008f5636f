"""CPU time and memory of a whole acquisition: 256 x 256 x 32 x 12 decoded arrays to ``LiverIronResult``.

    python -m bench.acquisition [--all] [--repeats 5]

Runs the product's own ``measure`` and ``result_of`` (``node.process.pipeline``) on digital abdomens after one warm
run. CPU seconds are user and system time of the process over all its threads. The fit takes the threads that a worker
would give it. Extra memory is the peak of what numpy allocates in a run of its own: maps, masks and temporaries
together, without the decoded arrays.
"""

import argparse
import itertools
import json
import statistics
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from bench.machine import this_machine
from node.config import Config, load_config
from node.model import JobInput
from node.process.facts import IndicationFacts, PatientFacts, StudyFacts
from node.process.pipeline import measure as measure_acquisition
from node.process.pipeline import result_of
from node.process.pixels import LoadedAcquisition
from node.process.settings import settings_of
from quant.acquisition import MultiEcho
from quant.phantom import make_abdomen
from quant.result import AcquisitionSummary, LiverIronResult
from sr_templates.evidence import SourceSeries

SHAPE = (32, 256, 256, 12)
REPEATS = 5
STAGES = ("fitting R2*", "finding the liver", "assessing")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One digital abdomen."""

    field_t: float
    r2star_per_s: float
    pdff_percent: float
    coils: int
    seed: int = 0

    def acquire(self) -> MultiEcho:
        """Magnitude arrays of ``SHAPE``."""
        slices, matrix, _, _ = SHAPE
        return make_abdomen(
            **asdict(self), n_slices=slices, matrix=matrix, slice_thickness_mm=5.0, gap_mm=0.0, snr=60.0
        ).acquisition


EVERY_CASE = tuple(
    Case(field_t=field_t, r2star_per_s=r2star_per_s, pdff_percent=pdff_percent, coils=coils)
    for field_t, r2star_per_s, pdff_percent, coils in itertools.product(
        (1.5, 3.0), (50.0, 350.0, 1200.0), (0.0, 10.0, 30.0), (1, 8)
    )
)
CASES = (
    Case(field_t=1.5, r2star_per_s=50.0, pdff_percent=10.0, coils=8),
    Case(field_t=1.5, r2star_per_s=350.0, pdff_percent=0.0, coils=1),
    Case(field_t=1.5, r2star_per_s=1200.0, pdff_percent=10.0, coils=8),
    Case(field_t=3.0, r2star_per_s=50.0, pdff_percent=30.0, coils=1),
    Case(field_t=3.0, r2star_per_s=350.0, pdff_percent=10.0, coils=8),
    Case(field_t=3.0, r2star_per_s=1200.0, pdff_percent=0.0, coils=8),
)


@dataclass(frozen=True)
class Spent:
    """Seconds of one run by stage: of the processor (all threads), and on the clock."""

    cpu_s: dict[str, float]
    wall_s: dict[str, float]


class _Clock:
    """Takes the time between the stages that it is told."""

    def __init__(self) -> None:
        self._marks: list[tuple[str, float, float]] = []

    def tell(self, stage: str) -> None:
        self._marks.append((stage, time.process_time(), time.perf_counter()))

    def spent(self) -> Spent:
        self.tell("end")
        cpu, wall = {}, {}
        for (stage, cpu_from, wall_from), (_, cpu_to, wall_to) in itertools.pairwise(self._marks):
            cpu[stage], wall[stage] = cpu_to - cpu_from, wall_to - wall_from
        return Spent(cpu | {"total": sum(cpu.values())}, wall | {"total": sum(wall.values())})


def run(acquisition: MultiEcho, config: Config) -> tuple[LiverIronResult, Spent]:
    """The product's way from arrays to result, timed."""
    loaded, job, settings, clock = _loaded(acquisition), _job(), settings_of(config), _Clock()
    measured = measure_acquisition(loaded, config, clock.tell)
    clock.tell(STAGES[-1])
    result = result_of(measured, job, config, settings)
    return result, clock.spent()


def measure(cases: Sequence[Case] = CASES, repeats: int = REPEATS) -> list[dict[str, Any]]:
    """One record per case: what was found, CPU and wall seconds by stage (minimum and median), extra memory."""
    config = load_config(None)
    return [_record(case, config, repeats) for case in cases]


def _record(case: Case, config: Config, repeats: int) -> dict[str, Any]:
    acquisition = case.acquire()
    result, _ = run(acquisition, config)  # compiled or loaded kernels and imported modules are not what is measured
    runs = [run(acquisition, config)[1] for _ in range(repeats)]
    return {
        **asdict(case),
        "status": result.status,
        "median_r2star_per_s": None if result.r2star_per_s is None else round(result.r2star_per_s.median, 2),
        "model": None if result.fit is None else result.fit.model,
        "cpu_s": _summary([spent.cpu_s for spent in runs]),
        "wall_s": _summary([spent.wall_s for spent in runs]),
        "extra_memory_mib": _extra_memory_mib(acquisition, config),
    }


def _summary(runs: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    of = {stage: [seconds[stage] for seconds in runs] for stage in (*STAGES, "total")}
    return {stage: {"min": round(min(s), 2), "median": round(statistics.median(s), 2)} for stage, s in of.items()}


def _extra_memory_mib(acquisition: MultiEcho, config: Config) -> int:
    tracemalloc.start()
    try:
        run(acquisition, config)
        return round(tracemalloc.get_traced_memory()[1] / 2**20)
    finally:
        tracemalloc.stop()


def _job() -> JobInput:
    return JobInput(job_id="bench", files=(), accepted_at=datetime(2024, 1, 1, tzinfo=UTC))


def _loaded(acquisition: MultiEcho) -> LoadedAcquisition:
    """The arrays with the facts of a study that there is none of."""
    slices, rows, columns, _ = acquisition.signal.shape
    nobody = PatientFacts(name="", patient_id="", birth_date=None, sex="", study_description="", accession_number="")
    study = StudyFacts(
        source=SourceSeries(datasets=(), frames=(), geometry=acquisition.geometry),
        study_instance_uid="1.2.3",
        series_instance_uids=("1.2.3.4",),
        study_date=None,
        patient_id_hash="",
        patient=nobody,
    )
    summary = AcquisitionSummary(
        field_t=acquisition.field_t,
        manufacturer="",
        model="",
        kind="magnitude",
        echo_times_s=tuple(float(t) for t in acquisition.echo_times_s),
        n_slices=slices,
        rows=rows,
        columns=columns,
        spacing_mm=acquisition.geometry.spacing_mm,
    )
    nothing = IndicationFacts(texts=(), codes=())
    return LoadedAcquisition(
        acquisition=acquisition, study=study, summary=summary, qc=(), refusals=(), indication=nothing
    )


def main() -> None:
    """Print a table, then the record."""
    arguments = argparse.ArgumentParser(description="CPU time and memory of a whole acquisition")
    arguments.add_argument("--all", action="store_true", help="every combination of field, iron, fat and coils")
    arguments.add_argument("--repeats", type=int, default=REPEATS)
    given = arguments.parse_args()
    config, records = load_config(None), []
    print("field R2*   fat coils | CPU s min/median: fit   liver   assess   total | wall | MiB | status, R2* found")
    for case in EVERY_CASE if given.all else CASES:
        record = _record(case, config, given.repeats)
        records.append(record)
        spent = "  ".join(
            f"{record['cpu_s'][s]['min']:.2f}/{record['cpu_s'][s]['median']:.2f}" for s in (*STAGES, "total")
        )
        print(
            f"{case.field_t:3.1f} {case.r2star_per_s:6.0f} {case.pdff_percent:4.0f} {case.coils:3d} | {spent} | "
            f"{record['wall_s']['total']['median']:.2f} | {record['extra_memory_mib']} | "
            f"{record['status']} {record['median_r2star_per_s']} {record['model']}",
            flush=True,
        )
    print(json.dumps({"machine": this_machine().as_record(), "acquisition": records}))


if __name__ == "__main__":
    main()
