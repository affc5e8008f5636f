"""Retention: the files of a job go when its time is over and every destination is proved to have every object.

Proof is storage commitment; at a destination that was not set up for it, C-FIND that lists each object by its UID, or
the site's choice to do without. What is to go is marked in the ledger first; deleting is repeated until it is done.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from node.config import DestinationConfig, RetentionConfig
from node.deliver.clock_watch import ClockWatch
from node.deliver.outbox import Outbox
from node.errors import InputError, PeerError
from node.intake.dataset_walk import walk_file
from node.intake.file_meta import decode_file_meta, head_bytes
from node.intake.set_apart import SetApart, by_place, remove_set_apart, set_apart
from node.intake.spool import Spool
from node.jobs.commitments import CommitmentBook
from node.jobs.deliveries import Delivery, DeliveryBook, untold_at
from node.jobs.removals import Candidate, RemovalBook
from node.model import CommitmentState, DeliveryState
from node.ops.events import Event, emit

_LOOK_AGAIN_AFTER = timedelta(hours=1)

Find = Callable[[DestinationConfig, str, Sequence[str]], frozenset[str]]
"""The SOP Instance UIDs that a destination lists for series of one study; raises ``PeerError``."""


class _UnprovedError(Exception):
    """What is missing to prove a job's delivery."""


