"""The measurement report: Comprehensive 3D SR after TID 1500, the root of the result set.

The tree holds no 3D coordinates and no references between items, so it is legal in Comprehensive and Enhanced SR too.
An automatic result is COMPLETE, PRELIMINARY and UNVERIFIED: only a named person verifies (PS3.3 C.17.2).
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import highdicom as hd
from highdicom.sr import ContentItem
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from sr_templates import codes, identity
from sr_templates.check import decode, encode
from sr_templates.content import HAS_CONCEPT_MOD, code, container
from sr_templates.envelope import BuildContext, Placement, ascii_text, identify, stamp
from sr_templates.evaluations import evaluations, follow_up_group, refusal_group
from sr_templates.geometry import plane_template
from sr_templates.header import value_of, without_value_warnings
from sr_templates.image_library import image_library
from sr_templates.measurements import RelatedObjects, liver_group
from sr_templates.observer import device_observer
from sr_templates.predecessor import EarlierResult
from sr_templates.priors import prior_groups, prior_stubs
from sr_templates.superseding import earlier_reports

SERIES_NUMBER = 9120
OTHER_REPORT_CLASSES = {"comprehensive": ComprehensiveSRStorage, "enhanced": EnhancedSRStorage}
"""SOP classes in which the same tree is legal, by the name in the object's role (``sr.enhanced``)."""
REPORT_CLASSES = (Comprehensive3DSRStorage, *OTHER_REPORT_CLASSES.values())


def build_report(
    context: BuildContext,
    related: RelatedObjects,
    package: Sequence[Dataset],
    replaces: Sequence[EarlierResult] = (),
) -> tuple[Placement, Dataset]:
    """The report of a measurement or of a refusal. ``package`` are the other objects of the set: with the source they
    are the evidence. ``replaces`` are the earlier result sets whose reports this one replaces."""
    placement = Placement(
        role="sr", series_number=SERIES_NUMBER, description=context.describe("Liver iron report"), modality="SR"
    )
    ds: Dataset = hd.sr.Comprehensive3DSR(
        evidence=_evidence(context, package),
        content=_tree(context, related),
        series_instance_uid="1.1",
        series_number=placement.series_number,
        sop_instance_uid="1.1",
        instance_number=1,
        manufacturer=identity.MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        previous_versions=[stub for earlier in replaces for stub in earlier_reports(earlier, context)] or None,
    )
    ds.AuthorObserverSequence = [_author(context)]
    stamp(ds, context, placement)
    if requests := _requests(context):
        ds.ReferencedRequestSequence = requests
    return placement, ds


def other_classes(report: tuple[Placement, Dataset], context: BuildContext) -> Iterator[tuple[Placement, Dataset]]:
    """The same report as an instance of each other SOP class, for systems that do not take Comprehensive 3D SR."""
    content = encode(report[1])  # read again for each: a deep copy takes longer than to encode it once
    for order, (name, sop_class_uid) in enumerate(OTHER_REPORT_CLASSES.items(), start=1):
        placement = replace(report[0], role=f"sr.{name}", series_number=report[0].series_number + order)
        ds = decode(content)
        ds.SOPClassUID = sop_class_uid
        identify(ds, context, placement)
        yield placement, ds


def _tree(context: BuildContext, related: RelatedObjects) -> ContentItem:
    if context.result.status == "measured":
        groups = [liver_group(context, related)]
        if (follow_up := follow_up_group(context)) is not None:
            groups.append(follow_up)
        groups += prior_groups(context)
    else:
        groups = [refusal_group(context)]
    return container(
        codes.REPORT_TITLE,
        [
            *hd.sr.LanguageOfContentItemAndDescendants(codes.LANGUAGE),
            *device_observer(context),
            *(code(codes.PROCEDURE_REPORTED, value, relation=HAS_CONCEPT_MOD) for value in _procedures(context)),
            image_library(context),
            container(codes.IMAGING_MEASUREMENTS, groups),
            evaluations(context),
        ],
        template="1500",
        relation=None,
    )


def _procedures(context: BuildContext) -> list[hd.sr.CodedConcept]:
    """The study's own procedure codes where they are complete, else MRI."""
    concepts = []
    for item in context.header.attributes.get("ProcedureCodeSequence") or []:
        parts = [str(item.get(k) or "") for k in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")]
        if all(parts):
            concepts.append(hd.sr.CodedConcept(parts[0], parts[1], parts[2]))
    return concepts or [codes.MRI_PROCEDURE]


def _evidence(context: BuildContext, package: Sequence[Dataset]) -> list[Dataset]:
    items = [_stub(ds, context) for ds in (*context.source.datasets, *package)]
    first = plane_template(context, 0)
    first.update(items[0])
    return [first, *items[1:], *prior_stubs(context.result)]


def _stub(target: Dataset, context: BuildContext) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = context.header.study_instance_uid
    item.SeriesInstanceUID = target.SeriesInstanceUID
    item.SOPClassUID = target.SOPClassUID
    item.SOPInstanceUID = target.SOPInstanceUID
    return item


def _author(context: BuildContext) -> Dataset:
    """Author Observer (PS3.3 C.17.2): a device."""
    item = Dataset()
    item.ObserverType = "DEV"
    item.DeviceUID = identity.device_uid(context.result.software_version, context.result.method_version)
    item.Manufacturer = identity.MANUFACTURER
    item.ManufacturerModelName = identity.MODEL_NAME
    item.StationName = identity.MANUFACTURER
    item.InstitutionName = ascii_text(context.identity.institution or "")
    item.InstitutionCodeSequence = []
    return item


def _requests(context: BuildContext) -> list[Dataset]:
    """Referenced Request Sequence (0040,A370): the order that the study fulfils, where the header tells it."""
    first = context.source.datasets[context.source.frames[0][0].dataset_index]
    attributes = context.header.attributes
    requests = []
    with without_value_warnings():
        for source in value_of(first, "RequestAttributesSequence"):
            if not value_of(source, "RequestedProcedureID"):
                continue
            item = Dataset()
            item.StudyInstanceUID = context.header.study_instance_uid
            item.ReferencedStudySequence = copy.deepcopy(attributes.get("ReferencedStudySequence") or [])
            item.add(copy.deepcopy(attributes["AccessionNumber"]))
            item.PlacerOrderNumberImagingServiceRequest = value_of(source, "PlacerOrderNumberImagingServiceRequest")
            item.FillerOrderNumberImagingServiceRequest = value_of(source, "FillerOrderNumberImagingServiceRequest")
            item.RequestedProcedureID = source.RequestedProcedureID
            item.RequestedProcedureDescription = value_of(source, "RequestedProcedureDescription")
            codes_of_procedure = value_of(source, "RequestedProcedureCodeSequence") or []
            item.RequestedProcedureCodeSequence = copy.deepcopy(codes_of_procedure)
            requests.append(item)
    return requests
