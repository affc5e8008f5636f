"""Regions as readers' workstations write them: Segmentations by highdicom, structure sets written from the Standard."""

from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, RTStructureSetStorage, generate_uid

Mask = npt.NDArray[np.bool_]
STUDY, FRAME = "1.2.3", "1.2.3.9"
LIVER = codes.SCT.Liver


def plane_images(
    orientation: tuple[float, ...],
    origin_mm: tuple[float, float, float],
    spacing_mm: tuple[float, float, float],
    shape: tuple[int, int, int],
    **more: Any,
) -> list[Dataset]:
    """Headers of a stack of single images on a grid of ``shape`` (z, y, x), to draw on."""
    row, column = np.array(orientation).reshape(2, 3)
    images = []
    for z in range(shape[0]):
        ds = Dataset()
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
            setattr(ds, keyword, "")
        ds.StudyDate = ds.StudyTime = ds.ReferringPhysicianName = ""
        ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, f"1.2.3.1.{z + 1}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY, "1.2.3.1", FRAME
        ds.Modality, ds.Manufacturer = "MR", "-"
        ds.ImageOrientationPatient = list(orientation)
        ds.ImagePositionPatient = [float(v) for v in np.array(origin_mm) + z * spacing_mm[0] * np.cross(row, column)]
        ds.PixelSpacing, ds.SliceThickness, ds.SpacingBetweenSlices = list(spacing_mm[1:]), spacing_mm[0], spacing_mm[0]
        ds.Rows, ds.Columns = shape[1:]
        for keyword, value in more.items():
            setattr(ds, keyword, value)
        images.append(ds)
    return images


def segment(number: int = 1, label: str = "Liver", kind: Any = LIVER) -> hd.seg.SegmentDescription:
    """One segment drawn by hand."""
    return hd.seg.SegmentDescription(
        segment_number=number, segment_label=label, segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=kind, algorithm_type="MANUAL",
    )  # fmt: skip


def write_seg(
    path: Path,
    images: list[Dataset],
    mask: npt.NDArray[Any],
    segments: tuple[hd.seg.SegmentDescription, ...] = (),
    *,
    uid: str | None = None,
    kind: str = "BINARY",
    **more: Any,
) -> Path:
    """A Segmentation of ``mask`` (z, y, x), or (z, y, x, segment), on ``images``; empty frames are left out."""
    ds = hd.seg.Segmentation(
        images, mask if mask.dtype != bool else mask.astype(np.uint8), segmentation_type=kind,
        segment_descriptions=list(segments or (segment(),)), series_instance_uid=generate_uid(), series_number=300,
        sop_instance_uid=uid or generate_uid(), instance_number=1, manufacturer="Workstation Inc",
        manufacturer_model_name="Painter", software_versions="7", device_serial_number="1",
        content_creator_name="Reader^Rita",
    )  # fmt: skip
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    ds.save_as(path, enforce_file_format=True)
    return path


def write_rtstruct(
    path: Path,
    rois: dict[str, list[npt.NDArray[np.float64]]],
    *,
    frame: str = FRAME,
    study: str = STUDY,
    images: tuple[str, ...] = ("1.2.3.1.1",),
    patient_id: str = "",
    uid: str | None = None,
    types: dict[str, str] | None = None,
    decimals: int = 4,
) -> Path:
    """A structure set; each region is a list of closed contours (points, 3) in mm, written with ``decimals``; ``types``
    are the RT ROI Interpreted Types by name."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = RTStructureSetStorage, uid or generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = study, generate_uid(), "RTSTRUCT"
    ds.Manufacturer, ds.PatientID, ds.PatientName = "Contour GmbH", patient_id, ""
    reference, series = Dataset(), Dataset()
    reference.FrameOfReferenceUID = frame
    series.SeriesInstanceUID = "1.2.3.1"
    series.ContourImageSequence = [_image_reference(image) for image in images]
    whole = Dataset()
    whole.RTReferencedSeriesSequence = [series]
    reference.RTReferencedStudySequence = [whole]
    ds.ReferencedFrameOfReferenceSequence = [reference]
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois.items(), 1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, frame
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = [_contour(points, decimals) for points in contours]
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(drawn)
    ds.RTROIObservationsSequence = [
        _observation(number, (types or {}).get(name, "")) for number, name in enumerate(rois, 1)
    ]
    ds.save_as(path, enforce_file_format=True)
    return path


def _image_reference(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MRImageStorage, uid
    return item


def _observation(number: int, interpreted_type: str) -> Dataset:
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    item.RTROIInterpretedType, item.ROIInterpreter = interpreted_type, ""
    return item


def _contour(points: npt.NDArray[np.float64], decimals: int) -> Dataset:
    item = Dataset()
    item.ContourGeometricType, item.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
    item.ContourData = [f"{v:.{decimals}f}" for v in points.ravel()]
    return item
