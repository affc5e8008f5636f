"""The small data sets that requests and answers carry beside stored objects: queries, storage commitment."""

from io import BytesIO

from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from node.dimse.requestor import Context
from node.errors import InputError
from node.intake.dataset_walk import IMPLICIT_VR_LITTLE_ENDIAN

EXCHANGE_SYNTAXES = ("1.2.840.10008.1.2.1", IMPLICIT_VR_LITTLE_ENDIAN)
"""What such data sets are proposed in, best first."""


def contexts_for(sop_class_uid: str) -> list[Context]:
    """The presentation contexts to propose for a SOP class."""
    return [Context(sop_class_uid=sop_class_uid, transfer_syntax_uid=syntax) for syntax in EXCHANGE_SYNTAXES]


def encode_for(context: Context, data: Dataset) -> bytes:
    """A data set of ours in the transfer syntax of a context."""
    encoded = encode(data, context.transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN, True)
    assert encoded is not None, "UIDs and codes of our own"
    return encoded


def decode_from(context: Context, data: bytes) -> Dataset:
    """A peer's data set.

    Raises:
        InputError: it cannot be decoded.
    """
    try:
        return decode(BytesIO(data), context.transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN, True)
    except Exception as error:  # the library's decoder of a foreign system's bytes
        raise InputError("a data set that cannot be decoded") from error
