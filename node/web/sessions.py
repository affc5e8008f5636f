"""Who is logged in. Log-ins are kept in the ledger, so they hold on every gateway, and through a restart."""

import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from node.config import WebConfig, WebUser
from node.jobs.sessions import LogIn, LogInBook, digest_of

_MOST_KEYS = 1000


@dataclass(frozen=True, kw_only=True)
class Session:
    """One browser."""

    name: str
    role: str
    is_local: bool = False  # nobody had to log in
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def csrf(self) -> str:
        """What must come back with everything that changes something; only who has the token can know it."""
        return digest_of(f"form {self.token}")

    @property
    def may_operate(self) -> bool:
        """Whether this browser may change something."""
        return self.role == "operator"


class Sessions:
    """The browsers that are let in. Without users (loopback only) every browser has the one ``local`` session."""

    def __init__(self, web: WebConfig, book: LogInBook, clock: Callable[[], datetime]) -> None:
        self._web, self._book, self._clock = web, book, clock
        self.local = None if web.users else Session(name="local", role="operator", is_local=True)

    def open(self, user: WebUser) -> Session:
        """Let the browser of a user in.

        Raises:
            StorageError: the ledger is away.
        """
        session, now = Session(name=user.name, role=user.role), self._clock()
        ends_at = now + timedelta(seconds=self._web.session_s)
        log_in = LogIn(name=user.name, password_digest=digest_of(user.password_hash), ends_at=ends_at)
        self._book.add(session.token, log_in, now)
        return session

    def find(self, token: str | None) -> Session | None:
        """The session of a cookie, while it lasts and its user has the role and the password of then.

        Raises:
            StorageError: the ledger is away.
        """
        if not token:
            return None
        if self.local is not None:
            return self.local if secrets.compare_digest(token.encode(), self.local.token.encode()) else None
        log_in = self._book.find(token)
        if log_in is None or log_in.ends_at <= self._clock():
            return None
        user = next((u for u in self._web.users if u.name == log_in.name), None)
        if user is None or digest_of(user.password_hash) != log_in.password_digest:
            return None
        return Session(name=user.name, role=user.role, token=token)

    def close(self, session: Session) -> None:
        """Log out, on every gateway.

        Raises:
            StorageError: the ledger is away; the log-in stands.
        """
        self._book.remove(session.token)


class RateLimit:
    """At most ``number`` in ``window_s`` seconds for each key; ``clock_s`` is monotonic."""

    def __init__(self, number: int, window_s: float, clock_s: Callable[[], float]) -> None:
        self._number, self._window_s, self._clock_s = number, window_s, clock_s
        self._lock = threading.Lock()
        self._seen: dict[str, deque[float]] = {}

    def exceeded(self, *keys: str) -> bool:
        """Whether there were too many already for one of them; this one is not counted."""
        with self._lock:
            return self._is_full(keys)

    def reserve(self, *keys: str) -> bool:
        """Count one for each of them; ``False``, and none is counted, when one of them had too many already."""
        with self._lock:
            if self._is_full(keys):
                return False
            for key in keys:
                self._add(key)
            return True

    def give_back(self, *keys: str) -> None:
        """Forget one that was reserved."""
        with self._lock:
            for key in keys:
                if recent := self._recent(key):
                    recent.pop()

    def count(self, key: str) -> bool:
        """Count one; ``False`` when that is one too many."""
        with self._lock:
            return self._add(key) <= self._number

    def _is_full(self, keys: Iterable[str]) -> bool:
        return any(len(self._recent(key)) >= self._number for key in keys)

    def _add(self, key: str) -> int:
        recent = self._recent(key)
        recent.append(self._clock_s())
        self._seen[key] = recent
        return len(recent)

    def _recent(self, key: str) -> deque[float]:
        start = self._clock_s() - self._window_s
        if len(self._seen) > _MOST_KEYS:
            self._seen = {k: times for k, times in self._seen.items() if times and times[-1] > start}
        times = self._seen.get(key, deque(maxlen=self._number + 1))
        while times and times[0] <= start:
            times.popleft()
        return times
