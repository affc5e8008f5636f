"""The objects before the validators and readers of others: dicom3tools, DCMTK, dcmqi, highdicom."""

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from quant.result import ClinicianDecides, LiverIronResult, QcLine, Reason, Severity
from sr_templates.result_set import BuiltSet
from tests.sr_templates.sr_sources import (
    as_earlier,
    build,
    build_refusal,
    make_bounded_result,
    make_classic,
    make_enhanced,
    make_extreme_maps,
    make_followed_up,
    make_geometry,
    make_identity,
    make_maps,
    make_mask,
    make_refusal,
    make_result,
)

# Contributing Equipment Sequence has had Device UID (0018,1002) since CP-1920 (PS3.3 C.12.1); IHE AI Results asks for
# it. The validator's table is older.
DEVICE_UID_FALSE_ALARM = re.compile(
    r"Warning - </ContributingEquipmentSequence\(0018,a001\)\[\d+\]/DeviceUID\(0018,1002\)> - "
    r"Attribute is not present in standard DICOM IOD"
)
PRIVATE_SCHEME = re.compile(r"Warning - <.*CodingSchemeDesignator.*> - Unrecognized defined term = <99IRON>")
# Accession Number is in the General Study and, for SR, in the Referenced Request; the tool compares across levels.
ACCESSION_FALSE_ALARM = re.compile(
    r"Warning - Different information entities for attribute - Element=<AccessionNumber> IE <(Study|Series)> versus "
)

SETS = {
    "classic sagittal shuffled": lambda: build(make_classic(make_geometry("sagittal", 3), "shuffled")),
    "enhanced oblique": lambda: build(make_enhanced(make_geometry("oblique", 3))),
    "single slice": lambda: build(make_classic(make_geometry(n_slices=1))),
    "refusal": lambda: build_refusal(make_classic(make_geometry(n_slices=2))),
    "refusal with advice": lambda: build(
        make_classic(make_geometry(n_slices=1)),
        make_refusal(
            reasons=(Reason(code="roi_low_signal", text="The region has too little signal."),),
            acquisition=make_result(make_maps(1), make_mask(1)).acquisition,
        ),
        mask=None,
        maps=None,
    ),
    "refusal without maps": lambda: build_refusal(make_enhanced(make_geometry(n_slices=2)), maps=None),
    "no calibration": lambda: build(make_classic(make_geometry(n_slices=1)), **without_iron(1)),
    "at least": lambda: build_bounded(1),
    "followed up": lambda: build(make_classic(make_geometry(n_slices=1)), make_followed_up(1)),
    "clinician decides": lambda: build(make_classic(make_geometry(n_slices=1)), clinician_decides(1)),
    "product": lambda: build(
        make_classic(make_geometry(n_slices=1), TimezoneOffsetFromUTC="+0530"),
        replace(make_result(make_maps(1), make_mask(1)), research_use_only=False),
        identity=make_identity(revision=2, institution=None),
        replaces=[as_earlier(build_refusal(make_classic(make_geometry(n_slices=1)), maps=None))],
    ),
}


def without_iron(n_slices: int) -> dict[str, object]:
    """A field strength without a calibration: R2* and T2* only."""
    maps, mask = make_maps(n_slices), make_mask(n_slices)
    result = make_result(
        maps,
        mask,
        lic_mg_per_g=None,
        lic_umol_per_g_median=None,
        calibration=None,
        other_calibrations=(),
        grade=None,
        views=None,
        follow_up=None,
        pdff_percent=None,
    )
    return {"result": result, "maps": replace(maps, lic_mg_per_g=None, pdff_percent=None)}


def build_bounded(n_slices: int, **changes: object) -> BuiltSet:
    """R2* beyond the measurable limit."""
    result = make_bounded_result(make_mask(n_slices))
    arguments = {"maps": make_extreme_maps(n_slices, 0.4), **changes}
    return build(make_classic(make_geometry(n_slices=n_slices)), result, **arguments)


def clinician_decides(n_slices: int) -> LiverIronResult:
    """Below the reference limit without an indication."""
    return make_result(
        make_maps(n_slices), make_mask(n_slices), follow_up=ClinicianDecides(text="The clinician decides — no rule.")
    )


def representatives(built: BuiltSet, paths: dict[str, Path]) -> list[Path]:
    """One file of every role: the slices of a map differ in numbers only."""
    return list({item.role: paths[item.file] for item in built.objects}.values())


