"""Results as HL7 and FHIR to receivers made by others: what they say, and what each answer does to the delivery."""

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hl7
import pytest
from fhir.resources.bundle import Bundle as BundleR5
from fhir.resources.R4B.bundle import Bundle

from node.config import CallerTls, Config, FhirReceiver, Hl7Receiver
from node.deliver.dispatch import Dispatcher
from node.deliver.outbox import plan_deliveries
from node.errors import InputError, PeerError
from node.messages.content import ResultMessage, read_message
from node.messages.fhir import build_transaction
from node.messages.oru import build_oru
from node.messages.send import send_messages, try_receiver
from node.model import DeliveryState, PipelineOutput, StoreOutcome, StoreStatus
from node.ops.selfcheck import run_checks
from node.report.text import render_text
from node.roles.deliverer import sender
from node.tls import listener_context
from sr_templates.check import encode
from sr_templates.result_set import BuiltSet
from tests.certificates import Site
from tests.node.deliver.test_dispatch import deliveries, finish_job
from tests.nodekit.message_peers import FhirServer, Ris, running_fhir, running_ris
from tests.nodekit.quiet_node import Archive, Clock, QuietNode
from tests.sr_templates.sr_sources import (
    as_earlier,
    build,
    build_refusal,
    make_bounded_result,
    make_classic,
    make_extreme_maps,
    make_geometry,
    make_identity,
    make_mask,
)


def on_disk(folder: Path, built: BuiltSet) -> Path:
    """The result set as the outbox holds it; gives its report."""
    report = folder / "dicom" / "sr-0001.dcm"
    report.parent.mkdir(parents=True)
    report.write_bytes(encode(next(item.dataset for item in built.objects if item.role == "sr")))
    (folder / "result.json").write_text(json.dumps(built.result.to_record()))
    (folder / "report.txt").write_text("\n".join(render_text(built.result).splitlines()[:5]))
    return report


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    header = {"PatientName": "Müller & Søn^Åse^^Dr^MD", "PatientID": "P|1^2", "TimezoneOffsetFromUTC": "+0100"}
    source = make_classic(make_geometry(n_slices=1), SpecificCharacterSet="ISO_IR 192", **header)
    return on_disk(tmp_path_factory.mktemp("out") / "0123456789abcdef0123456789abcdef", build(source))


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return on_disk(tmp_path_factory.mktemp("out") / "feed", build_refusal(make_classic(make_geometry(n_slices=1))))


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = make_bounded_result(make_mask(3))
    built = build(make_classic(make_geometry(n_slices=3)), result, maps=make_extreme_maps(3, 0.4))
    return on_disk(tmp_path_factory.mktemp("out") / "beef", built)


def ris_at(port: int, **more: Any) -> Hl7Receiver:
    return Hl7Receiver(name="ris", kind="hl7", host="127.0.0.1", port=port, **more)


def fhir_at(port: int, scheme: str = "http", **more: Any) -> FhirReceiver:
    return FhirReceiver(name="store", kind="fhir", url=f"{scheme}://127.0.0.1:{port}/fhir", **more)


def sent(report: Path, receiver: Hl7Receiver | FhirReceiver) -> StoreOutcome:
    noted: list[StoreOutcome] = []
    outcomes = send_messages([report], receiver, noted.append)
    assert outcomes == noted
    return outcomes[0]


def lines(message: str, concept: str) -> list[hl7.Segment]:
    """The OBX of a concept, by another parser than the one that checked the message."""
    return [segment for segment in hl7.parse(message).segments("OBX") if str(segment[3][0][0]) == concept]


