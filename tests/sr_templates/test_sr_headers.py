"""Headers as scanners and routers really send them: a result comes out, and the patient is the same patient."""

import subprocess
import warnings
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from sr_templates.check import encode
from sr_templates.evidence import SourceSeries
from sr_templates.header import SourceHeaderError, read_header, repaired_date, repaired_time
from sr_templates.result_set import BuiltSet
from tests.node.header_edits import edit_elements, raw
from tests.sr_templates.sr_sources import (
    build,
    build_refusal,
    build_two_maps,
    make_classic,
    make_enhanced,
    make_geometry,
    make_maps,
    make_mask,
    make_result,
)

SCRIPTS = {
    "latin": ("ISO_IR 100", "Müller^Jörg", "Müller^Jörg".encode("latin-1")),
    "cyrillic": ("ISO_IR 144", "Люкceмбypг^Анна", "Люкceмбypг^Анна".encode("iso8859-5")),
    "greek": ("ISO_IR 126", "Διονυσιος^Αγαθός", "Διονυσιος^Αγαθός".encode("iso8859-7")),
    "japanese": (  # PS3.5 H.3.1, example 1
        ["", "ISO 2022 IR 87"],
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
    ),
    "unicode": ("ISO_IR 192", "Wang^XiaoDong=王^小东", "Wang^XiaoDong=王^小东".encode()),
}


def unchanged(content: bytes) -> bytes:
    return content


def received(
    source: SourceSeries, edit: Callable[[Dataset], None], on_the_wire: Callable[[bytes], bytes] = unchanged
) -> SourceSeries:
    """The source after ``edit`` on every header, written and read back as a listener would."""
    datasets = []
    for ds in source.datasets:
        edit(ds)
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta = meta
        buffer = BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the sender's faults are what is tested
            dcmwrite(buffer, ds, enforce_file_format=True)
            datasets.append(dcmread(BytesIO(on_the_wire(buffer.getvalue()))))
    return SourceSeries(datasets=tuple(datasets), frames=source.frames, geometry=source.geometry)


def wire(ds: Dataset, keyword: str) -> bytes:
    """An element's value as it was sent; what has been looked at already is in Latin-1 here."""
    element = ds.get_item(keyword)
    assert element is not None
    return element.value if isinstance(element.value, bytes) else str(element.value).encode("latin-1")


def without(keyword: str) -> Callable[[Dataset], None]:
    def edit(ds: Dataset) -> None:
        del ds[keyword]

    return edit


