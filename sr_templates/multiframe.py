"""What Parametric Map and Segmentation have in common as highdicom leaves them."""

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from sr_templates import codes
from sr_templates.envelope import BuildContext, Placement
from sr_templates.evidence import FrameRef
from sr_templates.identity import derive_uid
from sr_templates.references import referenced_series, whole_sources


def slice_of(group: Dataset, context: BuildContext) -> int:
    """The slice at the position of a frame's functional groups; a single frame may keep its position elsewhere."""
    geometry = context.source.geometry
    if context.n_slices == 1:
        return 0
    position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=np.float64)
    return int(np.argmin(np.abs((geometry.positions_mm - position) @ geometry.normal)))


def state_sources(ds: Dataset, context: BuildContext, refs: Sequence[FrameRef]) -> None:
    """The source of the whole object, in place of the plane templates that it was built on; the frames' own sources
    are stated frame by frame."""
    ds.SourceImageSequence = whole_sources(context.source, refs, codes.SOURCE_FOR_PROCESSING)
    ds.ReferencedSeriesSequence = referenced_series(context.source, refs)
    ds.SharedFunctionalGroupsSequence[0].pop("DerivationImageSequence", None)


def derive_dimension_organization(ds: Dataset, context: BuildContext, placement: Placement) -> None:
    """The same Dimension Organization UID in every build; highdicom draws it at random."""
    uid = derive_uid(context.identity.job_id, f"{placement.role}/dimensions")
    for item in (*ds.DimensionOrganizationSequence, *ds.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
