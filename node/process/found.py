"""Files on disk as the node would have received them: whole, readable, each instance once."""

import filecmp
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from node.errors import InputError, UnreadableError
from node.intake.assembly import AcquisitionPlan, plan_study
from node.intake.dataset_walk import walk_file
from node.intake.file_meta import decode_file_meta, head_bytes
from node.intake.headers import read_header
from node.model import InstanceHeader
from node.process.frames import read_planes
from node.process.signal import read_source


@dataclass(frozen=True, kw_only=True)
class Found:
    """``headers`` and ``files`` by SOP Instance UID; ``duplicates`` names files that repeat an instance."""

    headers: Mapping[str, InstanceHeader]
    files: Mapping[str, Path]
    duplicates: tuple[str, ...]

    def plans(self) -> tuple[AcquisitionPlan, ...]:
        """What the files hold, study by study."""
        return plan_study(self.headers.values())

    def files_of(self, plan: AcquisitionPlan) -> tuple[Path, ...]:
        """The files that a job of the plan reads, by SOP Instance UID."""
        return tuple(self.files[uid] for uid in plan.job_uids)


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


def read_headers(paths: Sequence[Path], show: Callable[[str], None]) -> Found:
    """The headers of every DICOM file in ``paths``; ``show`` is told what was left out and why.

    Raises:
        InputError: nothing readable was found, a file that was named cannot be read, or two files hold one instance
            with different content.
    """
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
    return _without_duplicates(headers)


def _without_duplicates(headers: Mapping[Path, InstanceHeader]) -> Found:
    files: dict[str, Path] = {}
    duplicates = []
    for file, header in headers.items():
        first = files.setdefault(header.sop_instance_uid, file)
        if first is not file:
            _check_equal(first, file, headers)
            duplicates.append(f"{file}: the same instance as {first}")
    return Found(
        headers={headers[f].sop_instance_uid: headers[f] for f in files.values()},
        files=files,
        duplicates=tuple(duplicates),
    )


def _check_equal(first: Path, second: Path, headers: Mapping[Path, InstanceHeader]) -> None:
    """Refuse two contents of one instance: nobody can tell which one counts (encodings may differ)."""
    if filecmp.cmp(first, second, shallow=False):
        return
    if headers[first] != headers[second] or _pixels(first) != _pixels(second):
        uid = headers[first].sop_instance_uid
        raise InputError(f"{first} and {second} are both the instance {uid}, with different content")


def _pixels(file: Path) -> str:
    """Digest of the decoded planes; empty when there are none."""
    source = read_source(file)
    try:
        digest = hashlib.sha256()
        for plane in read_planes(file, source.header, sorted(source.planes)):
            digest.update(plane.tobytes())
    except UnreadableError:
        return ""
    return digest.hexdigest()


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
