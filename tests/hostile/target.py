"""A listener that is attacked, and what it answers, in words."""

import socket
from collections.abc import Callable
from dataclasses import dataclass

from node.dimse.requestor import Context, Peer, Requestor
from node.dimse.scu import echo
from node.errors import PeerError
from tests.loopback.callers import store
from tests.node.intake.encoded_images import EXPLICIT_LITTLE, MR_IMAGE

_SERVED_WITHIN_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """A listener on this machine."""

    port: int
    called: str = "IRONNODE"
    calling: str = "MR1"

    @property
    def peer(self) -> Peer:
        return Peer(ae_title=self.called, host="127.0.0.1", port=self.port)

    def associate(self, *contexts: tuple[str, str], called: str | None = None, timeout_s: float = 20) -> Requestor:
        """An association; PeerError when it is refused."""
        proposed = [
            Context(sop_class_uid=sop_class, transfer_syntax_uid=syntax)
            for sop_class, syntax in contexts or ((MR_IMAGE, EXPLICIT_LITTLE),)
        ]
        peer = Peer(ae_title=called or self.called, host="127.0.0.1", port=self.port)
        return Requestor(peer, proposed, calling_ae_title=self.calling, timeout_s=timeout_s)

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def serves(self, timeout_s: float = _SERVED_WITHIN_S) -> bool:
        """Whether another caller is answered."""
        try:
            echo(self.peer, calling_ae_title=self.calling, timeout_s=timeout_s)
        except PeerError:
            return False
        return True


Attack = Callable[[Target], str]
"""Does its worst; says what the listener made of it."""


def outcome(error: PeerError) -> str:
    """What a listener did, from the error that it gave us."""
    text = str(error)
    if "rejected" in text:
        return "rejected: " + text.rpartition("rejected: ")[2].partition(":")[0]
    for part, word in (("abort", "A-ABORT"), ("in time", "no answer"), ("answered another", "odd answer")):
        if part in text:
            return word
    return "closed"


def answer(
    target: Target,
    *,
    context: tuple[str, str] = (MR_IMAGE, EXPLICIT_LITTLE),
    data: bytes | None = None,
    sop_class_uid: str = MR_IMAGE,
    sop_instance_uid: str = "1.2.3.4",
) -> str:
    """The status of one C-STORE, or what came instead."""
    try:
        with target.associate(context) as association:
            if not association.accepted:
                return "context refused"
            response = store(association, data, sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid)
            return f"{response.status:04X}"
    except PeerError as error:
        return outcome(error)
