"""Earlier reports out of a real archive, and archives that are away, silent or unwilling."""

import copy
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from node.config import AllowedPeer, ArchiveConfig, CallerTls, Config, MoveToConfig, PriorsConfig, ReceiveConfig
from node.dimse.requestor import Peer
from node.dimse.scu import send
from node.process.batch import process_files
from node.process.priors import ask_archive
from quant.prior import PriorAnswer
from sr_templates import codes
from sr_templates.check import encode
from sr_templates.result_set import BuiltSet
from sr_templates.tree import children, measurement_groups
from tests.certificates import Site
from tests.sr_templates.sr_sources import STUDY, build_two_maps, make_classic, make_geometry, make_header
from tests.whole_node.harness import Orthanc, free_port


def config_for(
    port: int,
    *,
    ae_title: str = "PACS",
    timeout_s: float = 60,
    move_to_port: int | None = None,
    allow: Sequence[str] = ("PACS",),
    tls: CallerTls | None = None,
    **more: Any,
) -> Config:
    move_to = None if move_to_port is None else MoveToConfig(ae_title="IRONNODE_Q", port=move_to_port)
    archive = ArchiveConfig(ae_title=ae_title, host="127.0.0.1", port=port, move_to=move_to, tls=tls)
    peers = tuple(AllowedPeer(ae_title=title, host="127.0.0.1") for title in allow)
    priors = PriorsConfig(archive=archive, timeout_s=timeout_s, **more)
    return Config(priors=priors, receive=ReceiveConfig(allow=peers))


def image(tmp_path: Path, **changes: Any) -> Path:
    """One image of a study of 3 February 2026 by the patient of ``make_header``."""
    ds = make_header()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = MRImageStorage, f"{STUDY}.7.1", f"{STUDY}.7"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = tmp_path / "image.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture(scope="module")
def built() -> BuiltSet:
    return build_two_maps(make_classic(make_geometry(n_slices=1)))


def report_of(built: BuiltSet, role: str = "sr") -> Dataset:
    return next(item.dataset for item in built.objects if item.role == role)


def another(report: Dataset, number: int, day: str, **changes: Any) -> Dataset:
    """The report of another study of that day: it differs from ``report`` in what an archive sorts by."""
    ds = copy.deepcopy(report)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{STUDY}.{number}", f"{STUDY}.{number}.5"
    ds.StudyDate = day
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{STUDY}.{number}.5.{changes.pop('instance', 1)}"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def store(tmp_path: Path, archive: Orthanc, reports: list[Dataset], tls: CallerTls | None = None) -> None:
    files = [tmp_path / f"{ds.SOPInstanceUID}.dcm" for ds in reports]
    for path, ds in zip(files, reports, strict=True):
        path.write_bytes(encode(ds))
    pacs = Peer(ae_title="PACS", host="127.0.0.1", port=archive.dicom_port, tls=tls)
    outcomes = send(files, pacs, calling_ae_title="X")
    assert all(outcome.stored for outcome in outcomes)


def test_what_a_real_archive_holds_of_the_patient_is_read(tmp_path: Path, orthanc: Orthanc, built: BuiltSet) -> None:
    report, enhanced = report_of(built), report_of(built, "sr.enhanced")
    taken_back = another(report, 3, "20240301")
    newest = another(report, 3, "20240301", instance=2)
    newest.PredecessorDocumentsSequence = [predecessor(taken_back)]
    of_others = another(report, 11, "20240501", Manufacturer="somebody")
    unreadable = another(report, 12, "20240601")
    group = next(measurement_groups(unreadable))
    group.ContentSequence = [item for item in group.ContentSequence if item not in list(children(group, codes.R2STAR))]
    store(
        tmp_path,
        orthanc,
        [
            another(report, 1, "20220301"),
            another(report, 2, "20230301"),
            another(enhanced, 2, "20230301", instance=2),  # the same result in another SOP class
            *(taken_back, newest, of_others, unreadable),
            another(report, 5, "20260203"),  # of the same day
            another(report, 6, "20100101"),  # too long ago
            another(report, 7, "20250101", PatientName="Other^Person"),
            another(report, 8, "20250201", PatientBirthDate="19700204"),
            another(report, 13, "20250210", PatientSex="F"),
            another(report, 9, "20250301", IssuerOfPatientID="ELSEWHERE"),
            another(report, 10, "20250401", PatientID="P-08150"),
        ],
    )

    answer = ask_archive(image(tmp_path), config_for(orthanc.dicom_port))
    assert answer is not None
    assert answer.not_checked is None
    assert [found.date for found in answer.earlier] == ["2024-03-01", "2023-03-01", "2022-03-01"]
    assert answer.earlier[0].report.sop_instance_uid == newest.SOPInstanceUID
    assert (answer.other_person, answer.other_issuer) == (3, 1)
    assert (answer.unreadable, answer.left_out) == (1, 0)

    few = ask_archive(image(tmp_path), config_for(orthanc.dicom_port, max_reports=2))
    assert few is not None
    assert few.left_out > 0
    wrong_title = ask_archive(image(tmp_path), config_for(orthanc.dicom_port, ae_title="NOBODY"))
    assert wrong_title is not None
    assert "it does not call itself NOBODY" in (wrong_title.not_checked or "")
    assert wrong_title.earlier == ()


