"""A small receiving PACS: keeps what it is sent as files in a folder. For the demonstration and for tests."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from node.config import AllowedPeer, ListenerTls, ReceiveConfig
from node.dimse.access import ANY
from node.dimse.scp import Listener
from node.errors import PeerError
from node.intake.incoming import IncomingInstance, Kept
from node.intake.spool import Spool

Condition = Callable[[Sequence[Path]], bool]


class _NotifyingSpool(Spool):
    """A spool that tells when something arrived."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.change = threading.Condition()

    def keep(self, incoming: IncomingInstance) -> Kept:
        kept = super().keep(incoming)
        with self.change:
            self.change.notify_all()
        return kept


class StorePeer:
    """A storage provider on loopback that takes anything from anybody; a context manager that starts and stops it."""

    def __init__(self, folder: Path, ae_title: str = "PACS", *, port: int = 0, tls: ListenerTls | None = None) -> None:
        self.ae_title = ae_title
        self._spool = _NotifyingSpool(folder)
        everybody = (AllowedPeer(ae_title=ANY, host="127.0.0.1"),)
        config = ReceiveConfig(ae_title=ae_title, host="127.0.0.1", port=port, allow=everybody, tls=tls)
        self._listener = Listener(config, self._spool)

    def __enter__(self) -> "StorePeer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen on the port given, or on a free one."""
        self._listener.start()

    def stop(self) -> None:
        """Stop listening; the files stay."""
        self._listener.stop()

    @property
    def port(self) -> int:
        """The port listened on."""
        return self._listener.port

    def files(self) -> list[Path]:
        """Every file stored so far, in order of arrival."""
        return [spooled.path for spooled in self._spool.inbox()]

    def conflicts(self) -> list[Path]:
        """Data sets that came under the UID of another one."""
        return sorted(self._spool.quarantine_folder.glob("*.dcm"))

    def wait_for(self, wanted: int | Condition, timeout_s: float) -> list[Path]:
        """Wait until so many files are here, or until a condition on the files holds; returns them.

        Raises:
            PeerError: it did not happen in time.
        """
        holds = (lambda files: len(files) >= wanted) if isinstance(wanted, int) else wanted
        with self._spool.change:
            if not self._spool.change.wait_for(lambda: holds(self.files()), timeout_s):
                raise PeerError(f"{self.ae_title}: {len(self.files())} files after {timeout_s:g} s, more were expected")
            return self.files()
