"""Small MR objects for the reader's tests, written from the Standard alone (not by the simulator under test elsewhere).

The signal of voxel (z, y, x) at echo time t is ``amplitude(z, y, x) * exp(-40 t) * exp(i * 200 t)``: every plane
differs from every other, so a plane in the wrong place is seen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
_TILT = np.deg2rad(20)
OBLIQUE = (float(np.cos(_TILT)), float(np.sin(_TILT)), 0.0, -float(np.sin(_TILT)), float(np.cos(_TILT)), 0.0)

LETTER = {"magnitude": "M", "phase": "P", "real": "R", "imaginary": "I"}
R2STAR_PER_S, OFF_RESONANCE_RAD_PER_S = 40.0, 200.0


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A multi-echo acquisition to write."""

    echo_times_ms: Sequence[float] = (1.2, 2.4, 3.6, 4.8, 6.0, 7.2)
    n_slices: int = 3
    rows: int = 6
    columns: int = 5
    spacing_mm: tuple[float, float, float] = (8.0, 2.0, 1.5)
    orientation: tuple[float, ...] = AXIAL
    origin_mm: tuple[float, float, float] = (-10.0, -20.0, 30.0)
    kinds: Sequence[str] = ("magnitude",)
    study: str = "1.2.3"
    series: str = "1.2.3.1"
    uid_prefix: str = "1.2.3.1.1"
    acquired: tuple[str, str] = ("20260102", "101500.250000")
    extra: dict[str, Any] = field(default_factory=dict)

    def position(self, z: int) -> list[float]:
        """Image Position Patient of a slice."""
        row, column = np.array(self.orientation).reshape(2, 3)
        where = np.array(self.origin_mm) + z * self.spacing_mm[0] * np.cross(row, column)
        return [float(v) for v in where]

    def signal(self, z: int, echo_time_ms: float) -> npt.NDArray[np.complex128]:
        """Complex signal (y, x)."""
        y, x = np.mgrid[: self.rows, : self.columns]
        t = echo_time_ms / 1000
        return (300.0 + 100 * z + 10 * y + x) * np.exp((-R2STAR_PER_S + 1j * OFF_RESONANCE_RAD_PER_S) * t)

    @property
    def truth(self) -> npt.NDArray[np.complex128]:
        """Complex signal (z, y, x, e) with ascending slices and echoes."""
        every = [[self.signal(z, t) for t in sorted(self.echo_times_ms)] for z in range(self.n_slices)]
        return np.moveaxis(np.array(every), 1, 3)

    def but(self, **changes: Any) -> "Scan":
        """The same scan with changes."""
        return replace(self, **changes)


def stored_values(signal: npt.NDArray[np.complex128], kind: str) -> npt.NDArray[np.integer[Any]]:
    """What a plain classic image stores: magnitude, real and imaginary x 10 (signed), phase in 4096 steps."""
    if kind == "magnitude":
        return np.round(10 * np.abs(signal)).astype(np.uint16)
    if kind == "phase":
        return (np.round((np.angle(signal) + np.pi) * 4096 / (2 * np.pi)).astype(np.int64) % 4096).astype(np.uint16)
    return np.round(10 * (signal.real if kind == "real" else signal.imag)).astype(np.int16)


def classic(scan: Scan, z: int, echo_time_ms: float, kind: str = "magnitude") -> Dataset:
    """One classic MR image (PS3.3 A.4), as far as the reader looks at it."""
    ds = _common(scan)
    ds.SOPClassUID = MRImageStorage
    ds.SOPInstanceUID = f"{scan.uid_prefix}.{z}.{round(echo_time_ms * 1000)}.{list(LETTER).index(kind)}"
    ds.ImageType = ["ORIGINAL", "PRIMARY", LETTER[kind]]
    ds.AcquisitionDate, ds.AcquisitionTime = scan.acquired
    ds.ScanningSequence, ds.RepetitionTime, ds.FlipAngle, ds.MagneticFieldStrength = "GR", "120", "25", "1.5"
    ds.EchoTime = str(echo_time_ms)
    ds.ImagePositionPatient, ds.ImageOrientationPatient = scan.position(z), list(scan.orientation)
    ds.PixelSpacing, ds.SliceThickness = list(scan.spacing_mm[1:]), str(scan.spacing_mm[0])
    set_pixels(ds, stored_values(scan.signal(z, echo_time_ms), kind))
    if kind == "phase":
        ds.BitsStored, ds.HighBit = 12, 11
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = "2", "-4096", "US"
    return override(ds, scan.extra)


def classics(scan: Scan) -> list[Dataset]:
    """Every image of a scan, kind by kind, slice by slice."""
    return [classic(scan, z, t, k) for k in scan.kinds for z in range(scan.n_slices) for t in scan.echo_times_ms]


