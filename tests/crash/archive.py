"""A PACS of stock pynetdicom that misbehaves when told to: ``python archive.py PORT FOLDER [ADDRESS]``.

``FOLDER/mode`` says how it answers: keep, fail, hang, abort, or lose (success, without keeping anything). Every object
is a file ``objects/<SOP Instance UID>`` with the data set's bytes; the same object again leaves a file
``repeats/<UID>.<number>.same`` (or ``.other``: other bytes), an object that was lost ``lost/<UID>``.
"""

import sys
import time
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event

KEEP, FAIL, HANG, ABORT, LOSE = "keep", "fail", "hang", "abort", "lose"
_OUT_OF_RESOURCES = 0xA700
_LONGEST_HANG_S = 60.0


class Store:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("objects", "repeats", "lost"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def mode(self) -> str:
        return (self.folder / "mode").read_text().strip()

    def handle(self, event: Event) -> int:
        """Answer one C-STORE request."""
        mode = self.mode
        if mode == HANG:
            deadline = time.monotonic() + _LONGEST_HANG_S
            while self.mode == HANG and time.monotonic() < deadline:
                time.sleep(0.05)  # a PACS that does not answer
        if mode == FAIL:
            return _OUT_OF_RESOURCES
        if mode == ABORT:
            event.assoc.abort()
            return _OUT_OF_RESOURCES
        uid, data = str(event.request.AffectedSOPInstanceUID), event.request.DataSet.getvalue()
        if mode == LOSE:
            (self.folder / "lost" / uid).touch()
            return 0
        self._keep(uid, data)
        return 0

    def _keep(self, uid: str, data: bytes) -> None:
        target = self.folder / "objects" / uid
        if target.exists():
            kind = "same" if target.read_bytes() == data else "other"
            (self.folder / "repeats" / f"{uid}.{time.time_ns()}.{kind}").touch()
            return
        temporary = self.folder / f"{uid}.{time.time_ns()}.tmp"
        temporary.write_bytes(data)
        temporary.rename(target)


def main(port: int, folder: Path, address: str = "127.0.0.1") -> None:
    """Listen until killed."""
    ae = AE(ae_title="PACS")
    ae.maximum_associations = 20
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    ae.start_server((address, port), block=True, evt_handlers=[(evt.EVT_C_STORE, Store(folder).handle)])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