def test_hl7_says_the_numbers_in_ucum_and_whose_they_are(measured: Path) -> None:
    with running_ris(Ris()) as ris:
        assert sent(measured, ris_at(ris.port)).status == StoreStatus.SUCCESS
    (message,) = ris.messages
    record = json.loads((measured.parent.parent / "result.json").read_text())
    (lic,) = lines(message, "1001")
    assert (str(lic[2]), str(lic[6]), str(lic[11])) == ("NM", "mg/g^^UCUM", "P")
    assert float(str(lic[5])) == pytest.approx(record["lic_mg_per_g"]["median"], abs=0.0005)
    (r2star,) = lines(message, "126395")
    assert str(r2star[6]) == "/s^^UCUM"
    assert float(str(r2star[5])) == pytest.approx(record["r2star_per_s"]["median"], abs=0.005)
    parsed = hl7.parse(message)
    pid, obr = parsed.segment("PID"), parsed.segment("OBR")
    assert parsed.unescape(str(pid[3][0][0])) == "P|1^2"
    name = [parsed.unescape(str(part)) for part in pid[5][0]]
    assert name == ["Müller & Søn", "Åse", "", "MD", "Dr"]
    assert str(obr[3]) == "0123456789abcdef0123456789abcdef^IRONNODE"
    assert str(obr[25]) == "P"
    assert str(obr[22]).endswith("+0100")
    assert "For research use only" in message
    assert all(str(segment).isascii() for segment in parsed.segments("OBX"))  # umol/g: for receivers of ASCII only


def test_a_repeat_is_the_same_message(measured: Path) -> None:
    result = read_message(measured)
    assert build_oru(result, ris_at(1)) == build_oru(read_message(measured), ris_at(1))
    assert build_transaction(result, fhir_at(1)) == build_transaction(read_message(measured), fhir_at(1))


def test_a_refusal_says_so_without_a_number(refused: Path) -> None:
    result = read_message(refused)
    reason = json.loads((refused.parent.parent / "result.json").read_text())["reasons"][0]["text"]
    message = build_oru(result, ris_at(1))
    (lic,) = lines(message, "1001")
    assert (str(lic[5]), str(lic[11])) == ("", "X")
    assert {str(segment[2]) for segment in hl7.parse(message).segments("OBX")} == {"NM", "ST", "TX"}
    assert sum(str(segment[2]) == "NM" for segment in hl7.parse(message).segments("OBX")) == 1
    assert "could not be measured" in message
    bundle = json.loads(build_transaction(result, fhir_at(1)))
    report, observation = (entry["resource"] for entry in bundle["entry"])
    assert "could not be measured" in report["conclusion"]
    assert reason in report["conclusion"]
    assert observation["dataAbsentReason"]["text"] == result.lic_missing
    assert "valueQuantity" not in json.dumps(bundle)
    assert reason in observation["dataAbsentReason"]["text"]


def test_a_bound_is_one_in_both(bounded: Path) -> None:
    result = read_message(bounded)
    (lic,) = lines(build_oru(result, ris_at(1)), "1001")
    assert str(lic[2]) == "SN"
    assert str(lic[5]) == f">=^{result.numbers[0].value}"
    _, lic, _, t2star, *_ = (e["resource"] for e in json.loads(build_transaction(result, fhir_at(1)))["entry"])
    assert lic["valueQuantity"]["comparator"] == ">="
    assert lic["component"][0]["valueRange"].keys() == {"low"}
    assert t2star["valueQuantity"]["comparator"] == "<="
    assert t2star["component"][0]["valueRange"].keys() == {"high"}


def test_a_later_result_names_what_it_replaces(tmp_path: Path) -> None:
    source = make_classic(make_geometry(n_slices=1))
    first = build_refusal(source)
    identity = make_identity(job_id="job-2", revision=2)
    old_uid = next(item.dataset.SOPInstanceUID for item in first.objects if item.role == "sr")
    later = build_refusal(source, replaces=[as_earlier(first)], identity=identity)
    report = on_disk(tmp_path / "j2", later)
    record = later.result.to_record() | {"revision": {"text": "Result 2 replaces result 1.", "replaces": [old_uid]}}
    (tmp_path / "j2" / "result.json").write_text(json.dumps(record))
    result = read_message(report)
    assert [str(line[5]) for line in lines(build_oru(result, ris_at(1)), "REPLACES")] == [old_uid]
    heard = read_message(report, received="1.2.3")  # the receiver never got what it replaces
    assert heard.replaces == ("1.2.3", old_uid)
    assert "urn:oid:1.2.3" in build_transaction(heard, fhir_at(1))
    assert [str(line[5]) for line in lines(build_oru(heard, ris_at(1)), "REPLACES")] == list(heard.replaces)
    for release, model in (("r4", Bundle), ("r5", BundleR5)):
        bundle = json.loads(build_transaction(result, fhir_at(1, release=release)))
        model.model_validate(bundle)
        (extension,) = bundle["entry"][0]["resource"]["extension"]
        assert extension["url"] == "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces"
        assert extension["valueReference"]["identifier"]["value"] == f"urn:oid:{old_uid}"


