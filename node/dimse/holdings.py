"""Which instances an archive says it has: C-FIND at image level, Study Root (PS3.4 C.6.2.1)."""

from collections.abc import Iterable
from types import TracebackType

from pydicom.dataset import Dataset

from node.dimse.command import encode_find_request
from node.dimse.contexts import STUDY_ROOT_FIND
from node.dimse.data_sets import contexts_for, decode_from, encode_for
from node.dimse.requestor import Peer, Requestor
from node.dimse.status import describe, is_success
from node.errors import InputError, PeerError

_MOST_ANSWERS = 100_000  # to one query


class Inquiry:
    """An association for such questions; a context manager."""

    def __init__(self, peer: Peer, *, calling_ae_title: str, timeout_s: float) -> None:
        """Associate.

        Raises:
            PeerError: no association, or the peer offers no C-FIND.
        """
        contexts = contexts_for(STUDY_ROOT_FIND)
        self._association = Requestor(peer, contexts, calling_ae_title=calling_ae_title, timeout_s=timeout_s)
        accepted = [context for context in contexts if context in self._association.accepted]
        if not accepted:
            self._association.release()
            raise PeerError(f"{peer}: does not offer C-FIND (Study Root)")
        self._context = accepted[0]

    def __enter__(self) -> "Inquiry":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._association.__exit__(kind, error, trace)

    def held(self, study_instance_uid: str, series_instance_uids: Iterable[str]) -> frozenset[str]:
        """The SOP Instance UIDs that the peer lists for series of one study.

        Raises:
            PeerError: it refused, or its answers cannot be used.
        """
        return frozenset(uid for series in series_instance_uids for uid in self._listed(study_instance_uid, series))

    def _listed(self, study_instance_uid: str, series_instance_uid: str) -> list[str]:
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "IMAGE"
        identifier.StudyInstanceUID = study_instance_uid
        identifier.SeriesInstanceUID = series_instance_uid
        identifier.SOPInstanceUID = ""
        association, context = self._association, self._context
        command = encode_find_request(association.next_message_id(), STUDY_ROOT_FIND)
        found: list[str] = []
        for response, data in association.query(
            association.accepted[context], command, encode_for(context, identifier)
        ):
            if data:
                found.append(self._instance(data))
            elif not is_success(response.status):
                raise PeerError(f"{association.peer}: answered C-FIND with {describe(response.status)}")
            if len(found) > _MOST_ANSWERS:
                raise PeerError(f"{association.peer}: answers C-FIND without end")
        return found

    def _instance(self, data: bytes) -> str:
        try:
            return str(decode_from(self._context, data).get("SOPInstanceUID", ""))
        except InputError as error:
            raise PeerError(f"{self._association.peer}: answered C-FIND with {error}") from error
