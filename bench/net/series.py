"""The images that are sent: 12 echoes of 30 slices, 256 x 256 x 16 bit."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

INSTANCES = 360
ROWS = 256


def write_series(folder: Path) -> None:
    """Write the series as files."""
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in range(INSTANCES):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, f"1.2.3.{number}"
        image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3", "1.2.3.0"
        image.Modality, image.PatientID, image.InstanceNumber = "MR", "BENCH", number
        image.Rows = image.Columns = ROWS
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
        image.PixelRepresentation, image.SamplesPerPixel, image.PhotometricInterpretation = 0, 1, "MONOCHROME2"
        image.PixelData = noise.integers(0, 4096, ROWS * ROWS, dtype=np.uint16).tobytes()
        pydicom.dcmwrite(folder / f"{number:03}.dcm", image, enforce_file_format=True)
