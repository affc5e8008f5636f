"""Storage commitment between two roles, as files: which transactions are open, and the reports that came.

The deliverer asks and enters the answers in the ledger; a report may come on an association that the archive opens to
the listener, which knows no ledger. ``asked/<transaction>`` names the archive that may answer;
``answers/<transaction>`` is durable before the report is acknowledged.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from node.errors import InputError
from node.intake.durable_io import storage_error
from node.intake.uids import is_legal_uid
from node.jobs.durable import flush_folder, write_durably
from node.model import CommitmentReport, SopReference
from node.ops.events import Event, emit


class CommitmentFiles:
    """The folders under ``root``/commitment."""

    def __init__(self, root: Path) -> None:
        """Make the folders where absent.

        Raises:
            StorageError: a folder cannot be made.
        """
        folder = root / "commitment"
        self.asked_folder = folder / "asked"
        self.answers_folder = folder / "answers"
        try:
            for wanted in (self.asked_folder, self.answers_folder):
                wanted.mkdir(parents=True, exist_ok=True)
            flush_folder(folder)
            flush_folder(root)
        except OSError as error:
            raise storage_error(error, f"{folder} cannot be made") from error

    def expect(self, transaction_uid: str, ae_title: str) -> None:
        """A request to ``ae_title`` is about to be made; its report may come at once.

        Raises:
            StorageError: the disk refused.
        """
        write_durably(self.asked_folder / transaction_uid, ae_title.encode())

    def keep(self, report: CommitmentReport) -> None:
        """Make a report durable; when this returns it may be acknowledged. The same again changes nothing.

        Raises:
            InputError: it answers no request, or comes from another system than the one that was asked.
            StorageError: the disk refused.
        """
        uid = report.transaction_uid
        asked = self._asked(uid) if is_legal_uid(uid) else None
        if asked is None:
            raise InputError("a storage commitment report that answers no request of this node")
        if report.ae_title != asked:
            raise InputError(f"a storage commitment report from {report.ae_title}; {asked} was asked")
        write_durably(self.answers_folder / uid, json.dumps(_to_plain(report)).encode())

    def answers(self) -> list[CommitmentReport]:
        """The reports that were not taken yet. A damaged one is dropped: its request is made anew.

        Raises:
            StorageError: the disk refused.
        """
        found = []
        try:
            for path in sorted(p for p in self.answers_folder.iterdir() if is_legal_uid(p.name)):
                try:
                    found.append(_from_plain(json.loads(path.read_bytes())))
                except (ValueError, KeyError, TypeError) as error:
                    emit(Event.STORAGE_TROUBLE, error=f"{path}: a damaged report is dropped: {error}")
                    path.unlink()
        except OSError as error:
            raise storage_error(error, f"{self.answers_folder} cannot be read") from error
        return found

    def taken(self, transaction_uid: str) -> None:
        """A report is in the ledger. The transaction stays known: an archive may not have heard that we have it."""
        (self.answers_folder / transaction_uid).unlink(missing_ok=True)

    def sweep(self, older_than_s: float, now_s: float) -> None:
        """Forget transactions that were opened so long ago that no report is to be expected; ``now_s`` since 1970."""
        for path in self.asked_folder.iterdir():
            with suppress(FileNotFoundError):  # another gateway has just swept it
                if now_s - path.stat().st_mtime > older_than_s:
                    path.unlink()

    def _asked(self, transaction_uid: str) -> str | None:
        try:
            return (self.asked_folder / transaction_uid).read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, f"{transaction_uid} cannot be looked up") from error


def _to_plain(report: CommitmentReport) -> dict[str, Any]:
    return {
        "transaction_uid": report.transaction_uid,
        "ae_title": report.ae_title,
        "committed": sorted([r.sop_class_uid, r.sop_instance_uid] for r in report.committed),
        "failed": sorted([r.sop_class_uid, r.sop_instance_uid, reason] for r, reason in report.failed.items()),
    }


def _from_plain(plain: Mapping[str, Any]) -> CommitmentReport:
    return CommitmentReport(
        transaction_uid=plain["transaction_uid"],
        ae_title=plain["ae_title"],
        committed=frozenset(SopReference(sop_class_uid=c, sop_instance_uid=i) for c, i in plain["committed"]),
        failed={SopReference(sop_class_uid=c, sop_instance_uid=i): reason for c, i, reason in plain["failed"]},
    )