@pytest.mark.parametrize(
    ("ris", "status", "words"),
    [
        (Ris(codes=["CA"]), StoreStatus.SUCCESS, ""),
        (Ris(codes=["AE"], error="204^none"), StoreStatus.FAILED, "answered AE: unknown key identifier"),
        (Ris(codes=["AR"]), StoreStatus.FAILED, "answered AR"),
        (Ris(codes=["DOE JANE"]), StoreStatus.FAILED, "answered without a code"),
    ],
)
def test_acknowledgements(measured: Path, ris: Ris, status: StoreStatus, words: str) -> None:
    with running_ris(ris):
        outcome = sent(measured, ris_at(ris.port))
    assert (outcome.status, outcome.detail) == (status, words)


def test_a_delivery_waits_until_the_receiver_takes_it(measured: Path, tmp_path: Path) -> None:
    folder = measured.parent.parent
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    output = PipelineOutput(record=json.loads(files["result.json"]), files=files)
    with running_ris(Ris(codes=["AE", "AA"])) as ris:
        receiver = ris_at(ris.port)
        node = QuietNode(tmp_path / "root", Archive(), Clock(), Config(messages=(receiver,)))
        node.run = lambda job: output
        finish_job(node, tmp_path / "study")
        dispatcher = Dispatcher(
            book=node.ledger.deliveries, outbox=node.outbox, send=sender(node.config, node.ledger.deliveries),
            clock=node.clock, uniform=lambda low, high: high,
        )  # fmt: skip
        assert dispatcher.deliver_due(receiver) == 0
        assert [(d.state, d.last_detail) for d in deliveries(node)] == [(DeliveryState.PENDING, "answered AE")]
        assert dispatcher.deliver_due(receiver) == 0
        assert len(ris.messages) == 1  # it is not due yet
        node.clock.pass_s(receiver.retry_max_s)
        assert dispatcher.deliver_due(receiver) == 1
    assert [d.state for d in deliveries(node)] == [DeliveryState.SENT]
    assert ris.messages[0] == ris.messages[1]
    node.close()


@pytest.mark.parametrize(
    ("ris", "why"),
    [
        (Ris(codes=["closes"]), "closed the connection instead of acknowledging"),
        (Ris(codes=["babble"]), "no HL7 acknowledgement"),
        (Ris(other_control_id=True), "acknowledged another message"),
    ],
)
def test_no_acknowledgement_of_this_message_is_none(measured: Path, ris: Ris, why: str) -> None:
    with running_ris(ris), pytest.raises(PeerError, match=why):
        sent(measured, ris_at(ris.port))