def only_move(folder: Path) -> dict[str, Any]:
    return {"DicomAlwaysAllowGet": False, "DicomAlwaysAllowMove": True}


@pytest.mark.parametrize("orthanc", [only_move], indirect=True)
def test_an_archive_without_c_get_sends_by_c_move(tmp_path: Path, orthanc: Orthanc, built: BuiltSet) -> None:
    report = report_of(built)
    store(tmp_path, orthanc, [another(report, 1, "20220301"), another(report, 2, "20230301")])
    path, port = image(tmp_path), free_port()

    def asked(**changes: Any) -> PriorAnswer:
        answer = ask_archive(path, config_for(orthanc.dicom_port, move_to_port=port, **changes))
        assert answer is not None
        return answer

    get_only = ask_archive(path, config_for(orthanc.dicom_port))
    assert get_only is not None
    assert "it ended the association instead of answering C-GET" in (get_only.not_checked or "")
    assert "answered C-MOVE to IRONNODE_Q with status" in (asked().not_checked or "")
    orthanc.put("/modalities/us", {"AET": "IRONNODE_Q", "Host": "127.0.0.1", "Port": port})
    assert "PACS at 127.0.0.1 is not on receive.allow" in (asked(allow=[]).not_checked or "")
    with socket.create_server(("0.0.0.0", port)):
        assert f"port {port} of priors.archive.move_to" in (asked(timeout_s=2).not_checked or "")
    answer = asked()
    assert answer.not_checked is None
    assert [found.date for found in answer.earlier] == ["2023-03-01", "2022-03-01"]
    socket.create_server(("0.0.0.0", port)).close()  # nothing listens any longer


@pytest.fixture
def move_port() -> int:
    return free_port()


@pytest.fixture
def mute_to_c_get(built: BuiltSet, move_port: int) -> Iterator[int]:
    """The port of an archive that takes a C-GET, never answers it, and does answer C-FIND and C-MOVE (one report)."""
    held, tested = another(report_of(built), 1, "20220301"), threading.Event()

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        answer = Dataset()
        for key in event.identifier:
            setattr(answer, key.keyword, held.get(key.keyword, key.value))
        answer.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
        yield 0xFF00, answer

    def say_nothing(event: evt.Event) -> Iterator[int]:
        tested.wait(60)
        yield 0

    def move(event: evt.Event) -> Iterator[Any]:
        contexts = [build_context(held.SOPClassUID, held.file_meta.TransferSyntaxUID)]
        yield "127.0.0.1", move_port, {"contexts": contexts}
        yield 1
        yield 0xFF00, held

    archive = AE(ae_title="PACS")
    for model in (StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelGet,
                  StudyRootQueryRetrieveInformationModelMove):  # fmt: skip
        archive.add_supported_context(model)
    server = archive.start_server(
        ("127.0.0.1", 0), block=False,
        evt_handlers=[(evt.EVT_C_FIND, find), (evt.EVT_C_GET, say_nothing), (evt.EVT_C_MOVE, move)],
    )  # fmt: skip
    yield server.socket.getsockname()[1]
    tested.set()
    server.shutdown()


def test_a_c_get_without_an_answer_leaves_time_for_c_move(tmp_path: Path, mute_to_c_get: int, move_port: int) -> None:
    config = config_for(mute_to_c_get, timeout_s=8, move_to_port=move_port)
    answer = ask_archive(image(tmp_path), config)
    assert answer is not None
    assert answer.not_checked is None
    assert [found.date for found in answer.earlier] == ["2022-03-01"]


def over_tls(folder: Path) -> dict[str, Any]:
    pair = Site(folder).issue()
    return {
        "DicomTlsEnabled": True, "DicomTlsCertificate": str(pair.certificate), "DicomTlsPrivateKey": str(pair.key),
        "DicomTlsTrustedCertificates": str(folder / "site-ca.pem"), "DicomTlsRemoteCertificateRequired": False,
    }  # fmt: skip


