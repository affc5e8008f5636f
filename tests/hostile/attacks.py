"""What a hostile or broken DICOM peer does, one row each, against any listener on this machine.

Used by the gate (our listener, the quick rows) and by ``python -m bench.hostile`` (every row, other listeners beside).
"""

import os
import re
from dataclasses import dataclass

from tests.hostile.connections import (
    crowd,
    echo_flood,
    end_everywhere,
    endless_data_set,
    giant_pdu,
    half_request,
    mr_context,
    opening,
    request,
    silent,
    stalled_in_data,
    wrong_called,
)
from tests.hostile.instances import (
    bomb,
    deep_sequences,
    edited,
    giant_image,
    no_numbers,
    other_class,
    same_uid_twice,
    with_uid,
)
from tests.hostile.target import Attack, answer
from tests.node.intake.encoded_images import IMPLICIT_LITTLE, encoded, image


@dataclass(frozen=True, kw_only=True)
class Row:
    """One attack; ``slow`` ones watch for a minute."""

    name: str
    attack: Attack
    slow: bool = False


ROWS: tuple[Row, ...] = (
    Row(name="HTTP request", attack=opening(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
    Row(name="random bytes", attack=opening(os.urandom(200))),
    Row(name="TLS hello to a plain port", attack=opening(bytes.fromhex("160301002f0100002b0303") + bytes(40))),
    Row(name="request with an even context ID", attack=request(mr_context(1), mr_context(2))),
    Row(name="request with a context ID twice", attack=request(mr_context(1), mr_context(1))),
    Row(name="request without a context", attack=request()),
    Row(name="PDU of 4 GiB before the association", attack=giant_pdu(established=False)),
    Row(name="PDU of 4 GiB inside it", attack=giant_pdu(established=True)),
    Row(name="data set without an end, 128 MiB", attack=endless_data_set),
    Row(name="20,000 C-ECHO without reading", attack=echo_flood),
    Row(name="12 silent connections", attack=crowd(silent), slow=True),
    Row(name="12 half association requests", attack=crowd(half_request), slow=True),
    Row(name="12 slow drips (1 byte/s)", attack=crowd(half_request, b"\x00"), slow=True),
    Row(name="12 stalled inside a data set", attack=crowd(stalled_in_data), slow=True),
    Row(name="A-ABORT in every state", attack=end_everywhere(reset=False)),
    Row(name="TCP reset in every state", attack=end_everywhere(reset=True)),
    Row(name="wrong called AE title", attack=wrong_called),
    Row(name="SOP class other than the context's", attack=other_class),
    Row(name="data set of another instance", attack=lambda t: answer(t, data=encoded(image("1.2.3.99")))),
    Row(name="implicit VR in an explicit context", attack=lambda t: answer(t, data=encoded(image(), IMPLICIT_LITTLE))),
    Row(name="data set cut off", attack=lambda t: answer(t, data=encoded(image())[:-7])),
    Row(name="junk as data set", attack=lambda t: answer(t, data=b"\xff\x00junk" * 100)),
    Row(name="UID ../../escaped", attack=with_uid("../../escaped")),
    Row(name="UID /tmp/escaped", attack=with_uid("/tmp/escaped")),
    Row(name="UID empty", attack=with_uid("")),
    Row(name="UID of 72 characters", attack=with_uid("1." * 36)),
    Row(name="sequences 3,000 deep", attack=lambda t: answer(t, data=deep_sequences(3000))),
    Row(name="deflate bomb, 300 MiB from 300 kB", attack=bomb),
    Row(name="NaN and zero geometry", attack=edited(no_numbers, "1.2.3.77")),
    Row(name="image of 65535 x 65535", attack=edited(giant_image, "1.2.3.78")),
    Row(name="same UID, other content", attack=same_uid_twice),
)

QUICK = tuple(row for row in ROWS if not row.slow)


def names_of(text: str) -> list[str]:
    """Names of the rows of a table in Markdown."""
    return re.findall(r"^\| ([^|]+?) \|", text, re.MULTILINE)[1:]
