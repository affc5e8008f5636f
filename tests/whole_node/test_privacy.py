"""No patient in what leaves the node otherwise than as DICOM, a job's own files or the page after log-in.

Patients whose name, identifiers, birth date and accession number are marked go every way there is, good and bad,
through the real processes; then every byte of logs, notices, metrics, file names, answers and commands is searched.
"""

import base64
import json
import re
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, VerificationPresentationContexts, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet

from node.app import open_node, wall_clock
from node.config import load_config
from node.dimse.contexts import STUDY_ROOT_FIND
from node.dimse.requestor import Context, Peer, Requestor, Response
from node.dimse.scu import send
from node.dimse.store_peer import StorePeer
from node.errors import PeerError
from node.notify.troubles import find_troubles
from node.ops.audit import AuditTrail
from node.ops.selfcheck import run_checks
from node.simulate.writer import write_phantom
from quant.phantom import make_abdomen
from tests.loopback.callers import EXPLICIT_LITTLE, MR_IMAGE, store
from tests.node.intake.encoded_images import encoded
from tests.whole_node.harness import RunningNode, free_port, wait_until

pytestmark = [pytest.mark.whole_node, pytest.mark.timeout(180)]

# Letters enough that no random text holds them by chance: three of them once stood in a message's base64.
MARKED = {
    "PatientName": "Zqxjkvwfamily^Zqxjkvwgiven",
    "PatientID": "ZQXJKVWID-77081",
    "OtherPatientNames": "Zqxjkvwmaiden",
    "PatientBirthDate": "19070605",
    "AccessionNumber": "ZQXJKVWACC-5501",
    "PatientComments": "Zqxjkvwcomment",
}
_MARKS = re.compile(r"zqxjkvw|(?<![0-9])1907-?06-?05(?![0-9])", re.IGNORECASE)  # the digits may stand inside a UID
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{16,}")
OPEN_PAGES = ("/live", "/ready", "/status", "/metrics", "/login", "/")


