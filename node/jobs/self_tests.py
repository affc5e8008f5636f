"""The node's tests of itself, kept in one small file beside the ledger."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from node.jobs.durable import write_durably

_KEPT = 400


class Verdict(StrEnum):
    """How a test ended."""

    PASSED = "passed"
    DRIFTED = "drifted"  # a number, but not the truth's or not the one of before
    FAILED = "failed"  # no number


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """One test; ``change_percent`` is against the earlier one of the same method version and settings."""

    at: datetime
    verdict: Verdict
    text: str
    expected_lic_mg_per_g: float
    settings_digest: str
    method_version: str
    job_id: str | None = None
    lic_mg_per_g: float | None = None
    r2star_per_s: float | None = None
    deviation_percent: float | None = None
    change_percent: float | None = None


class SelfTests:
    """The tests of one storage root."""

    def __init__(self, root: Path) -> None:
        self._path = root / "selftests.json"

    def all(self) -> list[SelfTest]:
        """The latest last; none when there is no file, or it is damaged."""
        try:
            found: list[dict[str, Any]] = json.loads(self._path.read_bytes())
            return [
                SelfTest(**{**item, "at": datetime.fromisoformat(item["at"]), "verdict": Verdict(item["verdict"])})
                for item in found
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def latest(self) -> SelfTest | None:
        """The last one, or ``None``."""
        return next(reversed(self.all()), None)

    def add(self, test: SelfTest) -> None:
        """Keep a test.

        Raises:
            StorageError: the disk refused.
        """
        kept = [*self.all(), test][-_KEPT:]
        write_durably(self._path, json.dumps([{**asdict(t), "at": t.at.isoformat()} for t in kept], indent=1).encode())
