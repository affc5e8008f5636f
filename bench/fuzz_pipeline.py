"""Header edits through the pipeline: a measured value that moves is flagged, and nothing ends in a traceback.

    python -m bench.fuzz_pipeline [--edits 400] [--seed 1] [--case NAME] [--whole-every 10]

The edits of ``bench.fuzz_headers`` on abdomens large enough for the automatic region: read, fitted, measured and
assessed as in the node; every ``--whole-every``-th edit goes on to the whole result folder, with page, report and
objects. R2*, LIC and field strength of the record are compared with those of the unedited set. A *finding* is an
exception that is no refusal, or a value that moved without a new quality line.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench.fuzz_headers import Case, Change, Outcome, make_case, names_of, parser_of, run, tell, try_edit
from bench.header_edits import Edit
from node.config import Config, load_config
from node.model import JobInput
from node.process.batch import process_files
from node.process.found import read_headers
from node.process.measured import Measured
from node.process.pipeline import measure, result_of
from node.process.pixels import LoadedAcquisition, read_acquisition
from node.process.settings import settings_of

MOVED = 0.01  # of R2* and LIC: a tenth of what repeated scans differ by
_NO_DATE = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Value:
    """What a record states; ``said`` are its quality lines."""

    r2star_per_s: float
    lic_mg_per_g: float | None
    field_t: float
    said: frozenset[str]


def values_of(folder: Path, config: Config, out: Path | None = None) -> list[Value]:
    """The values that are measured in the files of a folder, through to the result folders where ``out`` is given.

    Raises:
        InputError: a file cannot be used.
    """
    records = _measured(folder, config) if out is None else _whole(folder, config, out)
    return [_value(record) for record in records if record["status"] == "measured"]


def _whole(folder: Path, config: Config, out: Path) -> Iterator[Mapping[str, Any]]:
    results = process_files([folder], out, config, indication=None, show=lambda _: None)
    return (result.record for result in results)


def _measured(folder: Path, config: Config) -> Iterator[Mapping[str, Any]]:
    found = read_headers([folder], lambda _: None)
    for plan in found.plans():
        if plan.declined is None:
            job = JobInput(job_id="edited", files=found.files_of(plan), accepted_at=_NO_DATE, missing=plan.missing)
            measured = _measure(read_acquisition(job.files), config)
            yield result_of(measured, job, config, settings_of(config)).to_record()


_known: dict[bytes, Measured] = {}


def _measure(loaded: LoadedAcquisition, config: Config) -> Measured:
    """As ``measure``; arrays that were measured before are not fitted again, for most edits change none."""
    acquisition = loaded.acquisition
    digest = hashlib.sha256(repr((acquisition.field_t, acquisition.geometry, loaded.refusals)).encode())
    for array in (acquisition.signal, acquisition.echo_times_s, acquisition.saturated):
        digest.update(np.ascontiguousarray(array).tobytes())
    if digest.digest() not in _known:
        _known[digest.digest()] = measure(loaded, config, lambda _: None)
    return replace(_known[digest.digest()], loaded=loaded)


def _value(record: Mapping[str, Any]) -> Value:
    lic = record["lic_mg_per_g"]
    return Value(
        r2star_per_s=record["r2star_per_s"]["median"],
        lic_mg_per_g=None if lic is None else lic["median"],
        field_t=record["acquisition"]["field_t"],
        said=frozenset(f"{line['code']}:{line['severity']}" for line in record["qc"]),
    )


def moved(before: Value, after: Value) -> str:
    """What of the value changed; empty when nothing did."""
    if before.field_t != after.field_t:
        return f"field {before.field_t:g} to {after.field_t:g} T"
    if abs(after.r2star_per_s / before.r2star_per_s - 1) > MOVED:
        return f"R2* {before.r2star_per_s:.2f} to {after.r2star_per_s:.2f}"
    if (before.lic_mg_per_g is None) != (after.lic_mg_per_g is None):
        return "LIC stated or not"
    if before.lic_mg_per_g and after.lic_mg_per_g and abs(after.lic_mg_per_g / before.lic_mg_per_g - 1) > MOVED:
        return f"LIC {before.lic_mg_per_g:.2f} to {after.lic_mg_per_g:.2f}"
    return ""


def main() -> None:
    """Print the record of a run; exit 1 when there is a finding."""
    parser = parser_of(__doc__, 400)
    parser.add_argument("--whole-every", type=int, default=10)
    options = parser.parse_args()
    config, cases, truths = load_config(None), [], {}
    with tempfile.TemporaryDirectory() as scratch:
        for dialect, kind in names_of(options.case):
            folder = Path(scratch) / f"{dialect}-{kind}"
            cases.append(make_case(dialect, kind, folder, matrix=48, echoes=6))
            (truths[cases[-1].name],) = values_of(folder, config)

        def attempt(number: int, case: Case, edit: Edit) -> Outcome:
            every = options.whole_every
            whole = every > 0 and (number // len(cases)) % every == number % every
            truth, out = truths[case.name], Path(scratch) / "out" if whole else None

            def read(paths: list[Path]) -> list[Change] | None:
                found = values_of(paths[0].parent, config, out)
                return [(what, v.said - truth.said) for v in found if (what := moved(truth, v))] if found else None

            return try_edit(case, edit, Path(scratch) / "in" / case.name, read)  # every file in it is read

        counts, findings = run(cases, options.edits, options.seed, attempt)
    tell(counts, findings)


if __name__ == "__main__":
    main()
