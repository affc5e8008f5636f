"""What classic MR images of every dialect have in common (MR Image IOD, PS3.3 A.4)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from node.simulate.facts import IMPLEMENTATION_CLASS_UID, Identity, StudyFacts
from node.simulate.frames import Frame
from quant.models import GYROMAGNETIC_HZ_PER_T
from quant.phantom import Phantom


@dataclass(frozen=True, kw_only=True)
class Study:
    """A phantom about to be written: who, which UIDs, which acquisition."""

    phantom: Phantom
    facts: StudyFacts
    identity: Identity


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """The equipment that a dialect pretends to be."""

    manufacturer: str
    model: str
    software: str
    scanning_sequence: str = "GR"
    sequence_name: str = ""
    transfer_syntax_uid: str = ExplicitVRLittleEndian


def decimal(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2)."""
    for digits in range(12, 3, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{value:.4g}"


def patient_study(study: Study, scanner: Scanner) -> Dataset:
    """Patient, study, equipment and frame of reference modules (PS3.3 C.7.1, C.7.2, C.7.4, C.7.5)."""
    facts, ds = study.facts, Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName, ds.PatientID = facts.patient_name, facts.patient_id
    ds.PatientBirthDate, ds.PatientSex = facts.birth_date, facts.sex
    ds.StudyInstanceUID, ds.StudyID = study.identity.study_uid, facts.study_id
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = facts.study_date
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = facts.study_time
    ds.AccessionNumber, ds.StudyDescription = facts.accession_number, facts.study_description
    ds.ReferringPhysicianName = facts.referring_physician
    ds.Modality, ds.BodyPartExamined = "MR", "ABDOMEN"
    ds.Manufacturer, ds.ManufacturerModelName = scanner.manufacturer, scanner.model
    ds.SoftwareVersions, ds.DeviceSerialNumber = scanner.software, "0"
    ds.InstitutionName, ds.StationName = "Simulation", "PHANTOM"
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = study.identity.frame_of_reference_uid, ""
    ds.PatientPosition = patient_position(study.phantom)
    return ds


def patient_position(phantom: Phantom) -> str:
    """Patient Position (PS3.3 C.7.3.1.1.2) of the phantom's orientation."""
    return {"feet_first": "FFS", "prone": "HFP"}.get(phantom.truth.stack.orientation, "HFS")


def mr_image(study: Study, scanner: Scanner, frame: Frame, *, series: str, series_number: int) -> Dataset:
    """One MR image without pixels and without the dialect's own elements."""
    ds = patient_study(study, scanner)
    ds.SOPClassUID = MRImageStorage
    ds.SOPInstanceUID = study.identity.uid(f"{series}/{frame.part}/{frame.slice}/{frame.echo}")
    ds.SeriesInstanceUID, ds.SeriesNumber = study.identity.uid(series), series_number
    ds.SeriesDescription, ds.ProtocolName = "Liver multi-echo GRE", "Liver iron R2*"
    ds.AcquisitionNumber = 1
    ds.EchoTime, ds.EchoNumbers = decimal(frame.echo_time_ms), frame.echo + 1
    _add_sequence(ds, study, scanner)
    _add_plane(ds, study, frame)
    return ds


def _add_sequence(ds: Dataset, study: Study, scanner: Scanner) -> None:
    """MR Image module (PS3.3 C.8.3.1)."""
    acquisition = study.phantom.acquisition
    rows, columns = acquisition.signal.shape[1:3]
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = scanner.scanning_sequence, "SP", ""
    ds.MRAcquisitionType, ds.SequenceName = "2D", scanner.sequence_name
    ds.RepetitionTime, ds.FlipAngle = decimal(study.facts.repetition_time_ms), decimal(study.facts.flip_angle_deg)
    ds.EchoTrainLength = len(acquisition.echo_times_s)
    ds.MagneticFieldStrength = decimal(acquisition.field_t)
    ds.ImagingFrequency = decimal(acquisition.field_t * GYROMAGNETIC_HZ_PER_T / 1e6)
    ds.ImagedNucleus, ds.NumberOfAverages, ds.PixelBandwidth = "1H", "1", "1950"
    ds.AcquisitionMatrix, ds.InPlanePhaseEncodingDirection = [0, columns, rows, 0], "COL"
    ds.PercentSampling, ds.PercentPhaseFieldOfView, ds.VariableFlipAngleFlag = "100", "100", "N"
    ds.SAR = "0.1"


def _add_plane(ds: Dataset, study: Study, frame: Frame) -> None:
    """Image Plane module (PS3.3 C.7.6.2)."""
    geometry = study.phantom.acquisition.geometry
    between, row, column = geometry.spacing_mm
    ds.SliceThickness, ds.SpacingBetweenSlices = decimal(geometry.slice_thickness_mm), decimal(between)
    ds.PixelSpacing = [decimal(row), decimal(column)]
    ds.ImagePositionPatient = [decimal(v) for v in frame.position_mm]
    directions = (*geometry.row_direction, *geometry.column_direction)
    ds.ImageOrientationPatient = [decimal(float(v)) for v in directions]
    ds.SliceLocation = decimal(float(np.dot(frame.position_mm, geometry.normal)))


def set_pixels(ds: Dataset, stored: npt.NDArray[np.integer], *, bits_stored: int) -> None:
    """Image Pixel module (PS3.3 C.7.6.3): 16 bits allocated, signed when the array is."""
    signed = np.issubdtype(stored.dtype, np.signedinteger)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits_stored, bits_stored - 1
    ds.PixelRepresentation = int(signed)
    little_endian = stored.astype("<i2" if signed else "<u2")
    ds.add_new("PixelData", "OW", little_endian.tobytes())
    low, high = np.percentile(stored, (1, 99.5))
    if "PerFrameFunctionalGroupsSequence" not in ds:
        ds.WindowCenter, ds.WindowWidth = decimal(round((low + high) / 2)), decimal(max(round(high - low), 1))


def save(ds: Dataset, path: Path, transfer_syntax_uid: str) -> Path:
    """Write a Part 10 file; the same data set gives the same bytes."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(IMPLEMENTATION_CLASS_UID), "IRONNODE_SIM"
    ds.file_meta = meta
    ds.save_as(path, enforce_file_format=True)
    return path
