"""A stored object in another transfer syntax, for peers that take only uncompressed data.

The only place in ``node/dimse`` that decodes a data set; objects a peer takes as they are never come here.
"""

import io
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from node.errors import InputError
from node.intake.file_meta import decode_file_meta, head_bytes


def recode(path: Path, transfer_syntax_uid: str) -> bytes:
    """The data set of a file, encoded in an uncompressed transfer syntax.

    Raises:
        InputError: the file cannot be read, or its pixel data cannot be decompressed.
    """
    try:
        data_set = pydicom.dcmread(path)
        if data_set.file_meta.TransferSyntaxUID.is_encapsulated:
            data_set.decompress(generate_instance_uid=False)
        data_set.file_meta.TransferSyntaxUID = pydicom.uid.UID(transfer_syntax_uid)
        encoded = io.BytesIO()
        pydicom.dcmwrite(encoded, data_set, enforce_file_format=True, overwrite=True)
    except (InvalidDicomError, AttributeError, KeyError, NotImplementedError, OSError, RuntimeError) as error:
        raise InputError(f"{path.name}: cannot be converted: {error}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{path.name}: cannot be converted: {error}") from error
    whole = encoded.getvalue()
    _, start = decode_file_meta(whole[: head_bytes()], path.name)
    return whole[start:]
