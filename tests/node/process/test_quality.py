"""Headers that contradict each other: no number, or a line that says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from node.config import Config
from node.errors import DeclinedError, InputError
from node.process.batch import process_files
from node.process.pixels import LoadedAcquisition, read_acquisition
from tests.node.mr_images import Scan, classics, enhanced, save_all

Change = Callable[[list[Dataset]], None]


def read(every: list[Dataset], folder: Path) -> LoadedAcquisition:
    return read_acquisition(save_all(every, folder))


def lines(loaded: LoadedAcquisition) -> dict[str, str]:
    return {line.code: line.severity for line in loaded.qc}


def set_on(where: slice, **elements: Any) -> Change:
    def change(every: list[Dataset]) -> None:
        for ds in every[where]:
            for keyword, value in elements.items():
                setattr(ds, keyword, value)

    return change


def no_slope_on_one(every: list[Dataset]) -> None:
    del every[7].RescaleSlope


def no_slope_but_philips_scale(every: list[Dataset]) -> None:
    for number, ds in enumerate(every):
        del ds.RescaleSlope, ds.RescaleIntercept
        block = ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0E, "FL", 1.0 + number)


def same_philips_scale(every: list[Dataset]) -> None:
    """As early releases wrote it: one scale for all, so the decay is right as stored."""
    for ds in every:
        del ds.RescaleSlope, ds.RescaleIntercept
        ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", 0.25)


def black(every: list[Dataset]) -> None:
    every[3].PixelData = bytes(len(every[3].PixelData))


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (no_slope_on_one, "scaling_incomplete", "missing or no number in 1 of 18 magnitude images"),
        (no_slope_but_philips_scale, "scaling_incomplete", "another element scales them differently"),
        (set_on(slice(None), RescaleSlope="-1"), "unknown_kind", "negative"),
        (set_on(slice(4, 5), RescaleSlope="0"), "impossible_values", "no scale"),
        (black, "impossible_values", r"Every pixel is 0 in slice 1 at .*, echo 4 \(4.8 ms\), magnitude"),
        (set_on(slice(None), RepetitionTime="7"), "echo_after_repetition", "7.2 ms is not below the repetition time 7"),
        (set_on(slice(5, 6), MagneticFieldStrength="1.54"), "field_strength_contradicts", "1.5 T and 1.54 T"),
    ],
)
def test_contradictions_forbid_a_number(tmp_path: Path, change: Change, code: str, words: str) -> None:
    every = classics(Scan(extra={"RescaleSlope": "2", "RescaleIntercept": "0"}))
    change(every)
    with pytest.raises(DeclinedError, match=words) as caught:
        read(every, tmp_path)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"BitsStored": 8, "HighBit": 7}, "pixels_beyond_bits"),
    ],
)
def test_pixels_that_are_no_signal(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        read(classics(Scan(extra=changes)), tmp_path)
    assert caught.value.code == code


def test_kind_that_is_told_and_not_known_is_never_magnitude(tmp_path: Path) -> None:
    every = classics(Scan(extra={"ImageType": ["ORIGINAL", "PRIMARY", "OTHER"]}))
    for ds in every:
        ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", 7)
    with pytest.raises(DeclinedError) as caught:
        read(every, tmp_path)
    assert caught.value.code == "unknown_kind"


def test_rescale_of_one_and_nothing_is_none(tmp_path: Path) -> None:
    """Some archives add the tags to some images; 1 and 0 change nothing."""
    every = classics(Scan())
    for ds in every[::2]:
        ds.RescaleSlope, ds.RescaleIntercept = "1", "0"
    assert lines(read(every, tmp_path)) == {}


def test_modality_lut_is_no_linear_signal(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [2, 0, 16], "US"
    with pytest.raises(DeclinedError) as caught:
        read(classics(Scan(extra={"ModalityLUTSequence": Sequence([table])})), tmp_path)
    assert caught.value.code == "modality_lut"


@pytest.mark.parametrize(
    ("element", "value"),
    [("PatientID", "P2"), ("PatientName", "Roe^Richard"), ("PatientBirthDate", "19200101")],
)
def test_images_of_two_people_are_no_acquisition(tmp_path: Path, element: str, value: str) -> None:
    every = classics(Scan())
    setattr(every[7], element, value)
    with pytest.raises(DeclinedError) as caught:
        read(every, tmp_path)
    assert caught.value.code == "several_patients"
    assert value not in caught.value.text


def test_one_spelling_of_a_name_or_another_is_one_person(tmp_path: Path) -> None:
    every = classics(Scan())
    every[7].PatientName, every[8].PatientName, every[9].PatientBirthDate = "DOE^JANE^^", None, None
    assert lines(read(every, tmp_path)) == {}


def test_refusal_for_two_people_is_filed_under_neither(tmp_path: Path) -> None:
    every = classics(Scan())
    every[7].PatientName = "Roe^Richard"
    (result,) = process_files(
        [save_all(every, tmp_path / "in")[0].parent], tmp_path / "out", Config(), indication=None, show=lambda _: None
    )
    assert result.record["status"] == "declined"
    assert [reason["code"] for reason in result.record["reasons"]] == ["several_patients"]
    assert not list((tmp_path / "out").rglob("*.dcm"))
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert b"Roe" not in written
    assert b"Doe" not in written


def late_echo(every: list[Dataset]) -> None:
    """Two echoes from another breath-hold, ten minutes later."""
    for ds in every:
        ds.AcquisitionTime = "102500.25" if float(ds.EchoTime) > 5 else "101500.25"


def swapped_numbers(every: list[Dataset]) -> None:
    for ds in every:
        ds.EchoNumbers = {1.2: 1, 2.4: 3, 3.6: 2, 4.8: 4, 6.0: 5, 7.2: 6}[float(ds.EchoTime)]


def counted_with_maps(every: list[Dataset]) -> None:
    """Philips counts its own maps among the echoes: numbers run on, in order."""
    for ds in every:
        ds.EchoNumbers = 2 + round(float(ds.EchoTime) / 1.2)


def two_scalings(apart: float) -> Change:
    """A real world value of its own for every other echo."""

    def change(every: list[Dataset]) -> None:
        for number, ds in enumerate(every):
            mapping = Dataset()
            mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 1.0 + apart * (number % 2), 0.0
            ds.RealWorldValueMappingSequence = Sequence([mapping])

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (late_echo, {"echoes_apart": "warning"}),
        (swapped_numbers, {"echo_numbers_disagree": "warning"}),
        (counted_with_maps, {}),
        (set_on(slice(None), EchoNumbers=1), {}),
        (same_philips_scale, {}),
        (two_scalings(0.005), {"mixed_scaling": "warning"}),
        (set_on(slice(None), RescaleIntercept="12"), {"rescale_intercept": "warning"}),
        (set_on(slice(0, 1), RescaleSlope="1.5"), {"rescale_varies": "warning"}),
    ],
)
def test_doubts_are_said(tmp_path: Path, change: Change, expected: dict[str, str]) -> None:
    every = classics(Scan(extra={"RescaleSlope": "1", "RescaleIntercept": "0"}))
    change(every)
    assert lines(read(every, tmp_path)) == expected


def test_one_image_of_the_parts_that_disagrees_drops_the_phase(tmp_path: Path) -> None:
    every = classics(Scan(kinds=("magnitude", "real", "imaginary")))
    every[20].PixelData = bytes(len(every[20].PixelData) - 2) + b"\x01\x00"  # a real image
    loaded = read(every, tmp_path)
    assert not loaded.acquisition.is_complex
    assert lines(loaded) == {"phase_not_used": "info"}


def test_frames_that_are_no_echo_are_told_apart_from_riding_maps(tmp_path: Path) -> None:
    ds = enhanced(Scan())
    for groups in ds.PerFrameFunctionalGroupsSequence[:3]:
        groups.MREchoSequence[0].EffectiveEchoTime = 0
    assert lines(read([ds], tmp_path))["frames_left_out"] == "warning"
    for groups in ds.PerFrameFunctionalGroupsSequence[:3]:
        groups.MRImageFrameTypeSequence[0].FrameType = ["DERIVED", "PRIMARY", "T2_STAR_MAP", "NONE"]
    assert lines(read([ds], tmp_path))["frames_left_out"] == "info"


@pytest.mark.parametrize(
    ("sequence", "element", "value", "code"),
    [
        ("PixelMeasuresSequence", "PixelSpacing", [3.0, 3.0], "mixed_acquisition"),
        ("MRTimingAndRelatedParametersSequence", "RepetitionTime", 300, "mixed_acquisition"),
        ("PlanePositionSequence", "ImagePositionPatient", [5.0, -20.0, 30.0], "mixed_geometry"),
    ],
)
def test_frames_of_one_object_that_are_no_one_stack(
    tmp_path: Path, sequence: str, element: str, value: Any, code: str
) -> None:
    ds = enhanced(Scan())
    item = Dataset()
    setattr(item, element, value)
    setattr(ds.PerFrameFunctionalGroupsSequence[4], sequence, Sequence([item]))
    with pytest.raises(DeclinedError) as caught:
        read([ds], tmp_path)
    assert caught.value.code == code
