"""What a job is, on disk: written before the ledger knows of it, never changed, read by ``rebuild``.

The manifest freezes everything that decides the bytes of the result set beside the images themselves: above all the
time of acceptance, from which every date in the result objects comes.
"""

import hashlib
import json
from collections.abc import Container, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from node.errors import InputError, StorageError
from node.intake.durable_io import storage_error
from node.jobs.durable import write_durably
from node.model import Cause

MANIFEST_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class JobManifest:
    """One measurement to make; ``sop_instance_uids`` are sorted; ``region_uid``, what a reader drew, is one of them;
    ``self_test``: of the node's own images, the result is sent to nobody; ``destinations`` are where a rule sends the
    result, ``None`` everywhere; ``indication`` is an operator's, ``None``: the order's."""

    job_id: str
    acquisition_key: str
    study_instance_uid: str
    sop_instance_uids: tuple[str, ...]
    accepted_at: datetime
    revision: int
    predecessor_job_id: str | None
    missing: tuple[str, ...]
    method_version: str
    settings_digest: str
    cause: Cause = Cause.FIRST
    region_uid: str | None = None
    self_test: bool = False
    destinations: tuple[str, ...] | None = None
    indication: str | None = None

    def to_json(self) -> bytes:
        """The file's content."""
        record = {"manifest_version": MANIFEST_VERSION, **asdict(self), "accepted_at": self.accepted_at.isoformat()}
        return (json.dumps(record, indent=1) + "\n").encode()


def derive_job_id(
    sop_instance_uids: Iterable[str],
    settings_digest: str,
    method_version: str,
    *,
    indication: str | None = None,
    after: str | None = None,
) -> str:
    """The job's name (32 hexadecimal digits): same images, settings and method, same job. ``indication`` and ``after``,
    the job that an operator's choice or a return to earlier settings follows, count where there are any."""
    chosen = [f"{name}={value}" for name, value in (("indication", indication), ("after", after)) if value is not None]
    text = "\n".join([*sorted(sop_instance_uids), settings_digest, method_version, *chosen])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class ManifestStore:
    """The folder of manifests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, manifest: JobManifest) -> JobManifest:
        """Make the manifest durable; the one that stands already wins and is returned.

        Raises:
            StorageError: the disk refused.
        """
        path = self._folder / f"{manifest.job_id}.json"
        if path.exists():
            return read_manifest(path)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, f"{self._folder} cannot be made") from error
        write_durably(path, manifest.to_json())
        return manifest

    def all(self, *, but: Container[str] = ()) -> Iterator[JobManifest]:
        """Every manifest, in the order of acceptance, without the jobs ``but``, whose files are not read.

        Raises:
            InputError: a file is not a manifest.
        """
        manifests = [read_manifest(path) for path in self._folder.glob("*.json") if path.stem not in but]
        yield from sorted(manifests, key=lambda m: (m.accepted_at, m.revision, m.job_id))


def read_manifest(path: Path) -> JobManifest:
    """One manifest file.

    Raises:
        InputError: the file is not a manifest of this version.
        StorageError: the file cannot be read.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        version = record.pop("manifest_version")
        if version != MANIFEST_VERSION:
            raise InputError(f"{path}: manifest version {version}, expected {MANIFEST_VERSION}")
        record["accepted_at"] = datetime.fromisoformat(record["accepted_at"])
        record["sop_instance_uids"] = tuple(record["sop_instance_uids"])
        record["missing"] = tuple(record["missing"])
        record["cause"] = Cause(record["cause"])
        named = record.get("destinations")
        record["destinations"] = None if named is None else tuple(named)
        return JobManifest(**record)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a job manifest: {error}") from error
