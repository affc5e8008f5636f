"""A listener on a free loopback port, and callers for it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.config import AllowedPeer, ReceiveConfig
from node.dimse.requestor import Context, Peer, Requestor
from node.dimse.scp import Listener
from node.intake.spool import Spool
from tests.loopback.callers import EXPLICIT_LITTLE, MR_IMAGE

StartListener = Callable[..., Listener]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """The spool that the listener of this test writes to."""
    return Spool(tmp_path / "storage")


@pytest.fixture
def start_listener(spool: Spool) -> Iterator[StartListener]:
    """Starts a listener with settings of the test's choice; it is stopped at the end."""
    running: list[Listener] = []

    def start(
        *, into: Spool = spool, allow: tuple[tuple[str, str], ...] = (("*", "127.0.0.1"),), **settings: object
    ) -> Listener:
        peers = tuple(AllowedPeer(ae_title=title, host=host) for title, host in allow)
        config = ReceiveConfig.model_validate({"host": "127.0.0.1", "port": 0, "allow": peers, **settings})
        listener = Listener(config, into)
        listener.start()
        running.append(listener)
        return listener

    yield start
    for listener in running:
        listener.stop(timeout_s=2)


@pytest.fixture
def listener(start_listener: StartListener) -> Listener:
    """A listener with default limits that lets anybody on this machine call."""
    return start_listener()


@pytest.fixture
def associate() -> Iterator[Callable[..., Requestor]]:
    """Opens associations to a listener; they are aborted at the end unless the test ended them."""
    opened: list[Requestor] = []

    def connect(
        listener: Listener,
        *contexts: tuple[str, str],
        calling: str = "MR1",
        called: str = "IRONNODE",
        timeout_s: float = 10,
    ) -> Requestor:
        proposed = [
            Context(sop_class_uid=sop_class, transfer_syntax_uid=syntax)
            for sop_class, syntax in contexts or ((MR_IMAGE, EXPLICIT_LITTLE),)
        ]
        peer = Peer(ae_title=called, host="127.0.0.1", port=listener.port)
        requestor = Requestor(peer, proposed, calling_ae_title=calling, timeout_s=timeout_s)
        opened.append(requestor)
        return requestor

    yield connect
    for requestor in opened:
        requestor.abort()
