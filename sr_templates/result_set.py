"""One job's result as DICOM objects: built, cross-referenced and checked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from quant.acquisition import BoolArray
from quant.result import LiverIronResult, ResultObject
from sr_templates.agreement import check_numbers
from sr_templates.check import check_object, check_references, encode
from sr_templates.encapsulated import build_pdf
from sr_templates.envelope import BuildContext, Placement
from sr_templates.evidence import SourceSeries
from sr_templates.header import read_header
from sr_templates.identity import ResultIdentity
from sr_templates.key_objects import build_key_objects
from sr_templates.maps import build_maps
from sr_templates.measurements import RelatedObjects
from sr_templates.page import build_page
from sr_templates.parametric_map import build_parametric_maps
from sr_templates.predecessor import EarlierResult
from sr_templates.presentation import build_outlines
from sr_templates.priors import prior_stubs
from sr_templates.quantities import ResultMaps
from sr_templates.report import build_report, other_classes
from sr_templates.segmentation import build_segmentation
from sr_templates.superseding import build_rejections

Placed = tuple[Placement, Dataset]

__all__ = ["BuiltObject", "BuiltSet", "ResultIdentity", "ResultMaps", "build_result_set"]


class BuiltObject(NamedTuple):
    """One object: role (``map.lic``, ``page``, ``sr``, ``seg``, ``pm.r2star``), file name, itself, and its bytes
    as a DICOM file, which were checked."""

    role: str
    file: str
    dataset: Dataset
    content: bytes


@dataclass(frozen=True, kw_only=True)
class BuiltSet:
    """The objects in the order in which they are sent, and the result that lists them.

    ``header_defects`` names the attributes of the source's header that had to be put right on the copies.
    """

    objects: tuple[BuiltObject, ...]
    result: LiverIronResult
    header_defects: tuple[str, ...] = ()


def build_result_set(
    *,
    result: LiverIronResult,
    maps: ResultMaps | None,
    mask: BoolArray | None,
    page_rgb: npt.NDArray[np.uint8],
    page_pdf: bytes,
    source: SourceSeries,
    identity: ResultIdentity,
    replaces: Sequence[EarlierResult] = (),
) -> BuiltSet:
    """Build and check the objects of a measured or not measurable result.

    ``mask`` (z, y, x) is the region that carries the statistics, with slices ascending along the normal as in
    ``maps``; ``page_rgb`` is (rows, columns, 3), ``page_pdf`` the same page. ``replaces`` are the earlier result
    sets of the same acquisition that this one takes back.

    Raises:
        SourceHeaderError: the source's header cannot carry a result.
        ObjectError: an object failed its check.
        ValueError: the parts do not fit together.
    """
    context = _context(result, maps, mask, source, identity)
    placed_maps = [] if maps is None else build_maps(maps, context)
    page = build_page(page_rgb, context)
    segmentation = None if mask is None else build_segmentation(mask, context)
    parametric_maps = [] if maps is None else build_parametric_maps(maps, context)
    related = RelatedObjects(
        segmentation=None if segmentation is None else segmentation[1],
        parametric_maps={placement.role.split(".")[1]: ds for placement, ds in parametric_maps},
    )
    others = [*placed_maps, page, *([] if segmentation is None else [segmentation]), *parametric_maps]
    report = build_report(context, related, [ds for _, ds in others], replaces)
    others.insert(len(placed_maps) + 1, report)
    others += _options(mask, placed_maps, page, report, page_pdf, context)
    others += build_rejections(replaces, context)
    contents = [encode(ds) for _, ds in others]
    checked = [check_object(content) for content in contents]
    earlier = [o.sop_instance_uid for replaced in replaces for o in replaced.objects]
    earlier += [str(stub.SOPInstanceUID) for stub in prior_stubs(result)]
    check_references([ds for _, ds in others], source.datasets, earlier)  # as built: reading them again is dear
    check_numbers(checked, result)
    built = [
        BuiltObject(to.role, to.file_name, ds, content) for (to, ds), content in zip(others, contents, strict=True)
    ]
    return _built(result, tuple(built), context.header.defects)


def _options(
    mask: BoolArray | None,
    maps: Sequence[Placed],
    page: Placed,
    report: Placed,
    pdf: bytes,
    context: BuildContext,
) -> Iterable[Placed]:
    """Objects that only some destinations are sent; the report does not refer to them. Reports in other SOP classes
    come here too, for destinations that do not take the first."""
    yield from other_classes(report, context)
    yield build_pdf(pdf, context)
    shown = [ds for placement, ds in maps if placement.role == maps[0][0].role] if maps else []
    key = [report[1], page[1]]
    if mask is not None and shown:
        yield from build_outlines(mask, shown, context)
        key.append(shown[int(mask.sum(axis=(1, 2)).argmax())])
    yield build_key_objects(key, context)


def _context(
    result: LiverIronResult,
    maps: ResultMaps | None,
    mask: BoolArray | None,
    source: SourceSeries,
    identity: ResultIdentity,
) -> BuildContext:
    if result.status == "declined":
        raise ValueError("a declined acquisition is not ours to report on: it has no result objects")
    rows, columns = _matrix(maps, mask, source)
    for name, array in (("maps", None if maps is None else maps.r2star_per_s), ("mask", mask)):
        if array is not None and array.shape != (len(source.frames), rows, columns):
            raise ValueError(f"the {name} have shape {array.shape}, the source {(len(source.frames), rows, columns)}")
    if mask is not None and not mask.any():
        raise ValueError("the mask is empty; a result without a region has none")
    return BuildContext(
        result=result, source=source, identity=identity, header=read_header(source), rows=rows, columns=columns
    )


def _matrix(maps: ResultMaps | None, mask: BoolArray | None, source: SourceSeries) -> tuple[int, int]:
    array = maps.r2star_per_s if maps is not None else mask
    if array is not None:
        return array.shape[-2], array.shape[-1]
    first = source.datasets[source.frames[0][0].dataset_index]
    return int(first.Rows), int(first.Columns)


def _built(result: LiverIronResult, objects: tuple[BuiltObject, ...], defects: tuple[str, ...]) -> BuiltSet:
    listed = tuple(
        ResultObject(
            role=built.role,
            sop_class_uid=str(built.dataset.SOPClassUID),
            sop_instance_uid=str(built.dataset.SOPInstanceUID),
            file=f"dicom/{built.file}",
        )
        for built in objects
    )
    return BuiltSet(objects=objects, result=replace(result, objects=listed), header_defects=defects)
