"""Storage commitment after delivery: ask a destination to keep for good what it was sent, and enter what it reports.

An object counts as committed by the destination's report alone. A request without a report is made anew with another
transaction UID after a time that doubles; an object that the destination does not have is sent again.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from node.config import DestinationConfig
from node.deliver.backoff import doubled_s, full_jitter_s
from node.errors import PeerError
from node.jobs.commitment_files import CommitmentFiles
from node.jobs.commitments import CommitmentBook, DueCommitment, EnteredReport
from node.model import SopReference
from node.ops.events import Event, emit

_OBJECTS_AT_ONCE = 500  # in one transaction
_LONGEST_WAIT_S = 86400.0  # for a report, before the request is made anew

Ask = Callable[[DestinationConfig, str, Sequence[SopReference]], None]
"""Makes one request with a transaction UID; raises ``PeerError`` when the destination did not take it."""


@dataclass(frozen=True, kw_only=True)
class Committer:
    """``uniform(low, high)`` draws the jitter."""

    book: CommitmentBook
    files: CommitmentFiles
    ask: Ask
    clock: Callable[[], datetime]
    uniform: Callable[[float, float], float]

    def take_answers(self) -> int:
        """Enter the reports that came; how many.

        Raises:
            StorageError: disk or ledger refused; what is left is entered later.
        """
        answers = self.files.answers()
        for report in answers:
            entered = self.book.enter(report, self.clock())
            self.files.taken(report.transaction_uid)
            if entered is not None:  # else: asked anew since; what counts is the answer to that
                _tell(entered)
        return len(answers)

    def due_destinations(self, destinations: Iterable[DestinationConfig]) -> list[str]:
        """Which of the destinations that are to commit have something to be asked about now."""
        wanted = {destination.name for destination in destinations if destination.commitment}
        return [name for name in self.book.due_destinations(self.clock()) if name in wanted] if wanted else []

    def ask_due(self, destination: DestinationConfig) -> int:
        """Ask a destination about what is due, in one transaction; about how many objects it was asked.

        Raises:
            StorageError: disk or ledger refused; what was asked is asked again later.
        """
        due = self.book.due(destination.name, self.clock(), _OBJECTS_AT_ONCE) if destination.commitment else []
        if not due:
            return 0
        transaction_uid = f"2.25.{uuid.uuid4().int}"  # PS3.5 B.2
        silent = max(d.unanswered for d in due)
        if silent:
            detail = f"{silent} requests without a report"
            emit(Event.COMMITMENT_FAILED, destination=destination.name, objects=len(due), detail=detail)
        longest_s = max(_LONGEST_WAIT_S, destination.commitment_again_s)
        now = self.clock()
        again_at = now + timedelta(seconds=doubled_s(silent + 1, destination.commitment_again_s, longest_s))
        self.book.mark_asked(destination.name, due, transaction_uid, again_at, now)
        self.files.expect(transaction_uid, destination.ae_title.strip())
        try:
            self.ask(destination, transaction_uid, [d.reference for d in due])
        except PeerError as error:
            self._not_taken(destination, due, transaction_uid, error)
            return 0
        self.book.mark_taken(transaction_uid)
        job_ids = sorted({d.job_id for d in due})
        emit(Event.COMMITMENT_ASKED, destination=destination.name, objects=len(due), job_ids=job_ids)
        return len(due)

    def _not_taken(
        self, destination: DestinationConfig, due: Sequence[DueCommitment], transaction_uid: str, error: PeerError
    ) -> None:
        failures = max(d.failures for d in due) + 1
        wait_s = full_jitter_s(failures, destination.retry_base_s, destination.retry_max_s, self.uniform)
        self.book.mark_not_taken(transaction_uid, str(error), self.clock() + timedelta(seconds=wait_s))
        emit(Event.COMMITMENT_FAILED, destination=destination.name, objects=len(due), detail=str(error))


def _tell(entered: EnteredReport) -> None:
    jobs = list(entered.job_ids)
    if entered.committed:
        emit(Event.COMMITMENT_CONFIRMED, destination=entered.destination, objects=entered.committed, job_ids=jobs)
    if entered.refused:
        emit(
            Event.COMMITMENT_REFUSED, destination=entered.destination, objects=entered.refused, job_ids=jobs,
            given_up=entered.given_up, detail=entered.detail,
        )  # fmt: skip
