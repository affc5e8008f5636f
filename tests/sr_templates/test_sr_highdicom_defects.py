"""What highdicom 0.28.2 does that the builders work around. A failure here is good news: drop the named workaround."""

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset

from sr_templates import codes
from sr_templates.envelope import BuildContext
from sr_templates.geometry import plane_template
from sr_templates.header import read_header
from tests.sr_templates.sr_sources import (
    COLUMNS,
    ROWS,
    make_classic,
    make_enhanced,
    make_geometry,
    make_identity,
    make_maps,
    make_mask,
    make_result,
)

N = 3


@pytest.fixture(scope="module")
def templates() -> list[Dataset]:
    source = make_classic(make_geometry(n_slices=N))
    context = BuildContext(
        result=make_result(make_maps(N), make_mask(N)),
        source=source,
        identity=make_identity(),
        header=read_header(source),
        rows=ROWS,
        columns=COLUMNS,
    )
    return [plane_template(context, z) for z in range(N)]


def parametric_map(sources: list[Dataset]) -> Dataset:
    mapping = hd.pm.RealWorldValueMapping(
        "R2*", "R2*", codes.PER_SECOND, (0.0, 1e4), slope=1.0, intercept=0.0, quantity_definition=codes.R2STAR
    )
    return hd.pm.ParametricMap(
        sources,
        np.ones((N, ROWS, COLUMNS), dtype=np.float32),
        "1.2.3",
        1,
        "1.2.4",
        1,
        "m",
        "m",
        "1",
        "1",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=250, window_width=500)],
    )


def segmentation(sources: list[Dataset]) -> Dataset:
    algorithm = hd.AlgorithmIdentificationSequence("a", codes.MORPHOLOGICAL_OPERATIONS, "1")
    description = hd.seg.SegmentDescription(1, "l", codes.ANATOMICAL_STRUCTURE, codes.LIVER, "AUTOMATIC", algorithm)
    return hd.seg.Segmentation(
        sources,
        make_mask(N).astype(np.uint8),
        "BINARY",
        [description],
        "1.2.3",
        1,
        "1.2.4",
        1,
        "m",
        "m",
        "1",
        "1",
        omit_empty_frames=False,
    )


def test_frames_are_sorted_descending(templates: list[Dataset]) -> None:
    groups = parametric_map(templates).PerFrameFunctionalGroupsSequence
    heights = [float(group.PlanePositionSequence[0].ImagePositionPatient[2]) for group in groups]
    assert heights == sorted(heights, reverse=True), "drop parametric_map._order_ascending"


def test_frame_anatomy_is_left_out(templates: list[Dataset]) -> None:
    shared = parametric_map(templates).SharedFunctionalGroupsSequence[0]
    assert "FrameAnatomySequence" not in shared, "drop parametric_map._add_frame_anatomy"


def test_modality_is_not_the_acquisitions(templates: list[Dataset]) -> None:
    assert parametric_map(templates).Modality == "OT", "Placement.modality of the float maps may go"


def test_dimension_organization_is_random(templates: list[Dataset]) -> None:
    uids = {parametric_map(templates).DimensionOrganizationSequence[0].DimensionOrganizationUID for _ in range(2)}
    assert len(uids) == 2, "drop multiframe.derive_dimension_organization"


def test_one_segment_is_identified_in_the_shared_group_and_cannot_be_referred_to(templates: list[Dataset]) -> None:
    ds = segmentation(templates)
    assert "SegmentIdentificationSequence" in ds.SharedFunctionalGroupsSequence[0], (
        "drop segmentation._identify_per_frame"
    )
    with pytest.raises(AttributeError):
        hd.sr.ReferencedSegment.from_segmentation(ds, 1)


def test_template_containers_are_continuous() -> None:
    tracking = hd.sr.TrackingIdentifier(uid="1.2.3", identifier="liver")
    group = hd.sr.MeasurementsAndQualitativeEvaluations(tracking_identifier=tracking)
    assert group[0].ContinuityOfContent == "CONTINUOUS", "content.container could use the templates of highdicom"


def test_the_image_library_cannot_take_multi_frame_images() -> None:
    with pytest.raises(AttributeError):
        hd.sr.ImageLibrary(list(make_enhanced(make_geometry(n_slices=N)).datasets))


def test_a_number_without_a_value_cannot_be_made() -> None:
    with pytest.raises(TypeError):
        hd.sr.NumContentItem(codes.R2STAR, None, codes.PER_SECOND)


def test_a_number_without_a_value_cannot_be_read() -> None:
    item = hd.sr.NumContentItem(codes.R2STAR, 1.0, codes.PER_SECOND, qualifier=codes.MEASUREMENT_FAILURE)
    item.MeasuredValueSequence = []  # PS3.3 C.18.1: type 2, empty with the qualifier as the reason
    with pytest.raises(IndexError):
        hd.sr.NumContentItem.from_dataset(item)  # what reading a report does; else see docs/decisions/0021


def test_counts_are_written_as_decimals() -> None:
    item = hd.sr.NumContentItem(codes.VOXEL_COUNT, 600, codes.VOXELS)
    assert str(item.MeasuredValueSequence[0].NumericValue) == "600.0", "content.num need not repair counts"
