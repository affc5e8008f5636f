"""What headers say of the scan decides: field strength, suppressed fat or water, contrast agent."""

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.errors import DeclinedError
from node.process.facts import fat_suppressed
from node.process.pixels import LoadedAcquisition, read_acquisition
from tests.node.mr_images import (
    Scan,
    classics,
    enhanced,
    save,
    save_all,
)


def _read(every: list[Dataset], folder: Path) -> LoadedAcquisition:
    return read_acquisition(save_all(every, folder))


def _codes(loaded: LoadedAcquisition) -> set[str]:
    return {line.code for line in loaded.qc}


@pytest.mark.parametrize(
    ("extra", "field_t", "codes"),
    [
        ({"MagneticFieldStrength": "2.89362"}, 2.89362, set()),
        ({"MagneticFieldStrength": None, "ImagingFrequency": "63.866"}, 1.5, {"field_from_frequency"}),
        ({"MagneticFieldStrength": "0", "ImagingFrequency": "127.73"}, 3.0, {"field_from_frequency"}),
    ],
)
def test_field_strength(tmp_path: Path, extra: dict[str, Any], field_t: float, codes: set[str]) -> None:
    loaded = _read(classics(Scan(extra=extra)), tmp_path)
    assert loaded.acquisition.field_t == pytest.approx(field_t, rel=1e-3)
    assert _codes(loaded) == codes


def test_without_any_field_strength_declined(tmp_path: Path) -> None:
    with pytest.raises(DeclinedError, match=r"\(0018,0087\)") as caught:
        _read(classics(Scan(extra={"MagneticFieldStrength": None})), tmp_path)
    assert caught.value.code == "no_field_strength"


def test_contradicting_field_strengths_declined(tmp_path: Path) -> None:
    """At 3 T the same R2* is half the iron: a header edited to another field must not choose the calibration."""
    with pytest.raises(DeclinedError, match=r"1\.5 T.*\(0018,0084\) 3\.00 T") as caught:
        _read(classics(Scan(extra={"MagneticFieldStrength": "1.5", "ImagingFrequency": "127.73"})), tmp_path)
    assert caught.value.code == "field_strength_contradicts"


@pytest.mark.parametrize(
    ("extra", "element"),
    [
        ({"ScanOptions": ["SAT_GEMS", "FS"]}, "Scan Options (0018,0022) is FS"),
        ({"ScanOptions": ["PFP", "WE"]}, "Scan Options (0018,0022) is WE"),
        ({"SpectrallySelectedSuppression": "FAT"}, "Spectrally Selected Suppression (0018,9025) is FAT"),
        ({"ScanningSequence": ["GR", "IR"]}, "Scanning Sequence (0018,0020) is IR"),
    ],
)
def test_suppressed_fat_is_told(tmp_path: Path, extra: dict[str, Any], element: str) -> None:
    loaded = _read(classics(Scan(extra=extra)), tmp_path)
    (line,) = loaded.qc
    assert (line.code, element in line.text) == ("fat_suppressed", True)


def test_philips_tells_fat_suppression_in_an_element_of_its_own(tmp_path: Path) -> None:
    for letter, told in (("Y", True), ("N", False)):
        every = classics(Scan())
        every[-1].private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x21, "CS", letter)
        assert fat_suppressed(_read(every, tmp_path / letter).qc) is told


def test_water_excitation_of_a_frame_is_told(tmp_path: Path) -> None:
    ds = enhanced(Scan())
    modifier = Dataset()
    modifier.SpectrallySelectedExcitation = "WATER"
    ds.SharedFunctionalGroupsSequence[0].MRModifierSequence = Items([modifier])
    assert fat_suppressed(_read([ds], tmp_path).qc)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_siemens_xa_tells_water_excitation_in_an_element_of_its_own(tmp_path: Path, syntax: str) -> None:
    """Private sequences are bytes to who reads implicit VR without a dictionary of them."""
    ds, series = enhanced(Scan()), Dataset()
    series.private_block(0x21, "SIEMENS MR SDS 01", create=True).add_new(0x5C, "CS", ["IR", "WE"])
    shared = ds.SharedFunctionalGroupsSequence[0]
    shared.private_block(0x21, "SIEMENS MR SDS 01", create=True).add_new(0xFE, "SQ", Items([series]))
    lines = read_acquisition([save(ds, tmp_path / "1.dcm", syntax)]).qc
    (said,) = (line.text for line in lines if line.code == "fat_suppressed")
    assert "(0021,105C) Scan Options is WE" in said


def test_options_without_fat_suppression_keep_the_fat_fraction(tmp_path: Path) -> None:
    for number, options in enumerate((["PFP", "FC"], ["FAST_GEMS", "FSI_GEMS"], "OTHER")):
        loaded = _read(classics(Scan(extra={"ScanOptions": options})), tmp_path / str(number))
        assert not fat_suppressed(loaded.qc)


def test_contrast_agent_forbids_a_number(tmp_path: Path) -> None:
    loaded = _read(classics(Scan(extra={"ContrastBolusAgent": "Gadovist"})), tmp_path)
    assert [reason.code for reason in loaded.refusals] == ["contrast_given"]
    assert _codes(loaded) == {"contrast_given"}
    assert _read(classics(Scan(extra={"ContrastBolusAgent": "NONE"})), tmp_path / "none").refusals == ()
    every = classics(Scan())
    every[-1].ContrastBolusAgent = "Gadovist"  # any one image is enough
    assert [reason.code for reason in _read(every, tmp_path / "last").refusals] == ["contrast_given"]
