"""Every output of one job states the same numbers: each is read as its reader sees it and compared with the record."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import ParametricMapStorage

from node.config import FhirReceiver, Hl7Receiver
from node.messages.content import read_message
from node.messages.fhir import build_transaction
from node.messages.oru import build_oru
from node.model import PipelineOutput
from sr_templates.agreement import median_bounds, median_in_report, parametric_planes, segment_planes
from sr_templates.quantities import QUANTITIES
from tests.node.printed_text import text_of_html, text_of_pdf
from tests.node.process.test_outputs import measured, objects_of

PRINTED = {  # without white space, which a PDF file does not keep
    "r2star": r"R2\*(atleast|)(\d+\.?\d*)/s",
    "t2star": r"T2\*(atmost|)(\d+\.?\d*)ms",
    "lic": r"(?:LIC,dryweight|Liverironconcentration)(atleast|)(\d+\.?\d*)mg/g",
    "pdff": r"Fatfraction()(\d+\.?\d*)%",
}
SIGNS = {None: "", "at_least": ">=", "at_most": "<="}
RECORD = {"r2star": "r2star_per_s", "t2star": "t2star_ms", "lic": "lic_mg_per_g", "pdff": "pdff_percent"}


def words_of_text(output: PipelineOutput) -> str:
    return output.files["report.txt"].decode()


def words_of_html(output: PipelineOutput) -> str:
    return text_of_html(output.files["report.html"].decode())


def words_of_pdf(output: PipelineOutput) -> str:
    return text_of_pdf(output.files["report.pdf"])


WORDS: dict[str, Callable[[PipelineOutput], str]] = {
    "text": words_of_text,
    "HTML": words_of_html,
    "PDF": words_of_pdf,
}


@pytest.fixture(scope="module", params=[200.0, 1500.0], ids=["value", "at least"])
def output(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PipelineOutput:
    output = measured(tmp_path_factory.mktemp("study"), request.param, 1.5)
    assert output.record["lic_mg_per_g"]["bound"] == (None if request.param == 200.0 else "at_least")
    return output


def stated_in(output: PipelineOutput) -> dict[str, tuple[float, str | None]]:
    """Median and bound of every quantity of the record, by the quantity's key."""
    found = {key: output.record[name] for key, name in RECORD.items()}
    return {key: (value["median"], value.get("bound")) for key, value in found.items() if value is not None}


@pytest.mark.parametrize("form", WORDS)
def test_printed_numbers_are_those_of_the_record(output: PipelineOutput, form: str) -> None:
    """The half of the last printed digit is all that may lie between them."""
    words = re.sub(r"\s+", "", WORDS[form](output))
    stated_by_key = stated_in(output)
    for quantity, pattern in PRINTED.items():
        printed = set(re.findall(pattern, words))
        if quantity not in stated_by_key:
            assert printed == set(), quantity
            continue
        assert len(printed) == 1, (quantity, printed)
        ((sign, number),) = printed
        decimals = len(number.partition(".")[2])
        stated, bound = stated_by_key[quantity]
        assert sign == (bound or "").replace("_", "")
        assert float(number) == pytest.approx(stated, abs=0.5001 * 10.0**-decimals), quantity


def test_report_and_maps_under_the_region_state_the_record(output: PipelineOutput) -> None:
    objects = objects_of(output)
    reports = [ds for role, ds in objects if role == "sr" or role.startswith("sr.")]
    assert len(reports) == 3
    (region,) = [segment_planes(ds) for role, ds in objects if role == "seg"]
    floats = {role.partition(".")[2]: ds for role, ds in objects if ds.SOPClassUID == ParametricMapStorage}
    stated_by_key = stated_in(output)
    assert floats.keys() == stated_by_key.keys()
    for quantity in QUANTITIES:
        if quantity.key not in stated_by_key:
            continue
        stated, _ = stated_by_key[quantity.key]
        half_digit = 0.5001 * 10.0**-quantity.decimals
        for report in reports:
            assert median_in_report(report, quantity) == pytest.approx(stated, abs=half_digit), quantity.label
    for key, ds in floats.items():
        low, high = median_bounds(parametric_planes(ds), region)
        stated, bound = stated_by_key[key]
        assert bound == "at_least" or low * (1 - 1e-6) <= stated, key
        assert bound == "at_most" or stated <= high * (1 + 1e-6), key


def test_messages_state_the_record(output: PipelineOutput, tmp_path: Path) -> None:
    for name, data in output.files.items():
        if name in ("result.json", "report.txt", "dicom/sr-0001.dcm"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(data)
    result = read_message(tmp_path / "dicom" / "sr-0001.dcm")
    oru = build_oru(result, Hl7Receiver(name="ris", kind="hl7", host="127.0.0.1", port=1))
    rows = [row.split("|") for row in oru.split("\r") if row.startswith("OBX|")]
    fhir = json.loads(build_transaction(result, FhirReceiver(name="fhir", kind="fhir", url="http://127.0.0.1/r4")))
    quantities = {
        entry["resource"]["code"]["coding"][0]["code"]: entry["resource"]["valueQuantity"]
        for entry in fhir["entry"][1:]
    }
    stated_by_key = stated_in(output)
    assert len(quantities) == len(stated_by_key) == sum(row[2] in ("NM", "SN") for row in rows)
    for quantity in QUANTITIES:
        if quantity.key not in stated_by_key:
            continue
        stated, bound = stated_by_key[quantity.key]
        half_digit = 0.5001 * 10.0**-quantity.decimals
        (row,) = [row for row in rows if row[3].startswith(f"{quantity.concept.value}^")]
        sign, _, number = row[5].rpartition("^")
        assert sign == quantities[quantity.concept.value].get("comparator", "") == SIGNS[bound]
        assert float(number) == pytest.approx(stated, abs=half_digit), quantity.label
        assert quantities[quantity.concept.value]["value"] == pytest.approx(stated, abs=half_digit), quantity.label
        assert row[6] == f"{quantities[quantity.concept.value]['code']}^^UCUM" == f"{quantity.unit.value}^^UCUM"