def enhanced(scan: Scan, *, legacy: bool = False) -> Dataset:
    """The scan as one multi-frame object: scaling per frame, kind mixed, everything else shared."""
    ds = _common(scan)
    ds.SOPClassUID = LegacyConvertedEnhancedMRImageStorage if legacy else EnhancedMRImageStorage
    ds.SOPInstanceUID = f"{scan.uid_prefix}.{round(scan.echo_times_ms[0] * 1000)}"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "T2_STAR", "MIXED"]
    ds.AcquisitionDateTime, ds.ComplexImageComponent = "".join(scan.acquired), "MIXED"
    ds.MagneticFieldStrength = 1.5
    planes = [(k, z, t) for t in scan.echo_times_ms for k in scan.kinds for z in range(scan.n_slices)]
    stored, groups = zip(*(_frame(scan, *plane, legacy) for plane in planes), strict=True)
    shared = Dataset()
    shared.PlaneOrientationSequence = _one(ImageOrientationPatient=list(scan.orientation))
    shared.PixelMeasuresSequence = _one(PixelSpacing=list(scan.spacing_mm[1:]), SliceThickness=scan.spacing_mm[0])
    shared.MRTimingAndRelatedParametersSequence = _one(RepetitionTime=120, FlipAngle=25)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = Items([shared]), Items(groups)
    ds.NumberOfFrames = len(planes)
    set_pixels(ds, np.stack(stored))
    ds.BitsStored, ds.HighBit = 12, 11
    return override(ds, scan.extra)


def _frame(scan: Scan, kind: str, z: int, echo_time_ms: float, legacy: bool) -> tuple[npt.NDArray[np.uint16], Dataset]:
    signal, groups = scan.signal(z, echo_time_ms), Dataset()
    if kind == "phase":
        slope, intercept, stored = 2000 * np.pi / 4096, -1000 * np.pi, stored_values(signal, kind)
    else:
        slope, intercept = float(np.abs(signal).max()) / 4000, 0.0
        stored = np.round(np.abs(signal) / slope)
    groups.PlanePositionSequence = _one(ImagePositionPatient=scan.position(z))
    if legacy:
        groups.UnassignedPerFrameConvertedAttributesSequence = _one(EchoTime=echo_time_ms)
    else:
        groups.MREchoSequence = _one(EffectiveEchoTime=echo_time_ms)
    component = {"magnitude": "MAGNITUDE", "phase": "PHASE"}[kind]
    frame_type = ["ORIGINAL", "PRIMARY", "T2_STAR", LETTER[kind]]
    groups.MRImageFrameTypeSequence = _one(FrameType=frame_type, ComplexImageComponent=component)
    groups.PixelValueTransformationSequence = _one(
        RescaleSlope=f"{slope:.12g}", RescaleIntercept=f"{intercept:.12g}", RescaleType="US"
    )
    unit = _one(CodeValue="mrad" if kind == "phase" else "1", CodingSchemeDesignator="UCUM", CodeMeaning="unit")
    groups.RealWorldValueMappingSequence = _one(MeasurementUnitsCodeSequence=unit)
    return stored.astype(np.uint16), groups


def save(ds: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a Part 10 file."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", MRImageStorage)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2")
    ds.file_meta.ImplementationClassUID = "1.2.3.4"
    ds.save_as(path, enforce_file_format=True)
    return path


def save_all(every: Iterable[Dataset], folder: Path) -> list[Path]:
    """Write objects as numbered files."""
    folder.mkdir(parents=True, exist_ok=True)
    return [save(ds, folder / f"{number:04d}.dcm") for number, ds in enumerate(every)]


def override(ds: Dataset, elements: dict[str, Any]) -> Dataset:
    """Set elements by keyword; ``None`` deletes."""
    for keyword, value in elements.items():
        if value is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def set_pixels(ds: Dataset, stored: npt.NDArray[np.integer[Any]]) -> None:
    """Image Pixel module (PS3.3 C.7.6.3), 16 bits."""
    signed = stored.dtype.kind == "i"
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, int(signed)
    ds.add_new("PixelData", "OW", stored.astype("<i2" if signed else "<u2").tobytes())


def _common(scan: Scan) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet, ds.Modality = "ISO_IR 100", "MR"
    ds.Manufacturer, ds.ManufacturerModelName = "Maker", "Model"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = scan.study, scan.series, f"{scan.study}.9"
    ds.StudyDate, ds.StudyDescription, ds.AccessionNumber = "20260102", "Abdomen", "A1"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Doe^Jane", "P1", "19800501", "F"
    return ds


def _one(**elements: Any) -> Items:
    return Items([override(Dataset(), elements)])
