"""The report page as Secondary Capture: what any workstation can show."""

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from sr_templates.envelope import BuildContext, Placement, frozen_date_time, stamp

SERIES_NUMBER = 9110


def build_page(rgb: npt.NDArray[np.uint8], context: BuildContext) -> tuple[Placement, Dataset]:
    """The page ``rgb`` (rows, columns, 3), uint8."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"the page must be uint8 (rows, columns, 3), not {rgb.dtype} {rgb.shape}")
    placement = Placement(
        role="page",
        series_number=SERIES_NUMBER,
        description=context.describe("Liver iron report page"),
        modality="OT",
    )
    ds = Dataset()
    ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.ConversionType = "WSD"
    ds.DateOfSecondaryCapture, ds.TimeOfSecondaryCapture = frozen_date_time(context)
    ds.PatientOrientation = ""
    ds.BurnedInAnnotation = "YES"  # the page carries the patient's name
    ds.RecognizableVisualFeatures = "NO"
    ds.LossyImageCompression = "00"
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = rgb.shape[:2]
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    content = np.ascontiguousarray(rgb).tobytes()
    ds.PixelData = content + b"\x00" * (len(content) % 2)
    return placement, stamp(ds, context, placement)
