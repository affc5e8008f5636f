"""A tiny multi-echo study as DICOM files: enough for assembly, far too little to measure."""

from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

ECHO_TIMES_MS = (1.2, 2.4, 3.6, 4.8)


def write_study(folder: Path, number: int = 1, *, slices: int = 2, echoes: int = 4, size: int = 8) -> list[Path]:
    """``slices`` x ``echoes`` magnitude images of study ``number``; the same number gives the same UIDs and bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for z in range(slices):
        for e in range(echoes):
            image = _image(number, z, e, size)
            path = folder / f"{z:02d}-{e:02d}.dcm"
            image.save_as(path, enforce_file_format=True)
            paths.append(path)
    return paths


def _image(number: int, z: int, e: int, size: int) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = MRImageStorage
    ds.SOPInstanceUID = f"1.2.826.0.1.3680043.10.999.{number}.1.{z + 1}.{e + 1}"
    ds.StudyInstanceUID = f"1.2.826.0.1.3680043.10.999.{number}"
    ds.SeriesInstanceUID = f"1.2.826.0.1.3680043.10.999.{number}.1"
    ds.FrameOfReferenceUID = f"1.2.826.0.1.3680043.10.999.{number}.2"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    ds.Modality = "MR"
    ds.Manufacturer = "ironnode tests"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Doe^Jo", f"P{number}", "", ""
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "20260101", "", "", "", ""
    ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = 1, z * len(ECHO_TIMES_MS) + e + 1, 1
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "GR", "SP", "", "2D"
    ds.MagneticFieldStrength, ds.FlipAngle, ds.RepetitionTime = 1.5, 20, 100
    ds.EchoTime, ds.EchoNumbers, ds.EchoTrainLength = ECHO_TIMES_MS[e], e + 1, 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 10.0 * z], [1, 0, 0, 0, 1, 0]
    ds.SliceThickness, ds.SpacingBetweenSlices, ds.PixelSpacing = 10, 10, [2, 2]
    ds.Rows = ds.Columns = size
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelData = bytes([100 + z, e]) * (size * size)
    return ds