@pytest.mark.parametrize("name", SETS)
def test_dciodvfy_and_dsrdump_find_nothing_but_the_listed(
    name: str, write_set: Callable[[BuiltSet], dict[str, Path]], dciodvfy: Path, peer: Callable[[str], Path]
) -> None:
    built = SETS[name]()
    paths = write_set(built)
    for path in representatives(built, paths):
        done = subprocess.run([dciodvfy, "-new", path], check=False, capture_output=True, text=True, errors="replace")
        findings = [
            line
            for line in (done.stdout + done.stderr).splitlines()
            if line.startswith(("Error", "Warning"))
            and not DEVICE_UID_FALSE_ALARM.fullmatch(line)
            and not PRIVATE_SCHEME.fullmatch(line)
        ]
        assert findings == [], path.name
    report = paths["sr-0001.dcm"]
    done = subprocess.run(
        [peer("dsrdump"), "+Pl", report], check=False, capture_output=True, text=True, errors="replace"
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert "Imaging Measurement Report" in done.stdout


def test_dcentvfy_finds_one_patient_and_study_over_source_and_results(
    measured: BuiltSet, write_set: Callable[[BuiltSet], dict[str, Path]], tmp_path: Path, run_tool: Callable[..., str]
) -> None:
    files = list(write_set(measured).values())
    for number, header in enumerate(make_classic(make_geometry()).datasets):
        files.append(tmp_path / f"source-{number}.dcm")
        write_source(header, files[-1])
    findings = run_tool("dcentvfy", *files).splitlines()
    assert [line for line in findings if not ACCESSION_FALSE_ALARM.match(line)] == []


def write_source(header: Dataset, path: Path) -> None:
    """A header of the synthetic scanner as a file."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta = meta
    dcmwrite(path, header, enforce_file_format=True)


def test_dsr2html_prints_every_value_with_its_name(
    measured: BuiltSet, write_set: Callable[[BuiltSet], dict[str, Path]], peer: Callable[[str], Path], tmp_path: Path
) -> None:
    path, page = write_set(measured)["sr-0001.dcm"], tmp_path / "report.html"
    subprocess.run([peer("dsr2html"), "+U8", path, page], check=True, capture_output=True)
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.read_text("utf-8")))
    for expected in (
        "Liver iron concentration (dry weight): 2.084 mg/g",
        "R2*: 67.75 /s",
        "T2*: 14.761 ms",
        "Liver iron overload grade: guglielmo-2023: mild",
        "LIC above upper reference limit: Yes",
        "LIC above clinical limit: No",
        "Recommended Follow-up Interval: 12 mo",
        "Recommended Follow-up Interval: 24 mo",
        "For research use only, not for diagnosis.",
        "UNVERIFIED",
    ):
        assert expected in words


def test_dcmqi_reads_the_measurements(
    measured: BuiltSet, write_set: Callable[[BuiltSet], dict[str, Path]], run_tool: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "sr.json"
    run_tool("tid1500reader", "--inputDICOM", write_set(measured)["sr-0001.dcm"], "--outputMetadata", out)
    read = json.loads(out.read_text())
    group = read["Measurements"][0]
    statistics = measured.result.r2star_per_s
    assert statistics is not None
    found = {
        (item["quantity"]["CodeValue"], item["derivationModifier"]["CodeValue"]): (item["value"], item["units"])
        for item in group["measurementItems"]
        if "derivationModifier" in item
    }
    assert group["ReferencedSegment"] == 1
    assert float(found["126395", "373099004"][0]) == round(statistics.median, 2)
    assert float(found["126395", "373098007"][0]) == round(statistics.mean, 2)
    assert float(found["126395", "386136009"][0]) == round(statistics.sd, 2)
    assert float(found["126395", "3001"][0]) == round(statistics.q1, 2)
    assert float(found["1001", "373099004"][0]) == pytest.approx(2.084)
    assert found["1001", "373099004"][1]["CodeValue"] == "mg/g"


def test_highdicom_reads_the_report_by_its_template(
    measured_enhanced: BuiltSet, write_set: Callable[[BuiltSet], dict[str, Path]]
) -> None:
    report = hd.sr.srread(write_set(measured_enhanced)["sr-0001.dcm"])
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    headline = group.get_measurements()[0]
    assert (headline.name.value, headline.unit.value) == ("1001", "mg/g")
    assert measured_enhanced.result.lic_mg_per_g is not None
    assert headline.value == round(measured_enhanced.result.lic_mg_per_g.median, 3)
    segmentation = next(item.dataset for item in measured_enhanced.objects if item.role == "seg")
    assert group.referenced_segment is not None
    assert group.referenced_segment.referenced_sop_instance_uid == segmentation.SOPInstanceUID
    assert group.tracking_uid == segmentation.SegmentSequence[0].TrackingUID


def test_a_refusal_says_so_in_codes_and_words(refused: BuiltSet) -> None:
    report = next(item.dataset for item in refused.objects if item.role == "sr")
    codes = code_answers(report)
    assert codes["5000"] == "114006"  # measurement failure
    assert codes["111050"] == "RID14"  # non-diagnostic quality
    assert codes["5001"] == "5100"
    assert not any(item.ValueType == "NUM" for item in items_of(measurements(report)))
    texts = [item.TextValue for item in items_of(report) if item.ValueType == "TEXT"]
    assert any("No region of the images is liver with certainty. [no_liver_found]" in text for text in texts)


def test_a_refusal_says_what_to_do_at_the_next_scan() -> None:
    reasons = tuple(Reason(code=code, text=f"{code}.") for code in ("roi_low_signal", "roi_heterogeneous"))
    acquisition = make_result(make_maps(1), make_mask(1)).acquisition
    assert acquisition is not None
    late = replace(acquisition, echo_times_s=(0.003, 0.006, 0.009))
    result = make_refusal(reasons=reasons, acquisition=late)
    report = report_of(build(make_classic(make_geometry(n_slices=1)), result, mask=None, maps=None))
    told = [item.TextValue for item in items_of(report) if item.ValueType == "TEXT" and name_of(item) == "121075"]
    assert told == [
        "For more signal at the next scan: a first TE of about 1 ms (now 3.00 ms); an echo spacing below 1.5 ms "
        "(now 3.00 ms); larger voxels or thicker slices.",
        "Repeat in one breath-hold with more slices through the right liver lobe, or draw the liver on these images or "
        "their maps and send that region; check the images for motion, artefacts and lesions.",
    ]


def conclusions(built: BuiltSet) -> list[str]:
    items = items_of(report_of(built))
    return [item.TextValue for item in items if item.ValueType == "TEXT" and name_of(item) == "121077"]


def test_the_conclusion_says_in_one_item_what_was_measured(measured: BuiltSet) -> None:
    assert conclusions(measured) == [
        "LIC 2.1 mg/g dry weight (37 umol/g), 95 % interval 1.9 to 2.2 mg/g. Grade (guglielmo-2023): mild. "
        "Borderline: normal 4 %, mild 96 % (measurement only)."
    ]
    assert conclusions(build(make_classic(make_geometry(n_slices=1)), **without_iron(1))) == [
        "R2* 67.7 /s, 95 % interval 63.5 to 71.9 /s. No LIC and no grade can be given."
    ]


def test_quality_findings_come_the_gravest_first_and_say_nothing_twice() -> None:
    reason = Reason(code="roi_low_signal", text="The region has too little signal.")
    qc = (
        QcLine(code="a", severity="info", text="A note."),
        QcLine(code="b", severity="warning", text="A warning."),
        QcLine(code="roi_low_signal", severity="failure", text=reason.text),
        QcLine(code="c", severity="failure", text="A failure."),
    )
    result = make_refusal(reasons=(reason,), qc=qc)
    report = report_of(build(make_classic(make_geometry(n_slices=1)), result, mask=None, maps=None))
    found = [i.TextValue for i in items_of(report) if i.ValueType == "TEXT" and name_of(i) == "111052"]
    assert found == ["failure: A failure. [c]", "warning: A warning. [b]", "info: A note. [a]"]


def items_of(item: Dataset) -> list[Dataset]:
    """All content items below ``item``."""
    children = list(item.get("ContentSequence") or [])
    return [found for child in children for found in (child, *items_of(child))]


def code_answers(report: Dataset) -> dict[str, str]:
    """Value of the coded answers by the value of their names."""
    return {
        item.ConceptNameCodeSequence[0].CodeValue: item.ConceptCodeSequence[0].CodeValue
        for item in items_of(report)
        if item.ValueType == "CODE"
    }


def measurements(report: Dataset) -> Dataset:
    """The container of the measurement groups."""
    return next(i for i in report.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "126010")


def test_a_known_refusal_has_a_code_of_its_own() -> None:
    result = replace(
        build_refusal(make_classic(make_geometry(n_slices=1))).result,
        reasons=(Reason(code="roi_too_small", text="Too small."), Reason(code="roi_position", text="Misplaced.")),
    )
    built = build(make_classic(make_geometry(n_slices=1)), result, mask=None)
    report = next(item.dataset for item in built.objects if item.role == "sr")
    reasons = {
        item.ConceptCodeSequence[0].CodeValue
        for item in items_of(report)
        if item.ValueType == "CODE" and item.ConceptNameCodeSequence[0].CodeValue == "5001"
    }
    assert reasons == {"5101", "5102"}


def report_of(built: BuiltSet) -> Dataset:
    return next(item.dataset for item in built.objects if item.role == "sr")


def name_of(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def numbers_under(item: Dataset, name: str) -> list[Dataset]:
    return [n for n in items_of(item) if n.ValueType == "NUM" and name_of(n) == name]


def test_a_bound_is_a_qualifier_and_words_and_nothing_else() -> None:
    report = report_of(build_bounded(3))
    numbers = [item for item in items_of(report) if item.ValueType == "NUM"]
    qualified = {name_of(item) for item in numbers if "NumericValueQualifierCodeSequence" in item}
    assert qualified == {"1001", "126395", "113064"}  # LIC, R2*, T2*
    derivations = {
        child.ConceptCodeSequence[0].CodeMeaning
        for item in numbers
        if name_of(item) in qualified
        for child in item.ContentSequence
        if name_of(child) == "121401"
    }
    assert derivations == {"Median"}  # no mean, SD or quartile as if they were known
    for quantity, uncertainty, distance in (
        ("1001", {"371885007"}, 2.87),  # below LIC and R2*, above T2*
        ("126395", {"371885007"}, 100.0),
        ("113064", {"371886008"}, 0.111),
    ):
        number = numbers_under(report, quantity)[-1]  # before it, the R2* that the LIC was inferred from
        found = {
            name_of(n): float(n.MeasuredValueSequence[0].NumericValue)
            for n in items_of(number)
            if "MeasuredValueSequence" in n and name_of(n) in ("371885007", "371886008")
        }
        assert set(found) == uncertainty
        assert next(iter(found.values())) == pytest.approx(distance)
    texts = " ".join(item.TextValue for item in items_of(report) if item.ValueType == "TEXT")
    for words in ("LIC is at least 25.9 mg/g", "(at least 463 umol/g): a lower bound", "T2* at most this value"):
        assert words in texts
    assert "246112005" not in code_answers(report)  # no severity: "severe" would be too little


def test_a_bound_under_a_limit_does_not_answer_the_question() -> None:
    result = make_bounded_result(make_mask(1))
    assert result.views is not None
    low = replace(result.views, clinical=replace(result.views.clinical, limit_mg_per_g=40.0, above=False))
    built = build(make_classic(make_geometry(n_slices=1)), replace(result, views=low), maps=make_extreme_maps(1, 0.4))
    answers = code_answers(report_of(built))
    assert answers["6002"] == "373068000"  # undetermined
    assert answers["6001"] == "373066001"  # yes


@pytest.mark.parametrize(("severity", "quality"), [("info", None), ("warning", "RID13")])
def test_quality_is_said_to_be_limited_and_never_to_be_diagnostic(severity: Severity, quality: str | None) -> None:
    line = QcLine(code="snr", severity=severity, text="SNR 12 at the first echo.")
    result = make_result(make_maps(1), make_mask(1), qc=(line,))
    built = build(make_classic(make_geometry(n_slices=1)), result)
    assert code_answers(report_of(built)).get("111050") == quality


def test_the_fat_fraction_is_stated_without_an_interval(measured: BuiltSet) -> None:
    numbers = numbers_under(report_of(measured), "129100")
    assert len(numbers) == 5
    assert all(item.ValueType != "NUM" for number in numbers for item in items_of(number))


@pytest.mark.parametrize(("code", "severity"), [("severe", "24484000"), ("extreme", None)])
def test_severity_is_coded_only_where_the_word_is_the_schemes_own(code: str, severity: str | None) -> None:
    result = make_result(make_maps(1), make_mask(1))
    assert result.grade is not None
    graded = replace(result, grade=replace(result.grade, code=code, label=code))
    report = report_of(build(make_classic(make_geometry(n_slices=1)), graded))
    assert code_answers(report).get("246112005") == severity