def test_a_silent_and_an_absent_receiver(measured: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(PeerError, match=r"no acknowledgement within 0\.2 s"):
            sent(measured, ris_at(port, timeout_s=0.2))
    for receiver in (ris_at(port), fhir_at(port)):
        with pytest.raises(PeerError, match=r"(?i)connection refused"):
            sent(measured, receiver)


def test_fhir_resources_are_valid_and_made_once(measured: Path) -> None:
    record = json.loads((measured.parent.parent / "result.json").read_text())
    with running_fhir(FhirServer(refuses_with=[503])) as server:
        receiver = fhir_at(server.port, patient_system="urn:oid:1.2.3")
        outcome = sent(measured, receiver)
        assert (outcome.status, outcome.detail) == (StoreStatus.FAILED, "store: answered 503: error invalid")
        for _ in range(2):
            assert sent(measured, receiver).status == StoreStatus.SUCCESS
    first, *repeats = server.requests
    assert all(repeat == first for repeat in repeats)
    Bundle.model_validate(first)
    kinds = [resource["resourceType"] for resource in server.resources.values()]
    assert kinds == ["DiagnosticReport", *["Observation"] * (len(first["entry"]) - 1)]
    report, lic, *_ = server.resources.values()
    assert report["result"] == [{"reference": entry["fullUrl"]} for entry in first["entry"][1:]]
    assert report["subject"]["identifier"]["system"] == "urn:oid:1.2.3"
    assert report["issued"].endswith("+01:00")
    quantity = lic["valueQuantity"]
    assert (quantity["code"], quantity["system"]) == ("mg/g", "http://unitsofmeasure.org")
    assert quantity["value"] == pytest.approx(record["lic_mg_per_g"]["median"], abs=0.0005)


def test_r5_differs_in_the_study_and_is_valid(measured: Path) -> None:
    result = read_message(measured)
    old, new = (json.loads(build_transaction(result, fhir_at(1, release=release))) for release in ("r4", "r5"))
    BundleR5.model_validate(new)
    reports = [bundle["entry"][0]["resource"] for bundle in (old, new)]
    assert reports[0].pop("imagingStudy") == reports[1].pop("study")
    assert old == new


def test_codes_that_are_none_of_fhir_are_not_kept(measured: Path) -> None:
    """A server may put anything there, the patient too."""
    with running_fhir(FhirServer(refuses_with=[404], issue_code="DOE^JANE", entry_status="DOE")) as server:
        refused, in_part = (sent(measured, fhir_at(server.port)) for _ in range(2))
    assert refused.detail == "store: answered 404"
    assert in_part.detail == "store: answered no status for parts of the transaction"


def test_a_resource_refused_in_a_success_is_a_refusal(measured: Path) -> None:
    """Some servers take a transaction for a batch."""
    with running_fhir(FhirServer(entry_status="422 Unprocessable Entity")) as server:
        outcome = sent(measured, fhir_at(server.port))
    assert outcome.status is StoreStatus.FAILED
    assert "422" in outcome.detail


def test_fhir_over_https_with_a_token(measured: Path, tmp_path: Path) -> None:
    site = Site(tmp_path)
    (tmp_path / "token").write_text("secret\n")
    with running_fhir(FhirServer(), listener_context(site.listener(), "x.")) as server:
        known = fhir_at(server.port, "https", tls=CallerTls(ca=site.ca), token_file=tmp_path / "token")
        assert sent(measured, known).status == StoreStatus.SUCCESS
        assert server.headers[0]["Authorization"] == "Bearer secret"
        with pytest.raises(PeerError, match="TLS: its certificate is not accepted"):
            sent(measured, fhir_at(server.port, "https"))
        assert try_receiver(known) == "speaks FHIR 4.0.1"


def test_what_no_message_can_say_fails_alone_and_names_no_patient(measured: Path, tmp_path: Path) -> None:
    def changed(change: Callable[[ResultMessage], ResultMessage]) -> ResultMessage:
        return change(read_message(measured))

    odd = changed(lambda result: replace(result, birth_date="yesterday"))
    with pytest.raises(InputError, match=r"no valid HL7 message") as caught:
        build_oru(odd, ris_at(1))
    assert "yesterday" not in str(caught.value)


def test_only_the_report_is_planned_and_names_are_told_apart(measured: Path) -> None:
    record = json.loads((measured.parent.parent / "result.json").read_text())
    planned = plan_deliveries(record, [ris_at(1), fhir_at(1)])
    assert [(delivery.destination, delivery.role) for delivery in planned] == [("ris", "sr"), ("store", "sr")]
    with pytest.raises(ValueError, match="a destination has this name"):
        Config.model_validate(
            {
                "destinations": [{"name": "ris", "ae_title": "A", "host": "h", "port": 1}],
                "messages": [{"name": "ris", "kind": "hl7", "host": "h", "port": 1}],
            }
        )


def test_check_tells_whether_receivers_answer(tmp_path: Path) -> None:
    with running_ris(Ris()) as ris:
        config = Config.model_validate(
            {"storage": {"root": str(tmp_path)}, "messages": [ris_at(ris.port).model_dump(), fhir_at(1).model_dump()]}
        )
        found = [(finding.verdict, finding.text) for finding in run_checks(config) if finding.part == "messages"]
    assert found[0] == ("ok", f"ris: HL7 at 127.0.0.1:{ris.port} takes connections")
    assert found[1][0] == "FAILED"
