"""File meta information, read back by pydicom and read from what pydicom writes."""

import io

import pydicom
import pytest

from node.errors import InputError
from node.intake.file_meta import decode_file_meta, encode_file_meta
from tests.node.intake.encoded_images import encoded, image, meta, written


@pytest.mark.parametrize("uid", ["1.2.3.4", "1.2.3.44"])
def test_pydicom_reads_what_is_written(uid: str) -> None:
    whole = encode_file_meta(meta(uid)) + encoded(image(uid))
    found = pydicom.dcmread(io.BytesIO(whole))
    assert found.file_meta.MediaStorageSOPInstanceUID == uid == found.SOPInstanceUID
    assert found.file_meta.TransferSyntaxUID == meta().transfer_syntax_uid
    assert found.file_meta.SourceApplicationEntityTitle == "MR1"
    assert found.file_meta.SendingApplicationEntityTitle == "MR1"
    assert found.file_meta.ReceivingApplicationEntityTitle == "IRONNODE"
    assert found.file_meta.FileMetaInformationVersion == b"\x00\x01"
    expected = len(encode_file_meta(meta(uid))) - 144
    assert found.file_meta.FileMetaInformationGroupLength == expected


def test_it_reads_back_what_it_wrote() -> None:
    head = encode_file_meta(meta())
    assert decode_file_meta(head + b"\x08\x00\x05\x00CS\x00\x00", "x") == (meta(), len(head))
    assert decode_file_meta(head, "x") == (meta(), len(head))


def test_it_reads_what_pydicom_writes() -> None:
    whole = written(image())
    found, start = decode_file_meta(whole, "x")
    assert found.sop_instance_uid == "1.2.3.4"
    assert whole[start:] == encoded(image())


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (b"", "no DICM prefix"),
        (bytes(200), "no DICM prefix"),
        (encode_file_meta(meta())[:150], "cut off"),
        (bytes(128) + b"DICM" + b"\x08\x00\x05\x00CS\x00\x00", r"\(0002,0010\)"),
    ],
)
def test_what_is_no_file_is_named(head: bytes, text: str) -> None:
    with pytest.raises(InputError, match=f"scan.dcm: .*{text}"):
        decode_file_meta(head, "scan.dcm")
