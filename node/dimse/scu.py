"""Sending: C-STORE of files to a peer, and C-ECHO."""

import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.dimse.command import encode_echo_request, encode_store_request
from node.dimse.contexts import UNCOMPRESSED_TRANSFER_SYNTAXES, VERIFICATION_SOP_CLASS
from node.dimse.recode import recode
from node.dimse.requestor import MOST_CONTEXTS, Context, Peer, Requestor, Response
from node.dimse.status import Status, describe, is_stored, is_success
from node.errors import InputError, PeerError
from node.intake.dataset_walk import IMPLICIT_VR_LITTLE_ENDIAN, walk_file
from node.intake.file_meta import FileMeta, decode_file_meta, head_bytes
from node.model import StoreOutcome, StoreStatus

__all__ = ["Peer", "accepted_classes", "echo", "send"]

_FALLBACKS = ("1.2.840.10008.1.2.1", IMPLICIT_VR_LITTLE_ENDIAN)

OnOutcome = Callable[[StoreOutcome], None]


@dataclass(frozen=True, kw_only=True)
class _Sendable:
    index: int
    path: Path
    context: Context
    sop_instance_uid: str
    data_set_offset: int

    @property
    def choices(self) -> tuple[Context, ...]:
        """Contexts to propose, best first: as it is, then uncompressed."""
        own = self.context.transfer_syntax_uid
        others = (syntax for syntax in _FALLBACKS if syntax != own)
        sop_class = self.context.sop_class_uid
        return tuple(Context(sop_class_uid=sop_class, transfer_syntax_uid=syntax) for syntax in (own, *others))


def echo(peer: Peer, *, calling_ae_title: str, timeout_s: float = 10.0) -> None:
    """Verify that a peer answers (C-ECHO).

    Raises:
        PeerError: it does not; the text says why and what to look at.
    """
    contexts = [
        Context(sop_class_uid=VERIFICATION_SOP_CLASS, transfer_syntax_uid=syntax)
        for syntax in UNCOMPRESSED_TRANSFER_SYNTAXES
    ]
    with Requestor(peer, contexts, calling_ae_title=calling_ae_title, timeout_s=timeout_s) as association:
        if not association.accepted:
            raise PeerError(f"{peer}: associates, but does not accept Verification")
        context_id = next(iter(association.accepted.values()))
        command = encode_echo_request(association.next_message_id(), VERIFICATION_SOP_CLASS)
        response = association.request(context_id, command, None)
        if not is_success(response.status):
            raise PeerError(f"{peer}: answered C-ECHO with {describe(response.status)}")


def accepted_classes(
    peer: Peer, sop_class_uids: Sequence[str], *, calling_ae_title: str, timeout_s: float = 10.0
) -> frozenset[str]:
    """Which of the SOP classes a peer lets us store, in an uncompressed transfer syntax. Nothing is sent.

    Raises:
        PeerError: no association could be made.
    """
    contexts = [
        Context(sop_class_uid=sop_class, transfer_syntax_uid=syntax)
        for sop_class in sop_class_uids
        for syntax in _FALLBACKS
    ]
    with Requestor(peer, contexts, calling_ae_title=calling_ae_title, timeout_s=timeout_s) as association:
        return frozenset(context.sop_class_uid for context in association.accepted)


def send(
    files: Sequence[Path],
    peer: Peer,
    *,
    calling_ae_title: str,
    timeout_s: float = 30.0,
    on_outcome: OnOutcome | None = None,
) -> list[StoreOutcome]:
    """Store files at a peer, over one association (several only when more than 128 contexts are needed).

    A data set is sent byte for byte where the peer takes its transfer syntax, else converted to an uncompressed one.
    ``on_outcome`` hears of each file as soon as its outcome is known.

    Returns:
        One outcome for each file, in the order given. When the association ends early, the file in transit is FAILED
        and those after it are NOT_TRIED.

    Raises:
        PeerError: no association could be made, so nothing was sent.
    """
    journey = _Journey(files, on_outcome)
    batches = list(_batches(journey.sendable()))
    for number, batch in enumerate(batches):
        contexts = list(dict.fromkeys(context for item in batch for context in item.choices))
        try:
            association = Requestor(peer, contexts, calling_ae_title=calling_ae_title, timeout_s=timeout_s)
        except PeerError as error:
            if number == 0:
                raise
            journey.not_tried([item for later in batches[number:] for item in later], str(error))
            break
        _send_batch(association, batch, journey)
    return journey.outcomes()


