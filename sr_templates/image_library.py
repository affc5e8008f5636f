"""The Image Library (TID 1600) of the report: one image per slice, with where it lies in the patient.

One per slice, as each entry costs time to build and to read and the other echoes lie at the same place. It is made
from the geometry, because highdicom's own reads attributes that multi-frame images keep elsewhere.
"""

import math

from highdicom.sr import CodedConcept, ContentItem

from sr_templates import codes
from sr_templates.content import HAS_ACQ_CONTEXT, code, container, image, num, uid
from sr_templates.envelope import BuildContext


def image_library(context: BuildContext) -> ContentItem:
    """The container of all entries in one group; what the images share stands on the group."""
    group = container(codes.IMAGE_LIBRARY_GROUP, [*_shared(context), *_entries(context)], template="1601")
    return container(codes.IMAGE_LIBRARY, [group], template="1600")


def _number(name: CodedConcept, value: float, unit: CodedConcept) -> ContentItem:
    return num(name, round(float(value), 6), unit, relation=HAS_ACQ_CONTEXT)


def _shared(context: BuildContext) -> list[ContentItem]:
    """TID 1602 and 1604; the thickness only where the headers tell it (it is NaN otherwise)."""
    geometry = context.source.geometry
    thickness = geometry.slice_thickness_mm
    orientation = (*geometry.row_direction, *geometry.column_direction)
    return [
        code(codes.MODALITY, codes.MAGNETIC_RESONANCE, relation=HAS_ACQ_CONTEXT),
        uid(codes.FRAME_OF_REFERENCE_UID, context.header.frame_of_reference_uid, relation=HAS_ACQ_CONTEXT),
        _number(codes.PIXEL_DATA_ROWS, context.rows, codes.PIXELS),
        _number(codes.PIXEL_DATA_COLUMNS, context.columns, codes.PIXELS),
        _number(codes.HORIZONTAL_PIXEL_SPACING, geometry.spacing_mm[2], codes.MILLIMETRE),
        _number(codes.VERTICAL_PIXEL_SPACING, geometry.spacing_mm[1], codes.MILLIMETRE),
        *([_number(codes.SLICE_THICKNESS, thickness, codes.MILLIMETRE)] if math.isfinite(thickness) else []),
        *(
            _number(name, cosine, codes.DIRECTION_COSINE)
            for name, cosine in zip(codes.IMAGE_ORIENTATION, orientation, strict=True)
        ),
    ]


def _entries(context: BuildContext) -> list[ContentItem]:
    source = context.source
    entries = []
    for position, echoes in zip(source.geometry.positions_mm, source.frames, strict=True):
        where = [
            _number(name, value, codes.MILLIMETRE) for name, value in zip(codes.IMAGE_POSITION, position, strict=True)
        ]
        target = source.datasets[echoes[0].dataset_index]
        entries.append(image(codes.LIBRARY_SOURCE, target, where, frame=echoes[0].frame_number))
    return entries
