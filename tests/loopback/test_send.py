"""Sending, to DCMTK's receiver, to our own and to peers that misbehave."""

import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE, evt
from pynetdicom.events import Event

from node.dimse.contexts import STORED_SOP_CLASSES, STORED_TRANSFER_SYNTAXES
from node.dimse.scu import Peer, echo, send
from node.dimse.store_peer import StorePeer
from node.errors import PeerError
from node.intake.file_meta import FileMeta, decode_file_meta, encode_file_meta
from node.model import StoreOutcome, StoreStatus
from tests.loopback.callers import eventually
from tests.loopback.test_store import data_set_of
from tests.node.intake.encoded_images import EXPLICIT_LITTLE, IMPLICIT_LITTLE, MR_IMAGE, image, written

SUCCESS = StoreStatus.SUCCESS


def at(port: int, ae_title: str = "PACS") -> Peer:
    return Peer(ae_title=ae_title, host="127.0.0.1", port=port)


def images(folder: Path, count: int, syntax: str = EXPLICIT_LITTLE) -> list[Path]:
    paths = [folder / f"image{number}.dcm" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(written(image(f"1.2.3.{number}"), syntax))
    return paths


@contextmanager
def library_peer(
    answers: Callable[[Event], int], *contexts: tuple[str, str], max_pdu: int = 16382
) -> Iterator[tuple[int, list[Event]]]:
    """An untouched pynetdicom receiver whose answers the test chooses."""
    seen: list[Event] = []

    def handle(event: Event) -> int:
        seen.append(event)
        return answers(event)

    entity = AE("PACS")
    entity.maximum_pdu_size = max_pdu
    for sop_class, syntax in contexts or ((MR_IMAGE, EXPLICIT_LITTLE),):
        entity.add_supported_context(sop_class, syntax)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handle)])
    try:
        yield server.server_address[1], seen
    finally:
        server.shutdown()


