"""UIDs as names of files, and one keeper at a time for each."""

import re
import threading

# PS3.5 9.1, except that leading zeros of a component are let pass: scanners send them, and a file name can hold them.
_LEGAL_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64


def is_legal_uid(uid: str) -> bool:
    """Whether a UID obeys PS3.5 9.1 closely enough to be a file name."""
    return len(uid) <= _LONGEST_UID and _LEGAL_UID.fullmatch(uid) is not None


class UidReservations:
    """One keeper at a time for each UID, so that two senders of one instance cannot both be first."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._held: set[str] = set()

    def hold(self, uid: str) -> None:
        """Wait until nobody else holds this UID, then hold it."""
        with self._change:
            while uid in self._held:
                self._change.wait()
            self._held.add(uid)

    def release(self, uid: str) -> None:
        """Let the next one have it."""
        with self._change:
            self._held.remove(uid)
            self._change.notify_all()
