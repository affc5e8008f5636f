"""The result folder of one job: DICOM objects, page, report and record, all made from the one result."""

import json
import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.config import ReportConfig
from node.model import JobInput, PipelineOutput
from node.ops.events import Event, emit
from node.process.facts import StudyFacts, fat_suppressed
from node.report.html import render_html
from node.report.language import Catalogue, catalogue
from node.report.page import render_page
from node.report.picture_files import picture_files
from node.report.pictures import MapQuantity, PagePictures, PatientLines, make_pictures
from node.report.text import render_text
from quant.acquisition import BoolArray, MultiEcho
from quant.calibration import Calibration
from quant.fit import R2StarMap
from quant.follow_up import no_lic
from quant.liver import LiverRegion
from quant.map_values import r2star_values
from quant.region import RegionMeasurement
from quant.result import LiverIronResult, Reason
from sr_templates.check import ObjectError
from sr_templates.quantities import LARGEST_STORED, LIC, R2STAR, T2STAR
from sr_templates.result_set import ResultIdentity, ResultMaps, build_result_set

_Map = npt.NDArray[np.float32]
_HIGHEST_T2STAR_MS = LARGEST_STORED / T2STAR.stored_per_unit  # 655 ms: what a classic image can store
_WITHHELD = Reason(
    code="internal_check_failed",
    text="The result did not pass this software's own final check and was withheld.",
)


@dataclass(frozen=True, kw_only=True)
class Material:
    """What the outputs are drawn and built from; ``measurement`` is ``None`` for a refusal.

    ``acquisition`` is ``None`` when only the headers could be used.
    """

    study: StudyFacts
    acquisition: MultiEcho | None = None
    fit: R2StarMap | None = None
    region: LiverRegion | None = None
    measurement: RegionMeasurement | None = None
    calibration: Calibration | None = None


def folder_of(result: LiverIronResult, material: Material, job: JobInput, report: ReportConfig) -> PipelineOutput:
    """The whole result folder of a measured or not measurable acquisition.

    Objects that fail their own check are never sent: the study is then told so, and so is the log.

    Raises:
        ObjectError: not even the refusal passes its check.
    """
    try:
        return _folder_with_objects(result, material, job, report)
    except ObjectError as error:
        emit(Event.RESULT_WITHHELD, logging.ERROR, job_id=job.job_id, error=str(error))
        bare = Material(study=material.study, acquisition=material.acquisition)
        return _folder_with_objects(_withheld(result), bare, job, report)


def _withheld(result: LiverIronResult) -> LiverIronResult:
    """The refusal in place of a result that contradicts itself: nothing that was computed is kept."""
    return LiverIronResult(
        software_version=result.software_version,
        method_version=result.method_version,
        status="not_measurable",
        reasons=(_WITHHELD,),
        study_instance_uid=result.study_instance_uid,
        source_series_instance_uids=result.source_series_instance_uids,
        patient_id_hash=result.patient_id_hash,
        acquisition=result.acquisition,
        follow_up=no_lic(_WITHHELD.text),
        revision=result.revision,
        research_use_only=result.research_use_only,
        settings_digest=result.settings_digest,
    )


def _folder_with_objects(
    result: LiverIronResult, material: Material, job: JobInput, report: ReportConfig
) -> PipelineOutput:
    maps = _maps(result, material)
    measured_region = material.region if material.measurement is not None else None
    pictures = _pictures(material, maps, report.institution)
    words = catalogue(report.language, report.texts_file)
    page = render_page(result, pictures, words)
    built = build_result_set(
        result=result,
        maps=maps,
        mask=None if measured_region is None else measured_region.mask,
        page_rgb=page.rgb,
        page_pdf=page.pdf,
        source=material.study.source,
        identity=ResultIdentity(
            job_id=job.job_id, accepted_at=job.accepted_at, revision=job.revision, institution=report.institution
        ),
        replaces=job.replaces if result.revision is not None and result.revision.replaces else (),
    )
    drawn = picture_files(built.result, pictures, words)
    more = {"report.pdf": page.pdf, "page.png": page.png}
    more |= {f"dicom/{item.file}": item.content for item in built.objects}
    return _folder(built.result, pictures, words, drawn, more)


