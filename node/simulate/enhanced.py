"""The whole acquisition as one Enhanced MR Image object, the way Philips writes it (PS3.3 A.36.2).

Every functional group sits in the frame's own item; nothing but the dates is at top level; frames run kind, slice,
echo; every frame has its own rescale.
"""

from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian

from node.simulate.classic import Scanner, Study, decimal, patient_study, set_pixels
from node.simulate.enhanced_modules import add_image, add_plane, add_pulse_sequence, add_timing, dimension, item_of
from node.simulate.frames import Frame, Part, frames, phase_steps

_LETTER = {Part.MAGNITUDE: "M", Part.PHASE: "P"}


def philips_enhanced(study: Study, with_phase: bool) -> Iterator[tuple[Dataset, str]]:
    """One multi-frame object with all slices, echoes and kinds."""
    scanner = Scanner(
        manufacturer="Philips",
        software="5.7.1",
        model="Ingenia" if study.phantom.acquisition.field_t < 2 else "Ingenia Elition X",
    )
    parts = (Part.MAGNITUDE, Part.PHASE) if with_phase else (Part.MAGNITUDE,)
    images = list(frames(study.phantom.acquisition, parts))
    ds = patient_study(study, scanner)
    ds.SOPClassUID, ds.SOPInstanceUID = EnhancedMRImageStorage, study.identity.uid("series/enhanced/1")
    ds.SeriesInstanceUID, ds.SeriesNumber = study.identity.uid("series/enhanced"), study.facts.series_number
    ds.SeriesDescription, ds.ProtocolName, ds.InstanceNumber = "Liver multi-echo FFE", "Liver iron R2*", 1
    kind = "MIXED" if with_phase else "M"
    component = "MIXED" if with_phase else "MAGNITUDE"
    add_image(ds, study, image_type=["ORIGINAL", "PRIMARY", "T2_STAR", kind], component=component)
    add_pulse_sequence(ds, "FFE")
    _add_dimensions(ds, study)
    stored, slopes = zip(*(_stored(frame) for frame in images), strict=True)
    per_frame = [_functional_groups(study, frame, slope) for frame, slope in zip(images, slopes, strict=True)]
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [Dataset()], per_frame
    ds.NumberOfFrames = len(images)
    set_pixels(ds, np.stack(stored), bits_stored=12)
    yield ds, ExplicitVRLittleEndian


def _add_dimensions(ds: Dataset, study: Study) -> None:
    """Multi-frame Dimension module (PS3.3 C.7.6.17): stack, position in it, kind, echo time."""
    organization = study.identity.uid("dimensions")
    item = Dataset()
    item.DimensionOrganizationUID = organization
    ds.DimensionOrganizationSequence = [item]
    kind = dimension(organization, 0x20051011, 0x2005140F, "Private ImageTypeMR")
    kind.DimensionIndexPrivateCreator = "Philips MR Imaging DD 001"
    kind.FunctionalGroupPrivateCreator = "Philips MR Imaging DD 005"
    ds.DimensionIndexSequence = [
        dimension(organization, 0x00209056, 0x00209111, "Stack ID"),
        dimension(organization, 0x00209057, 0x00209111, "In-Stack Position Number"),
        kind,
        dimension(organization, 0x00189082, 0x00189114, "Effective Echo Time"),
    ]


def _stored(frame: Frame) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint16]], str]:
    """Stored values (y, x) of a frame, 12 bit, and the rescale slope as written."""
    if frame.part is Part.PHASE:
        return phase_steps(frame.values), decimal(2000 * np.pi / 4096)
    slope = decimal(float(frame.values.max()) / 4000)
    return np.round(frame.values / float(slope)).astype(np.uint16), slope


def _functional_groups(study: Study, frame: Frame, slope: str) -> Dataset:
    """The frame's item of the Per-frame Functional Groups Sequence."""
    groups = Dataset()
    groups.FrameContentSequence = [_frame_content(study, frame)]
    groups.PlanePositionSequence = [item_of(ImagePositionPatient=[decimal(v) for v in frame.position_mm])]
    add_plane(groups, study)
    groups.MREchoSequence = [item_of(EffectiveEchoTime=frame.echo_time_ms)]
    groups.MRImageFrameTypeSequence = [_frame_type(frame)]
    groups.PixelValueTransformationSequence = [_rescale(frame, slope)]
    groups.RealWorldValueMappingSequence = [_real_world_value(frame, slope)]
    groups.FrameVOILUTSequence = [_window(frame)]
    groups.add_new(0x20050014, "LO", "Philips MR Imaging DD 005")
    groups.add_new(0x2005140F, "SQ", Sequence([_private(frame, slope)]))
    add_timing(groups, study)
    return groups


def _frame_content(study: Study, frame: Frame) -> Dataset:
    """Frame Content macro (PS3.3 C.7.6.16.2.2); the stack counts slices along the normal."""
    moment = study.facts.study_date + study.facts.study_time
    content = item_of(FrameAcquisitionNumber=1, FrameReferenceDateTime=moment, FrameAcquisitionDateTime=moment)
    content.FrameAcquisitionDuration = 18000.0
    content.StackID, content.InStackPositionNumber = "1", frame.slice + 1
    kind = 1 if frame.part is Part.MAGNITUDE else 2
    content.DimensionIndexValues = [1, frame.slice + 1, kind, frame.echo + 1]
    return content


def _frame_type(frame: Frame) -> Dataset:
    return item_of(
        FrameType=["ORIGINAL", "PRIMARY", "T2_STAR", _LETTER[frame.part]],
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        ComplexImageComponent=frame.part.upper(),
        AcquisitionContrast="T2_STAR",
    )


def _rescale(frame: Frame, slope: str) -> Dataset:
    intercept = decimal(-1000 * np.pi) if frame.part is Part.PHASE else "0"
    return item_of(RescaleIntercept=intercept, RescaleSlope=slope, RescaleType="US")


def _real_world_value(frame: Frame, slope: str) -> Dataset:
    """The unit of a frame, which Philips writes only here (Real World Value Mapping macro, PS3.3 C.7.6.16.2.11)."""
    phase = frame.part is Part.PHASE
    unit = item_of(
        CodeValue="mrad" if phase else "1",
        CodingSchemeDesignator="UCUM",
        CodeMeaning="milliradian" if phase else "no units",
    )
    mapping = item_of(LUTExplanation=f"Real World Value Mapping for {'mrad' if phase else 'normalized'}")
    mapping.LUTLabel, mapping.MeasurementUnitsCodeSequence = "Philips", [unit]
    mapping.add_new("RealWorldValueFirstValueMapped", "US", 0)
    mapping.add_new("RealWorldValueLastValueMapped", "US", 4095)
    mapping.RealWorldValueIntercept = -1000 * np.pi if phase else 0.0
    mapping.RealWorldValueSlope = float(slope)
    return mapping


def _private(frame: Frame, slope: str) -> Dataset:
    """Philips' own functional group: scale slope and kind."""
    item = Dataset()
    block = item.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x0D, "FL", 0.0)
    block.add_new(0x0E, "FL", 1.0 / float(slope))
    block.add_new(0x11, "CS", _LETTER[frame.part])
    return item


def _window(frame: Frame) -> Dataset:
    if frame.part is Part.PHASE:
        return item_of(WindowCenter="0", WindowWidth="6284")
    top = float(np.percentile(frame.values, 99.5))
    return item_of(WindowCenter=decimal(round(top / 2, 1)), WindowWidth=decimal(max(round(top, 1), 1.0)))
