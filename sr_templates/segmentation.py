"""The analysed region as a binary Segmentation (PS3.3 A.51): the report's numbers are those of the maps under it."""

import copy

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from quant.acquisition import BoolArray
from sr_templates import codes, identity
from sr_templates.envelope import BuildContext, Placement, stamp
from sr_templates.geometry import plane_template
from sr_templates.multiframe import derive_dimension_organization, slice_of, state_sources
from sr_templates.references import derivation_item, plane_refs

SERIES_NUMBER = 9130
ANALYSED_SEGMENT = 1
TRACKING_SUBJECT = "liver"
TRACKING_IDENTIFIER = "Liver iron, analysed region"
_COLOUR_RGB = (221, 130, 101)  # 3D Slicer's colour of the liver


def build_segmentation(mask: BoolArray, context: BuildContext) -> tuple[Placement, Dataset]:
    """The one segment is the region ``mask`` (z, y, x) that carries the statistics. The larger region that it was
    searched in is not sent: nothing has checked that it is liver."""
    placement = Placement(
        role="seg", series_number=SERIES_NUMBER, description=context.describe("Liver region"), modality="SEG"
    )
    ds = _by_highdicom(mask.astype(np.uint8), _description(context), context, placement)
    _identify_per_frame(ds)
    _state_frame_sources(ds, context)
    derive_dimension_organization(ds, context, placement)
    return placement, stamp(ds, context, placement)


def _description(context: BuildContext) -> hd.seg.SegmentDescription:
    result = context.result
    automatic = result.roi is None or result.roi.source == "automatic"
    algorithm = None
    if automatic:
        algorithm = hd.AlgorithmIdentificationSequence(
            name="ironnode liver region", family=codes.MORPHOLOGICAL_OPERATIONS, version=result.method_version
        )
    return hd.seg.SegmentDescription(
        segment_number=ANALYSED_SEGMENT,
        segment_label="Liver, analysed region",
        segmented_property_category=codes.ANATOMICAL_STRUCTURE,
        segmented_property_type=codes.LIVER,
        algorithm_type="AUTOMATIC" if automatic else "MANUAL",
        algorithm_identification=algorithm,
        tracking_uid=identity.tracking_uid(context.header.attributes, TRACKING_SUBJECT),
        tracking_id=TRACKING_IDENTIFIER,
        display_color=hd.color.CIELabColor.from_rgb(*_COLOUR_RGB),
    )


def _by_highdicom(
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    description: hd.seg.SegmentDescription,
    context: BuildContext,
    placement: Placement,
) -> Dataset:
    ds: Dataset = hd.seg.Segmentation(
        [plane_template(context, z) for z in range(context.n_slices)],
        pixels,
        segmentation_type="BINARY",
        segment_descriptions=[description],
        series_instance_uid="1.1",
        series_number=placement.series_number,
        sop_instance_uid="1.1",
        instance_number=1,
        manufacturer=identity.MANUFACTURER,
        manufacturer_model_name=identity.MODEL_NAME,
        software_versions=context.result.software_version,
        device_serial_number="-",
        omit_empty_frames=False,  # otherwise the frames no longer form a volume
        content_label="LIVER",
        content_description="Liver region that carries the statistics",
        content_creator_name=identity.CONTENT_CREATOR,
    )
    return ds


def _identify_per_frame(ds: Dataset) -> None:
    """With one segment highdicom writes Segment Identification once for all frames: legal, but Weasis then shows no
    segment, and highdicom itself cannot refer to it."""
    shared = ds.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" not in shared:
        return
    for group in ds.PerFrameFunctionalGroupsSequence:
        group.SegmentIdentificationSequence = copy.deepcopy(shared.SegmentIdentificationSequence)
    del shared.SegmentIdentificationSequence


def _state_frame_sources(ds: Dataset, context: BuildContext) -> None:
    """Every frame names the first echo of its slice: viewers lay the region over the image named here."""
    source = context.source
    for group in ds.PerFrameFunctionalGroupsSequence:
        refs = source.frames[slice_of(group, context)][:1]
        group.DerivationImageSequence = [derivation_item(source, refs, codes.SEGMENTATION_DERIVATION)]
    state_sources(ds, context, plane_refs(source))
