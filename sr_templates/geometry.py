"""The planes of the acquisition as DICOM attributes, the same for classic and multi-frame sources."""

import math

from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage
from pydicom.valuerep import format_number_as_ds

from sr_templates.envelope import BuildContext


def decimal(value: float) -> str:
    """A Decimal String (PS3.5 6.2): the nearest number of at most 16 characters."""
    return format_number_as_ds(float(value))


def set_plane(ds: Dataset, context: BuildContext, z: int) -> None:
    """Frame of reference, plane and pixel spacing of slice ``z``; a distance that is NaN is left out."""
    geometry = context.source.geometry
    ds.FrameOfReferenceUID = context.header.frame_of_reference_uid
    ds.PositionReferenceIndicator = context.header.position_reference
    ds.ImageOrientationPatient = [decimal(v) for v in (*geometry.row_direction, *geometry.column_direction)]
    ds.ImagePositionPatient = [decimal(v) for v in geometry.positions_mm[z]]
    ds.PixelSpacing = [decimal(v) for v in geometry.spacing_mm[1:]]
    if math.isfinite(geometry.slice_thickness_mm):
        ds.SliceThickness = decimal(geometry.slice_thickness_mm)
    if math.isfinite(geometry.spacing_mm[0]):
        ds.SpacingBetweenSlices = decimal(geometry.spacing_mm[0])
    ds.Rows = context.rows
    ds.Columns = context.columns


def plane_template(context: BuildContext, z: int) -> Dataset:
    """A minimal single-frame MR image at slice ``z``, from which highdicom takes geometry and study.

    It stands for the source plane so that no defect of the received header, and no difference between classic and
    multi-frame sources, reaches highdicom; references and patient are written over afterwards.
    """
    ds = Dataset()
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(ds, keyword, "")
    ds.StudyDate = ds.StudyTime = ds.ReferringPhysicianName = ""
    ds.SOPClassUID = MRImageStorage
    ds.SOPInstanceUID = f"1.2.{z + 1}"
    ds.StudyInstanceUID = context.header.study_instance_uid
    ds.SeriesInstanceUID = "1.1"
    ds.Modality = "MR"
    ds.Manufacturer = "-"
    set_plane(ds, context, z)
    return ds
