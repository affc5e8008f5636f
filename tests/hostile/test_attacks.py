"""The quick rows of the hostile peer against our listener: each has its outcome, nothing escapes."""

import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from node.config import AllowedPeer, ReceiveConfig
from node.dimse.scp import Listener
from node.intake.assembly import plan_study
from node.intake.headers import read_header
from node.intake.spool import Spool
from tests.hostile.attacks import (
    QUICK,
    ROWS,
    Row,
    names_of,
)
from tests.hostile.instances import deep_sequences, deflate_bomb, giant_image, no_numbers
from tests.hostile.target import Target
from tests.loopback.callers import eventually
from tests.node.intake.encoded_images import everything_under
from tests.nodekit.small_study import write_study

REPOSITORY = Path(__file__).resolve().parents[2]

EXPECTED = {
    "HTTP request": ("A-ABORT", "closed"),
    "random bytes": ("A-ABORT", "closed"),
    "TLS hello to a plain port": ("A-ABORT", "closed"),
    "request with an even context ID": ("A-ABORT",),
    "request with a context ID twice": ("A-ABORT",),
    "request without a context": ("A-ABORT",),
    "PDU of 4 GiB before the association": ("A-ABORT", "closed"),
    "PDU of 4 GiB inside it": ("A-ABORT", "closed"),
    "data set without an end, 128 MiB": ("A-ABORT", "closed"),
    "20,000 C-ECHO without reading": ("A-ABORT", "closed", "answered"),
    "A-ABORT in every state": ("serves on",),
    "TCP reset in every state": ("serves on",),
    "wrong called AE title": ("rejected: called ae title not recognised",),
    "SOP class other than the context's": ("A900",),
    "data set of another instance": ("A900",),
    "implicit VR in an explicit context": ("C000",),
    "data set cut off": ("C000",),
    "junk as data set": ("C000",),
    "UID ../../escaped": ("0117",),
    "UID /tmp/escaped": ("0117",),
    "UID empty": ("0117",),
    "UID of 72 characters": ("0117",),
    "sequences 3,000 deep": ("C000",),
    "deflate bomb, 300 MiB from 300 kB": ("C000",),
    "NaN and zero geometry": ("0000",),  # stored; declined by assembly with a reason
    "image of 65535 x 65535": ("0000",),  # likewise
    "same UID, other content": ("0000, then 0111",),
}


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Spool:
    return Spool(tmp_path_factory.mktemp("hostile") / "storage")


@pytest.fixture(scope="module")
def target(spool: Spool) -> Iterator[Target]:
    everybody = (AllowedPeer(ae_title="*", host="127.0.0.1"),)
    config = ReceiveConfig(host="127.0.0.1", port=0, allow=everybody, max_instance_mib=8)
    listener = Listener(config, spool)
    listener.start()
    yield Target(port=listener.port)
    eventually(lambda: listener.counts.open == 0)
    listener.stop(timeout_s=2)
    eventually(lambda: not [t for t in threading.enumerate() if "AcceptorThread" in t.name])
    kept = everything_under(spool.folder)
    stored = {name for name in kept if name.startswith("inbox/")}
    assert stored <= {f"inbox/1.2.3.{n}.dcm" for n in (77, 78, 88)}  # not all rows need have run in this process
    assert all(name.startswith(("inbox/", "quarantine/")) for name in kept)
    outside = [p.name for p in spool.folder.parent.parent.rglob("*") if "escaped" in p.name]
    assert outside == []


@pytest.mark.parametrize("row", QUICK, ids=lambda row: row.name)
def test_each_attack_has_its_outcome_and_others_are_served(target: Target, row: Row) -> None:
    assert row.attack(target) in EXPECTED[row.name]
    assert target.serves()


@pytest.mark.parametrize("edit", [no_numbers, giant_image])
def test_what_the_network_cannot_judge_is_declined_by_assembly(tmp_path: Path, edit: Callable[[Dataset], None]) -> None:
    headers = []
    for path in write_study(tmp_path):
        data_set = dcmread(path)
        with warnings.catch_warnings(action="ignore"):  # pydicom warns of what is written on purpose
            edit(data_set)
            data_set.save_as(path)
        headers.append(read_header(path))
    (plan,) = plan_study(headers)
    assert plan.declined is not None
    assert plan.declined[0] == "no_geometry"


def test_the_document_has_every_row() -> None:
    text = (REPOSITORY / "docs/hostile-peers.md").read_text()
    assert names_of(text) == [row.name for row in ROWS]


def test_the_bomb_is_one() -> None:
    import zlib

    packed = deflate_bomb(4 << 20)
    assert len(packed) < 10_000
    assert len(zlib.decompress(packed.rstrip(b"\x00") + b"\x00\x00", -15)) > 4 << 20
    assert deep_sequences(50).count(b"SQ\x00\x00\xff\xff\xff\xff") >= 50
