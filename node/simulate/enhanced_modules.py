"""What Enhanced MR Image objects of every dialect have in common: modules and functional groups (PS3.3 A.36.2)."""

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from node.simulate.classic import Study, decimal
from quant.models import GYROMAGNETIC_HZ_PER_T


def item_of(**elements: object) -> Dataset:
    """An item with these elements, by keyword."""
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def add_image(ds: Dataset, study: Study, *, image_type: list[str], component: str) -> None:
    """Enhanced MR Image module (PS3.3 C.8.13.1) and MR Image Description macro (C.8.13.3.1)."""
    facts = study.facts
    ds.ImageType = image_type
    ds.AcquisitionNumber, ds.AcquisitionDateTime = 1, facts.study_date + facts.study_time
    del ds.AcquisitionDate, ds.AcquisitionTime
    ds.AcquisitionDuration, ds.ContentQualification = 18.0, "RESEARCH"
    ds.ResonantNucleus, ds.KSpaceFiltering = "1H", "NONE"
    ds.MagneticFieldStrength = study.phantom.acquisition.field_t
    ds.ApplicableSafetyStandardAgency = "IEC"
    ds.PixelPresentation, ds.VolumetricProperties, ds.VolumeBasedCalculationTechnique = "MONOCHROME", "VOLUME", "NONE"
    ds.ComplexImageComponent = component
    ds.AcquisitionContrast, ds.BurnedInAnnotation, ds.LossyImageCompression = "T2_STAR", "NO", "00"
    ds.PresentationLUTShape, ds.AcquisitionContextSequence = "IDENTITY", Sequence([])


def add_pulse_sequence(ds: Dataset, name: str) -> None:
    """MR Pulse Sequence module (PS3.3 C.8.13.4)."""
    ds.PulseSequenceName, ds.MRAcquisitionType, ds.EchoPulseSequence = name, "2D", "GRADIENT"
    ds.MultiPlanarExcitation = ds.PhaseContrast = ds.TimeOfFlightContrast = "NO"
    ds.EchoPlanarPulseSequence = ds.SaturationRecovery = "NO"
    ds.SpectrallySelectedSuppression, ds.OversamplingPhase = "NONE", "NONE"
    ds.SteadyStatePulseSequence = "LONGITUDINAL"
    ds.GeometryOfKSpaceTraversal, ds.RectilinearPhaseEncodeReordering = "RECTILINEAR", "LINEAR"
    ds.SegmentedKSpaceTraversal, ds.NumberOfKSpaceTrajectories = "SINGLE", 1


def dimension(organization: str, pointer: int, group: int, label: str) -> Dataset:
    """An item of the Dimension Index Sequence (PS3.3 C.7.6.17)."""
    item = Dataset()
    item.DimensionOrganizationUID, item.DimensionDescriptionLabel = organization, label
    item.DimensionIndexPointer, item.FunctionalGroupPointer = pointer, group
    return item


def anatomy() -> Dataset:
    """Frame Anatomy macro (PS3.3 C.7.6.16.2.8)."""
    region = item_of(CodeValue="113345001", CodingSchemeDesignator="SCT", CodeMeaning="Abdomen")
    return item_of(FrameLaterality="U", AnatomicRegionSequence=[region])


def add_plane(groups: Dataset, study: Study) -> None:
    """Orientation, spacing and anatomy, the same for all frames (Plane Orientation, Pixel Measures, Frame Anatomy)."""
    geometry = study.phantom.acquisition.geometry
    directions = [decimal(float(v)) for v in (*geometry.row_direction, *geometry.column_direction)]
    groups.PlaneOrientationSequence = [item_of(ImageOrientationPatient=directions)]
    between, row, column = geometry.spacing_mm
    measures = item_of(
        PixelSpacing=[decimal(row), decimal(column)], SliceThickness=decimal(geometry.slice_thickness_mm)
    )
    measures.SpacingBetweenSlices = decimal(between)
    groups.PixelMeasuresSequence = [measures]
    groups.FrameAnatomySequence = [anatomy()]


def add_timing(groups: Dataset, study: Study) -> None:
    """Timing, field of view, modifiers, averages and coils (PS3.3 C.8.13.5)."""
    acquisition = study.phantom.acquisition
    rows, columns = acquisition.signal.shape[1:3]
    groups.MRTimingAndRelatedParametersSequence = [_timing(study)]
    groups.MRFOVGeometrySequence = [
        item_of(
            InPlanePhaseEncodingDirection="COLUMN",
            MRAcquisitionFrequencyEncodingSteps=columns,
            MRAcquisitionPhaseEncodingStepsInPlane=rows,
            PercentSampling=100.0,
            PercentPhaseFieldOfView=100.0,
        )
    ]
    groups.MRModifierSequence = [_modifier()]
    groups.MRImagingModifierSequence = [_imaging_modifier(acquisition.field_t)]
    groups.MRAveragesSequence = [item_of(NumberOfAverages=1.0)]
    groups.MRReceiveCoilSequence = [_receive_coil()]
    groups.MRTransmitCoilSequence = [
        item_of(TransmitCoilName="Body", TransmitCoilManufacturerName="", TransmitCoilType="BODY")
    ]


def _timing(study: Study) -> Dataset:
    """MR Timing and Related Parameters macro (PS3.3 C.8.13.5.2)."""
    echoes = len(study.phantom.acquisition.echo_times_s)
    timing = item_of(EchoTrainLength=echoes, RFEchoTrainLength=0, GradientEchoTrainLength=echoes)
    timing.RepetitionTime = decimal(study.facts.repetition_time_ms)
    timing.FlipAngle = decimal(study.facts.flip_angle_deg)
    timing.SpecificAbsorptionRateSequence = [
        item_of(SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=0.1)
    ]
    timing.GradientOutputType, timing.GradientOutput = "DB_DT", 50.0
    timing.OperatingModeSequence = [
        item_of(OperatingModeType=kind, OperatingMode="IEC_NORMAL") for kind in ("STATIC FIELD", "RF", "GRADIENT")
    ]
    return timing


def _modifier() -> Dataset:
    """MR Modifier macro (PS3.3 C.8.13.5.5): nothing special was switched on."""
    off = ("InversionRecovery", "FlowCompensation", "T2Preparation", "PartialFourier", "ParallelAcquisition")
    modifier = item_of(**dict.fromkeys(off, "NO"))
    modifier.FlowCompensation, modifier.Spoiling, modifier.SpatialPresaturation = "NONE", "RF", "NONE"
    modifier.SpectrallySelectedExcitation = "NONE"
    return modifier


def _imaging_modifier(field_t: float) -> Dataset:
    return item_of(
        MagnetizationTransfer="NONE",
        BloodSignalNulling="NO",
        Tagging="NONE",
        TransmitterFrequency=field_t * GYROMAGNETIC_HZ_PER_T / 1e6,
        PixelBandwidth="1950",
    )


def _receive_coil() -> Dataset:
    element = item_of(MultiCoilElementName="1", MultiCoilElementUsed="YES")
    return item_of(
        ReceiveCoilName="Torso",
        ReceiveCoilManufacturerName="",
        ReceiveCoilType="MULTICOIL",
        QuadratureReceiveCoil="NO",
        MultiCoilDefinitionSequence=[element],
    )
