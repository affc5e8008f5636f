"""Every output of one job states the same numbers: each is read back from the written files as its reader reads it,
by DCMTK, pydicom, an HTML parser, the HL7 and the FHIR library, and compared with the record."""

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hl7
import numpy as np
import pytest
from fhir.resources.R4B.bundle import Bundle
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.config import FhirReceiver, Hl7Receiver, load_config
from node.messages.content import ResultMessage, read_message
from node.messages.fhir import build_transaction
from node.messages.oru import build_oru
from node.model import Cause, JobInput
from node.process.pipeline import run
from node.simulate.writer import write_phantom
from quant.phantom import make_abdomen
from quant.prior import PriorAnswer
from quant.result import ResultObject
from sr_templates.earlier import read_report
from sr_templates.predecessor import EarlierResult
from sr_templates.quantities import QUANTITIES
from tests.node.drawn_regions import write_seg
from tests.node.printed_text import text_of_html, text_of_pdf

PRINTED = {  # without white space, which a PDF file does not keep
    "r2star": r"(?<!gives)R2\*(atleast|)(\d+\.?\d*)/s",
    "t2star": r"T2\*(atmost|)(\d+\.?\d*)ms",
    "lic": r"(?:LIC,dryweight|Liverironconcentration)(atleast|)(\d+\.?\d*)mg/g",
    "pdff": r"Fatfraction()(\d+\.?\d*)%",
}
SIGNS = {None: "", "at_least": ">=", "at_most": "<="}
RECORD = {"r2star": "r2star_per_s", "t2star": "t2star_ms", "lic": "lic_mg_per_g", "pdff": "pdff_percent"}
IN_REPORT = {"r2star": "R2*", "t2star": "T2*", "lic": "Liver iron concentration (dry weight)", "pdff": "Fat fraction"}
MOST_FORMS = ("text", "HTML", "PDF")


@dataclass(frozen=True)
class Written:
    """A result folder on disk."""

    folder: Path
    record: dict[str, Any]

    def objects(self, wanted: Callable[[str], bool]) -> list[tuple[str, Path]]:
        """Role and file of the objects whose role is wanted."""
        found = ((item["role"], self.folder / item["file"]) for item in self.record["objects"])
        return [(role, path) for role, path in found if wanted(role)]

    def reports(self) -> list[Path]:
        """The report in its three SOP classes."""
        return [path for _, path in self.objects(lambda role: role.split(".")[0] == "sr")]

    def printed(self, form: str) -> str:
        """What a reader sees of the page's PDF, the HTML or the text, without white space."""
        file = self.folder / {"text": "report.txt", "HTML": "report.html", "PDF": "report.pdf"}[form]
        seen = text_of_pdf(file.read_bytes()) if form == "PDF" else file.read_text(encoding="utf-8")
        return squeezed(text_of_html(seen) if form == "HTML" else seen)

    def message(self) -> ResultMessage:
        """What the messages say, read from the folder as the node reads it."""
        return read_message(self.folder / "dicom" / "sr-0001.dcm")

    def stated(self) -> dict[str, tuple[float, str | None]]:
        """Median and bound of every quantity of the record, by the quantity's key."""
        found = {key: self.record[name] for key, name in RECORD.items()}
        return {key: (value["median"], value.get("bound")) for key, value in found.items() if value is not None}


def squeezed(text: str) -> str:
    """Without white space."""
    return re.sub(r"\s+", "", text)


