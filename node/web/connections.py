"""Connections of the page: those that make the node wait are ended, and leave room for the others.

The server counts a connection from its first byte on and would wait for a request for ever: silent ones, from whoever
reaches the port, would have everybody answered 503, with the health checks.
"""

import asyncio
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from node.web.entrance import Entrance

MOST_CONNECTIONS = 200
WAIT_S = 20.0
"""For a whole request head, counted from the connection or the last answer; for the next piece of a body; and for an
answer to be read on."""


class Connection(H11Protocol):
    """One connection; knows since when it waits for the other side."""

    def __init__(self, *words: Any, entrance: Entrance, **settings: Any) -> None:
        super().__init__(*words, **settings)
        self._entrance = entrance
        self._waits_since_s: float | None = None  # of the loop's clock; None: the other side waits for us
        self._owes_head = False
        self._unsent = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # narrower than asyncio's, as uvicorn's is
        """Make room, and wait for a request."""
        self._entrance.passed(transport.get_extra_info("peername"))
        self._make_room()
        super().connection_made(transport)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._set_deadline(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._owes_head = False
        self._look()

    def pause_writing(self) -> None:
        """Wait until the answer is read on."""
        super().pause_writing()
        self._look()

    def resume_writing(self) -> None:
        """The answer is read."""
        super().resume_writing()
        self._look()

    def _look(self) -> None:
        owed_head, self._owes_head = self._owes_head, self.conn.their_state is h11.IDLE
        if owed_head and self._owes_head:
            return  # a head that trickles in gets no more time
        answering = self.cycle is not None and not self.cycle.response_complete
        is_ours = answering and self.conn.their_state is not h11.SEND_BODY and not self.flow.write_paused
        self._set_deadline(None if is_ours else self.loop.time())

    def _set_deadline(self, since_s: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._waits_since_s, self._deadline = since_s, None
        if since_s is not None:
            self._unsent = self.transport.get_write_buffer_size()
            self._deadline = self.loop.call_at(since_s + WAIT_S, self._too_late)

    def _too_late(self) -> None:
        if self._is_not_read or self.transport.get_write_buffer_size() < self._unsent:
            self._set_deadline(self.loop.time())  # we do not read yet, or it reads slowly
        else:
            self._end()

    def _end(self) -> None:
        self._set_deadline(None)
        self.connections.discard(self)
        self.transport.abort()

    def _make_room(self) -> None:
        """Where there are too many, end one that makes us wait: of the address with most of them, the one that does so
        for longest."""
        here = [other for other in self.connections if isinstance(other, Connection)]
        if len(here) < MOST_CONNECTIONS:
            return
        number = Counter(other.address for other in here)
        waiting = [
            (number[other.address], -other._waits_since_s, other)
            for other in here
            if other._waits_since_s is not None and not other._is_not_read
        ]
        if not waiting:
            return  # all are being answered; far more of them get 503 of the server
        _, _, longest = max(waiting, key=lambda found: found[:2])
        self._entrance.tell_crowded(longest.address, number[longest.address])
        longest._end()

    @property
    def _is_not_read(self) -> bool:
        return self.flow.read_paused and not self.flow.write_paused

    @property
    def address(self) -> str:
        """Whose connection it is: of a proxy, the proxy's."""
        return self.client[0] if self.client else ""
