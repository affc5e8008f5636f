"""Send what is due for one destination: one association, an outcome for each object, a later try for what failed.

A try never ends a delivery without success. Between the peer's answer and the mark in the ledger lies a moment in
which a crash makes the same bytes go out again under the same UIDs; that changes nothing at the peer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from node.config import DestinationConfig, Receiver
from node.deliver.backoff import full_jitter_s
from node.deliver.outbox import Outbox, plan_alternative
from node.errors import InputError, PeerError, StorageError
from node.intake.headers import read_dataset
from node.intake.tags import ODD_DATA
from node.jobs.deliveries import Delivery, DeliveryBook, DeliveryTrial
from node.jobs.order import Turn
from node.model import StoreOutcome, StoreStatus
from node.ops.events import Event, emit
from sr_templates.predecessor import REJECTION_ROLE, rejected_uids

_OBJECTS_AT_ONCE = 500  # on one association
_WAITS = "waits until what it takes back is there"

OnOutcome = Callable[[StoreOutcome], None]
Sender = Callable[[Sequence[Path], Receiver, OnOutcome], Sequence[StoreOutcome]]
"""Sends files to a destination on one association; raises ``PeerError`` when there is none to be had."""


@dataclass(frozen=True, kw_only=True)
class Dispatcher:
    """``uniform(low, high)`` draws the jitter; ``told`` is what was logged: (destination, role) that is not taken."""

    book: DeliveryBook
    outbox: Outbox
    send: Sender
    clock: Callable[[], datetime]
    uniform: Callable[[float, float], float]
    told: set[tuple[str, str]] = field(default_factory=set)

    def deliver_due(self, destination: Receiver) -> int:
        """Try everything that is due for a destination; how many objects it has taken.

        Raises:
            StorageError: the ledger refused; what was sent since is sent again later.
        """
        if not isinstance(destination, DestinationConfig):
            self.book.drop_overtaken(destination.name, self.clock())
        due = self.book.due(destination.name, self.clock(), _OBJECTS_AT_ONCE)
        present = {self._path(d): d for d in self._in_turn(self._sound(due, destination), destination)}
        return self._send(present, destination) if present else 0

    def _path(self, delivery: Delivery) -> Path:
        return self.outbox.path(delivery.job_id) / delivery.file

    def _sound(self, due: Sequence[Delivery], destination: Receiver) -> list[Delivery]:
        """``due`` without those whose file cannot be sent: one bad file holds nobody else back."""
        found = [(delivery, self._unfit(delivery)) for delivery in due]
        for why in sorted({why for _, why in found if why is not None}):
            unfit = [delivery for delivery, reason in found if reason == why]
            self._postpone(unfit, destination, why)
            jobs = sorted({delivery.job_id for delivery in unfit})
            emit(Event.DELIVERY_FAILED, destination=destination.name, objects=len(unfit), detail=why, job_ids=jobs)
        return [delivery for delivery, why in found if why is None]

    def _unfit(self, delivery: Delivery) -> str | None:
        """Why a delivery's file cannot be sent, or ``None``."""
        damage = self.outbox.damage(delivery.job_id, delivery.file)
        if damage is None and delivery.role == REJECTION_ROLE:
            try:
                self._rejected(delivery)
            except (InputError, StorageError, *ODD_DATA):
                return "its file in the outbox is no rejection note that can be read"
        return damage

    def _rejected(self, note: Delivery) -> frozenset[str]:
        return rejected_uids(read_dataset(self._path(note)))

    def _in_turn(self, due: Sequence[Delivery], destination: Receiver) -> list[Delivery]:
        """``due`` without rejection notes whose turn it is not."""
        turns = [(delivery, self._turn(delivery)) for delivery in due]
        if later := [delivery for delivery, turn in turns if turn is Turn.LATER]:
            self.book.wait(later, _WAITS, self._retry_at(1, destination, self.clock()))
        for delivery, turn in turns:
            if turn is Turn.NEVER:
                self.book.drop(delivery, self.clock())
        return [delivery for delivery, turn in turns if turn is Turn.NOW]

    def _turn(self, delivery: Delivery) -> Turn:
        if delivery.role != REJECTION_ROLE:
            return Turn.NOW
        return self.book.turn(delivery, self._rejected(delivery))

    def _send(self, files: dict[Path, Delivery], destination: Receiver) -> int:
        answered: dict[Path, StoreOutcome] = {}

        def note(outcome: StoreOutcome) -> None:
            if outcome.status != StoreStatus.NOT_TRIED:
                answered[outcome.path] = outcome
                self._mark(files[outcome.path], destination, outcome)

        detail = "the association ended before its turn"
        try:
            for outcome in self.send(list(files), destination, note):
                detail = outcome.detail or detail if outcome.status == StoreStatus.NOT_TRIED else detail
        except PeerError as error:
            detail = str(error)
        rest = [delivery for path, delivery in files.items() if path not in answered]
        if rest:
            # If anything was answered, the others only wait: what broke the association must not count against them.
            self._postpone(rest, destination, detail, counted=not answered)
        taken = [outcome for outcome in answered.values() if outcome.stored]
        refused = [o for o in answered.values() if not o.stored and o.status != StoreStatus.NO_CONTEXT]
        self._tell(destination, files, taken, refused, detail if rest else None)
        return len(taken)

    def _mark(self, delivery: Delivery, destination: Receiver, outcome: StoreOutcome) -> None:
        now = self.clock()
        detail = outcome.detail or outcome.status.value
        if outcome.status == StoreStatus.NO_CONTEXT:
            self._give_up(delivery, destination, detail, now)
            return
        retry_at = None if outcome.stored else self._retry_at(delivery.attempts + 1, destination, now)
        self.book.mark([DeliveryTrial(delivery=delivery, detail=detail, retry_at=retry_at)], now)

    def _give_up(self, delivery: Delivery, destination: Receiver, detail: str, now: datetime) -> None:
        """A kind of object that the destination never takes is not tried again; what can stand in for it is sent."""
        record = self.outbox.record(delivery.job_id)
        instead = None if record is None else plan_alternative(record, destination.name, delivery.role)
        if instead is not None:
            self.book.add(delivery.job_id, [instead], now)
        self.book.mark([DeliveryTrial(delivery=delivery, detail=detail, retry_at=None, unsupported=True)], now)
        if (destination.name, delivery.role) not in self.told:
            self.told.add((destination.name, delivery.role))
            emit(
                Event.DELIVERY_UNSUPPORTED,
                destination=destination.name,
                role=delivery.role,
                detail=detail,
                instead=None if instead is None else instead.role,
            )

    def _postpone(
        self, deliveries: Sequence[Delivery], destination: Receiver, detail: str, *, counted: bool = True
    ) -> None:
        now = self.clock()
        # One moment for all of them, so that they share an association again.
        retry_at = self._retry_at(min(d.attempts for d in deliveries) + 1, destination, now)
        self.book.mark(
            [DeliveryTrial(delivery=d, detail=detail, retry_at=retry_at, counted=counted) for d in deliveries], now
        )

    def _retry_at(self, attempts: int, destination: Receiver, now: datetime) -> datetime:
        wait_s = full_jitter_s(attempts, destination.retry_base_s, destination.retry_max_s, self.uniform)
        return now + timedelta(seconds=wait_s)

    @staticmethod
    def _tell(
        destination: Receiver,
        files: dict[Path, Delivery],
        taken: Sequence[StoreOutcome],
        refused: Sequence[StoreOutcome],
        not_sent: str | None,
    ) -> None:
        if taken:
            jobs = sorted({files[o.path].job_id for o in taken})
            emit(Event.DELIVERY_SENT, destination=destination.name, objects=len(taken), job_ids=jobs)
        if refused or not_sent:
            emit(
                Event.DELIVERY_FAILED,
                destination=destination.name,
                objects=len(files) - len(taken),
                detail=not_sent or refused[0].detail or refused[0].status.value,
            )