def marks_in(blob: bytes) -> set[str]:
    """The marks that a piece of output holds, however it is written; the broker's messages are base64."""
    plain = [base64.b64decode(run[: len(run) // 4 * 4]) for run in _BASE64.findall(blob)]
    return {
        mark
        for part in (blob, *plain)
        for code in ("utf-8", "utf-16-le", "utf-16-be")
        for mark in _MARKS.findall(part.decode(code, "replace"))
    }


def test_the_search_finds_marks() -> None:
    for text in MARKED.values():
        assert marks_in(b"x" + text.encode() + b"x")
        assert marks_in(text.encode("utf-16-le"))
        assert marks_in(b'{"body": "' + base64.b64encode(f'[["{text}"], {{"more": null}}]'.encode()) + b'"}')
    assert marks_in(b"1.2.619070605") == set()


Edit = Callable[[pydicom.Dataset], None]


def study(folder: Path, edit: Edit | None = None, *, echoes: int = 6) -> list[Path]:
    """A small phantom of a marked patient, edited; its UIDs are its own."""
    times_s = 0.0012 * np.arange(1, echoes + 1)
    paths = sorted(write_phantom(make_abdomen(n_slices=2, matrix=64, echo_times_s=times_s), folder))
    renamed: dict[str, str] = {}
    for path in paths:
        ds = pydicom.dcmread(path)
        for name, value in MARKED.items():
            setattr(ds, name, value)
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"):
            setattr(
                ds, name, renamed.setdefault(ds[name].value, generate_uid(entropy_srcs=[str(folder), ds[name].value]))
            )
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nonsense is written on purpose
            if edit is not None:
                edit(ds)
            ds.save_as(path)
    return paths


def other_patient(ds: pydicom.Dataset) -> None:
    if ds.InstanceNumber % 2:
        ds.PatientID, ds.PatientName = "ZQXJKVWID-OTHER", "Zqxjkvwother"


def odd_identity(ds: pydicom.Dataset) -> None:
    """Values that readers warn of, with the value in the warning."""
    ds.PatientBirthDate = "ZQXJKVW19070605"
    ds.PatientID = "ZQXJKVWID-77081" * 9
    ds.PatientName = "Zqxjkvw^" * 90
    ds.SpecificCharacterSet = "ZQXJKVW_SET"
    ds.add_new(0x00101010, "AS", "ZQXJKVWA")


def no_geometry(ds: pydicom.Dataset) -> None:
    ds.ImagePositionPatient, ds.PixelSpacing = [0, 0, 0], [0, 0]


def cut_pixels(ds: pydicom.Dataset) -> None:
    ds.PixelData = ds.PixelData[:100]


def no_echo_time(ds: pydicom.Dataset) -> None:
    ds.EchoTime = None


WAYS: dict[str, Edit | None] = {
    "good": None,
    "two-patients": other_patient,
    "odd-identity": odd_identity,
    "no-geometry": no_geometry,
    "cut-pixels": cut_pixels,
    "no-echo-time": no_echo_time,
}


@contextmanager
def quoting_pacs() -> Iterator[tuple[int, list[str]]]:
    """A PACS that takes nothing and quotes the patient in its Error Comment; its port, and what it has refused."""
    refused: list[str] = []

    def refuse(event: evt.Event) -> Dataset:
        refused.append(event.event.name)
        answer = Dataset()
        answer.Status, answer.ErrorComment = 0xA700, f"{MARKED['PatientName']} {MARKED['PatientID']}: not known"
        return answer

    def refuse_query(event: evt.Event) -> Iterator[tuple[Dataset, None]]:
        yield refuse(event), None

    entity = AE(ae_title="QUOTING")
    for context in (*AllStoragePresentationContexts, *VerificationPresentationContexts):
        entity.add_supported_context(context.abstract_syntax)
    for model in (STUDY_ROOT_FIND, StudyRootQueryRetrieveInformationModelGet):
        entity.add_supported_context(model)
    handlers = [(evt.EVT_C_STORE, refuse), (evt.EVT_C_ECHO, refuse), (evt.EVT_C_FIND, refuse_query)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1], refused
    finally:
        server.shutdown()


def refused_ways(node: RunningNode, good: Path) -> list[str]:
    """What is answered to instances and callers that are not taken, in the answers' own words."""
    peer = Peer(ae_title="IRONNODE", host="127.0.0.1", port=node.port)
    contexts = [Context(sop_class_uid=MR_IMAGE, transfer_syntax_uid=EXPLICIT_LITTLE)]
    ds = pydicom.dcmread(good)
    uid = str(ds.SOPInstanceUID)
    said: list[Response] = []
    with Requestor(peer, contexts, calling_ae_title="SCANNER", timeout_s=20) as association:
        whole = encoded(ds)
        ds.PatientName = "Zqxjkvwfamily^Again"
        said.append(store(association, encoded(ds), sop_instance_uid=uid))  # known UID, other bytes
        said.append(store(association, whole, sop_instance_uid="1.2.3"))
        said.append(store(association, whole[:-7], sop_instance_uid=uid))
        said.append(store(association, whole, sop_instance_uid="ZQXJKVWID-77081"))
        with warnings.catch_warnings(action="ignore"):
            ds.StudyInstanceUID = "ZQXJKVWID-77081"
        said.append(store(association, encoded(ds), sop_instance_uid=uid))
        said.append(store(association, MARKED["PatientName"].encode() * 20, sop_instance_uid=uid))
    assert all(answer.status != 0 for answer in said)
    comments = [answer.comment for answer in said]
    assert all(comments)
    with pytest.raises(PeerError) as rejected:
        Requestor(peer, contexts, calling_ae_title="ZQXJKVWCALLER", timeout_s=20)
    return [*comments, str(rejected.value).replace("ZQXJKVWCALLER", "")]


def upload_refused(port: int) -> bytes:
    """The answer to an upload whose file name is a patient's."""
    body = (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="Zqxjkvwfamily.dcm"\r\n\r\nZqxjkvw\r\n--b--\r\n'
    )
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/try", body, kind)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    with refused.value as answer:
        return bytes(answer.read())


def delivery_troubles(node: RunningNode) -> set[str]:
    """The destinations of which the log has told a failure."""
    lines = [json.loads(line) for line in node.log.read_text().splitlines() if line.endswith("}")]
    return {line["destination"] for line in lines if line.get("event") == "delivery_failed"}


def fetch(port: int, path: str) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept": "text/html, */*"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return bytes(answer.read())


def test_no_patient_leaves_by_the_side(make_node: Callable[..., RunningNode], tmp_path: Path) -> None:
    local = {"ae_title": "PACS", "host": "127.0.0.1", "retry_base_s": 0.5, "retry_max_s": 1}
    with StorePeer(tmp_path / "pacs") as pacs, quoting_pacs() as (quoting_port, quoted):
        quoting = {"ae_title": "QUOTING", "host": "127.0.0.1", "port": quoting_port}
        node = make_node(
            destinations=[
                {"name": "pacs", "port": pacs.port, **local},
                {"name": "gone", "port": free_port(), **local},
                {"name": "quoting", **quoting},
            ],
            priors={"archive": quoting},
            assemble={"settle_s": 1, "complete_quiet_s": 0.3},
            queue={"max_attempts": 1},
            web={"enabled": True, "port": 0},
            notify={"events": ["delivery_stuck", "acquisition_refused"], "stuck_after_s": 1},
        )
        peer = Peer(ae_title="IRONNODE", host="127.0.0.1", port=node.port)
        good: list[Path] = []
        for way, edit in WAYS.items():
            files = study(tmp_path / way, edit)
            good = good or files
            outcomes = send(files, peer, calling_ae_title="SCANNER")
            assert all(outcome.stored for outcome in outcomes), (way, outcomes[0])
        two = study(tmp_path / "two-echoes", echoes=2)
        assert all(outcome.stored for outcome in send(two, peer, calling_ae_title="SCANNER"))
        answers = refused_ways(node, good[0])
        web = int(node.ready_file("web")["port"])

        def settled() -> dict[str, Any] | None:
            found = json.loads(fetch(web, "/status"))
            ended = found["jobs"]["done"] + found["jobs"]["parked"] + found["declined"]
            return found if ended >= len(WAYS) + 1 else None

        status = wait_until(settled, f"every study has an end; see {node.log}")
        pacs.wait_for(1, 30)
        leaves = {f"page {path}": fetch(web, path) for path in OPEN_PAGES}
        wait_until(lambda: "quoting" in delivery_troubles(node), "the quoting PACS has refused")
        leaves["check"] = repr(run_checks(load_config(node.config_path))).encode()
        leaves |= {f"answer {n}": text.encode() for n, text in enumerate(answers)}
        leaves["upload"] = upload_refused(web)
        with open_node(load_config(node.config_path)) as opened:  # what the commands print and the channels send
            leaves["status"] = repr([opened.status(), opened.acquisitions()]).encode()
            leaves["jobs"] = repr([[job, opened.show(job.job_id)] for job in opened.jobs()]).encode()
            troubles = find_troubles(opened, wall_clock() + timedelta(seconds=60))
            leaves["notices"] = repr(troubles).encode()
        assert {trouble.kind for trouble in troubles} == {"delivery_stuck", "acquisition_refused"}
        node.stop()
        delivered = pacs.files()
    storage = node.root / "data"
    leaves["audit"] = AuditTrail(storage).path.read_bytes()
    assert AuditTrail(storage).verify().broken is None
    assert {"job_done", "delivery_sent", "node_stopped"} <= {entry.event for entry in AuditTrail(storage).after(0)}
    leaves["log"] = node.log.read_bytes()
    leaves["names"] = "\n".join(str(path.relative_to(storage)) for path in storage.rglob("*")).encode()
    for path in (*(storage / "broker").rglob("*"), *(storage / "run").rglob("*"), *storage.glob("*.json")):
        if path.is_file():
            leaves[str(path.relative_to(storage))] = path.read_bytes()
    # The calling AE title of a stranger is logged on purpose: it is a system's name, and says who was turned away.
    for name in ("log", "audit"):
        leaves[name] = leaves[name].replace(b'"ZQXJKVWCALLER"', b"")
    assert {name: found for name, blob in leaves.items() if (found := marks_in(blob))} == {}

    # The marks were there to be found, and each way was gone.
    assert any(marks_in(path.read_bytes()) for path in (storage / "spool").rglob("*.dcm"))
    assert all(
        MARKED["PatientID"] == pydicom.dcmread(path, stop_before_pixels=True).PatientID for path in delivered[:3]
    )
    events = leaves["log"].decode()
    for event in ("job_done", "acquisition_declined", "instance_refused", "instance_conflict", "association_rejected"):
        assert f'"{event}"' in events, event
    for event in ("delivery_sent", "delivery_failed"):
        assert f'"{event}"' in events, event
    assert status["declined"] >= 2
    assert {"EVT_C_STORE", "EVT_C_ECHO", "EVT_C_FIND"} <= set(quoted)
