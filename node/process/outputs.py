"""The result folder of one job: DICOM objects, page, report and record, all made from the one result."""

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.model import JobInput, PipelineOutput
from node.process.facts import StudyFacts
from node.report.html import render_html
from node.report.page import render_page
from node.report.picture_files import picture_files
from node.report.pictures import MapQuantity, PagePictures, PatientLines, make_pictures
from node.report.text import render_text
from quant.acquisition import BoolArray, MultiEcho
from quant.calibration import Calibration
from quant.fit import R2StarMap
from quant.flags import FitFlag
from quant.liver import LiverRegion
from quant.region import RegionMeasurement
from quant.result import LiverIronResult
from sr_templates.check import encode
from sr_templates.result_set import ResultIdentity, ResultMaps, build_result_set

_Map = npt.NDArray[np.float32]


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


def folder_of(result: LiverIronResult, material: Material, job: JobInput, institution: str | None) -> PipelineOutput:
    """The whole result folder of a measured or not measurable acquisition."""
    calibration = None if material.measurement is None else material.calibration  # without a region no LIC at all
    maps = None if material.fit is None else _maps(material.fit, calibration)
    measured_region = material.region if material.measurement is not None else None
    pictures = _pictures(material, maps, institution)
    page = render_page(result, pictures)
    built = build_result_set(
        result=result,
        maps=maps,
        mask=None if measured_region is None else measured_region.mask,
        organ=None if measured_region is None else measured_region.organ,
        page_rgb=page.rgb,
        source=material.study.source,
        identity=ResultIdentity(
            job_id=job.job_id, accepted_at=job.accepted_at, revision=job.revision, institution=institution
        ),
        predecessor=_predecessor(job),
    )
    more = {"report.pdf": page.pdf, "page.png": page.png, **picture_files(built.result, pictures)}
    more |= {f"dicom/{item.file}": encode(item.dataset) for item in built.objects}
    return _folder(built.result, pictures, more)


def folder_without_objects(result: LiverIronResult) -> PipelineOutput:
    """The result folder of files that are not an acquisition to measure: the record and its words."""
    return _folder(result, None, {})


def _folder(result: LiverIronResult, pictures: PagePictures | None, more: dict[str, bytes]) -> PipelineOutput:
    record = result.to_record()
    words = {
        "result.json": (json.dumps(record, indent=2, allow_nan=False) + "\n").encode(),
        "report.txt": render_text(result).encode(),
        "report.html": render_html(result, pictures).encode(),
    }
    return PipelineOutput(record=record, files=words | more)


def _maps(fit: R2StarMap, calibration: Calibration | None) -> ResultMaps:
    unfit = fit.flags & (FitFlag.NOISE_ONLY | FitFlag.FAILED) != 0
    r2star = np.where(unfit, np.nan, fit.r2star_per_s).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        t2star_ms = np.where(r2star > 0, 1000 / r2star, np.nan).astype(np.float32)
    return ResultMaps(
        r2star_per_s=r2star,
        lic_mg_per_g=None if calibration is None else calibration.lic_map(r2star),
        t2star_ms=t2star_ms,
        pdff_percent=None if fit.pdff is None else (100 * fit.pdff).astype(np.float32),
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


def _predecessor(job: JobInput) -> Dataset | None:
    return None if job.predecessor_sr is None else dcmread(job.predecessor_sr)
