"""Drawn regions land on the right voxels by position alone, or are refused with a code."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from jpeg_ls import encode_array
from numpy.testing import assert_array_equal
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.sr.codedict import codes
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGLSLossless, RLELossless
from scipy.spatial.transform import Rotation

from node.errors import DeclinedError
from node.intake.headers import read_header
from node.intake.regions import same_patient
from node.process.drawn_region import DrawnRegion, Place, read_region
from node.process.drawn_seg import segment_planes
from quant.acquisition import Geometry
from tests.node.drawn_regions import FRAME, STUDY, plane_images, segment, write_rtstruct, write_seg
from tests.node.mr_images import AXIAL, CORONAL, OBLIQUE, SAGITTAL

Array = npt.NDArray[np.float64]
SHAPE = (5, 24, 20)
SPACING = (8.0, 2.5, 3.0)
ORIGIN = (-30.0, -25.0, 10.0)
CENTRE, RADII = np.array([0.0, 4.0, 25.0]), np.array([17.0, 20.0, 14.0])


def jpeg_ls(path: Path, rows_of: slice | None = None) -> Path:
    ds = dcmread(path)
    frames = [np.ascontiguousarray(frame[rows_of or slice(None)]) for frame in ds.pixel_array]
    ds.PixelData = encapsulate([bytes(encode_array(frame)) for frame in frames])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.file_meta.TransferSyntaxUID = JPEGLSLossless
    ds.save_as(path)
    return path


def place(orientation: tuple[float, ...] = AXIAL, *, frame: str = FRAME) -> Place:
    row, column = np.array(orientation).reshape(2, 3)
    normal = np.cross(row, column)
    middle = CENTRE - row * 28 - column * 28 - normal * 16
    geometry = Geometry(
        positions_mm=np.array([middle + z * SPACING[0] * normal for z in range(SHAPE[0])]),
        row_direction=row, column_direction=column, spacing_mm=SPACING, slice_thickness_mm=SPACING[0],
    )  # fmt: skip
    header = plane_images(orientation, tuple(middle), SPACING, SHAPE)[0]
    return Place(
        geometry=geometry, shape=SHAPE, frame_of_reference_uids=frozenset({frame}), sop_instance_uids=frozenset(),
        patient_id_hashes=(_hash(header.PatientID),) * 2,
    )  # fmt: skip


def _hash(patient_id: str) -> str:
    import hashlib

    return hashlib.sha256("\x00".join(("ironnode", "", patient_id)).encode()).hexdigest()[:16]


def affine(orientation: tuple[float, ...], origin: Array, spacing: tuple[float, float, float]) -> Array:
    """(z, y, x, 1) to millimetres."""
    row, column = np.array(orientation).reshape(2, 3)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1] = np.cross(row, column) * spacing[0], column * spacing[1]
    matrix[:3, 2], matrix[:3, 3] = row * spacing[2], origin
    return matrix


def centres(matrix: Array, shape: tuple[int, int, int]) -> Array:
    index = np.stack([*np.indices(shape), np.ones(shape)], axis=-1)
    return np.asarray((index @ matrix.T)[..., :3])


def ellipsoid(points: Array) -> npt.NDArray[np.bool_]:
    return np.asarray((((points - CENTRE) / RADII) ** 2).sum(axis=-1) < 1)


def through_grid(place: Place, theirs: Array, shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """The ellipsoid as their grid holds it, looked up at our voxels through their inverse affine."""
    g = place.geometry
    ours = affine((*g.row_direction, *g.column_direction), g.positions_mm[0], g.spacing_mm)
    points = centres(ours, place.shape)
    index = np.rint((np.concatenate([points, np.ones((*place.shape, 1))], -1) @ np.linalg.inv(theirs).T)[..., :3])
    inside = np.all((index >= 0) & (index < np.array(shape)), axis=-1)
    z, y, x = np.clip(index, 0, np.array(shape) - 1).astype(int).transpose(3, 0, 1, 2)
    return ellipsoid(centres(theirs, shape))[z, y, x] & inside


@pytest.mark.parametrize("theirs", [AXIAL, CORONAL, SAGITTAL, OBLIQUE], ids=["axial", "coronal", "sagittal", "oblique"])
@pytest.mark.parametrize("ours", [AXIAL, SAGITTAL, OBLIQUE], ids=["on axial", "on sagittal", "on oblique"])
def test_seg_of_any_grid_lands_by_position(ours: Any, theirs: Any, tmp_path: Path) -> None:
    where, shape, spacing = place(ours), (16, 41, 37), (4.1, 1.7, 1.9)
    row, column = np.array(theirs).reshape(2, 3)
    origin = CENTRE - row * 34.3 - column * 35.1 - np.cross(row, column) * 31.7
    matrix = affine(theirs, origin, spacing)
    mask = ellipsoid(centres(matrix, shape))
    path = write_seg(tmp_path / "seg.dcm", plane_images(theirs, tuple(origin), spacing, shape), mask)
    found = read_region(path, where)
    expected = through_grid(where, matrix, shape)
    assert expected.sum() > 100
    np.testing.assert_array_equal(found.mask, expected)
    assert found.kind == "seg"
    assert found.named
    assert found.drawn_by == "Reader Rita, Workstation Inc Painter 7"


def on_our_grid(tmp_path: Path, mask: npt.NDArray[Any], *segments: Any, **more: Any) -> DrawnRegion:
    where = place()
    images = plane_images(AXIAL, tuple(where.geometry.positions_mm[0]), SPACING, SHAPE)
    return read_region(write_seg(tmp_path / "seg.dcm", images, mask, segments, **more), where)


def liver_mask() -> npt.NDArray[np.bool_]:
    where = place()
    return ellipsoid(centres(affine(AXIAL, where.geometry.positions_mm[0], SPACING), SHAPE))


def test_slices_without_a_frame_stay_empty(tmp_path: Path) -> None:
    mask = liver_mask()
    mask[2] = False
    found = on_our_grid(tmp_path, mask)
    assert len(dcmread(tmp_path / "seg.dcm").PerFrameFunctionalGroupsSequence) < SHAPE[0]
    np.testing.assert_array_equal(found.mask, mask)


def test_fractional_counts_from_half(tmp_path: Path) -> None:
    mask = liver_mask()
    drawn = np.where(mask, 0.6, 0.4).astype(np.float32)
    found = on_our_grid(tmp_path, drawn, kind="FRACTIONAL", uid="1.2.7")
    np.testing.assert_array_equal(found.mask, mask)


def two(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    return np.stack([first, second], axis=-1).astype(np.uint8)


def test_the_segment_coded_as_liver_is_taken_of_several(tmp_path: Path) -> None:
    mask = liver_mask()
    other = np.roll(mask, 6, axis=2) & ~mask
    found = on_our_grid(tmp_path, two(other, mask), segment(1, "Milz", codes.SCT.Spleen), segment(2, "organ 2"))
    np.testing.assert_array_equal(found.mask, mask)
    assert found.label == "organ 2"


@pytest.mark.parametrize(
    ("segments", "code"),
    [
        ((segment(1, "a"), segment(2, "b")), "region_ambiguous"),
        ((segment(1, "a", codes.SCT.Tissue), segment(2, "b", codes.SCT.Tissue)), "region_ambiguous"),
        ((segment(1, "Milz", codes.SCT.Spleen), segment(2, "Niere", codes.SCT.Kidney)), "region_ambiguous"),
    ],
    ids=["two livers", "nothing told", "other organs"],
)
def test_several_segments_are_not_guessed(segments: Any, code: str, tmp_path: Path) -> None:
    with pytest.raises(DeclinedError) as refused:
        on_our_grid(tmp_path, two(liver_mask(), np.roll(liver_mask(), 5, 2)), *segments)
    assert refused.value.code == code


def test_a_single_spleen_is_not_the_liver(tmp_path: Path) -> None:
    with pytest.raises(DeclinedError) as refused:
        on_our_grid(tmp_path, liver_mask(), segment(1, "Milz", codes.SCT.Spleen))
    assert refused.value.code == "region_not_liver"


@pytest.mark.parametrize("kinds", [(codes.SCT.Spleen,), (codes.SCT.Tissue, codes.SCT.Tissue)])
def test_a_refusal_quotes_no_label_for_it_may_name_the_patient(kinds: tuple[Any, ...], tmp_path: Path) -> None:
    masks = two(liver_mask(), np.roll(liver_mask(), 5, 2)) if len(kinds) > 1 else liver_mask()
    with pytest.raises(DeclinedError) as refused:
        on_our_grid(tmp_path, masks, *(segment(n, "DOE^JANE", kind) for n, kind in enumerate(kinds, 1)))
    assert "DOE" not in refused.value.text


def test_a_single_tissue_is_taken_and_told(tmp_path: Path) -> None:
    found = on_our_grid(tmp_path, liver_mask(), segment(1, "Segment_1", codes.SCT.Tissue))
    assert (found.named, found.label) == (False, "Segment_1")


def refusal(path: Path, where: Place) -> str:
    with pytest.raises(DeclinedError) as refused:
        read_region(path, where)
    assert str(path) not in str(refused.value)
    return refused.value.code


def test_impossible_regions_are_refused(tmp_path: Path) -> None:
    where = place()
    start = tuple(where.geometry.positions_mm[0])
    images = plane_images(AXIAL, start, SPACING, SHAPE)
    mask, far = liver_mask(), plane_images(AXIAL, (start[0], start[1], start[2] + 500), SPACING, SHAPE)
    path = tmp_path / "seg.dcm"
    assert refusal(write_seg(path, images, np.zeros(SHAPE, bool)), where) == "region_empty"
    assert refusal(write_seg(path, far, mask), where) == "region_outside"
    assert refusal(write_seg(path, images, mask, FrameOfReferenceUID="1.2.99"), where) == "region_other_frame"
    other = plane_images(AXIAL, start, SPACING, SHAPE, PatientID="SOMEBODY")
    assert refusal(write_seg(path, other, mask), where) == "region_other_patient"
    cut = dcmread(write_seg(path, images, mask))
    cut.PixelData = cut.PixelData[:20]
    cut.save_as(path)
    assert refusal(path, where) == "region_unreadable"
    path.write_bytes(path.read_bytes()[:900])
    assert refusal(path, where) == "region_unreadable"


# ------------------------------------------------------------ contours


def ring(radius_mm: float, height_mm: float, orientation: tuple[float, ...] = AXIAL) -> Array:
    """A circle about the centre, in the planes of ``orientation``, ``height_mm`` along their normal."""
    row, column = np.array(orientation).reshape(2, 3)
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)[:, None]
    centre = CENTRE + height_mm * np.cross(row, column)
    return np.asarray(centre + radius_mm * (np.cos(angle) * row + np.sin(angle) * column))


def cylinder(where: Place, axis: Array, radius_mm: float, half_mm: float) -> npt.NDArray[np.bool_]:
    g = where.geometry
    points = centres(affine((*g.row_direction, *g.column_direction), g.positions_mm[0], g.spacing_mm), where.shape)
    apart = points - CENTRE
    along = apart @ axis
    across = np.linalg.norm(apart - along[..., None] * axis, axis=-1)
    return np.asarray((np.abs(along) <= half_mm) & (across < radius_mm))


@pytest.mark.parametrize("ours", [AXIAL, CORONAL, OBLIQUE], ids=["axial", "coronal", "oblique"])
def test_contours_with_a_hole_on_our_slices(ours: Any, tmp_path: Path) -> None:
    where = place(ours)
    heights = (where.geometry.positions_mm - CENTRE) @ where.geometry.normal
    contours = [ring(radius, h, ours) for h in heights[1:4] for radius in (15.3, 6.1)]
    found = read_region(write_rtstruct(tmp_path / "rt.dcm", {"Leber": contours, "empty": []}), where)
    outer, inner = (cylinder(where, where.geometry.normal, r, 12) for r in (15.3, 6.1))
    expected = outer & ~inner
    assert np.count_nonzero(found.mask != expected) <= 0.01 * expected.sum()  # a 180-gon is no circle
    assert found.kind == "rtstruct"
    assert found.named


def test_contours_drawn_across_our_slices(tmp_path: Path) -> None:
    where = place(AXIAL)
    contours = [ring(13.3, h, SAGITTAL) for h in np.arange(-10.0, 10.1, 2.0)]
    found = read_region(write_rtstruct(tmp_path / "rt.dcm", {"region 1": contours}), where)
    expected = cylinder(where, np.array([1.0, 0.0, 0.0]), 13.3, 11.0)
    assert expected.sum() > 50
    np.testing.assert_array_equal(found.mask, expected)


def test_contours_that_cannot_be_used(tmp_path: Path) -> None:
    where, path = place(), tmp_path / "rt.dcm"
    good = [ring(12, 0)]
    assert refusal(write_rtstruct(path, {"a": good, "b": good}), where) == "region_ambiguous"
    assert refusal(write_rtstruct(path, {"Liver": good, "liver 2": good}), where) == "region_ambiguous"
    assert refusal(write_rtstruct(path, {"Liver": []}), where) == "region_empty"
    assert refusal(write_rtstruct(path, {"Liver": [ring(12, 0)[:1].repeat(4, axis=0)]}), where) == "region_empty"
    assert refusal(write_rtstruct(path, {"Liver": [*good, ring(12, 0, CORONAL)]}), where) == "region_unreadable"
    assert refusal(write_rtstruct(path, {"Liver": good}, frame="1.2.99"), where) == "region_other_frame"
    assert refusal(write_rtstruct(path, {"Liver": [ring(12, 300)]}), where) == "region_outside"


@pytest.mark.parametrize(
    ("names", "contour_sets"),
    [((None, 2), (None, 2)), ((1, 1), (1, 2)), ((1, 2), (1, 1))],
    ids=["no number", "one number for two names", "one number for two contour sets"],
)
def test_contours_that_cannot_be_brought_together_with_a_name_are_not_guessed(
    names: tuple[int | None, int], contour_sets: tuple[int | None, int], tmp_path: Path
) -> None:
    path = write_rtstruct(tmp_path / "rt.dcm", {"Liver": [ring(12, 0)], "Spleen": [ring(20, 0)]})
    ds = dcmread(path)
    for roi, drawn, name, contour_set in zip(
        ds.StructureSetROISequence, ds.ROIContourSequence, names, contour_sets, strict=True
    ):
        roi.ROINumber, drawn.ReferencedROINumber = name, contour_set
    ds.save_as(path)
    assert refusal(path, place()) == "region_unreadable"


PLANS = {"BODY": "EXTERNAL", "PTV_Liver": "PTV", "Liver-GTV": "ORGAN", "Liver": "ORGAN", "Spleen": "ORGAN"}


@pytest.mark.parametrize(
    ("names", "outcome"),
    [
        (("BODY", "PTV_Liver", "Liver-GTV", "Liver", "Spleen"), "Liver"),
        (("BODY", "PTV_Liver", "Spleen"), "region_ambiguous"),
        (("PTV_Liver",), "region_not_liver"),
        (("Liver-GTV",), "region_not_liver"),
        (("BODY",), "region_not_liver"),
    ],
)
def test_what_a_treatment_plan_drew_about_the_liver_is_not_the_liver(
    names: tuple[str, ...], outcome: str, tmp_path: Path
) -> None:
    rois = {name: [ring(12.3 if name == "Liver" else 16.3, 0)] for name in names}
    path = write_rtstruct(tmp_path / "rt.dcm", rois, types=PLANS)
    if outcome.startswith("region_"):
        assert refusal(path, place()) == outcome
        return
    found = read_region(path, place())
    assert (found.label, found.named) == (outcome, True)
    np.testing.assert_array_equal(found.mask, cylinder(place(), np.array([0.0, 0.0, 1.0]), 12.3, 4))


@pytest.mark.parametrize("turn", [(0.1, 0.25, -0.2), (0.3, -0.15, 0.1), (-0.2, 0.3, 0.4)])
def test_holes_and_islands_survive_coordinates_that_were_rounded(
    turn: tuple[float, float, float], tmp_path: Path
) -> None:
    """Coordinates to 0.1 mm put a hole of few points out of the plane of its outline, and tilt a small island."""
    row, column, normal = Rotation.from_rotvec(turn).as_matrix().T
    where = place((*row, *column))
    contours = []
    for height in (where.geometry.positions_mm - CENTRE) @ normal:
        middle, outline = CENTRE + height * normal, ring(15.3, height, (*row, *column))
        hole = np.array([middle + 4.6 * (a * row + b * column) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
        island = middle + 0.05 * (outline[::45] - middle) + 18 * row
        contours += [outline, hole, island]
    exact = read_region(write_rtstruct(tmp_path / "rt.dcm", {"Liver": contours}, decimals=8), where)
    rounded = read_region(write_rtstruct(tmp_path / "rt.dcm", {"Liver": contours}, decimals=1), where)
    assert exact.mask.sum() > 200
    assert np.count_nonzero(exact.mask != rounded.mask) <= 0.02 * exact.mask.sum()


def test_references_are_found_at_any_depth(tmp_path: Path) -> None:
    seg = write_seg(tmp_path / "seg.dcm", plane_images(AXIAL, ORIGIN, SPACING, SHAPE), liver_mask())
    header = read_header(seg)
    assert header.region is not None
    assert {"1.2.3.1.2", "1.2.3.1.3"} <= set(header.region.sop_instance_uids)
    assert "1.2.3.1" in header.region.series_instance_uids
    assert header.region.frame_of_reference_uid == FRAME
    contours = read_header(write_rtstruct(tmp_path / "rt.dcm", {"Liver": [ring(9, 0)]}, images=("1.2.3.1.4",)))
    assert contours.region is not None
    assert contours.region.sop_instance_uids == ("1.2.3.1.4",)
    assert contours.region.frame_of_reference_uid == FRAME
    assert contours.study_instance_uid == STUDY


def test_an_issuer_that_a_workstation_dropped_does_not_make_another_patient() -> None:
    full, bare, other = "issuer and id", "id", "another id"
    assert same_patient((full, bare), (full, bare))
    assert same_patient((full, bare), (bare, bare))
    assert same_patient((bare, bare), (full, bare))
    assert not same_patient((full, bare), ("another issuer and id", bare))
    assert not same_patient((full, bare), (other, other))


def test_frames_of_another_size_than_the_header_says(tmp_path: Path) -> None:
    where, drawn = place(), liver_mask().astype(np.float32)
    images = plane_images(AXIAL, tuple(where.geometry.positions_mm[0]), SPACING, SHAPE)
    whole, short = (write_seg(tmp_path / name, images, drawn, kind="FRACTIONAL") for name in ("whole.dcm", "short.dcm"))
    assert_array_equal(read_region(jpeg_ls(whole), where).mask, drawn > 0)
    assert refusal(jpeg_ls(short, slice(2, None)), where) == "region_unreadable"


def resized(path: Path, syntax: str, **elements: int) -> Path:
    ds = dcmread(path)
    if syntax == RLELossless:
        ds.compress(RLELossless)
    for keyword, change in elements.items():
        setattr(ds, keyword, ds[keyword].value + change)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path)
    return path


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("change", [{"Rows": -1}, {"Columns": -1}, {"NumberOfFrames": -1}, {"Rows": 1}])
def test_a_segmentation_of_another_size_than_its_header_says(
    syntax: str, change: dict[str, int], tmp_path: Path
) -> None:
    where, mask = place(), liver_mask()
    images = plane_images(AXIAL, tuple(where.geometry.positions_mm[0]), SPACING, SHAPE)
    kind, drawn = ("FRACTIONAL", mask.astype(np.float32)) if syntax == RLELossless else ("BINARY", mask)
    path = write_seg(tmp_path / "seg.dcm", images, drawn, kind=kind)
    assert_array_equal(read_region(resized(path, syntax), where).mask, mask)
    write_seg(path, images, drawn, kind=kind)
    with pytest.raises(DeclinedError) as caught:
        read_region(resized(path, syntax, **change), where)
    assert caught.value.code == "region_unreadable"
    if "NumberOfFrames" not in change:  # then a frame is asked for that the header does not know
        assert all(tag in caught.value.text for tag in ("(7FE0,0010)", "(0028,0010)", "(0028,0011)"))


def test_bit_packed_frames_that_are_padded_each_to_whole_bytes(tmp_path: Path) -> None:
    """Against PS3.5 8.1.1 and PS3.3 A.51; every frame after the first would lie shifted."""
    shape = (8, 13, 12)
    mask = np.random.default_rng(3).random(shape) < 0.5
    where = place()
    images = plane_images(AXIAL, tuple(where.geometry.positions_mm[0]), SPACING, shape)
    path = write_seg(tmp_path / "seg.dcm", images, mask)
    ds = dcmread(path)
    assert segment_planes(ds, 1).masks.sum() == mask.sum()
    ds.PixelData = b"".join(np.packbits(frame, bitorder="little").tobytes() for frame in mask.reshape(8, -1))
    with pytest.raises(DeclinedError, match="are not of the size"):
        segment_planes(ds, 1)