@dataclass(frozen=True, kw_only=True)
class Retention:
    """One look at a time; ``find`` asks a destination."""

    removals: RemovalBook
    deliveries: DeliveryBook
    commitments: CommitmentBook
    outbox: Outbox
    spool: Spool
    config: RetentionConfig
    destinations: Sequence[DestinationConfig]
    message_receivers: frozenset[str]  # these have the numbers, not the objects, and prove nothing
    find: Find
    clock: Callable[[], datetime]
    watch: ClockWatch

    def step(self) -> int:
        """Remove what may go now, nothing for a while after the clock jumped; how many jobs' files went.

        Raises:
            StorageError: disk or ledger refused; what is left is done in a later step.
        """
        if self.watch.held_until() is not None:
            return 0
        self._delete_marked()
        for candidate in self.due():
            self._judge(candidate)
        removed = self._delete_marked()
        self._delete_strays()
        self._delete_set_apart()
        return removed

    def due(self) -> list[Candidate]:
        """Jobs whose time is over."""
        return self.removals.due(
            self.clock(),
            measured_before=self._before(self.config.keep_days),
            refused_before=self._before(self.config.keep_refused_days),
        )

    def outlooks(self) -> dict[str, tuple[bool, str]]:
        """Whether the files of each job whose time is over go next, and why, as far as is known without asking anybody;
        of those that are not due for another look what the last one found."""
        kept = {removal.job_id: (False, removal.detail) for removal in self.removals.unproved()}
        return {**kept, **{candidate.job_id: self._outlook(candidate) for candidate in self.due()}}

    def strays(self) -> dict[str, list[str]]:
        """Images that belong to no job and whose time is over, by study; not of a study that is just sent again."""
        before = self._before(self.config.keep_declined_days)
        if before is None:
            return {}
        found = self.removals.strays(before)
        return {study: uids for study, uids in found.items() if not self.spool.came_after(uids, before)}

    def set_apart(self) -> list[SetApart]:
        """Files in quarantine and unreadable whose time is over."""
        before = self._before(self.config.keep_quarantine_days)
        return [] if before is None else [file for file in set_apart(self.spool) if file.came_at <= before]

    def _outlook(self, candidate: Candidate) -> tuple[bool, str]:
        try:
            return True, self._prove(candidate, ask=False)
        except _UnprovedError as missing:
            return False, str(missing)

    def _before(self, days: float | None) -> datetime | None:
        return None if days is None else self.clock() - timedelta(days=days)

    def _judge(self, candidate: Candidate) -> None:
        try:
            proof = self._prove(candidate, ask=True)
        except _UnprovedError as missing:
            now = self.clock()
            if self.removals.keep(candidate.job_id, str(missing), now + _LOOK_AGAIN_AFTER, now):
                emit(Event.FILES_KEPT, job_id=candidate.job_id, detail=str(missing))
            return
        self.removals.mark(candidate.job_id, proof, self.clock())

    def _prove(self, candidate: Candidate, *, ask: bool) -> str:
        if candidate.proved:
            return "its images were sent again after its delivery had been proved"
        if candidate.self_test:
            return "to nobody, it is a self-test"
        sent: dict[str, list[Delivery]] = {}
        deliveries = self.deliveries.of_job(candidate.job_id)
        to_tell = {d.name for d in self.destinations if d.is_to_tell}
        if nowhere := [name for name in untold_at(deliveries) if name in to_tell]:
            raise _UnprovedError(f"{nowhere[0]}: takes neither page, PDF nor report, so nobody reads the result there")
        for delivery in deliveries:
            if delivery.state == DeliveryState.SENT and delivery.destination not in self.message_receivers:
                sent.setdefault(delivery.destination, []).append(delivery)
        if not sent:
            raise _UnprovedError("no destination has any of its objects")
        configured = {destination.name: destination for destination in self.destinations}
        proofs = [self._prove_at(candidate, name, mine, configured.get(name), ask) for name, mine in sent.items()]
        return "; ".join(proofs)

    def _prove_at(
        self,
        candidate: Candidate,
        name: str,
        sent: Sequence[Delivery],
        destination: DestinationConfig | None,
        ask: bool,
    ) -> str:
        wanted = {delivery.sop_instance_uid for delivery in sent}
        committed = {
            c.sop_instance_uid
            for c in self.commitments.of_job(candidate.job_id)
            if c.destination == name and c.state == CommitmentState.COMMITTED
        }
        if wanted <= committed:
            return f"{name}: storage commitment of {len(wanted)} objects"
        if destination is not None and destination.commitment:
            raise _UnprovedError(f"{name}: committed to {len(wanted & committed)} of {len(wanted)} objects")
        if self.config.delete_without_proof:
            return f"{name}: {len(wanted)} objects sent, no proof wanted by the site"
        if destination is None:
            raise _UnprovedError(f"{name}: no longer configured, so it cannot be asked")
        return self._found(candidate, destination, sent) if ask else f"{name}: to be asked by C-FIND"

    def _found(self, candidate: Candidate, destination: DestinationConfig, sent: Sequence[Delivery]) -> str:
        wanted = {delivery.sop_instance_uid for delivery in sent}
        try:
            series = sorted({self._series_of(delivery) for delivery in sent})
            listed = self.find(destination, candidate.study_instance_uid, series)
        except (PeerError, InputError) as error:
            raise _UnprovedError(f"{destination.name}: {error}") from error
        if not wanted <= listed:
            raise _UnprovedError(f"{destination.name}: C-FIND lists {len(wanted & listed)} of {len(wanted)} objects")
        return f"{destination.name}: C-FIND lists all {len(wanted)} objects"

    def _series_of(self, delivery: Delivery) -> str:
        path = self.outbox.path(delivery.job_id) / delivery.file
        try:
            with path.open("rb") as file:
                meta, offset = decode_file_meta(file.read(head_bytes()), path.name)
            return walk_file(path, offset, meta.transfer_syntax_uid).series_instance_uid
        except OSError as error:
            raise InputError(f"{delivery.file}: cannot be read: {error.strerror or error}") from error

    def _delete_marked(self) -> int:
        marked = self.removals.marked()
        for removal in marked:
            freed = self.outbox.strip(removal.job_id, removal.detail)
            freed += self.spool.remove(self.removals.unneeded_instances(removal.job_id))
            self.removals.done(removal.job_id, freed, self.clock())
            emit(Event.FILES_REMOVED, job_id=removal.job_id, detail=removal.detail, freed_bytes=freed)
        return len(marked)

    def _delete_strays(self) -> None:
        before = self._before(self.config.keep_declined_days)
        if before is None:
            return
        for study, uids in self.strays().items():
            freed, gone = self.spool.remove_old(uids, before)
            if gone:
                self.removals.forget(study, gone, before, self.clock())
                emit(Event.STRAYS_REMOVED, study_instance_uid=study, images=len(gone), freed_bytes=freed)

    def _delete_set_apart(self) -> None:
        files = self.set_apart()
        if not files:
            return
        numbers: dict[str, Any] = {place: counts.files for place, counts in by_place(self.spool, files).items()}
        numbers["freed_bytes"] = sum(file.size_bytes for file in files)
        self.removals.note_set_apart(self.clock(), **numbers)  # first: none goes unsaid when this is cut off
        remove_set_apart(files)
        emit(Event.SET_APART_REMOVED, **numbers)