@contextmanager
def dcmtk_peer(program: Path, folder: Path, *options: str) -> Iterator[int]:
    """DCMTK's storescp."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([program, "-aet", "PACS", "-od", str(folder), *options, str(port)])
    try:

        def answers() -> bool:
            try:
                echo(at(port), calling_ae_title="IRONNODE", timeout_s=5)
            except PeerError:
                return False
            return True

        eventually(answers)
        yield port
    finally:
        process.terminate()
        process.wait()


def test_files_arrive_byte_for_byte_over_one_association(tmp_path: Path) -> None:
    paths = images(tmp_path, 20)
    heard: list[StoreOutcome] = []
    with StorePeer(tmp_path / "pacs") as pacs:
        outcomes = send(paths, at(pacs.port), calling_ae_title="IRONNODE", on_outcome=heard.append)
        kept = pacs.wait_for(20, timeout_s=10)
        assert pacs._listener.counts.accepted == 1
    assert [(outcome.path, outcome.status) for outcome in outcomes] == [(path, SUCCESS) for path in paths]
    assert heard == outcomes
    assert sorted(data_set_of(path) for path in kept) == sorted(data_set_of(path) for path in paths)


@pytest.mark.parametrize("options", [(), ("+B",), ("--max-pdu", "4096")])
def test_dcmtk_takes_what_we_send(tmp_path: Path, peer: Callable[[str], Path], options: tuple[str, ...]) -> None:
    paths = images(tmp_path, 5)
    with dcmtk_peer(peer("storescp"), tmp_path / "pacs", *options) as port:
        outcomes = send(paths, at(port), calling_ae_title="IRONNODE")
    assert [outcome.status for outcome in outcomes] == [SUCCESS] * 5
    kept = [pydicom.dcmread(path) for path in (tmp_path / "pacs").iterdir()]
    assert {d.SOPInstanceUID for d in kept} == {f"1.2.3.{n}" for n in range(5)}
    assert all(d.PixelData == image().PixelData for d in kept)


def test_a_peer_that_takes_only_implicit_vr_gets_it(tmp_path: Path, peer: Callable[[str], Path]) -> None:
    with dcmtk_peer(peer("storescp"), tmp_path / "pacs", "+xi") as port:
        (outcome,) = send(images(tmp_path, 1), at(port), calling_ae_title="IRONNODE")
    assert outcome.status is SUCCESS
    (path,) = (tmp_path / "pacs").iterdir()
    found = pydicom.dcmread(path)
    assert found.file_meta.TransferSyntaxUID == IMPLICIT_LITTLE
    assert found.PixelData == image().PixelData
    assert found.ReferencedImageSequence == image().ReferencedImageSequence


def test_a_compressed_image_is_unpacked_for_a_peer_that_takes_only_uncompressed(
    tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:
    source = shared_data("transfer-syntaxes") / "4.dcm"
    with library_peer(lambda _: 0, (MR_IMAGE, EXPLICIT_LITTLE)) as (port, seen):
        (outcome,) = send([source], at(port), calling_ae_title="IRONNODE")
    assert outcome.status is SUCCESS, outcome.detail
    assert seen[0].dataset.SOPInstanceUID == pydicom.dcmread(source).SOPInstanceUID
    received = seen[0].dataset
    received.file_meta = seen[0].file_meta
    assert (received.pixel_array == pydicom.dcmread(source).pixel_array).all()


def test_each_file_has_its_own_outcome(tmp_path: Path) -> None:
    good, refused, remarked, unknown = images(tmp_path, 4)
    data_set = image("1.2.9")
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    unknown.write_bytes(written(data_set))
    junk = tmp_path / "notes.txt"
    junk.write_text("not a DICOM file")
    answers = {"1.2.3.0": 0x0000, "1.2.3.1": 0xA700, "1.2.3.2": 0xB000}
    with library_peer(lambda event: answers[event.request.AffectedSOPInstanceUID]) as (port, _):
        paths = [junk, good, refused, remarked, unknown, tmp_path / "absent.dcm"]
        outcomes = send(paths, at(port), calling_ae_title="IRONNODE")
    status = StoreStatus
    assert [o.status for o in outcomes] == [
        status.FAILED, SUCCESS, status.FAILED, status.WARNING, status.NO_CONTEXT, status.FAILED
    ]  # fmt: skip
    assert "not a DICOM file" in outcomes[0].detail
    assert "A700 (out of resources)" in outcomes[2].detail
    assert [o.stored for o in outcomes] == [False, True, False, True, False, False]


def test_an_abort_in_the_middle_ends_the_send_honestly(tmp_path: Path) -> None:
    def answer(event: Event) -> int:
        if event.request.AffectedSOPInstanceUID == "1.2.3.1":
            event.assoc.abort()
        return 0

    with library_peer(answer) as (port, _):
        outcomes = send(images(tmp_path, 4), at(port), calling_ae_title="IRONNODE", timeout_s=5)
    status = StoreStatus
    assert [o.status for o in outcomes] == [SUCCESS, status.FAILED, status.NOT_TRIED, status.NOT_TRIED]
    assert "aborted" in outcomes[1].detail


def test_more_contexts_than_one_association_can_hold(tmp_path: Path) -> None:
    paths = []
    for sop_class in list(STORED_SOP_CLASSES)[:18]:
        for syntax in [s for s in STORED_TRANSFER_SYNTAXES if "1.2.4." in s or s.endswith("2.5")]:
            data_set = image(f"1.2.{len(paths)}")
            data_set.SOPClassUID = sop_class
            path = tmp_path / f"{len(paths)}.dcm"
            whole = written(data_set)
            # The transfer syntax is only claimed: what matters here is the number of contexts.
            path.write_bytes(_claim(whole, data_set, syntax))
            paths.append(path)
    with StorePeer(tmp_path / "pacs") as pacs:
        outcomes = send(paths, at(pacs.port), calling_ae_title="IRONNODE")
        assert [o.status for o in outcomes] == [SUCCESS] * len(paths)
        assert pacs._listener.counts.accepted == 2
        assert len(pacs.files()) == len(paths)


def _claim(whole: bytes, data_set: pydicom.Dataset, syntax: str) -> bytes:
    _, start = decode_file_meta(whole[:4096], "x")
    meta = FileMeta(
        sop_class_uid=str(data_set.SOPClassUID),
        sop_instance_uid=str(data_set.SOPInstanceUID),
        transfer_syntax_uid=syntax,
    )
    return encode_file_meta(meta) + whole[start:]


def test_odd_files_of_others_get_an_outcome_each(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    folders = ("compressed-and-odd", "sr-seg-pm", "philips-enhanced-2echo")
    paths = sorted(path for folder in folders for path in shared_data(folder).rglob("*.dcm"))
    with StorePeer(tmp_path / "pacs") as pacs:
        outcomes = send(paths, at(pacs.port), calling_ae_title="IRONNODE")
        assert len(pacs.files()) == [o.status for o in outcomes].count(SUCCESS) > 5
        for outcome in outcomes:
            expected = outcome.stored or outcome.status is StoreStatus.NO_CONTEXT
            # Several of them are one instance in different encodings, or disagree with their own file meta.
            assert expected or "0111" in outcome.detail or "A900" in outcome.detail, outcome
        echo(at(pacs.port), calling_ae_title="IRONNODE")


# ------------------------------------------------------------------ peers that cannot be reached


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(PeerError, match="connection refused"):
        send(images(tmp_path, 1), at(port), calling_ae_title="IRONNODE")
    with pytest.raises(PeerError, match="host name cannot be resolved"):
        echo(Peer(ae_title="X", host="no-such-host.invalid", port=104), calling_ae_title="IRONNODE")


def test_the_peer_does_not_call_itself_that(tmp_path: Path) -> None:
    with StorePeer(tmp_path) as pacs, pytest.raises(PeerError, match="it does not call itself OTHER"):
        echo(at(pacs.port, "OTHER"), calling_ae_title="IRONNODE")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (None, "no answer in time while negotiating"),
        (b"", "closed the connection"),
        (struct.pack(">BBL", 7, 0, 4) + bytes(4), "aborted the association"),
        (struct.pack(">BBL", 3, 0, 4) + b"\x00\x02\x03\x02", "rejected: local limit exceeded"),
        (struct.pack(">BBL", 3, 0, 4) + b"\x00\x09\x09\x09", "rejected"),
        (struct.pack(">BBL", 2, 0, 20) + bytes(20), "cannot be decoded|neither|does not accept"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "it speaks TLS, and this side does not: give --tls"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "connection lost|no answer"),
    ],
    ids=["silence", "close", "abort", "reject", "odd-reject", "noise", "tls-alert", "ssh"],
)
def test_a_peer_that_answers_oddly(answer: bytes | None, text: str) -> None:
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                if answer is None:
                    done.wait(10)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with pytest.raises(PeerError, match=text):
                echo(at(server.getsockname()[1]), calling_ae_title="IRONNODE", timeout_s=0.5)
        finally:
            done.set()
            thread.join()


# ------------------------------------------------------------------ the receiving peer itself


def test_waiting_ends_when_the_condition_holds(tmp_path: Path) -> None:
    paths = images(tmp_path, 3)
    with StorePeer(tmp_path / "pacs") as pacs:
        sender = threading.Thread(target=send, args=(paths, at(pacs.port)), kwargs={"calling_ae_title": "IRONNODE"})
        sender.start()
        found = pacs.wait_for(lambda files: any(path.name == "1.2.3.2.dcm" for path in files), timeout_s=10)
        sender.join()
        assert len(found) == 3
        with pytest.raises(PeerError, match="3 files after"):
            pacs.wait_for(4, timeout_s=0.05)
        assert pacs.conflicts() == []