def written(folder: Path, files: Sequence[Path], letter: str, **job: Any) -> Written:
    """The result of ``files`` on disk, read back."""
    accepted_at = datetime(2026, 1, 2, 11, 30, tzinfo=UTC)
    output = run(JobInput(job_id=letter * 32, files=tuple(files), accepted_at=accepted_at, **job), load_config(None))
    for name, data in output.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return Written(folder=folder, record=json.loads((folder / "result.json").read_text()))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    phantom = make_abdomen(r2star_per_s=200.0, n_slices=3, matrix=128)
    return write_phantom(phantom, tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def first(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Written:
    return written(tmp_path_factory.mktemp("first"), images, "a")


@pytest.fixture(scope="module")
def at_least(tmp_path_factory: pytest.TempPathFactory) -> Written:
    phantom = make_abdomen(r2star_per_s=1500.0, n_slices=3, matrix=128)
    found = written(tmp_path_factory.mktemp("bound"), write_phantom(phantom, tmp_path_factory.mktemp("images")), "b")
    assert found.record["lic_mg_per_g"]["bound"] == "at_least"
    return found


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Written:
    phantom = make_abdomen(r2star_per_s=2500.0, n_slices=1, matrix=64)
    found = written(tmp_path_factory.mktemp("refused"), write_phantom(phantom, tmp_path_factory.mktemp("images")), "c")
    assert found.record["status"] == "not_measurable"
    return found


@pytest.fixture(scope="module")
def drawn(images: list[Path], first: Written, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A reader's region within the automatic one, after the first result, with a measurement of two years before."""
    folder = tmp_path_factory.mktemp("drawn")
    ((_, automatic),) = first.objects(lambda role: role == "seg")
    inside = {key: mask > 0 for key, mask in planes_of([automatic]).items()}
    by_position = {position_of(ds): ds for ds in map(dcmread, images)}
    planes = [by_position[key] for key in sorted(by_position, key=lambda key: key[2])]
    mask = np.stack([inside.get(position_of(ds), np.zeros((128, 128), bool)) for ds in planes])
    mask[:, :, : int(np.median(np.nonzero(mask)[2]))] = False
    measured = read_report(dcmread(first.reports()[0])).measurement
    assert measured is not None
    before = replace(
        measured,
        report=replace(measured.report, study_instance_uid="1.2.3", sop_instance_uid="1.2.3.4"),
        date="2024-01-05",
        lic_mg_per_g=1.7 * measured.lic_mg_per_g,
    )
    return written(
        folder / "result",
        images,
        "d",
        region=write_seg(folder / "drawn.dcm", planes, mask),
        cause=Cause.READER_REGION,
        revision=2,
        replaces=(
            EarlierResult(
                job_id="a" * 32, revision=1, objects=tuple(ResultObject(**item) for item in first.record["objects"])
            ),
        ),
        priors=PriorAnswer(earlier=(before,)),
    )


@pytest.fixture(params=["first", "at_least", "drawn", "refused"])
def output(request: pytest.FixtureRequest) -> Written:
    found: Written = request.getfixturevalue(request.param)
    return found


def position_of(ds: Dataset) -> tuple[float, ...]:
    return tuple(round(float(v), 3) for v in ds.ImagePositionPatient)


def planes_of(paths: Sequence[Path], unit: str = "") -> dict[tuple[float, ...], Any]:
    """Planes by position of single images, in the ``unit`` (UCUM) of one of their mappings, or of a multi-frame object
    as they are stored."""
    planes = {}
    for path in paths:
        ds = dcmread(path)
        if "PerFrameFunctionalGroupsSequence" not in ds:
            mappings = {
                item.MeasurementUnitsCodeSequence[0].CodeValue: item for item in ds.RealWorldValueMappingSequence
            }
            mapping = mappings[unit]
            stored = np.where(ds.pixel_array == 0, np.nan, ds.pixel_array.astype(float))
            planes[position_of(ds)] = stored * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
            continue
        for group, plane in zip(ds.PerFrameFunctionalGroupsSequence, np.atleast_3d(ds.pixel_array), strict=True):
            planes[position_of(group.PlanePositionSequence[0])] = plane
    return planes


def medians_of(report: Path, dsrdump: Path) -> dict[str, list[float]]:
    """Every number that DCMTK prints as a median, by its name."""
    dumped = subprocess.run([dsrdump, "+Pl", report], check=True, capture_output=True, text=True, errors="replace")
    found: dict[str, list[float]] = {}
    number: tuple[str, float] | None = None
    for line in dumped.stdout.splitlines():
        if match := re.search(r'<contains NUM:\(,,"([^"]*)"\)="([^"]*)"', line):
            number = match[1], float(match[2])
        elif line.startswith("      <contains"):
            number = None
        elif '"Derivation")=(373099004,SCT,"Median")' in line and number is not None:
            found.setdefault(number[0], []).append(number[1])
            number = None
    return found


@pytest.mark.parametrize("form", MOST_FORMS)
def test_printed_numbers_are_those_of_the_record(output: Written, form: str) -> None:
    """The half of the last printed digit is all that may lie between them."""
    words, stated_by_key = output.printed(form), output.stated()
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
    molar = [float(number) for number in re.findall(r"(\d+)[µμ]mol/g", words)]
    expected = output.record["lic_umol_per_g"]
    assert molar == ([] if expected is None else [pytest.approx(expected["median"], abs=0.5001)] * len(molar))
    assert bool(molar) == (expected is not None)


def test_reports_state_the_record(output: Written, peer: Callable[[str], Path]) -> None:
    stated_by_key = output.stated()
    assert len(output.reports()) == 3
    for report in output.reports():
        medians = medians_of(report, peer("dsrdump"))
        for quantity in QUANTITIES:
            found = medians.get(IN_REPORT[quantity.key], [])
            if quantity.key not in stated_by_key:
                assert found == [], quantity.label
                continue
            stated, _ = stated_by_key[quantity.key]
            assert found == [pytest.approx(stated, abs=0.5001 * 10.0**-quantity.decimals)], quantity.label


def test_maps_under_the_region_state_the_record(output: Written) -> None:
    segmentations = output.objects(lambda role: role == "seg")
    stated_by_key = output.stated()
    if not stated_by_key:
        assert segmentations == []
        assert output.objects(lambda role: role in ("map.lic", "pm.lic")) == []
        return
    ((_, segmentation),) = segmentations
    region = planes_of([segmentation])
    for kind in ("map", "pm"):
        for quantity in QUANTITIES:
            key = quantity.key
            if key not in stated_by_key:
                continue
            stated, bound = stated_by_key[key]
            paths = [path for _, path in output.objects(lambda role, name=f"{kind}.{key}": role == name)]
            planes = planes_of(paths, quantity.unit.value)
            values = np.concatenate([planes[position][mask > 0] for position, mask in region.items()])
            low, high = np.nanpercentile(values, 50, method="lower"), np.nanpercentile(values, 50, method="higher")
            step = {"pm": 0.0, "map": 0.5001 * float(np.diff(np.unique(values[np.isfinite(values)])).min())}[kind]
            assert bound == "at_least" or low * (1 - 1e-6) - step <= stated, (kind, key)
            assert bound == "at_most" or stated <= high * (1 + 1e-6) + step, (kind, key)


def test_messages_state_the_record(output: Written) -> None:
    result, stated_by_key = output.message(), output.stated()
    oru: Any = hl7.parse(build_oru(result, Hl7Receiver(name="ris", kind="hl7", host="127.0.0.1", port=1)))
    receiver = FhirReceiver(name="fhir", kind="fhir", url="http://127.0.0.1/r4")
    bundle: Any = Bundle.model_validate_json(build_transaction(result, receiver))
    observations = [entry.resource for entry in bundle.entry[1:]]
    quantities = {each.code.coding[0].code: each.valueQuantity for each in observations if each.valueQuantity}
    rows = [row for row in oru.segments("OBX") if str(row[2]) in ("NM", "SN") and str(row[5])]
    assert len(quantities) == len(stated_by_key) == len(rows)
    for quantity in QUANTITIES:
        if quantity.key not in stated_by_key:
            continue
        stated, bound = stated_by_key[quantity.key]
        half_digit = 0.5001 * 10.0**-quantity.decimals
        (row,) = [row for row in rows if str(row[3]).startswith(f"{quantity.concept.value}^")]
        sign, _, number = str(row[5]).rpartition("^")
        found = quantities[quantity.concept.value]
        assert sign == (found.comparator or "") == SIGNS[bound]
        assert float(number) == pytest.approx(stated, abs=half_digit), quantity.label
        assert float(found.value) == pytest.approx(stated, abs=half_digit), quantity.label
        assert str(row[6]) == f"{found.code}^^UCUM" == f"{quantity.unit.value}^^UCUM"


def everywhere(output: Written, peer: Callable[[str], Path]) -> dict[str, str]:
    """The words of every form, without white space."""
    message = output.message()
    oru = build_oru(message, Hl7Receiver(name="ris", kind="hl7", host="127.0.0.1", port=1))
    fhir = json.loads(build_transaction(message, FhirReceiver(name="f", kind="fhir", url="http://127.0.0.1/r4")))
    dumps = {
        report.name: subprocess.run(
            [peer("dsrdump"), "+Pl", report], check=True, capture_output=True, text=True, errors="replace"
        ).stdout
        for report in output.reports()
    }
    parsed: Any = hl7.parse(oru)
    lines = "".join(str(row[5]) for row in parsed.segments("OBX"))
    said = {**dumps, "HL7": lines, "FHIR": fhir["entry"][0]["resource"]["conclusion"]}
    printed = {form: output.printed(form).replace("Follow-up,continued", "") for form in MOST_FORMS}
    return {**printed, **{k: squeezed(v) for k, v in said.items()}}


def test_a_reader_s_region_says_everywhere_what_it_replaces_and_what_changed(
    drawn: Written, first: Written, peer: Callable[[str], Path]
) -> None:
    record = drawn.record
    assert record["roi"]["source"] == "seg"
    assert 0 < record["roi"]["n_voxels"] < first.record["roi"]["n_voxels"]
    assert record["prior"]["comparable"]
    change = record["prior"]["change_mg_per_g"]
    assert change == pytest.approx(record["lic_mg_per_g"]["median"] - record["prior"]["lic_mg_per_g"], abs=1e-6)
    for form, words in everywhere(drawn, peer).items():
        for sentence in (record["prior_check"]["text"], record["revision"]["text"]):
            wanted = re.escape(squeezed(sentence)).replace("ffi", ".{0,3}")  # one glyph in the PDF
            assert re.search(wanted, words), (form, sentence)
    printed_change = re.search(r"([-+−][\d.]+) mg/g", record["prior_check"]["text"])
    assert printed_change is not None
    assert float(printed_change[1].replace("−", "-")) == pytest.approx(change, abs=0.0501)
    replaced = {item["sop_instance_uid"] for item in first.record["objects"] if item["role"].startswith("sr")}
    for report in map(dcmread, drawn.reports()):
        predecessors = {
            item.ReferencedSOPInstanceUID
            for study in report.PredecessorDocumentsSequence
            for series in study.ReferencedSeriesSequence
            for item in series.ReferencedSOPSequence
        }
        assert predecessors == replaced == set(record["revision"]["replaces"])


def test_no_words_about_a_lower_bound_give_a_higher_number(at_least: Written) -> None:
    """But how much this acquisition can measure, which the bound may lie below."""
    limit = at_least.record["fit"]["measurable_limit_per_s"]
    told = [float(rate) for line in at_least.record["qc"] for rate in re.findall(r"(\d+\.?\d*) /s", line["text"])]
    assert at_least.record["r2star_per_s"]["median"] <= limit
    assert max(told) == pytest.approx(limit, abs=0.5)


@pytest.fixture(scope="module")
def refused_after_the_fit(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A region with a value that must not be told: three echoes cannot show that they follow the model."""
    phantom = make_abdomen(r2star_per_s=60.0, echo_times_s=(0.001, 0.0024, 0.0038), n_slices=3, matrix=128)
    files = write_phantom(phantom, tmp_path_factory.mktemp("images"))
    found = written(tmp_path_factory.mktemp("three"), files, "e")
    assert [reason["code"] for reason in found.record["reasons"]] == ["echo_count"]
    return found


@pytest.mark.parametrize("name", ["refused", "refused_after_the_fit"])
def test_a_refusal_says_why_everywhere_and_gives_no_number(
    name: str, request: pytest.FixtureRequest, peer: Callable[[str], Path]
) -> None:
    refused: Written = request.getfixturevalue(name)
    limit = squeezed(f"measurable to {refused.record['fit']['measurable_limit_per_s']:.0f} /s")
    for form, words in everywhere(refused, peer).items():
        assert not re.findall(r"\d/s", words.replace(limit, "")), form
        for reason in refused.record["reasons"]:
            assert squeezed(reason["text"]) in words, form
        assert not re.search(r"\d(mg/g|[µμ]mol/g)", words), form
