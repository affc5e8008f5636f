"""Which host is struck next: each is killed once and cut off once before chance decides."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.several_hosts.site import CUT_OFF, FILES, KILLED

Fault = tuple[str, str]  # a host, and KILLED or CUT_OFF
_POWER_CUT = (FILES, KILLED)  # takes gateways and workers with it, so nothing else happens then


class Deck:
    """Faults for several threads at once; no host is struck while it is away."""

    def __init__(self, names: tuple[str, ...], rng: random.Random) -> None:
        self._names, self._rng = names, rng
        self._away: set[Fault] = set()
        self._changed = threading.Condition()
        self._cards = self._shuffled()
        self._left = set(self._cards)
        self.n_of_cover = len(self._left)

    @property
    def covered(self) -> bool:
        """Whether every host came back from each of the two."""
        return not self._left

    @contextmanager
    def drawn(self, over: threading.Event) -> Iterator[tuple[Fault, list[str]] | None]:
        """The next fault, and who is away already; to be repaired in the block. None when it is ``over``."""
        with self._changed:
            while (card := self._possible()) is None:
                if over.is_set():
                    break
                self._changed.wait(0.5)
            others = sorted(name for name, _ in self._away)
            if card is not None:
                self._away.add(card)
        if card is None:
            yield None
            return
        try:
            yield card, others
        finally:
            with self._changed:
                self._away.remove(card)
                self._left.discard(card)
                self._changed.notify_all()

    def _possible(self) -> Fault | None:
        if not self._cards:
            self._cards = self._shuffled()
        if _POWER_CUT in self._away or (self._cards[0] == _POWER_CUT and self._away):
            return None
        away = {name for name, _ in self._away}
        for index, card in enumerate(self._cards):
            if card[0] not in away:
                return self._cards.pop(index)
            if card == _POWER_CUT:
                break
        return None

    def _shuffled(self) -> list[Fault]:
        cards = [(name, kind) for name in self._names for kind in (KILLED, CUT_OFF)]
        self._rng.shuffle(cards)
        return cards
