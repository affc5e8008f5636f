"""The result as a FHIR transaction (R4 or R5): DiagnosticReport with Observations. The only user of fhir.resources,
whose models (R4B, which has these resources as R4 has them, and R5) check every resource.

Each resource is created unless one with its identifier is there already (``ifNoneExist``): a repeat changes nothing.
Patient, order and study are named by their identifiers; the node creates none of them.
"""

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fhir.resources.bundle import Bundle as BundleR5
from fhir.resources.R4B.bundle import Bundle as BundleR4

from node.config import FhirReceiver
from node.errors import InputError
from node.messages.content import Code, Number, ResultMessage

_SYSTEMS = {"DCM": "http://dicom.nema.org/resources/ontology/DCM"}
_UCUM = "http://unitsofmeasure.org"
_DICOM_UID = "urn:dicom:uid"
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_REPLACES = "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces"  # R4 and R5, at most one
_OBSERVATION = "urn:ironnode:observation"
_NAMESPACE = uuid.UUID("6f1c3d0e-2d6b-5b0e-9a57-0c1b7c1f6a11")


def build_transaction(result: ResultMessage, receiver: FhirReceiver) -> str:
    """The transaction Bundle as JSON; equal results give equal bytes.

    Raises:
        InputError: the study's header holds what FHIR cannot say.
    """
    observations = [_observation(result, receiver, number.concept, _value(number)) for number in result.numbers]
    if result.lic_missing is not None:
        absent = {"coding": [{"system": _ABSENT, "code": "unknown"}], "text": result.lic_missing}
        observations.insert(0, _observation(result, receiver, result.lic, {"dataAbsentReason": absent}))
    entries = [_entry(observation) for observation in observations]
    report = _report(result, receiver, [entry["fullUrl"] for entry in entries])
    try:
        release = BundleR5 if receiver.release == "r5" else BundleR4
        bundle = release.model_validate({"type": "transaction", "entry": [_entry(report), *entries]})
    except ValueError as error:  # its words may quote the patient
        raise InputError(f"no valid FHIR resources can be made of it ({type(error).__name__})") from error
    return str(bundle.model_dump_json())


def _report(result: ResultMessage, receiver: FhirReceiver, observations: list[str]) -> dict[str, Any]:
    imaging = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}]}
    study = {"coding": [{"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}]}
    report = {
        "resourceType": "DiagnosticReport",
        "identifier": [{"system": _DICOM_UID, "value": f"urn:oid:{result.report_uid}"}],
        "status": "preliminary",
        "category": [imaging],
        "code": study,
        **_context(result, receiver),
        "result": [{"reference": url} for url in observations],
        "study" if receiver.release == "r5" else "imagingStudy": [
            {"type": "ImagingStudy", "identifier": {"system": _DICOM_UID, "value": f"urn:oid:{result.study_uid}"}}
        ],
        "conclusion": " ".join(result.conclusion),
    }
    if (issued := _issued(result)) is not None:
        report["issued"] = issued
    if result.replaces:
        report["extension"] = [{"url": _REPLACES, "valueReference": _other_report(result.replaces[0])}]
    return report


def _other_report(uid: str) -> dict[str, Any]:
    """By its identifier: its address on the server is not known here."""
    return {"type": "DiagnosticReport", "identifier": {"system": _DICOM_UID, "value": f"urn:oid:{uid}"}}


def _observation(
    result: ResultMessage, receiver: FhirReceiver, concept: Code, content: Mapping[str, Any]
) -> dict[str, Any]:
    graded = result.grade is not None and concept == result.lic
    return {
        "resourceType": "Observation",
        "identifier": [{"system": _OBSERVATION, "value": f"{result.job_id}.{concept.value}"}],
        "status": "preliminary",
        "code": {"coding": [_coding(concept)], "text": concept.meaning},
        **_context(result, receiver),
        **({"interpretation": [{"text": result.grade}]} if graded else {}),
        **content,
    }


def _value(number: Number) -> dict[str, Any]:
    ends = {name: _quantity(number, end) for name, end in (("low", number.low), ("high", number.high)) if end}
    value = _quantity(number, number.value)
    if number.comparator:
        value["comparator"] = number.comparator
    content: dict[str, Any] = {
        "valueQuantity": value,
        "component": [{"code": {"text": "95 % interval"}, "valueRange": ends}],
    }
    return content | ({"method": {"text": number.method}} if number.method else {})


def _quantity(number: Number, value: str) -> dict[str, Any]:
    return {"value": value, "unit": number.unit, "system": _UCUM, "code": number.unit}


def _context(result: ResultMessage, receiver: FhirReceiver) -> dict[str, Any]:
    patient: dict[str, Any] = {"value": result.patient_id}
    if receiver.patient_system is not None:
        patient["system"] = receiver.patient_system
    if result.issuer:
        patient["assigner"] = {"display": result.issuer}
    context: dict[str, Any] = {"subject": {"type": "Patient", "identifier": patient}} if result.patient_id else {}
    if result.accession_number:
        kind = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}
        order = {"type": kind, "value": result.accession_number}
        context["basedOn"] = [{"type": "ServiceRequest", "identifier": order}]
    if result.study_date:
        context["effectiveDateTime"] = _day(result.study_date)
    return context


def _issued(result: ResultMessage) -> str | None:
    """An instant, where the study tells its offset from UTC; without it there is none to be told."""
    clock, offset = result.report_time, result.utc_offset
    if len(result.report_date) != 8 or len(clock) != 6 or len(offset) != 5:
        return None
    return f"{_day(result.report_date)}T{clock[:2]}:{clock[2:4]}:{clock[4:]}{offset[:3]}:{offset[3:]}"


def _day(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}"


def _coding(concept: Code) -> dict[str, str]:
    system = _SYSTEMS.get(concept.scheme, f"urn:ironnode:{concept.scheme}")
    return {"system": system, "code": concept.value, "display": concept.meaning}


def _entry(resource: dict[str, Any]) -> dict[str, Any]:
    identifier = resource["identifier"][0]
    same = quote(f"{identifier['system']}|{identifier['value']}", safe=":|.")
    return {
        "fullUrl": f"urn:uuid:{uuid.uuid5(_NAMESPACE, identifier['value'])}",
        "resource": resource,
        "request": {"method": "POST", "url": resource["resourceType"], "ifNoneExist": f"identifier={same}"},
    }
