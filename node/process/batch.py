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
from node.intake.assembly import AcquisitionPlan, plan_study
from node.intake.dataset_walk import walk_file
from node.intake.file_meta import decode_file_meta, head_bytes
from node.intake.headers import read_header
from node.jobs.manifest import derive_job_id
from node.model import InstanceHeader, JobInput, PipelineOutput
from node.process.pipeline import declined_output, run
from quant import METHOD_VERSION

_NO_DATE = datetime(1970, 1, 2)  # noqa: DTZ001 - placed in the scanner's time zone


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """One acquisition's outcome; ``text`` is the report as a person reads it."""

    folder: Path
    record: Mapping[str, Any]
    text: str


def process_files(
    paths: Sequence[Path], out: Path, config: Config, *, indication: str | None, show: Callable[[str], None]
) -> list[BatchResult]:
    """Measure every acquisition in ``paths`` (files or folders) and write the result folders.

    Raises:
        InputError: nothing readable was found, or a file that was named cannot be read (the text names it).
        StorageError: a result cannot be written.
    """
    headers = _headers(paths, show)
    plans = [(plan, files) for plan, files in _plans(headers) if plan.declined is None]
    if not plans:
        outcome = declined_output([plan for plan, _ in _plans(headers)], config)
        return [_write(out, outcome)]
    results = []
    for number, (plan, files) in enumerate(plans, 1):
        folder = out if len(plans) == 1 else out / str(number)
        results.append(_write(folder, _measure(plan, files, config, indication)))
    return results


def dicom_files(paths: Iterable[Path]) -> list[Path]:
    """Files named in ``paths`` and every DICOM file below the folders named there, sorted.

    Raises:
        InputError: a file that was named is not DICOM.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files.extend(p for p in sorted(path.rglob("*")) if p.is_file() and _has_prefix(p))
        elif _has_prefix(path):
            files.append(path)
        else:
            raise InputError(f"{path}: not a DICOM file (no DICM prefix)")
    return list(dict.fromkeys(files))


def _has_prefix(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _headers(paths: Sequence[Path], show: Callable[[str], None]) -> dict[Path, InstanceHeader]:
    named = {path for path in paths if path.is_file()}
    headers: dict[Path, InstanceHeader] = {}
    first_complaint: InputError | None = None
    for file in tqdm(dicom_files(paths), desc="reading headers", unit="file", disable=None, leave=False):
        try:
            _check_whole(file)
            headers[file] = read_header(file)
        except InputError as error:
            if file in named:
                raise
            first_complaint = first_complaint or error
            show(f"left out: {error}")
    if not headers:
        raise first_complaint or InputError(f"no DICOM file in {', '.join(map(str, paths))}")
    return headers


def _check_whole(file: Path) -> None:
    """What the listener checks before it acknowledges: the data set is there to its last byte."""
    try:
        with file.open("rb") as opened:
            meta, offset = decode_file_meta(opened.read(head_bytes()), str(file))
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        walk_file(file, offset, meta.transfer_syntax_uid)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def _plans(headers: Mapping[Path, InstanceHeader]) -> list[tuple[AcquisitionPlan, tuple[Path, ...]]]:
    by_study: dict[str, list[InstanceHeader]] = {}
    file_of: dict[str, Path] = {}
    for file, header in headers.items():
        if header.sop_instance_uid not in file_of:
            file_of[header.sop_instance_uid] = file
            by_study.setdefault(header.study_instance_uid, []).append(header)
    plans = [plan for _, members in sorted(by_study.items()) for plan in plan_study(members)]
    return [(plan, tuple(file_of[uid] for uid in sorted(h.sop_instance_uid for h in plan.headers))) for plan in plans]


def _measure(plan: AcquisitionPlan, files: tuple[Path, ...], config: Config, indication: str | None) -> PipelineOutput:
    job = JobInput(
        job_id=derive_job_id(
            (h.sop_instance_uid for h in plan.headers), config.method_digest() + (indication or ""), METHOD_VERSION
        ),
        files=files,
        accepted_at=acquired_at(files[0], config.report.zone),
        missing=plan.missing,
        indication=indication,
    )
    with tqdm(desc="measuring", bar_format="{desc}: {postfix}[{elapsed}]", disable=None, leave=False) as bar:
        return run(job, config, report=lambda stage: bar.set_postfix_str(stage + " "))


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