def folder_without_objects(result: LiverIronResult, report: ReportConfig) -> PipelineOutput:
    """The result folder of files that are not an acquisition to measure: the record and its words."""
    return _folder(result, None, catalogue(report.language, report.texts_file), {}, {})


def _folder(
    result: LiverIronResult,
    pictures: PagePictures | None,
    words: Catalogue,
    drawn: dict[str, bytes],
    more: dict[str, bytes],
) -> PipelineOutput:
    record = result.to_record()
    texts = {
        "result.json": (json.dumps(record, indent=2, allow_nan=False) + "\n").encode(),
        "report.txt": render_text(result).encode(),
        "report.html": render_html(result, pictures, drawn, words).encode(),
    }
    return PipelineOutput(record=record, files=texts | drawn | more)


def _maps(result: LiverIronResult, material: Material) -> ResultMaps | None:
    """The maps of the fit; LIC and the fat fraction only where the result states one, for no map says more than the
    record. (A refusal states nothing; its map of the fat fraction shows what the fit found, voxel by voxel.)"""
    fit, acquisition = material.fit, material.acquisition
    if fit is None or acquisition is None:
        return None
    r2star = r2star_values(fit, acquisition.echo_times_s)
    highest = r2star.range_per_s[1]
    with np.errstate(divide="ignore"):
        t2star_ms = np.clip(1000 / r2star.values, 1000 / highest, _HIGHEST_T2STAR_MS)
    ranges = {R2STAR.key: r2star.range_per_s, T2STAR.key: (1000 / highest, _HIGHEST_T2STAR_MS)}
    calibration = None if result.lic_mg_per_g is None else material.calibration
    if calibration is not None:
        ranges[LIC.key] = calibration.lic_range_mg_per_g
    unstated = fat_suppressed(result.qc) or (result.status == "measured" and result.pdff_percent is None)
    return ResultMaps(
        r2star_per_s=r2star.values,
        lic_mg_per_g=None if calibration is None else calibration.lic_map(r2star.values),
        t2star_ms=t2star_ms.astype(np.float32),
        pdff_percent=None if fit.pdff is None or unstated else (100 * fit.pdff).astype(np.float32),
        ranges=ranges,
    )


def _pictures(material: Material, maps: ResultMaps | None, institution: str | None) -> PagePictures:
    patient = _patient_lines(material.study, institution)
    if material.acquisition is None:
        return PagePictures(shown=None, decay=None, patient=patient)
    quantity, values = _shown_map(material, maps)
    return make_pictures(
        material.acquisition,
        map_values=values,
        map_quantity=quantity,
        region=_shown_region(material),
        region_rejected=material.measurement is None,
        decay=None if material.measurement is None else material.measurement.pooled_decay,
        patient=patient,
    )


def _shown_map(material: Material, maps: ResultMaps | None) -> tuple[MapQuantity, _Map | None]:
    if maps is None:
        return "r2star_per_s", None
    if material.measurement is None or maps.lic_mg_per_g is None:
        return "r2star_per_s", maps.r2star_per_s
    return "lic_mg_per_g", maps.lic_mg_per_g


def _shown_region(material: Material) -> BoolArray | None:
    if material.region is None:
        return None
    return material.region.candidate if material.measurement is None else material.region.mask


def _patient_lines(study: StudyFacts, institution: str | None) -> PatientLines:
    patient = study.patient
    return PatientLines(
        name=patient.name,
        patient_id=patient.patient_id,
        birth_date="" if patient.birth_date is None else patient.birth_date.isoformat(),
        sex=patient.sex,
        study_date="" if study.study_date is None else study.study_date.isoformat(),
        accession_number=patient.accession_number,
        study_description=patient.study_description,
        institution=institution or "",
    )
