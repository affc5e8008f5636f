"""Attacks by what is stored: identifiers, data sets and headers that are none."""

import struct
import warnings
import zlib
from collections.abc import Callable

from pydicom.dataset import Dataset

from tests.hostile.target import Attack, Target, answer
from tests.node.intake.encoded_images import DEFLATED, MR_IMAGE, encoded, image

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
_MIB = 1 << 20


def with_uid(uid: str) -> Attack:
    """A SOP Instance UID that is none, in the command and in the data set."""

    def attack(target: Target) -> str:
        raw = uid.encode() + b"\x00" * (len(uid) % 2)
        whole = encoded(image("1.2.3.4"))
        head = b"\x08\x00\x18\x00UI"
        start = whole.index(head)
        length = int.from_bytes(whole[start + 6 : start + 8], "little")
        data = whole[: start + 6] + struct.pack("<H", len(raw)) + raw + whole[start + 8 + length :]
        return answer(target, data=data, sop_instance_uid=uid)

    return attack


def deep_sequences(depth: int) -> bytes:
    """An image whose sequences are nested so deep."""
    begin, end = encoded(image()).split(b"\xe0\x7f\x10\x00", 1)
    item = b"\x08\x00\x15\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    close = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    at = begin.index(b"\x08\x00\x40\x11") if b"\x08\x00\x40\x11" in begin else len(begin)
    return begin[:at] + item * depth + close * depth + begin[at:] + b"\xe0\x7f\x10\x00" + end


def deflate_bomb(unpacked_bytes: int) -> bytes:
    """A deflated data set (RFC 1951) that unpacks to very much."""
    plain = image()
    del plain[0x7FE00010]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = [packer.compress(encoded(plain) + b"\xe0\x7f\x10\x00OW\x00\x00" + struct.pack("<L", unpacked_bytes))]
    zeros = bytes(_MIB)
    parts += [packer.compress(zeros) for _ in range(unpacked_bytes // _MIB)]
    whole = b"".join([*parts, packer.flush()])
    return whole + b"\x00" * (len(whole) % 2)


def bomb(target: Target) -> str:
    """300 MiB of zeros in 300 kB."""
    return answer(target, context=(MR_IMAGE, DEFLATED), data=deflate_bomb(300 * _MIB))


def edited(edit: Callable[[Dataset], None], uid: str) -> Attack:
    """An image with nonsense that the network layer cannot judge."""

    def attack(target: Target) -> str:
        data_set = image(uid)
        with warnings.catch_warnings(action="ignore"):  # pydicom warns of what is written on purpose
            edit(data_set)
            data = encoded(data_set)
        return answer(target, data=data, sop_instance_uid=uid)

    return attack


def no_numbers(data_set: Dataset) -> None:
    """NaN and 0 where geometry stands."""
    data_set.add_new(0x00200032, "DS", ["NaN", "inf", "-inf"])
    data_set.add_new(0x00200037, "DS", ["0"] * 6)
    data_set.add_new(0x00280030, "DS", ["0", "NaN"])


def giant_image(data_set: Dataset) -> None:
    """65535 x 65535 pixels, so says the header."""
    data_set.Rows = data_set.Columns = 65535


def same_uid_twice(target: Target) -> str:
    """Another data set under a known UID."""
    first = answer(target, data=encoded(image("1.2.3.88")), sop_instance_uid="1.2.3.88")
    second = answer(target, data=encoded(image("1.2.3.88", rows=16)), sop_instance_uid="1.2.3.88")
    return f"{first}, then {second}"


def other_class(target: Target) -> str:
    """A C-STORE of another class than its context's."""
    return answer(target, sop_class_uid=ENHANCED_MR)
