"""Asking an archive for a patient's earlier reports within a time limit: C-FIND, then C-GET over the same association
or, where that brings nothing, C-MOVE to ourselves."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from node.dimse.contexts import STUDY_ROOT_FIND
from node.dimse.move_listener import MoveListener
from node.dimse.requestor import Peer
from node.dimse.scu import accepted_classes
from node.dimse.status import Status, describe
from node.errors import PeerError
from node.tls import caller_context

_STUDY_ROOT_FIND = UID(STUDY_ROOT_FIND)
_STUDY_ROOT_MOVE = UID("1.2.840.10008.5.1.4.1.2.2.2")  # PS3.4 C.6.2
_STUDY_ROOT_GET = UID("1.2.840.10008.5.1.4.1.2.2.3")
_MODELS = (_STUDY_ROOT_FIND, _STUDY_ROOT_GET, _STUDY_ROOT_MOVE)
_PENDING = (0xFF00, 0xFF01)  # PS3.4 C.4.1.1.4
_WILDCARDS = frozenset("*?\\")
_SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_FETCHED_PER_WANTED = 5  # reports of others among ours: where to give up
_ATTEMPT_SHARE = 0.5  # of the time left: pynetdicom 3.0 can lose an answer to its own reactor, and then waits in vain


@dataclass(frozen=True, kw_only=True)
class ReportQuery:
    """Whose reports of which days, in which SOP classes; ``most`` is how many of those that are ``wanted``."""

    patient_id: str
    first_day: date
    last_day: date
    sop_class_uids: Sequence[str]
    wanted: Callable[[Dataset], bool]
    most: int


@dataclass(frozen=True, kw_only=True)
class FoundReports:
    """What was fetched, the latest study first; ``left_out`` counts what was found beyond the limit."""

    reports: tuple[Dataset, ...]
    left_out: int


@dataclass(frozen=True, kw_only=True)
class _Series:
    study_date: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]


def fetch_reports(
    peer: Peer, query: ReportQuery, *, calling_ae_title: str, timeout_s: float, move_to: MoveListener | None = None
) -> FoundReports:
    """The reports, or an error after ``timeout_s`` at the latest, whatever the archive does. ``move_to`` is where it
    can send them when it does not answer C-GET.

    Raises:
        PeerError: there is no complete answer; the text says why.
    """
    if not query.patient_id or _WILDCARDS & set(query.patient_id):
        raise PeerError("the Patient ID is empty or has characters that a query takes for wildcards")
    visit = _Visit(peer, query, calling_ae_title, timeout_s, move_to)
    thread = threading.Thread(target=visit.run, name="priors", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return visit.outcome()


def services(peer: Peer, *, calling_ae_title: str, timeout_s: float, may_move: bool) -> list[str]:
    """How an archive gives what C-FIND found, the first to try first (``may_move``: C-MOVE will do); nothing is asked.

    Raises:
        PeerError: it offers no such pair, or no association could be made.
    """
    accepted = accepted_classes(peer, _MODELS, calling_ae_title=calling_ae_title, timeout_s=timeout_s)
    offered = {"C-GET": _STUDY_ROOT_GET in accepted, "C-MOVE": _STUDY_ROOT_MOVE in accepted and may_move}
    if _STUDY_ROOT_FIND not in accepted:
        raise PeerError(f"{peer}: it does not offer C-FIND (Study Root)")
    if not any(offered.values()):
        unused = "; it offers C-MOVE, but priors.archive.move_to is not set" if _STUDY_ROOT_MOVE in accepted else ""
        raise PeerError(f"{peer}: it does not offer C-GET (Study Root){unused}")
    return [service for service, there in offered.items() if there]


class _Visit:
    """One association, in a thread of its own that is left alone when its time is over."""

    def __init__(
        self, peer: Peer, query: ReportQuery, calling_ae_title: str, timeout_s: float, move_to: MoveListener | None
    ) -> None:
        self._peer, self._query, self._timeout_s, self._move_to = peer, query, timeout_s, move_to
        self._calling = calling_ae_title
        self._deadline = time.monotonic() + timeout_s
        self._stored: dict[str, Dataset] = {}
        self._ways: list[str] = []
        self._found: FoundReports | None = None
        self._error: PeerError | None = None

    def outcome(self) -> FoundReports:
        """What ``run`` came to."""
        if self._error is not None:
            raise self._error
        if self._found is None:
            raise PeerError(f"{self._peer}: no complete answer within {self._timeout_s:g} s{self._turned_away()}")
        return self._found

    def _turned_away(self) -> str:
        return "" if self._move_to is None else self._move_to.turned_away

    def run(self) -> None:
        """Connect, ask, fetch, release; once more by C-MOVE when C-GET brings nothing."""
        failures: list[str] = []
        try:
            while self._found is None and self._may_try_again(failures):
                try:
                    self._found = self._attempt(skip=len(failures))
                except PeerError as error:
                    failures.append(f"{error}{self._turned_away()}")
        except Exception as error:  # noqa: BLE001 - the thread's edge: whatever fails is why nothing was checked
            failures.append(f"{self._peer}: its answer cannot be used ({type(error).__name__})")
        finally:
            if self._move_to is not None:
                self._move_to.close()
        if self._found is None:
            self._error = PeerError("; ".join(failures))

    def _may_try_again(self, failures: Sequence[str]) -> bool:
        return not failures or (len(failures) < len(self._ways) and time.monotonic() < self._deadline)

    def _attempt(self, *, skip: int) -> FoundReports:
        """One association; ``skip`` of the ways to fetch have failed."""
        association = self._associate()
        try:
            found = self._fetch(association, self._ways[skip])
        except PeerError:
            association.abort()
            raise
        association.release()
        return found

    def _associate(self) -> Association:
        # on an association of its own, which says why not in words; the library keeps them to itself
        self._ways = services(
            self._peer, calling_ae_title=self._calling, timeout_s=self._timeout_s, may_move=self._move_to is not None
        )
        entity = AE(ae_title=self._calling)
        patience_s = max(self._deadline - time.monotonic(), 0) * _ATTEMPT_SHARE
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = patience_s
        entity.network_timeout = patience_s
        for model in _MODELS:
            entity.add_requested_context(model, _SYNTAXES)
        for sop_class in self._query.sop_class_uids:
            entity.add_requested_context(UID(sop_class), _SYNTAXES)
        association = entity.associate(
            self._peer.host,
            self._peer.port,
            ae_title=self._peer.ae_title,
            ext_neg=[build_role(UID(sop_class), scp_role=True) for sop_class in self._query.sop_class_uids],
            evt_handlers=[(evt.EVT_C_STORE, self._keep)],
            tls_args=self._tls(),
        )
        if not association.is_established:
            raise PeerError(f"{self._peer}: no association for C-GET could be made")
        return association

    def _tls(self) -> tuple[ssl.SSLContext, str] | None:
        peer = self._peer
        return None if peer.tls is None else (caller_context(peer.tls, peer.tls_key), peer.host)

    def _keep(self, event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        self._stored[str(dataset.SOPInstanceUID)] = dataset
        return int(Status.SUCCESS)

    def _fetch(self, association: Association, service: str) -> FoundReports:
        candidates = list(self._candidates(association))
        reports: list[Dataset] = []
        for number, series in enumerate(candidates):
            if len(reports) >= self._query.most or len(self._stored) >= _FETCHED_PER_WANTED * self._query.most:
                left_out = sum(len(later.sop_instance_uids) for later in candidates[number:])
                return FoundReports(reports=tuple(reports), left_out=left_out)
            reports += filter(self._query.wanted, self._retrieve(association, service, series))
        return FoundReports(reports=tuple(reports), left_out=0)

    def _candidates(self, association: Association) -> Iterator[_Series]:
        """The SR series of the patient, the latest study first; equal days in the order of their UIDs."""
        days = f"{self._query.first_day:%Y%m%d}-{self._query.last_day:%Y%m%d}"
        studies = self._find(
            association, "STUDY", PatientID=self._query.patient_id, StudyDate=days, ModalitiesInStudy="",
            StudyInstanceUID="",
        )  # fmt: skip
        for study in sorted(studies, key=lambda s: (s.get("StudyDate", ""), s.StudyInstanceUID), reverse=True):
            modalities = study.get("ModalitiesInStudy")
            if modalities and "SR" not in modalities:
                continue
            uid = study.StudyInstanceUID
            series = self._find(association, "SERIES", StudyInstanceUID=uid, Modality="SR", SeriesInstanceUID="")
            for found in sorted(series, key=lambda s: str(s.SeriesInstanceUID)):
                if found.get("Modality") == "SR":
                    instances = self._instances(association, uid, found.SeriesInstanceUID)
                    if instances:
                        yield _Series(
                            study_date=study.get("StudyDate", ""),
                            study_instance_uid=uid,
                            series_instance_uid=found.SeriesInstanceUID,
                            sop_instance_uids=instances,
                        )

    def _instances(self, association: Association, study_uid: str, series_uid: str) -> tuple[str, ...]:
        found = self._find(
            association, "IMAGE", StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid, SOPClassUID="",
            SOPInstanceUID="",
        )  # fmt: skip
        classes = ("", None, *self._query.sop_class_uids)
        return tuple(sorted(str(item.SOPInstanceUID) for item in found if item.get("SOPClassUID") in classes))

    def _find(self, association: Association, level: str, **keys: str) -> list[Dataset]:
        found = []
        for status, identifier in association.send_c_find(_identifier(level, **keys), _STUDY_ROOT_FIND):
            if self._is_pending(status, "C-FIND") and identifier is not None:
                found.append(identifier)
        return found

    def _retrieve(self, association: Association, service: str, series: _Series) -> list[Dataset]:
        wanted = [uid for uid in series.sop_instance_uids if uid not in self._stored]
        identifier = _identifier(
            "IMAGE", StudyInstanceUID=series.study_instance_uid, SeriesInstanceUID=series.series_instance_uid
        )
        identifier.SOPInstanceUID = wanted
        if service == "C-MOVE":
            self._move(association, identifier, wanted)
        elif wanted:
            for status, _ in association.send_c_get(identifier, _STUDY_ROOT_GET):
                self._is_pending(status, service)
        if missing := sum(uid not in self._stored for uid in wanted):
            raise PeerError(f"{self._peer}: {missing} of its reports did not come by {service}")
        return [self._stored[uid] for uid in series.sop_instance_uids]

    def _move(self, association: Association, identifier: Dataset, wanted: Sequence[str]) -> None:
        assert self._move_to is not None  # or C-MOVE were no way
        now = time.monotonic()
        self._move_to.open(until_s=now + (self._deadline - now) / 2)
        self._move_to.expect(wanted, self._stored)
        destination = self._move_to.ae_title
        for status, _ in association.send_c_move(identifier, destination, _STUDY_ROOT_MOVE):
            self._is_pending(status, f"C-MOVE to {destination}")

    def _is_pending(self, status: Dataset, service: str) -> bool:
        """Whether more follows; an answer that is neither that nor success ends the visit."""
        if time.monotonic() > self._deadline:
            raise PeerError(f"{self._peer}: no complete answer within {self._timeout_s:g} s")
        if "Status" not in status:
            raise PeerError(f"{self._peer}: it ended the association instead of answering {service}")
        if status.Status in _PENDING:
            return True
        if status.Status != Status.SUCCESS:
            raise PeerError(f"{self._peer}: answered {service} with {describe(status.Status)}")
        return False


def _identifier(level: str, **keys: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    if not "".join(keys.values()).isascii():
        identifier.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier
