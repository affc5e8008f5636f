"""The liver of a Segmentation (PS3.3 A.51; also Label Map Segmentation) that somebody drew."""

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from node.errors import DeclinedError
from node.intake.headers import quiet_pydicom
from node.intake.tags import ODD_DATA, items, number, numbers, text, whole
from node.process.drawn_choice import Candidate, choose
from node.process.drawn_planes import FloatArray, Planes, merged, parallel
from node.process.frames import decoder_for
from node.process.pixel_size import SIZE_TAGS, OtherSizeError, check_size
from quant.acquisition import BoolArray

_HALF = 0.5  # of the maximum: where a fractional segment counts as inside
_LARGEST_VOXELS = 1 << 29


def choose_segment(ds: Dataset) -> Candidate:
    """The segment that is the liver.

    Raises:
        DeclinedError: none, or several, could be it.
    """
    return choose([_candidate(item) for item in items(ds, "SegmentSequence")], "segment")


def segment_planes(ds: Dataset, segment: int) -> Planes:
    """The frames of one segment. ``ds`` holds its pixels.

    Raises:
        DeclinedError: the object cannot be read, has no pixel set in this segment, or its frames are not parallel.
    """
    groups = items(ds, "PerFrameFunctionalGroupsSequence")
    shared = (items(ds, "SharedFunctionalGroupsSequence") or (Dataset(),))[0]
    layers = [(group, shared) for group in groups]
    every = [_position(layer) for layer in layers]
    label_map = text(ds, "SegmentationType").upper() == "LABELMAP"
    chosen = [i for i, layer in enumerate(layers) if label_map or _segment(layer) == segment]
    masks = _masks(ds, chosen, segment if label_map else None)
    if not masks.any():
        raise DeclinedError("region_empty", "The drawn region is empty: not one pixel of its segment is set.")
    row, column = _directions([layers[i] for i in chosen])
    spacing_y, spacing_x = _pixel_spacing([layers[i] for i in chosen])
    normal = np.cross(row, column)
    masks, positions = merged(masks, np.array([every[i] for i in chosen]), normal)
    return Planes(
        masks=masks,
        positions_mm=positions,
        row_direction=row,
        column_direction=column,
        spacing_mm=(spacing_y, spacing_x),
        reach_mm=_reach_mm(layers[chosen[0]], np.array(every) @ normal),
    )


_Layers = tuple[Dataset, Dataset]


def _candidate(item: Dataset) -> Candidate:
    types = items(item, "SegmentedPropertyTypeCodeSequence")
    code = (text(types[0], "CodingSchemeDesignator"), text(types[0], "CodeValue")) if types else ("", "")
    return Candidate(
        number=whole(item, "SegmentNumber") or 0,
        label=text(item, "SegmentLabel"),
        code=code,
        meaning=text(types[0], "CodeMeaning") if types else "",
    )


def _macro(layers: _Layers, name: str) -> Dataset:
    return next((found[0] for layer in layers if (found := items(layer, name))), Dataset())


def _segment(layers: _Layers) -> int | None:
    return whole(_macro(layers, "SegmentIdentificationSequence"), "ReferencedSegmentNumber")


def _position(layers: _Layers) -> tuple[float, ...]:
    found = numbers(_macro(layers, "PlanePositionSequence"), "ImagePositionPatient")
    if len(found) != 3:
        raise _unreadable("a frame has no Image Position (0020,0032)")
    return found


def _directions(layers: Sequence[_Layers]) -> tuple[FloatArray, FloatArray]:
    found = [numbers(_macro(layer, "PlaneOrientationSequence"), "ImageOrientationPatient") for layer in layers]
    if any(len(orientation) != 6 for orientation in found):
        raise _unreadable("a frame has no Image Orientation (0020,0037)")
    vectors = np.array(found).reshape(len(found), 2, 3)
    lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
    if not np.allclose(lengths, 1, atol=0.01):
        raise _unreadable("an Image Orientation (0020,0037) holds no unit vectors")
    row, column = (vectors / lengths)[0]
    if not all(parallel(row, r) and parallel(column, c) for r, c in vectors / lengths):
        raise _unreadable("its frames lie in different orientations")
    column = column - (column @ row) * row
    return row, column / np.linalg.norm(column)


def _pixel_spacing(layers: Sequence[_Layers]) -> tuple[float, float]:
    found = {numbers(_macro(layer, "PixelMeasuresSequence"), "PixelSpacing") for layer in layers}
    if len(found) != 1 or len(spacing := found.pop()) != 2 or min(spacing) <= 0:
        raise _unreadable("its frames have no Pixel Spacing (0028,0030), or several")
    return spacing[0], spacing[1]


def _reach_mm(layers: _Layers, heights: FloatArray) -> float:
    """Half the distance between the planes it was drawn on; empty ones may have no frame."""
    measures = _macro(layers, "PixelMeasuresSequence")
    between, thickness = number(measures, "SpacingBetweenSlices"), number(measures, "SliceThickness")
    gaps = np.diff(np.sort(heights))
    gaps = gaps[gaps > 0.01]
    told = [mm for mm in (thickness, float(gaps.min()) if gaps.size else None) if mm and mm > 0]
    if between and between > 0:
        return between / 2
    if not told:
        raise _unreadable("a single frame tells neither Slice Thickness (0018,0050) nor Spacing (0018,0088)")
    return min(told) / 2


def _masks(ds: Dataset, chosen: Sequence[int], label: int | None) -> BoolArray:
    frames, rows, columns = (whole(ds, name) or 0 for name in ("NumberOfFrames", "Rows", "Columns"))
    if not chosen:
        return np.zeros((0, 0, 0), bool)
    if not 0 < frames * rows * columns <= _LARGEST_VOXELS or max(chosen) >= frames:
        raise _unreadable("its frames are not as many or not as large as it says")
    try:
        with quiet_pydicom():
            check_size(ds, chosen)
            ds.pixel_array_options(decoding_plugin=decoder_for(ds.file_meta.TransferSyntaxUID))
            stored = np.asarray(ds.pixel_array).reshape(frames, rows, columns)[list(chosen)]
    except OtherSizeError as error:
        raise _unreadable(f"its Pixel Data (7FE0,0010) are not of the size that {SIZE_TAGS} say") from error
    except (*ODD_DATA, RuntimeError) as error:
        raise _unreadable("its pixels cannot be decoded") from error
    if label is not None:
        return np.asarray(stored == label)
    if text(ds, "SegmentationType").upper() == "FRACTIONAL":
        return np.asarray(stored >= _HALF * (number(ds, "MaximumFractionalValue") or 255))
    return np.asarray(stored > 0)


def _unreadable(why: str) -> DeclinedError:
    return DeclinedError("region_unreadable", f"The drawn region cannot be read: {why}.")
