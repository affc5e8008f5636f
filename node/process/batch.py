"""Measure files on disk the way the node measures what it received: same planning, same pipeline, no network."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from tqdm import tqdm

from node.config import Config
from node.errors import InputError, StorageError
from node.intake.assembly import AcquisitionPlan
from node.intake.headers import read_header
from node.intake.rules import DECLINED_BY_RULE
from node.jobs.manifest import derive_job_id
from node.model import Cause, InstanceHeader, JobInput, PipelineOutput
from node.process.found import read_headers
from node.process.pipeline import declined_output, run
from node.process.priors import ask_archive
from node.process.ruled import ruled_plans
from quant import METHOD_VERSION

_NO_DATE = datetime(1970, 1, 2)  # noqa: DTZ001 - placed in the scanner's time zone


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """One acquisition's outcome; ``text`` is the report as a person reads it."""

    folder: Path
    record: Mapping[str, Any]
    text: str


def process_files(
    paths: Sequence[Path],
    out: Path,
    config: Config,
    *,
    indication: str | None,
    show: Callable[[str], None],
    region: Path | None = None,
) -> list[BatchResult]:
    """Measure every acquisition in ``paths`` (files or folders) that no rule declines, and write the result folders;
    inside the ``region`` of a SEG or RT Structure Set file, where one is given.

    Raises:
        InputError: nothing readable was found, a file that was named cannot be read (the text names it), or a region
            is given for several acquisitions.
        StorageError: a result cannot be written.
    """
    found = read_headers(paths, show)
    plans = ruled_plans(found, config.rules)
    measurable = [plan for plan in plans if plan.declined is None]
    if not measurable:
        return [_write(out, declined_output(plans, config))]
    for plan in plans:
        if plan.declined is not None and plan.declined[0] == DECLINED_BY_RULE:
            show(f"declined: {len(plan.headers)} images: {plan.declined[1]}")
    if region is not None and len(measurable) > 1:
        raise InputError(f"{len(measurable)} acquisitions in the files: name those of the one that the region is for")
    results = []
    for number, plan in enumerate(measurable, 1):
        folder = out if len(measurable) == 1 else out / str(number)
        results.append(_write(folder, _measure(plan, found.files_of(plan), config, indication, region)))
    return results


def _measure(
    plan: AcquisitionPlan, files: tuple[Path, ...], config: Config, indication: str | None, region: Path | None
) -> PipelineOutput:
    drawn = [] if region is None else [_region_header(region).sop_instance_uid]
    priors = ask_archive(files[0], config)
    settings = config.method_digest() + (indication or "") + ("" if priors is None else repr(priors))
    job = JobInput(
        job_id=derive_job_id([*plan.job_uids, *drawn], settings, METHOD_VERSION),
        files=files,
        accepted_at=acquired_at(files[0], config.report.zone),
        missing=plan.missing,
        indication=indication,
        region=region,
        cause=Cause.FIRST if region is None else Cause.READER_REGION,
        priors=priors,
    )
    with tqdm(desc="measuring", bar_format="{desc}: {postfix}[{elapsed}]", disable=None, leave=False) as bar:
        return run(job, config, report=lambda stage: bar.set_postfix_str(stage + " "))


def _region_header(region: Path) -> InstanceHeader:
    header = read_header(region)
    if header.region is None:
        raise InputError(f"{region}: neither a Segmentation nor an RT Structure Set of somebody else's")
    return header


def _write(folder: Path, output: PipelineOutput) -> BatchResult:
    try:
        for name, data in output.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    except OSError as error:
        raise StorageError(f"{folder}: cannot write results: {error.strerror}") from error
    return BatchResult(folder=folder, record=output.record, text=output.files["report.txt"].decode())


def acquired_at(file: Path, zone: tzinfo | None) -> datetime:
    """When the scanner acquired the image (docs/decisions/0006); ``zone`` is the scanner's, ``None`` this machine's.

    Acquisition DateTime, else Acquisition, Series or Study date and time; 2 January 1970 when none is there.
    """
    try:
        dataset = dcmread(file, stop_before_pixels=True)
    except (InvalidDicomError, OSError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from error
    for stamp in _stamps(dataset):
        for pattern in ("%Y%m%d%H%M%S", "%Y%m%d"):
            try:
                return _placed(datetime.strptime(stamp, pattern), zone)  # noqa: DTZ007 - the next step places it
            except ValueError:
                continue
    return _placed(_NO_DATE, zone)


def _placed(local: datetime, zone: tzinfo | None) -> datetime:
    return local.astimezone() if zone is None else local.replace(tzinfo=zone)


def _stamps(dataset: Dataset) -> Iterable[str]:
    yield str(dataset.get("AcquisitionDateTime", "")).split(".")[0].split("+")[0]
    for kind in ("Acquisition", "Series", "Study"):
        yield f"{dataset.get(f'{kind}Date', '')}{str(dataset.get(f'{kind}Time', '')).split('.')[0]}"
