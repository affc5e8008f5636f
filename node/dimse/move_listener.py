"""The listener that is open while an archive sends us earlier reports by C-MOVE.

It is not the node's own listener: a worker asks, on whatever host it runs, and what comes is read at once and kept
nowhere. It takes only the instances that were asked for, and only from callers on the allow-list.
"""

import ssl
import time
from collections.abc import Callable, Collection, MutableMapping, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from node.dimse.status import Status
from node.errors import PeerError

_PORT_ASKED_AGAIN_S = 0.1
_NOT_AUTHORIZED = 0x0124  # PS3.7 C.5.16
_ANY = "0.0.0.0"  # noqa: S104 - callers are checked one by one


class MoveListener:
    """Opened for one visit to an archive, closed with it."""

    def __init__(
        self,
        ae_title: str,
        port: int,
        *,
        sop_class_uids: Sequence[str],
        admits: Callable[[str, str], bool],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``admits`` says whether a calling AE title may send from an address."""
        self.ae_title, self._port, self._admits = ae_title, port, admits
        self._sop_class_uids, self._tls = sop_class_uids, tls
        self._server: ThreadedAssociationServer | None = None
        self._expected: Collection[str] = ()
        self._stored: MutableMapping[str, Dataset] = {}
        self._stranger: str | None = None

    @property
    def turned_away(self) -> str:
        """Who was turned away, as the end of a sentence."""
        return "" if self._stranger is None else f": {self._stranger} is not on receive.allow"

    def open(self, *, until_s: float) -> None:
        """Listen; a port that another visit of this host has is waited for until ``time.monotonic()`` is ``until_s``.

        Raises:
            PeerError: the port cannot be had.
        """
        while self._server is None:
            try:
                self._server = self._entity().start_server(
                    (_ANY, self._port),
                    block=False,
                    ssl_context=self._tls,
                    evt_handlers=[(evt.EVT_C_STORE, self._keep)],
                )
            except OSError as error:
                if time.monotonic() + _PORT_ASKED_AGAIN_S > until_s:
                    raise PeerError(f"port {self._port} of priors.archive.move_to: {error.strerror}") from error
                time.sleep(_PORT_ASKED_AGAIN_S)

    def expect(self, sop_instance_uids: Collection[str], stored: MutableMapping[str, Dataset]) -> None:
        """Put these instances into ``stored`` by UID when they come; others are refused."""
        self._expected, self._stored = sop_instance_uids, stored

    def close(self) -> None:
        """Listen no longer."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _entity(self) -> AE:
        entity = AE(ae_title=self.ae_title)
        entity.require_called_aet = True
        for sop_class in self._sop_class_uids:
            entity.add_supported_context(UID(sop_class), [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        return entity

    def _keep(self, event: evt.Event) -> int:
        caller = event.assoc.requestor
        if not self._admits(caller.ae_title, caller.address):
            self._stranger = f"{caller.ae_title} at {caller.address}"
            return _NOT_AUTHORIZED
        dataset = event.dataset
        if str(dataset.SOPInstanceUID) not in self._expected:
            return int(Status.DATA_SET_DOES_NOT_MATCH)
        dataset.file_meta = event.file_meta
        self._stored[str(dataset.SOPInstanceUID)] = dataset
        return int(Status.SUCCESS)
