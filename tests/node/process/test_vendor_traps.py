"""Traps of vendors' files (docs/dialects.md): the number stays as it is, or is refused with what was found."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.errors import DeclinedError
from node.process.pixels import LoadedAcquisition, read_acquisition
from node.simulate import write_phantom
from quant.phantom import default_echo_times_s, make_abdomen
from tests.node.mr_images import save_all

Edit = Callable[[list[Dataset]], list[Dataset]]


def _abdomen(dialect: str, folder: Path) -> list[Dataset]:
    times = default_echo_times_s(1.5, echoes=4, delta_te_ms=1.3)
    phantom = make_abdomen(n_slices=2, matrix=32, snr=200, kind="complex", echo_times_s=times)
    written = write_phantom(phantom, folder / "made", dialect=dialect, kind="complex")
    return [dcmread(path) for path in written]


def _both(dialect: str, edit: Edit, folder: Path) -> tuple[LoadedAcquisition, LoadedAcquisition]:
    """What is read of the files as written, and of the edited ones."""
    plain = read_acquisition(save_all(_abdomen(dialect, folder), folder / "plain"))
    return plain, read_acquisition(save_all(edit(_abdomen(dialect, folder)), folder / "edited"))


def _same_magnitude(plain: LoadedAcquisition, edited: LoadedAcquisition) -> None:
    assert_array_equal(plain.acquisition.echo_times_s, edited.acquisition.echo_times_s)
    np.testing.assert_allclose(plain.acquisition.magnitude, edited.acquisition.magnitude, rtol=1e-5)


def _is(ds: Dataset, kind: str) -> bool:
    return kind in ds.ImageType[2:]


def _extra(every: list[Dataset], **changes: Any) -> list[Dataset]:
    """A copy of each magnitude of the first echo, changed."""
    first = min(float(ds.EchoTime) for ds in every)
    added = [deepcopy(ds) for ds in every if _is(ds, "M") and float(ds.EchoTime) == first]
    for number, ds in enumerate(added):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.{number}"
        for keyword, value in changes.items():
            setattr(ds, keyword, value)
    return [*every, *added]


def unnamed_phase(every: list[Dataset]) -> list[Dataset]:
    for ds in every:
        if _is(ds, "P"):
            ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
            for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
                ds.pop(keyword, None)
    return every


def unnamed_both(every: list[Dataset]) -> list[Dataset]:
    for ds in unnamed_phase(every):
        ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    return every


def seconds(every: list[Dataset]) -> list[Dataset]:
    for ds in every:
        ds.EchoTime = float(ds.EchoTime) / 1000
    return every


def half_repetitions(every: list[Dataset]) -> list[Dataset]:
    """Of two breath-holds one half each, mixed over slices and echoes."""
    heights = sorted({float(ds.ImagePositionPatient[2]) for ds in every})
    times = sorted({float(ds.EchoTime) for ds in every})
    for ds in every:
        z, e = heights.index(float(ds.ImagePositionPatient[2])), times.index(float(ds.EchoTime))
        ds.AcquisitionNumber = 1 + (z + e) % 2
    return every


def half_repetitions_by_clock(every: list[Dataset]) -> list[Dataset]:
    for ds in half_repetitions(every):
        ds.AcquisitionTime = "101500.00" if ds.AcquisitionNumber == 1 else "101530.00"
        ds.AcquisitionNumber = 1
    return every


def test_unsigned_phase_of_an_unnamed_kind_is_not_taken_for_magnitude(tmp_path: Path) -> None:
    plain, edited = _both("siemens", unnamed_phase, tmp_path)
    _same_magnitude(plain, edited)
    (chosen,) = [line for line in edited.qc if line.code == "input_chosen"]
    assert "its kind of image is named" in chosen.text


@pytest.mark.parametrize("unit", ["ms", "Hz", "1/s"])
def test_map_that_only_its_rescale_type_betrays_is_no_echo(tmp_path: Path, unit: str) -> None:
    def mapped(every: list[Dataset]) -> list[Dataset]:
        return _extra(every, EchoTime=9.7, RescaleType=unit)

    _same_magnitude(*_both("philips", mapped, tmp_path))


@pytest.mark.parametrize(
    ("edit", "code", "words"),
    [
        (unnamed_both, "unknown_kind", "Image Type"),
        (seconds, "no_echo_time", "seconds"),
        (half_repetitions, "mixed_repetitions", "Acquisition Number"),
        (half_repetitions_by_clock, "mixed_repetitions", "Acquisition Time"),
    ],
)
def test_refused_with_what_was_found(tmp_path: Path, edit: Edit, code: str, words: str) -> None:
    files = save_all(edit(_abdomen("siemens", tmp_path)), tmp_path / "edited")
    with pytest.raises(DeclinedError, match=words) as refused:
        read_acquisition(files)
    assert refused.value.code == code


@pytest.mark.parametrize("dialect", ["philips-enhanced", "siemens-xa"])
@pytest.mark.parametrize(
    ("early", "late"),
    [
        ({"FrameAcquisitionNumber": 1}, {"FrameAcquisitionNumber": 2}),
        (
            {"FrameAcquisitionDateTime": "20260105101500.00"},
            {"FrameAcquisitionDateTime": "20260105101530.00"},
        ),
    ],
    ids=["by number", "by clock"],
)
def test_two_half_breath_holds_in_the_frames_of_one_object_are_refused(
    tmp_path: Path, dialect: str, early: dict[str, Any], late: dict[str, Any]
) -> None:
    every = _abdomen(dialect, tmp_path)
    for ds in every:
        ds.pop("AcquisitionDateTime", None)
        for frame in ds.PerFrameFunctionalGroupsSequence:
            z = frame.PlanePositionSequence[0].ImagePositionPatient[2] > 0
            e = round(float(frame.MREchoSequence[0].EffectiveEchoTime) / 1.3)
            for keyword, value in ((early, late)[(z + e) % 2]).items():
                setattr(frame.FrameContentSequence[0], keyword, value)
    with pytest.raises(DeclinedError, match="two repetitions") as refused:
        read_acquisition(save_all(every, tmp_path / "edited"))
    assert refused.value.code == "mixed_repetitions"


def _repeated(ds: Dataset) -> Dataset:
    """The object with a later and darker repetition of all frames, listed before them."""
    frames = list(ds.PerFrameFunctionalGroupsSequence)
    darker = (np.frombuffer(ds.PixelData, "<u2") // 2).tobytes()
    ds.PerFrameFunctionalGroupsSequence = [*deepcopy(frames), *frames]
    ds.NumberOfFrames, ds.PixelData = 2 * len(frames), darker + ds.PixelData
    for number, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
        frame.FrameContentSequence[0].TemporalPositionIndex = 2 - number // len(frames)
    return ds


@pytest.mark.parametrize("dialect", ["philips-enhanced", "siemens-xa"])
def test_first_of_two_repetitions_in_one_object_is_measured(dialect: str, tmp_path: Path) -> None:
    plain, edited = _both(
        dialect, lambda every: [_repeated(ds) if _is(ds, "M") or len(every) == 1 else ds for ds in every], tmp_path
    )
    _same_magnitude(plain, edited)
    (said,) = (line.text for line in edited.qc if line.code == "input_chosen")
    assert "2 repetitions" in said


def test_two_flip_angles_in_one_object_are_no_repetitions(tmp_path: Path) -> None:
    (ds,) = _abdomen("philips-enhanced", tmp_path)
    for frame in _repeated(ds).PerFrameFunctionalGroupsSequence:
        run = frame.FrameContentSequence[0].TemporalPositionIndex
        frame.MRTimingAndRelatedParametersSequence[0].FlipAngle = 5 * run
    with pytest.raises(DeclinedError) as refused:
        read_acquisition(save_all([ds], tmp_path / "edited"))
    assert refused.value.code == "mixed_acquisition"


def test_repetitions_of_which_none_is_whole_are_refused(tmp_path: Path) -> None:
    (ds,) = _abdomen("philips-enhanced", tmp_path)
    _repeated(ds)
    frames = list(ds.PerFrameFunctionalGroupsSequence)
    kept = [number for number in range(len(frames)) if number not in (0, len(frames) - 1)]
    planes = np.frombuffer(ds.PixelData, "<u2").reshape(len(frames), -1)
    ds.PerFrameFunctionalGroupsSequence = [frames[number] for number in kept]
    ds.NumberOfFrames, ds.PixelData = len(kept), planes[kept].tobytes()
    with pytest.raises(DeclinedError, match=r"\(0020,9128\)") as refused:
        read_acquisition(save_all([ds], tmp_path / "edited"))
    assert refused.value.code == "several_repetitions"


def test_echo_time_that_no_echo_has_is_named(tmp_path: Path) -> None:
    every = seconds(_abdomen("siemens", tmp_path))
    with pytest.raises(DeclinedError, match=r"echo time is 0\.00"):
        read_acquisition(save_all(every, tmp_path / "edited"))


def test_real_and_imaginary_that_cannot_be_negative_are_refused(tmp_path: Path) -> None:
    every = _abdomen("ge", tmp_path)
    parts = [ds for ds in every if ds.get_private_item(0x0043, 0x2F, "GEMS_PARM_01").value in (2, 3)]
    for ds in parts:
        ds.PixelRepresentation = 0
    with pytest.raises(DeclinedError, match=r"\(0028,0103\)"):
        read_acquisition(save_all(parts, tmp_path / "edited"))


def test_more_echo_times_than_the_header_tells_is_said(tmp_path: Path) -> None:
    def unmarked(every: list[Dataset]) -> list[Dataset]:
        return _extra(every, EchoTime=9.7)

    plain, edited = _both("philips", unmarked, tmp_path)
    assert "more_echoes_than_told" not in {line.code for line in plain.qc}
    assert "more_echoes_than_told" in {line.code for line in edited.qc}
