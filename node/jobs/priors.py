"""What the archive answered for a job, frozen when the job first ran: a repeat after a crash makes the same bytes."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from node.errors import StorageError
from node.intake.durable_io import storage_error
from node.jobs.durable import write_durably
from quant.prior import EarlierMeasurement, PriorAnswer
from quant.result import EarlierReport


class PriorStore:
    """One file a job, next to the ledger. It holds measurements and UIDs, no patient identification."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def answer(self, job_id: str, ask: Callable[[], PriorAnswer | None]) -> PriorAnswer | None:
        """The frozen answer, or what ``ask`` gives now, made durable first. ``None`` (no archive) is not kept.

        Raises:
            StorageError: the disk refused, or the file is not one of these.
        """
        path = self._folder / f"{job_id}.json"
        if path.exists():
            return _read(path)
        answer = ask()
        if answer is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise storage_error(error, f"{self._folder} cannot be made") from error
            write_durably(path, json.dumps(asdict(answer), indent=1, sort_keys=True).encode())
        return answer


def _read(path: Path) -> PriorAnswer:
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        earlier = tuple(_measurement(item) for item in record.pop("earlier"))
        return PriorAnswer(earlier=earlier, **record)
    except OSError as error:
        raise storage_error(error, f"{path} cannot be read") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: not an archive's answer: {error}") from error


def _measurement(item: dict[str, Any]) -> EarlierMeasurement:
    low, high = item.pop("interval95_mg_per_g")
    return EarlierMeasurement(
        report=EarlierReport(**item.pop("report")),
        interval95_mg_per_g=(low, high),
        echo_times_s=tuple(item.pop("echo_times_s")),
        **item,
    )
