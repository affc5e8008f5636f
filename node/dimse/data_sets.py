"""The small data sets that requests and answers carry beside stored objects: queries, storage commitment."""

from collections.abc import Callable
from io import BytesIO
from typing import TypeVar

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode, encode

from node.dimse.requestor import Context
from node.errors import InputError
from node.intake.dataset_walk import IMPLICIT_VR_LITTLE_ENDIAN
from node.model import SopReference

T = TypeVar("T")

EXCHANGE_SYNTAXES = ("1.2.840.10008.1.2.1", IMPLICIT_VR_LITTLE_ENDIAN)
"""What such data sets are proposed in, best first."""


def contexts_for(sop_class_uid: str) -> list[Context]:
    """The presentation contexts to propose for a SOP class."""
    return [Context(sop_class_uid=sop_class_uid, transfer_syntax_uid=syntax) for syntax in EXCHANGE_SYNTAXES]


def encode_for(context: Context, data: Dataset) -> bytes:
    """A data set of ours in the transfer syntax of a context."""
    syntax = UID(context.transfer_syntax_uid)
    encoded = encode(data, syntax.is_implicit_VR, syntax.is_little_endian)
    assert encoded is not None, "UIDs and codes of our own"
    return encoded


def decode_from(context: Context, data: bytes) -> Dataset:
    """A peer's data set.

    Raises:
        InputError: it cannot be decoded.
    """
    syntax = UID(context.transfer_syntax_uid)
    return understood(lambda: decode(BytesIO(data), syntax.is_implicit_VR, syntax.is_little_endian), "data set")


def understood(read: Callable[[], T], what: str) -> T:
    """What ``read`` takes from a foreign system's data set.

    Raises:
        InputError: the library cannot decode it, or something is missing.
    """
    try:
        return read()
    except Exception as error:  # the library's decoder of a foreign system's bytes
        raise InputError(f"a {what} that cannot be understood") from error


def reference_item(reference: SopReference, *, failure: int | None = None) -> Dataset:
    """An item of a sequence of references, with the reason of a failure (PS3.3 C.14)."""
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if failure is not None:
        item.FailureReason = failure
    return item


def reference_of(item: Dataset) -> SopReference:
    """The instance that such an item names."""
    return SopReference(
        sop_class_uid=str(item.ReferencedSOPClassUID), sop_instance_uid=str(item.ReferencedSOPInstanceUID)
    )
