"""Classic MR images of the maps: one image per slice whose 16-bit stored value is the physical value.

Any viewer's region tool then reads the number without a transformation to get wrong; float maps display almost
nowhere. The MR Image IOD has no Modality LUT (PS3.3 A.4.3), so the unit is chosen such that no rescale is needed.
"""

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from sr_templates import codes
from sr_templates.envelope import BuildContext, Placement, stamp
from sr_templates.geometry import decimal, set_plane
from sr_templates.header import repaired_date, repaired_time, usable, value_of, without_value_warnings
from sr_templates.quantities import (
    LARGEST_STORED,
    LIC,
    NO_VALUE,
    SMALLEST_STORED,
    Quantity,
    ResultMaps,
    ends_in_words,
    window_text,
)
from sr_templates.references import referenced_series, source_items

SERIES_NUMBER_BASE = 9100  # sorts after the scanner's own series

# MR Image module (PS3.3 C.8.3.1): what is copied from a classic source, and what a multi-frame source (which keeps
# these in functional groups or under other names) is given instead; type 1 must have a value, type 2 may be empty.
_ACQUISITION_DEFAULTS = {
    "ScanningSequence": "GR",
    "SequenceVariant": "NONE",
    "MRAcquisitionType": "",
    "RepetitionTime": "",
    "EchoTrainLength": "",
    "FlipAngle": None,
    "ImagingFrequency": None,
    "AcquisitionNumber": None,
    "PatientPosition": "",
}


def build_maps(maps: ResultMaps, context: BuildContext) -> list[tuple[Placement, Dataset]]:
    """The images of every map, map by map, slices ascending."""
    return [
        (placement, _image(quantity, values[z], context, placement, maps.ranges.get(quantity.key)))
        for quantity, values in maps.items()
        for z in range(len(values))
        for placement in [_placement(quantity, z, context)]
    ]


def stored_values(quantity: Quantity, values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Stored values of a map: rounded, 0 exactly where there is no value. A value below 1 is stored as 1 and one
    above 65535 as 65535 (65.5 mg/g, 65535 /s, 655 ms), which no liver reaches."""
    valued = np.isfinite(values)
    scaled = np.rint(np.where(valued, values, 0).astype(np.float64) * quantity.stored_per_unit)
    return np.where(valued, np.clip(scaled, SMALLEST_STORED, LARGEST_STORED), NO_VALUE).astype(np.uint16)


def _placement(quantity: Quantity, z: int, context: BuildContext) -> Placement:
    return Placement(
        role=f"map.{quantity.key}",
        series_number=SERIES_NUMBER_BASE + quantity.series,
        description=context.describe(f"{quantity.label} map [{quantity.stored_text}]"),
        modality="MR",
        index=z,
    )


def _image(
    quantity: Quantity,
    values: npt.NDArray[np.float32],
    context: BuildContext,
    placement: Placement,
    value_range: tuple[float, float] | None,
) -> Dataset:
    z = placement.index
    ds = Dataset()
    ds.SOPClassUID = MRImageStorage
    ds.ImageType = ["DERIVED", "PRIMARY", "OTHER", "QUANTITY"]
    set_plane(ds, context, z)
    _set_acquisition(ds, context, z)
    _set_pixels(ds, stored_values(quantity, values))
    _set_meaning(ds, quantity)
    echoes = context.source.frames[z]
    code_words = f"stored value is {quantity.label} in {quantity.stored_text}; {NO_VALUE} means no value"
    if value_range is not None:
        code_words += f"; {ends_in_words(quantity, value_range, stored=True)}"
    ds.DerivationDescription = f"{quantity.explanation}; {code_words}"
    ds.ImageComments = f"{quantity.label} map: {code_words}"  # what viewers overlay; the description has no room
    ds.SourceImageSequence = source_items(context.source, echoes, codes.SOURCE_FOR_PROCESSING)
    ds.ReferencedSeriesSequence = referenced_series(context.source, echoes)
    return stamp(ds, context, placement)


def _set_acquisition(ds: Dataset, context: BuildContext, z: int) -> None:
    source = context.source.datasets[context.source.frames[z][0].dataset_index]
    with without_value_warnings():
        for keyword, default in _ACQUISITION_DEFAULTS.items():
            if (element := usable(source, keyword)) is not None:
                ds.add(element)
            elif default is not None:
                setattr(ds, keyword, default)
        ds.AcquisitionDate = repaired_date(str(value_of(source, "AcquisitionDate")))
        ds.AcquisitionTime = repaired_time(str(value_of(source, "AcquisitionTime")))
    ds.EchoTime = ""  # a map has no echo time; type 2
    ds.ScanOptions = ""  # type 2; vendors write terms of their own
    if context.result.acquisition is not None:
        ds.MagneticFieldStrength = decimal(context.result.acquisition.field_t)


def _set_pixels(ds: Dataset, stored: npt.NDArray[np.uint16]) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelRepresentation = 0
    ds.PixelPaddingValue = NO_VALUE  # PS3.3 C.7.5.1.1.2: background, which viewers leave out of windows and statistics
    ds.SmallestImagePixelValue = int(stored.min())
    ds.LargestImagePixelValue = int(stored.max())
    ds.BurnedInAnnotation = "NO"
    ds.RecognizableVisualFeatures = "NO"
    ds.LossyImageCompression = "00"
    ds.PixelData = stored.astype("<u2").tobytes()


def _set_meaning(ds: Dataset, quantity: Quantity) -> None:
    uppers = [upper * quantity.stored_per_unit for upper in quantity.window_uppers]
    ds.WindowCenter = [decimal(upper / 2) for upper in uppers]
    ds.WindowWidth = [decimal(upper) for upper in uppers]
    ds.WindowCenterWidthExplanation = [
        f"{window_text(quantity, upper)} [{quantity.stored_text}]" for upper in quantity.window_uppers
    ]
    ds.RealWorldValueMappingSequence = [_mapping(quantity, 1 / quantity.stored_per_unit)]
    if quantity.key == LIC.key:
        in_ug = _mapping(quantity, 1.0)
        in_ug.LUTLabel = "LIC ug/g"
        in_ug.MeasurementUnitsCodeSequence = [codes.UG_PER_G]
        ds.RealWorldValueMappingSequence.insert(0, in_ug)


def _mapping(quantity: Quantity, slope: float) -> Dataset:
    """Real World Value Mapping item (PS3.3 C.7.6.16.2.11) for the stored values that mean something."""
    item = Dataset()
    item.RealWorldValueFirstValueMapped = SMALLEST_STORED
    item.RealWorldValueLastValueMapped = LARGEST_STORED
    item.RealWorldValueSlope = slope
    item.RealWorldValueIntercept = 0.0
    item.LUTExplanation = quantity.explanation
    item.LUTLabel = f"{quantity.label} {quantity.unit.value}"
    item.MeasurementUnitsCodeSequence = [quantity.unit]
    item.QuantityDefinitionSequence = [quantity_definition(quantity)]
    return item


def quantity_definition(quantity: Quantity) -> Dataset:
    """Item of Quantity Definition Sequence (0040,9220): a CODE content item that names the quantity."""
    item = Dataset()
    item.ValueType = "CODE"
    item.ConceptNameCodeSequence = [codes.QUANTITY]
    item.ConceptCodeSequence = [quantity.concept]
    return item
