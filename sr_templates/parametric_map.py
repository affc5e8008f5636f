"""Float maps: Parametric Map objects (PS3.3 A.75), one quantity each, for research tools and machines.

Only float32 with one quantity per object, Frame Anatomy and frames ascending along the slice normal is read rightly
by every reader tried (highdicom, dcmqi and with it 3D Slicer); highdicom 0.28.2 writes the latter two otherwise.
"""

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from sr_templates import codes, identity
from sr_templates.envelope import BuildContext, Placement, stamp
from sr_templates.geometry import plane_template
from sr_templates.maps import quantity_definition
from sr_templates.multiframe import derive_dimension_organization, slice_of, state_sources
from sr_templates.quantities import Quantity, ResultMaps, ends_in_words, window_text
from sr_templates.references import derivation_item

SERIES_NUMBER_BASE = 9140
_NAN = float("nan")


def build_parametric_maps(maps: ResultMaps, context: BuildContext) -> list[tuple[Placement, Dataset]]:
    """One object per map."""
    return [
        _parametric_map(quantity, values, context, maps.ranges.get(quantity.key)) for quantity, values in maps.items()
    ]


def _parametric_map(
    quantity: Quantity,
    values: npt.NDArray[np.float32],
    context: BuildContext,
    value_range: tuple[float, float] | None,
) -> tuple[Placement, Dataset]:
    placement = Placement(
        role=f"pm.{quantity.key}",
        series_number=SERIES_NUMBER_BASE + quantity.series,
        description=context.describe(f"{quantity.label} float map [{quantity.unit.value}]"),
        modality="MR",  # the acquisition's, as all sources are of one modality (PS3.3 C.8.32.1)
    )
    pixels = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
    if np.isnan(pixels[0, 0, 0]):
        pixels[0, 0, 0] = 0  # a viewer takes its first range from here; this corner is air
    ds = _by_highdicom(quantity, pixels, context, placement)
    _order_ascending(ds, context)
    _add_frame_anatomy(ds)
    _state_frame_sources(ds, context)
    ds.FloatPixelPaddingValue = ds.FloatPixelPaddingRangeLimit = _NAN
    derive_dimension_organization(ds, context, placement)
    ds.ImageComments = f"{quantity.label} [{quantity.unit.value}]; NaN means no value"
    if value_range is not None:
        ds.ImageComments += f"; {ends_in_words(quantity, value_range, stored=False)}"
    return placement, stamp(ds, context, placement)


def _by_highdicom(
    quantity: Quantity, pixels: npt.NDArray[np.float32], context: BuildContext, placement: Placement
) -> Dataset:
    uppers = [float(upper) for upper in quantity.window_uppers]
    window = hd.VOILUTTransformation(
        window_center=[upper / 2 for upper in uppers],
        window_width=uppers,
        window_explanation=[window_text(quantity, upper) for upper in uppers],
    )
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=f"{quantity.label} {quantity.unit.value}",
        lut_explanation=quantity.explanation,
        unit=quantity.unit,
        value_range=(min(0.0, float(np.nanmin(pixels))), max(*uppers, 0.0, float(np.nanmax(pixels)))),
        slope=1.0,
        intercept=0.0,
        quantity_definition=quantity.concept,
    )
    mapping["QuantityDefinitionSequence"].value = [quantity_definition(quantity), _fitting_method()]
    ds: Dataset = hd.pm.ParametricMap(
        [plane_template(context, z) for z in range(context.n_slices)],
        pixels,
        series_instance_uid="1.1",
        series_number=placement.series_number,
        sop_instance_uid="1.1",
        instance_number=1,
        manufacturer=identity.MANUFACTURER,
        manufacturer_model_name=identity.MODEL_NAME,
        software_versions=context.result.software_version,
        device_serial_number="-",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        content_label=quantity.key.upper(),
        content_description=quantity.explanation,
        content_creator_name=identity.CONTENT_CREATOR,
    )
    return ds


def _fitting_method() -> Dataset:
    item = Dataset()
    item.ValueType = "CODE"
    item.ConceptNameCodeSequence = [codes.MODEL_FITTING_METHOD]
    item.ConceptCodeSequence = [codes.LEAST_SQUARES_FIT]
    return item


def _order_ascending(ds: Dataset, context: BuildContext) -> None:
    """Frame k is slice k. highdicom sorts frames descending, while dcmqi and OHIF place frames by index."""
    groups = list(ds.PerFrameFunctionalGroupsSequence)
    if len(groups) == 1:
        return
    order = np.argsort([slice_of(group, context) for group in groups])
    raw = ds["FloatPixelData"].value
    size = len(raw) // len(groups)
    ds["FloatPixelData"].value = b"".join(raw[i * size : (i + 1) * size] for i in order)
    ds.PerFrameFunctionalGroupsSequence = [groups[i] for i in order]
    for number, group in enumerate(ds.PerFrameFunctionalGroupsSequence, start=1):
        group.FrameContentSequence[0].DimensionIndexValues = [number]


def _add_frame_anatomy(ds: Dataset) -> None:
    """Mandatory in a Parametric Map (PS3.3 A.75.4.1) and left out by highdicom; dcmqi refuses the file without it."""
    anatomy = Dataset()
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = [codes.LIVER]
    ds.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]


def _state_frame_sources(ds: Dataset, context: BuildContext) -> None:
    source = context.source
    for group, echoes in zip(ds.PerFrameFunctionalGroupsSequence, source.frames, strict=True):
        group.DerivationImageSequence = [derivation_item(source, echoes, codes.DERIVATION_UNSPECIFIED)]
    state_sources(ds, context, [ref for echoes in source.frames for ref in echoes])
