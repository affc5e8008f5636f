"""DIMSE statuses by name, and which fault of ours or of the sender's gets which.

PS3.4 table B.2-1 (storage) and PS3.7 annex C (general). A sender is expected to try again after *out of resources*
and *processing failure*, and to tell a person about the others.
"""

from enum import IntEnum

from node.errors import DiskFullError, InputError, IronnodeError
from node.intake.dataset_walk import IncompleteIdentityError


class Status(IntEnum):
    """Status (0000,0900) of a response: C-STORE, and what storage commitment adds."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110  # our fault; the disk refused for a reason other than space
    DUPLICATE_SOP_INSTANCE = 0x0111  # another data set has this SOP Instance UID; ours was kept
    NO_SUCH_EVENT_TYPE = 0x0113
    INVALID_ARGUMENT_VALUE = 0x0115  # a report that answers no request of ours
    NO_SUCH_ACTION = 0x0123
    INVALID_SOP_INSTANCE = 0x0117  # the UID breaks the rules for UIDs
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    RESOURCE_LIMITATION = 0x0213  # larger than receive.max_instance_mib
    OUT_OF_RESOURCES = 0xA700  # no space left
    DATA_SET_DOES_NOT_MATCH = 0xA900  # data set and command name different classes or instances
    CANNOT_UNDERSTAND = 0xC000  # cut off, or not encoded in the negotiated transfer syntax


class Refusal(Exception):  # noqa: N818 - an outcome of the protocol, not a fault of the program
    """One instance is answered with a failure status; the association goes on."""

    def __init__(self, status: Status, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment


def refusal_for(error: IronnodeError) -> Refusal:
    """The answer to a fault met while an instance was checked or stored."""
    if isinstance(error, DiskFullError):
        return Refusal(Status.OUT_OF_RESOURCES, str(error))
    if isinstance(error, IncompleteIdentityError):
        return Refusal(Status.DATA_SET_DOES_NOT_MATCH, str(error))
    if isinstance(error, InputError):
        return Refusal(Status.CANNOT_UNDERSTAND, str(error))
    return Refusal(Status.PROCESSING_FAILURE, str(error))


_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})  # PS3.7 C.3
_WARNING_CLASS = 0xB  # PS3.4 table B.2-1: Bxxx
_NAMES = {int(status): status.name.lower().replace("_", " ") for status in Status}
_CLASSES = {0xA7: "out of resources", 0xA9: "data set does not match SOP class"}
_CANNOT_UNDERSTAND_CLASS = 0xC


def is_success(status: int) -> bool:
    """Whether a status says success without a remark."""
    return status == Status.SUCCESS


def is_stored(status: int) -> bool:
    """Whether a status of C-STORE says that the peer has the instance: success or warning."""
    return is_success(status) or status in _WARNINGS or status >> 12 == _WARNING_CLASS


def describe(status: int) -> str:
    """A status in words of ours: the peer's comment (0000,0902) may quote the patient."""
    if status in _NAMES:
        words = _NAMES[status]
    elif status >> 12 == _CANNOT_UNDERSTAND_CLASS:
        words = "cannot understand"
    else:
        words = _CLASSES.get(status >> 8, "warning" if is_stored(status) else "refused")
    return f"status {status:04X} ({words})"