class _Journey:
    """The files of one send and what became of each."""

    def __init__(self, files: Sequence[Path], on_outcome: OnOutcome | None) -> None:
        self._files = files
        self._on_outcome = on_outcome
        self._outcomes: dict[int, StoreOutcome] = {}

    def sendable(self) -> list[_Sendable]:
        """The files that can be sent; the others have failed here."""
        found = []
        for index, path in enumerate(self._files):
            try:
                found.append(_inspect(index, path))
            except InputError as error:
                self.settle(index, StoreStatus.FAILED, str(error))
            except OSError as error:
                self.settle(index, StoreStatus.FAILED, f"{path.name}: cannot be read: {error.strerror or error}")
        return found

    def settle(self, index: int, status: StoreStatus, detail: str = "") -> None:
        """Note the outcome of a file."""
        outcome = StoreOutcome(path=self._files[index], status=status, detail=detail)
        self._outcomes[index] = outcome
        if self._on_outcome is not None:
            self._on_outcome(outcome)

    def not_tried(self, items: Sequence[_Sendable], detail: str) -> None:
        """Note that these files' turn did not come."""
        for item in items:
            self.settle(item.index, StoreStatus.NOT_TRIED, detail)

    def outcomes(self) -> list[StoreOutcome]:
        """All outcomes in the order of the files."""
        return [self._outcomes[index] for index in range(len(self._files))]


def _inspect(index: int, path: Path) -> _Sendable:
    with path.open("rb") as file:
        meta, offset = decode_file_meta(file.read(head_bytes()), path.name)
    if not (meta.sop_class_uid and meta.sop_instance_uid):
        found = walk_file(path, offset, meta.transfer_syntax_uid)
        meta = FileMeta(
            sop_class_uid=found.sop_class_uid,
            sop_instance_uid=found.sop_instance_uid,
            transfer_syntax_uid=meta.transfer_syntax_uid,
        )
    return _Sendable(
        index=index,
        path=path,
        context=Context(sop_class_uid=meta.sop_class_uid, transfer_syntax_uid=meta.transfer_syntax_uid),
        sop_instance_uid=meta.sop_instance_uid,
        data_set_offset=offset,
    )


def _batches(items: Sequence[_Sendable]) -> Iterator[list[_Sendable]]:
    """Split where one association could not propose all presentation contexts."""
    batch: list[_Sendable] = []
    contexts: set[Context] = set()
    for item in items:
        if len(contexts.union(item.choices)) > MOST_CONTEXTS:
            yield batch
            batch, contexts = [], set()
        batch.append(item)
        contexts.update(item.choices)
    if batch:
        yield batch


def _send_batch(association: Requestor, batch: Sequence[_Sendable], journey: _Journey) -> None:
    for position, item in enumerate(batch):
        try:
            _send_one(association, item, journey)
        except PeerError as error:
            association.abort()
            journey.settle(item.index, StoreStatus.FAILED, str(error))
            journey.not_tried(batch[position + 1 :], str(error))
            return
    association.release()


def _send_one(association: Requestor, item: _Sendable, journey: _Journey) -> None:
    context = next((choice for choice in item.choices if choice in association.accepted), None)
    if context is None:
        detail = f"{association.peer} takes neither this SOP class in its transfer syntax nor uncompressed"
        journey.settle(item.index, StoreStatus.NO_CONTEXT, detail)
        return
    try:
        response = _store(association, item, context)
    except InputError as error:
        journey.settle(item.index, StoreStatus.FAILED, str(error))
        return
    except OSError as error:
        journey.settle(item.index, StoreStatus.FAILED, f"{item.path.name}: cannot be read: {error.strerror or error}")
        return
    if is_success(response.status):
        journey.settle(item.index, StoreStatus.SUCCESS)
    else:
        status = StoreStatus.WARNING if is_stored(response.status) else StoreStatus.FAILED
        status = StoreStatus.NO_CONTEXT if response.status == Status.SOP_CLASS_NOT_SUPPORTED else status
        journey.settle(item.index, status, describe(response.status))


def _store(association: Requestor, item: _Sendable, context: Context) -> Response:
    message_id = association.next_message_id()
    command = encode_store_request(message_id, item.context.sop_class_uid, item.sop_instance_uid)
    context_id = association.accepted[context]
    if context != item.context:
        return association.request(context_id, command, recode(item.path, context.transfer_syntax_uid))
    with item.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        return association.request(context_id, command, memory, start=item.data_set_offset)