DEFECTS: dict[str, tuple[Callable[[Dataset], None], str]] = {
    **{
        f"no {keyword}": (without(keyword), keyword)
        for keyword in (
            "PatientID",
            "PatientName",
            "PatientBirthDate",
            "PatientSex",
            "AccessionNumber",
            "StudyID",
            "StudyDate",
            "StudyTime",
            "ReferringPhysicianName",
            "FrameOfReferenceUID",
        )
    },
    "sex U": (raw(0x00100040, "CS", b"U"), "PatientSex"),
    "year of birth only": (raw(0x00100030, "DA", b"1970"), "PatientBirthDate"),
    "birth date with dashes": (raw(0x00100030, "DA", b"1970-02-03"), "PatientBirthDate"),
    "time with colons": (raw(0x00080030, "TM", b"10:15:00"), "StudyTime"),
    "unknown character set": (raw(0x00080005, "CS", b"ISO_IR 999"), "SpecificCharacterSet"),
    "bad time zone": (raw(0x00080201, "SH", b"CEST"), "TimezoneOffsetFromUTC"),
}
HARMLESS = {
    "no manufacturer": without("Manufacturer"),
    "no position reference": without("PositionReferenceIndicator"),
    "no scanning sequence": without("ScanningSequence"),
    "long patient id": raw(0x00100020, "LO", b"X" * 70),
    "name without caret": raw(0x00100010, "PN", b"Anonymous"),
    "bad acquisition date": raw(0x00080022, "DA", b"03.02.26"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_alone_is_put_right_and_named(name: str) -> None:
    """As far as its objects, alone and in pairs: ``make header-defects``."""
    edit, keyword = DEFECTS[name]
    assert read_header(received(make_classic(make_geometry(n_slices=1)), edit)).defects == (keyword,)


TOGETHER = (
    [name for name in DEFECTS if name.startswith("no ")],
    ["sex U", "birth date with dashes", "time with colons", "bad time zone"],
    ["year of birth only", "unknown character set"],
)


@pytest.mark.parametrize("names", TOGETHER, ids=lambda names: names[0])
def test_what_was_put_right_passes_the_validator(
    names: list[str], write_set: Callable[[BuiltSet], dict[str, Path]], dciodvfy: Path
) -> None:
    def edit(ds: Dataset) -> None:
        for name in names:
            DEFECTS[name][0](ds)

    built = build_two_maps(received(make_classic(make_geometry(n_slices=1)), edit))
    assert set(built.header_defects) == {DEFECTS[name][1] for name in names}
    assert built.result.status == "measured"
    paths = write_set(built)
    for file in ("map-lic-0001.dcm", "page-0001.dcm", "sr-0001.dcm", "seg-0001.dcm", "pm-lic-0001.dcm"):
        assert errors_of(paths[file], dciodvfy) == []


def errors_of(path: Path, dciodvfy: Path) -> list[str]:
    done = subprocess.run([dciodvfy, "-new", path], check=False, capture_output=True, text=True)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("name", HARMLESS)
def test_other_oddities_are_no_defects(name: str) -> None:
    assert read_header(received(make_classic(make_geometry(n_slices=1)), HARMLESS[name])).defects == ()


@pytest.mark.parametrize("left_out", ["long patient id", "name without caret"])
def test_oddities_change_nothing_of_the_patient(left_out: str) -> None:
    def edit(ds: Dataset) -> None:
        for name in set(HARMLESS) - {left_out}:
            HARMLESS[name](ds)

    source = received(make_classic(make_geometry(n_slices=1)), edit)
    built = build_two_maps(source)
    assert built.header_defects == ()
    for item in built.objects:
        read = dcmread(BytesIO(item.content))
        for keyword in ("PatientID", "PatientName"):
            assert wire(read, keyword) == wire(source.datasets[0], keyword)


PLAIN = {"AcquisitionDate": "20260203", "TimezoneOffsetFromUTC": "+0000"}
OTHER_REPRESENTATION = (
    ((0x0008, 0x0070), "Manufacturer"),
    ((0x0008, 0x1090), "ManufacturerModelName"),
    ((0x0018, 0x0080), "RepetitionTime"),
    ((0x0008, 0x0022), "AcquisitionDate"),
    ((0x0008, 0x0201), "TimezoneOffsetFromUTC"),
    ((0x0020, 0x1040), "PositionReferenceIndicator"),
    ((0x0020, 0x0052), "FrameOfReferenceUID"),
)
CONTENTS = pytest.mark.parametrize("content", [b"1234", b"12345678"], ids=["too short for a number", "a number"])


def with_numbers(content: bytes, *which: tuple[tuple[int, int], str]) -> SourceSeries:
    source = make_classic(make_geometry(n_slices=1), **{keyword: PLAIN.get(keyword, "1") for _, keyword in which})
    edits = [(tag, "FD", content) for tag, _ in which]
    return received(source, lambda _: None, lambda sent: edit_elements(sent, edits))


@CONTENTS
@pytest.mark.parametrize("which", OTHER_REPRESENTATION, ids=lambda which: which[1])
def test_what_has_another_representation_is_no_hindrance(which: tuple[tuple[int, int], str], content: bytes) -> None:
    defects = ("FrameOfReferenceUID",) if which[1] == "FrameOfReferenceUID" else ()
    assert read_header(with_numbers(content, which)).defects == defects


@CONTENTS
def test_what_has_another_representation_is_left_out(content: bytes, dciodvfy: Path, tmp_path: Path) -> None:
    built = build_two_maps(with_numbers(content, *OTHER_REPRESENTATION))
    assert built.header_defects == ("FrameOfReferenceUID",)
    path = tmp_path / "map.dcm"
    path.write_bytes(built.objects[0].content)
    assert errors_of(path, dciodvfy) == []


def test_a_sequence_that_holds_no_items_is_left_out_and_named() -> None:
    """Implicit VR: the dictionary alone says that it is a sequence."""
    source = make_classic(make_geometry(n_slices=1))
    tag = Tag(0x0008, 0x1084)  # Admitting Diagnoses Code Sequence
    for ds in source.datasets:
        ds._dict[tag] = RawDataElement(tag, None, 4, b"1e30", 0, True, True)
    built = build_two_maps(source)
    assert built.header_defects == ("AdmittingDiagnosesCodeSequence",)
    assert all("AdmittingDiagnosesCodeSequence" not in item.dataset for item in built.objects)


def test_an_undecodable_study_id_becomes_empty_and_is_named() -> None:
    wrong = [((0x0020, 0x0010), "FD", b"1234")]
    source = received(make_classic(make_geometry(n_slices=1)), lambda _: None, lambda sent: edit_elements(sent, wrong))
    built = build_two_maps(source)
    assert set(built.header_defects) == {"StudyID"}
    assert {item.dataset.StudyID for item in built.objects} == {""}


def test_no_warning_quotes_the_patient(recwarn: pytest.WarningsRecorder) -> None:
    edits = [raw(0x00100030, "DA", b"1970"), raw(0x00100020, "LO", b"X" * 70), raw(0x00080030, "TM", b"ten")]

    def edit(ds: Dataset) -> None:
        for one in edits:
            one(ds)

    built = build_two_maps(received(make_classic(make_geometry(n_slices=1)), edit))
    for item in built.objects:
        encode(item.dataset)
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_without_study_or_series_there_is_a_plain_refusal(keyword: str) -> None:
    source = make_classic(make_geometry(n_slices=1), **{keyword: None})
    with pytest.raises(SourceHeaderError, match=f"no {keyword}"):
        build_two_maps(source)


@pytest.mark.parametrize("script", SCRIPTS)
def test_names_in_five_scripts_arrive_byte_for_byte(script: str) -> None:
    character_set, name, name_bytes = SCRIPTS[script]

    def edit(ds: Dataset) -> None:
        ds.SpecificCharacterSet = character_set
        raw(0x00100010, "PN", name_bytes)(ds)

    built = build_two_maps(received(make_classic(make_geometry(n_slices=1)), edit))
    for item in built.objects:
        read = dcmread(BytesIO(item.content))
        assert read.get_item("PatientName").value.rstrip(b" ") == name_bytes
        assert str(read.PatientName) == name


def test_a_name_in_another_character_set_than_declared_keeps_its_bytes() -> None:
    source = received(
        make_classic(make_geometry(n_slices=1)),
        lambda ds: None,
        lambda content: content.replace(b"ISO_IR 100", b"ISO_IR 192"),
    )
    built = build_two_maps(source)
    assert built.header_defects == ("SpecificCharacterSet",)
    for item in built.objects:
        read = dcmread(BytesIO(item.content))
        assert wire(read, "PatientName").rstrip() == "Müller^Jörg".encode("latin-1")
        assert str(read.PatientName) == "Müller^Jörg"


def test_text_that_does_not_fit_the_study_switches_the_object_to_unicode() -> None:
    """Greek in a Latin-1 study: the report keeps both the text and the name, in UTF-8; nothing becomes "?"."""
    maps, mask = make_maps(1), make_mask(1)
    result = make_result(maps, mask)
    assert result.follow_up is not None
    greek = "Ο ασθενής σε 12 μήνες"
    source = make_classic(make_geometry(n_slices=1))
    built = build(source, replace(result, follow_up=replace(result.follow_up, text=greek)))
    report = dcmread(BytesIO(next(item.content for item in built.objects if item.role == "sr")))
    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert str(report.PatientName) == "Müller^Jörg"
    assert greek in [element.value for element in report.iterall() if element.keyword == "TextValue"]
    page = next(item.dataset for item in built.objects if item.role == "page")
    assert page.SpecificCharacterSet == "ISO_IR 100"


def test_patient_and_study_are_copied_to_every_object() -> None:
    def edit(ds: Dataset) -> None:
        other = Dataset()
        other.PatientID, other.IssuerOfPatientID = "OLD-1", "OTHER"
        ds.OtherPatientIDsSequence = [other]
        ds.AdmissionID = "ADM7"

    source = received(make_classic(make_geometry(n_slices=1)), edit)
    first = source.datasets[0]
    for item in build_two_maps(source).objects:
        for keyword in (
            "PatientName",
            "PatientID",
            "IssuerOfPatientID",
            "OtherPatientIDsSequence",
            "PatientBirthDate",
            "PatientSex",
            "PatientAge",
            "PatientWeight",
            "AdmissionID",
            "StudyInstanceUID",
            "StudyDate",
            "StudyTime",
            "StudyID",
            "StudyDescription",
            "AccessionNumber",
            "ReferringPhysicianName",
        ):
            assert item.dataset[keyword] == first[keyword], (item.role, keyword)


def test_the_received_headers_stay_as_they_were() -> None:
    source = make_classic(make_geometry(n_slices=2), PatientSex="U", StudyTime=None)
    before = [ds.to_json() for ds in source.datasets]
    build_two_maps(source)
    assert [ds.to_json() for ds in source.datasets] == before


def test_times_follow_the_offset_of_the_source() -> None:
    """11:22:33 UTC is 16:52:33 where the source's clock says +0530."""
    for item in build_two_maps(make_classic(make_geometry(n_slices=1), TimezoneOffsetFromUTC="+0530")).objects:
        assert item.dataset.TimezoneOffsetFromUTC == "+0530"
        assert time_made(item.dataset) == "165233.456789"
    for item in build_two_maps(make_classic(make_geometry(n_slices=1))).objects:
        assert "TimezoneOffsetFromUTC" not in item.dataset
        assert time_made(item.dataset) == "112233.456789"


def time_made(ds: Dataset) -> str:
    """Content Time, or Presentation Creation Time where the object has no other (PS3.3 C.11.10)."""
    return str(ds.ContentTime if "ContentTime" in ds else ds.PresentationCreationTime)


def test_a_missing_frame_of_reference_is_shared_within_the_series_and_only_there() -> None:
    classic = make_classic(make_geometry(n_slices=2), FrameOfReferenceUID=None)
    enhanced = make_enhanced(make_geometry(n_slices=2))
    del enhanced.datasets[0].FrameOfReferenceUID
    uids = [
        {
            item.dataset.FrameOfReferenceUID
            for item in build_two_maps(source).objects
            if "FrameOfReferenceUID" in item.dataset
        }
        for source in (classic, enhanced)
    ]
    assert len(uids[0]) == len(uids[1]) == 1
    assert uids[0] != uids[1]


def test_the_order_is_named_when_the_header_tells_it() -> None:
    def edit(ds: Dataset) -> None:
        item = Dataset()
        item.RequestedProcedureID = "RP9"
        item.RequestedProcedureDescription = "MR liver iron"
        ds.RequestAttributesSequence = [item]
        procedure = Dataset()
        procedure.CodeValue, procedure.CodingSchemeDesignator, procedure.CodeMeaning = "MRLIV", "99LOCAL", "MR liver"
        ds.ProcedureCodeSequence = [procedure]

    built = build_refusal(received(make_classic(make_geometry(n_slices=1)), edit))
    report = next(item.dataset for item in built.objects if item.role == "sr")
    (request,) = report.ReferencedRequestSequence
    assert (request.RequestedProcedureID, request.AccessionNumber) == ("RP9", "ACC42")
    reported = [
        item.ConceptCodeSequence[0].CodeValue
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "121058"
    ]
    assert reported == ["MRLIV"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("19700203", "19700203"), ("1970.02.03", "19700203"), ("1970", ""), ("19701345", ""), ("3 Feb", "")],
)
def test_dates(text: str, expected: str) -> None:
    assert repaired_date(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("101500", "101500"), ("10:15:00", "101500"), ("10", "10"), ("101500.25", "101500.25"), ("2515", ""), ("x", "")],
)
def test_times(text: str, expected: str) -> None:
    assert repaired_time(text) == expected
