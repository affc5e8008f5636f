"""Who is logged in, kept in memory: a restart of the web role logs everybody out."""

import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from node.config import WebConfig

_MAX_SESSIONS = 1000


@dataclass(frozen=True, kw_only=True)
class Session:
    """One browser; ``csrf`` must come back with everything that changes something."""

    name: str
    role: str
    ends_at_s: float
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def may_operate(self) -> bool:
        """Whether this browser may change something."""
        return self.role == "operator"


class Sessions:
    """The browsers that are let in; ``clock_s`` is monotonic."""

    def __init__(self, web: WebConfig, clock_s: Callable[[], float]) -> None:
        self._web = web
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def open(self, name: str, role: str) -> Session:
        """Let a browser in."""
        session = Session(name=name, role=role, ends_at_s=self._clock_s() + self._web.session_s)
        with self._lock:
            now = self._clock_s()
            self._sessions = {t: s for t, s in self._sessions.items() if s.ends_at_s > now}
            while len(self._sessions) >= _MAX_SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
            self._sessions[session.token] = session
        return session

    def find(self, token: str | None) -> Session | None:
        """The session of a cookie, while it lasts."""
        with self._lock:
            session = self._sessions.get(token or "")
        return session if session is not None and session.ends_at_s > self._clock_s() else None

    def close(self, session: Session) -> None:
        """Log out."""
        with self._lock:
            self._sessions.pop(session.token, None)


class RateLimit:
    """At most ``number`` in ``window_s`` seconds for each key."""

    def __init__(self, number: int, window_s: float, clock_s: Callable[[], float]) -> None:
        self._number, self._window_s, self._clock_s = number, window_s, clock_s
        self._lock = threading.Lock()
        self._seen: dict[str, deque[float]] = {}

    def exceeded(self, key: str) -> bool:
        """Whether there were too many already; this one is not counted."""
        with self._lock:
            return len(self._recent(key)) >= self._number

    def count(self, key: str) -> bool:
        """Count one; ``False`` when that is one too many."""
        with self._lock:
            recent = self._recent(key)
            recent.append(self._clock_s())
            self._seen[key] = recent
            return len(recent) <= self._number

    def _recent(self, key: str) -> deque[float]:
        start = self._clock_s() - self._window_s
        if len(self._seen) > _MAX_SESSIONS:
            self._seen = {k: times for k, times in self._seen.items() if times and times[-1] > start}
        times = self._seen.get(key, deque(maxlen=self._number + 1))
        while times and times[0] <= start:
            times.popleft()
        return times
