"""The region's outline as Grayscale Softcopy Presentation State (PS3.3 A.33.1), over the maps and over the anatomy."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import MRImageStorage

from quant.acquisition import BoolArray
from sr_templates import identity
from sr_templates.envelope import BuildContext, Placement, frozen_date_time, stamp
from sr_templates.geometry import decimal, plane_template
from sr_templates.header import value_of, without_value_warnings

SERIES_NUMBER = 9150
_LAYER = "LIVER REGION"
_COLOUR_RGB = (221, 130, 101)  # of the segment too


def build_outlines(mask: BoolArray, maps: Sequence[Dataset], context: BuildContext) -> list[tuple[Placement, Dataset]]:
    """The outline of ``mask`` (z, y, x) on every slice that it meets: over the images ``maps`` of one map, and over the
    first echo where that is a series of single images (a state refers to one series)."""
    slices = [z for z in range(len(mask)) if mask[z].any()]
    over_map = {z: _image(maps[z], z, context) for z in slices}
    over_echo = {z: echo for z in slices if (echo := _first_echo(z, context)) is not None}
    found = [_state(mask, over_map, 0, context)]
    if len(over_echo) == len(slices) and len({image.SeriesInstanceUID for image in over_echo.values()}) == 1:
        found.append(_state(mask, over_echo, 1, context))
    return found


def _state(
    mask: BoolArray, images: Mapping[int, Dataset], index: int, context: BuildContext
) -> tuple[Placement, Dataset]:
    placement = Placement(
        role="pr",
        series_number=SERIES_NUMBER,
        description=context.describe("Liver region outline"),
        modality="PR",
        index=index,
    )
    layer = hd.pr.GraphicLayer(
        layer_name=_LAYER,
        order=1,
        description="Analysed region",
        display_color=hd.color.CIELabColor.from_rgb(*_COLOUR_RGB),
    )
    ds: Dataset = hd.pr.GrayscaleSoftcopyPresentationState(
        referenced_images=list(images.values()),
        series_instance_uid="1.1",
        series_number=placement.series_number,
        sop_instance_uid="1.1",
        instance_number=1,
        manufacturer=identity.MANUFACTURER,
        manufacturer_model_name=identity.MODEL_NAME,
        software_versions=context.result.software_version,
        device_serial_number="-",
        content_label="LIVER",
        content_description="Outline of the analysed liver region",
        content_creator_name=identity.CONTENT_CREATOR,
        graphic_annotations=[_annotation(image, mask[z], layer) for z, image in images.items()],
        graphic_layers=[layer],
    )
    ds.PresentationCreationDate, ds.PresentationCreationTime = frozen_date_time(context)
    stamp(ds, context, placement)
    del ds.ContentDate, ds.ContentTime  # it has a creation date of its own
    return placement, ds


def _annotation(image: Dataset, mask: npt.NDArray[np.bool_], layer: hd.pr.GraphicLayer) -> hd.pr.GraphicAnnotation:
    loops = [hd.pr.GraphicObject(graphic_type="POLYLINE", graphic_data=loop, units="PIXEL") for loop in outlines(mask)]
    return hd.pr.GraphicAnnotation(referenced_images=[image], graphic_layer=layer, graphic_objects=loops)


def outlines(mask: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.float64]]:
    """Closed loops (n, 2) of (column, row) along the pixel edges around ``mask`` (y, x), holes too.

    Corners as PIXEL annotation units count them: the top left corner of the first pixel is (0, 0) (PS3.3 C.10.5).
    """
    padded = np.pad(mask, 1)
    steps: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for y, x in zip(*np.nonzero(padded), strict=True):
        r, c = int(y) - 1, int(x) - 1
        for neighbour, start, end in (
            ((y - 1, x), (c, r), (c + 1, r)),
            ((y, x + 1), (c + 1, r), (c + 1, r + 1)),
            ((y + 1, x), (c + 1, r + 1), (c, r + 1)),
            ((y, x - 1), (c, r + 1), (c, r)),
        ):
            if not padded[neighbour]:
                steps[start].append(end)
    while steps:
        first = min(steps)
        loop = [first]
        while not (len(loop) > 1 and loop[-1] == first):
            here = loop[-1]
            loop.append(steps[here].pop())
            if not steps[here]:
                del steps[here]
        yield _without_middles(np.array(loop, dtype=np.float64))


def _without_middles(loop: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The loop without points on a straight line; its first and last point stay."""
    before, after = loop[1:-1] - loop[:-2], loop[2:] - loop[1:-1]
    turns = np.any(before != after, axis=1)
    return loop[np.concatenate(([True], turns, [True]))]


def _first_echo(z: int, context: BuildContext) -> Dataset | None:
    ref = context.source.frames[z][0]
    return None if ref.frame_number is not None else _image(context.source.datasets[ref.dataset_index], z, context)


def _image(target: Dataset, z: int, context: BuildContext) -> Dataset:
    item = plane_template(context, z)
    item.SOPClassUID = MRImageStorage
    item.SOPInstanceUID = target.SOPInstanceUID
    item.SeriesInstanceUID = target.SeriesInstanceUID
    item.SamplesPerPixel = 1
    with without_value_warnings():
        center, width = (_first_number(target, name) for name in ("WindowCenter", "WindowWidth"))
    if center is not None and width is not None and width >= 1:  # without one a viewer chooses for itself
        item.WindowCenter, item.WindowWidth = decimal(center), decimal(width)
    return item


def _first_number(ds: Dataset, keyword: str) -> float | None:
    found = value_of(ds, keyword)
    try:
        number = float(found[0] if isinstance(found, MultiValue) else found)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
