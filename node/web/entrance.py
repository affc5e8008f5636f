"""The listening socket of the page: TLS handshakes that are not finished leave room for the others.

The server knows a connection only from the end of its handshake on. Until then each holds a descriptor and memory, for
up to a minute, and any number of them would be taken.
"""

import contextlib
import logging
import socket
import time
from collections import Counter
from typing import Any

from node.ops.events import Event, emit

MOST_HANDSHAKES = 200
BACKLOG = 100
"""Connections that the system holds for us, and the most that the event loop takes before it looks at the others."""
_TOLD_EVERY_S = 60.0


class Entrance(socket.socket):
    """Takes connections; knows which are still in their handshake. Used by the event loop alone."""

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(fileno=listening.detach())
        self._in_handshake: dict[Any, socket.socket] = {}  # by the other side's address and port, the earliest first
        self._tells_next_s = 0.0

    def accept(self) -> tuple[socket.socket, Any]:
        """Take a connection; where there are too many in their handshake, it replaces one."""
        caller, address = super().accept()
        self._make_room()
        self._in_handshake.pop(address, None)  # of one before, from the same port
        self._in_handshake[address] = caller
        return caller, address

    def passed(self, address: Any) -> None:
        """The connection of this address and port has ended its handshake, or needs none."""
        self._in_handshake.pop(address, None)

    def tell_crowded(self, address: str, connections: int) -> None:
        """Say, once a minute, that a connection of this address, one of so many, was ended to make room."""
        if time.monotonic() >= self._tells_next_s:
            self._tells_next_s = time.monotonic() + _TOLD_EVERY_S
            emit(Event.WEB_CROWDED, logging.WARNING, address=address, connections=connections)

    def _make_room(self) -> None:
        """Of the address with most of them, end the one that takes longest."""
        if len(self._in_handshake) >= MOST_HANDSHAKES:  # among them those that were given up
            self._in_handshake = {key: caller for key, caller in self._in_handshake.items() if caller.fileno() != -1}
        if len(self._in_handshake) < MOST_HANDSHAKES:
            return
        number = Counter(address[0] for address in self._in_handshake)
        longest = max(self._in_handshake, key=lambda address: number[address[0]])
        self.tell_crowded(longest[0], number[longest[0]])
        with contextlib.suppress(OSError):  # it may have gone by itself
            self._in_handshake.pop(longest).shutdown(socket.SHUT_RDWR)  # the loop reads its end, and closes it
