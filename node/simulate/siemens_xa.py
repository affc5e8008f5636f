"""Enhanced MR Image objects the way Siemens XA writes them (seen: neurolabusc/dcm_qa_xa30).

One object for each echo, all echoes of a kind in one series, phase in the next one. Only the frames' functional groups
tell the echo time; there are no Echo Numbers and echo is no dimension. Positions carry six significant digits.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian

from node.simulate.classic import Scanner, Study, patient_study, set_pixels
from node.simulate.enhanced_modules import add_image, add_plane, add_pulse_sequence, add_timing, dimension, item_of
from node.simulate.frames import Frame, Part, frames, phase_steps, signal_peak

_LETTER = {Part.MAGNITUDE: "M", Part.PHASE: "P"}
_FULL_SCALE = 4000
_PRIVATE_CREATOR = "SIEMENS MR SDI 02"


def siemens_xa(study: Study, with_phase: bool) -> Iterator[tuple[Dataset, str]]:
    """One object for each kind and echo, the last echo first: the order of files tells nothing."""
    acquisition = study.phantom.acquisition
    scale = _FULL_SCALE / signal_peak(acquisition)
    for part in (Part.MAGNITUDE, Part.PHASE) if with_phase else (Part.MAGNITUDE,):
        images = list(frames(acquisition, (part,)))
        for echo in reversed(range(len(acquisition.echo_times_s))):
            yield _object(study, part, [frame for frame in images if frame.echo == echo], scale), ExplicitVRLittleEndian


def _object(study: Study, part: Part, images: list[Frame], scale: float) -> Dataset:
    low_field, echo = study.phantom.acquisition.field_t < 2, images[0].echo
    scanner = Scanner(
        manufacturer="Siemens Healthineers", model="MAGNETOM Sola" if low_field else "MAGNETOM Vida", software="XA30"
    )
    series = f"series/{part}"
    ds = patient_study(study, scanner)
    ds.SOPClassUID, ds.SOPInstanceUID = EnhancedMRImageStorage, study.identity.uid(f"{series}/{echo}")
    ds.SeriesInstanceUID = study.identity.uid(series)
    ds.SeriesNumber = study.facts.series_number + (part is Part.PHASE)
    ds.SeriesDescription, ds.ProtocolName, ds.InstanceNumber = "Liver multi-echo GRE", "Liver iron R2*", echo + 1
    add_image(ds, study, image_type=["ORIGINAL", "PRIMARY", _LETTER[part], "NONE"], component=part.upper())
    add_pulse_sequence(ds, f"*fl2d{len(study.phantom.acquisition.echo_times_s)}")
    _add_dimensions(ds, study)
    ds.SharedFunctionalGroupsSequence = [_shared(study)]
    ds.PerFrameFunctionalGroupsSequence = [_per_frame(study, frame) for frame in images]
    ds.NumberOfFrames = len(images)
    set_pixels(ds, np.stack([_stored(frame, scale) for frame in images]), bits_stored=12)
    return ds


def _stored(frame: Frame, scale: float) -> npt.NDArray[np.uint16]:
    return phase_steps(frame.values) if frame.part is Part.PHASE else np.round(frame.values * scale).astype(np.uint16)


def _add_dimensions(ds: Dataset, study: Study) -> None:
    """Multi-frame Dimension module (PS3.3 C.7.6.17): stack, position in it, temporal position."""
    organization = study.identity.uid("dimensions")
    ds.DimensionOrganizationSequence = [item_of(DimensionOrganizationUID=organization)]
    ds.DimensionIndexSequence = [
        dimension(organization, 0x00209056, 0x00209111, "Stack ID"),
        dimension(organization, 0x00209057, 0x00209111, "In-Stack Position Number"),
        dimension(organization, 0x00209128, 0x00209111, "Temporal Position Index"),
    ]


def _shared(study: Study) -> Dataset:
    groups = Dataset()
    add_plane(groups, study)
    add_timing(groups, study)
    return groups


def _per_frame(study: Study, frame: Frame) -> Dataset:
    groups = Dataset()
    groups.FrameContentSequence = [_frame_content(study, frame)]
    groups.PlanePositionSequence = [item_of(ImagePositionPatient=[f"{v:.6g}" for v in frame.position_mm])]
    groups.MREchoSequence = [item_of(EffectiveEchoTime=frame.echo_time_ms)]
    groups.MRImageFrameTypeSequence = [_frame_type(frame)]
    phase = frame.part is Part.PHASE
    slope, intercept = ("2", "-4096") if phase else ("1", "0")
    groups.PixelValueTransformationSequence = [
        item_of(RescaleIntercept=intercept, RescaleSlope=slope, RescaleType="US")
    ]
    centre, width = ("0", "8192") if phase else ("1000", "2000")
    groups.FrameVOILUTSequence = [item_of(WindowCenter=centre, WindowWidth=width)]
    private = item_of()
    private.add_new(0x00210011, "LO", _PRIVATE_CREATOR)
    private.add_new(0x00211106, "LO", f"X_{frame.echo + 1}_1_1_1_1_1_1_1_1_1_1_{frame.slice + 1}")
    private.add_new(0x00211175, "CS", ["ORIGINAL", "PRIMARY", _LETTER[frame.part], "ND"])
    groups.add_new(0x00210011, "LO", _PRIVATE_CREATOR)
    groups.add_new(0x002111FE, "SQ", Sequence([private]))
    return groups


def _frame_content(study: Study, frame: Frame) -> Dataset:
    """Frame Content macro (PS3.3 C.7.6.16.2.2); every object is temporal position 1."""
    moment = study.facts.study_date + study.facts.study_time
    content = item_of(FrameAcquisitionNumber=1, FrameReferenceDateTime=moment, FrameAcquisitionDateTime=moment)
    content.FrameAcquisitionDuration = 18000.0
    content.StackID, content.InStackPositionNumber, content.TemporalPositionIndex = "1", frame.slice + 1, 1
    content.DimensionIndexValues = [1, frame.slice + 1, 1]
    return content


def _frame_type(frame: Frame) -> Dataset:
    return item_of(
        FrameType=["ORIGINAL", "PRIMARY", _LETTER[frame.part], "NONE"],
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        ComplexImageComponent=frame.part.upper(),
        AcquisitionContrast="T2_STAR",
    )
