"""The structural walk, against data sets that pydicom encoded and files made by others."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node.intake import dataset_walk
from node.intake.dataset_walk import (
    DataSetIdentity,
    IncompleteIdentityError,
    MalformedDataSetError,
    walk_data_set,
    walk_file,
)
from node.intake.file_meta import decode_file_meta, head_bytes
from tests.node.intake.encoded_images import (
    DEFLATED,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    UNCOMPRESSED,
    encoded,
    image,
    open_lengths,
)

IDENTITY = DataSetIdentity(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
    sop_instance_uid="1.2.3.4",
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.3.5",
)


@pytest.mark.parametrize("syntax", [*UNCOMPRESSED, DEFLATED])
@pytest.mark.parametrize("lengths", ["defined", "undefined"])
def test_identity_in_every_uncompressed_syntax(syntax: str, lengths: str) -> None:
    data_set = image() if lengths == "defined" else open_lengths(image())
    assert walk_data_set(encoded(data_set, syntax), syntax) == IDENTITY


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_a_cut_anywhere_but_between_elements_is_found(syntax: str) -> None:
    whole = encoded(open_lengths(image(rows=2)), syntax)
    boundaries, position = set(), 0
    for element in open_lengths(image(rows=2)):
        alone = Dataset()
        alone.add(element)
        position += len(encoded(alone, syntax))
        boundaries.add(position)
    assert position == len(whole)
    for cut in range(1, len(whole)):
        if cut in boundaries:
            continue
        with pytest.raises(MalformedDataSetError):
            walk_data_set(whole[:cut], syntax)


def test_a_cut_value_names_tag_and_offset() -> None:
    whole = encoded(image())
    pixel_data_at = whole.index(b"\xe0\x7f\x10\x00OW")
    with pytest.raises(MalformedDataSetError, match=rf"\(7FE0,0010\) at byte {pixel_data_at + 12}: .* 128 bytes"):
        walk_data_set(whole[:-1], EXPLICIT_LITTLE)


def test_an_open_sequence_names_itself() -> None:
    whole = encoded(open_lengths(image()))
    cut = whole[: whole.index(b"\xfe\xff\x0d\xe0")]
    with pytest.raises(MalformedDataSetError, match=r"\(0040,A170\).* inside this item"):
        walk_data_set(cut, EXPLICIT_LITTLE)


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("change", ["absent", "empty"])
def test_an_instance_must_say_who_it_is(keyword: str, change: str) -> None:
    data_set = image()
    if change == "absent":
        delattr(data_set, keyword)
    else:
        setattr(data_set, keyword, "")
    with pytest.raises(IncompleteIdentityError, match="is absent"):
        walk_data_set(encoded(data_set), EXPLICIT_LITTLE)


def test_uids_inside_sequences_are_not_the_instance_s() -> None:
    data_set = image()
    data_set.ReferencedImageSequence[0].SOPInstanceUID = "9.9.9"
    del data_set.SeriesInstanceUID
    data_set.ReferencedImageSequence[0].SeriesInstanceUID = "9.9"
    with pytest.raises(IncompleteIdentityError, match=r"\(0020,000E\)"):
        walk_data_set(encoded(open_lengths(data_set)), EXPLICIT_LITTLE)


def test_another_syntax_than_the_stated_one_is_found() -> None:
    with pytest.raises(MalformedDataSetError):
        walk_data_set(encoded(image(), IMPLICIT_LITTLE), EXPLICIT_LITTLE)


def nested(depth: int) -> bytes:
    """Sequences of undefined length inside one another, implicit VR; then the identity."""
    open_one = struct.pack("<HHLHHL", 0x0008, 0x1140, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    close_one = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return open_one * depth + close_one * depth + encoded(image(), IMPLICIT_LITTLE)


def test_nesting_is_bounded() -> None:
    assert walk_data_set(nested(60), IMPLICIT_LITTLE) == IDENTITY
    with pytest.raises(MalformedDataSetError, match="nest deeper"):
        walk_data_set(nested(100_000), IMPLICIT_LITTLE)


def fragments(*items: bytes, closed: bool = True) -> bytes:
    body = encoded(image())
    head = body[: body.index(b"\xe0\x7f\x10\x00OW")]
    parts = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item for item in items)
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) if closed else b""
    return head + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + parts + end


def test_encapsulated_pixel_data_is_followed_to_its_delimiter() -> None:
    jpeg_ls = "1.2.840.10008.1.2.4.80"
    assert walk_data_set(fragments(b"", b"ab" * 500), jpeg_ls) == IDENTITY
    with pytest.raises(MalformedDataSetError, match=r"\(7FE0,0010\).* inside this fragments"):
        walk_data_set(fragments(b"", b"ab", closed=False), jpeg_ls)
    with pytest.raises(MalformedDataSetError, match="runs past the end"):
        walk_data_set(fragments(b"", b"ab" * 500)[:-100], jpeg_ls)


def test_a_deflate_bomb_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_walk, "LARGEST_INFLATED_BYTES", 1 << 20)
    squeeze = zlib.compressobj(wbits=-15)
    bomb = squeeze.compress(encoded(image()) + bytes(50 << 20)) + squeeze.flush()
    assert len(bomb) < 100_000
    with pytest.raises(MalformedDataSetError, match="inflates to more than"):
        walk_data_set(bomb, DEFLATED)


def test_a_cut_deflated_data_set_is_found() -> None:
    with pytest.raises(MalformedDataSetError, match="cut off"):
        walk_data_set(encoded(image(), DEFLATED)[:-8], DEFLATED)
    with pytest.raises(MalformedDataSetError, match="deflated"):
        walk_data_set(b"\xff" * 100, DEFLATED)


@given(st.binary(max_size=300), st.sampled_from([*UNCOMPRESSED, DEFLATED]))
def test_junk_ends_in_a_named_error(junk: bytes, syntax: str) -> None:
    with pytest.raises((MalformedDataSetError, IncompleteIdentityError)):
        walk_data_set(junk, syntax)


@given(st.data())
def test_a_flipped_byte_never_escapes_the_named_errors(data: st.DataObject) -> None:
    whole = bytearray(encoded(open_lengths(image(rows=2))))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] = data.draw(st.integers(0, 255))
    try:
        found = walk_data_set(bytes(whole), EXPLICIT_LITTLE)
    except (MalformedDataSetError, IncompleteIdentityError):
        return
    assert isinstance(found, DataSetIdentity)


@pytest.mark.parametrize("folder", ["transfer-syntaxes", "compressed-and-odd", "ge-mfgre-abdomen"])
def test_real_files_are_whole_and_lose_a_byte_visibly(shared_data: Callable[[str], Path], folder: str) -> None:
    paths = sorted(shared_data(folder).rglob("*.dcm"))[:30]
    assert paths
    for path in paths:
        whole = path.read_bytes()
        meta, start = decode_file_meta(whole[: head_bytes()], path.name)
        assert walk_file(path, start, meta.transfer_syntax_uid).sop_instance_uid == pydicom.dcmread(path).SOPInstanceUID
        with pytest.raises(MalformedDataSetError):
            walk_data_set(whole[:-1], meta.transfer_syntax_uid, start=start)