@pytest.mark.parametrize("orthanc", [over_tls], indirect=True)
def test_an_archive_is_asked_over_tls(tmp_path: Path, orthanc: Orthanc, built: BuiltSet) -> None:
    report = report_of(built)
    tls = CallerTls(ca=tmp_path / "orthanc" / "site-ca.pem")
    store(tmp_path, orthanc, [another(report, 1, "20220301")], tls=tls)
    answer = ask_archive(image(tmp_path), config_for(orthanc.dicom_port, tls=tls))
    assert answer is not None
    assert answer.not_checked is None
    assert [found.date for found in answer.earlier] == ["2022-03-01"]


def predecessor(report: Dataset) -> Dataset:
    """An item of Predecessor Documents Sequence (PS3.3 table C.17-3)."""
    study, series, instance = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = report.SOPClassUID, report.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = report.SeriesInstanceUID, [instance]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = report.StudyInstanceUID, [series]
    return study


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A socket that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
        for thread in threading.enumerate():
            if thread.name == "priors":
                thread.join(10)  # it gives up by itself
                assert not thread.is_alive()


def test_a_silent_archive_costs_no_more_than_the_configured_time(tmp_path: Path, silent_port: int) -> None:
    path, config = image(tmp_path), config_for(silent_port, timeout_s=0.5)
    start = time.monotonic()
    answer = ask_archive(path, config)
    assert time.monotonic() - start < 5.0  # the association's own limits are far longer
    assert answer is not None
    assert re.search("no complete answer within 0.5 s|no answer in time", answer.not_checked or "")


def test_an_archive_that_is_away_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    answer = ask_archive(image(tmp_path), config_for(port))
    assert answer is not None
    assert "connection refused: nothing listens on this port" in (answer.not_checked or "")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"PatientID": ""}, "the study has no Patient ID"),
        ({"StudyDate": ""}, "the study has no date"),
        ({"PatientID": "P*"}, "wildcards"),
    ],
)
def test_what_cannot_be_asked_is_said(tmp_path: Path, silent_port: int, changes: dict[str, str], why: str) -> None:
    answer = ask_archive(image(tmp_path, **changes), config_for(silent_port))
    assert answer is not None
    assert why in (answer.not_checked or "")


def test_without_an_archive_nothing_is_asked(tmp_path: Path) -> None:
    assert ask_archive(image(tmp_path), Config()) is None


def test_from_scanner_files_to_a_compared_report(
    tmp_path: Path, orthanc: Orthanc, phantom_files: Callable[..., list[Path]]
) -> None:
    """Last year's files are measured and stored in Orthanc; the same liver a year later is then compared with them."""
    files = phantom_files(r2star_per_s=250)
    first = process_files(files, tmp_path / "then", Config(), indication=None, show=print)[0]
    assert first.record["prior_check"]["state"] == "not_configured"
    peer = Peer(ae_title="PACS", host="127.0.0.1", port=orthanc.dicom_port)
    send(sorted((first.folder / "dicom").glob("sr-*.dcm")), peer, calling_ae_title="X")
    for path in files:
        _one_year_later(path)
    now = process_files(files, tmp_path / "now", config_for(orthanc.dicom_port), indication=None, show=print)[0]
    prior = now.record["prior"]
    assert prior["comparable"], prior
    assert prior["lic_mg_per_g"] == pytest.approx(first.record["lic_mg_per_g"]["median"], abs=0.0005)
    assert prior["change_mg_per_g"] == pytest.approx(0, abs=0.0005)
    assert prior["change_per_year_mg_per_g"] == pytest.approx(prior["change_mg_per_g"], rel=0.01)
    assert not prior["exceeds_repeatability"]
    sentence = now.record["prior_check"]["text"]
    assert "within the repeatability coefficient" in sentence
    assert sentence.split(";")[0] in (now.folder / "report.html").read_text()
    assert (now.folder / "trend.png").is_file()


def _one_year_later(path: Path) -> None:
    ds = dcmread(path)
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        if keyword in ds:
            setattr(ds, keyword, f"{int(str(ds[keyword].value)[:4]) + 1}{str(ds[keyword].value)[4:]}")
    _renumber(ds)
    ds.save_as(path)


def _renumber(ds: Dataset) -> None:
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(ds, keyword, f"{ds[keyword].value[:60]}.9")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
