"""The result folder of one job: DICOM objects, page, report and record, all made from the one result."""

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.model import JobInput, PipelineOutput
from node.process.pixels import LoadedAcquisition
from node.report.html import render_html
from node.report.page import render_page
from node.report.picture_files import picture_files
from node.report.pictures import MapQuantity, PagePictures, PatientLines, make_pictures
from node.report.text import render_text
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
    """What the outputs are drawn and built from; ``measurement`` is ``None`` for a refusal."""

    loaded: LoadedAcquisition
    fit: R2StarMap
    region: LiverRegion
    measurement: RegionMeasurement | None
    calibration: Calibration | None


def folder_of(result: LiverIronResult, material: Material, job: JobInput, institution: str | None) -> PipelineOutput:
    """The whole result folder of a measured or not measurable acquisition."""
    maps = _maps(material)
    pictures = _pictures(material, maps, institution)
    page = render_page(result, pictures)
    built = build_result_set(
        result=result,
        maps=maps,
        mask=material.region.mask if material.measurement is not None else None,
        organ=material.region.organ if material.measurement is not None else None,
        page_rgb=page.rgb,
        source=material.loaded.source,
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


def _maps(material: Material) -> ResultMaps:
    fit = material.fit
    r2star = np.where(fit.flags & (FitFlag.NOISE_ONLY | FitFlag.FAILED), np.nan, fit.r2star_per_s).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        t2star_ms = np.where(r2star > 0, 1000 / r2star, np.nan).astype(np.float32)
    return ResultMaps(
        r2star_per_s=r2star,
        lic_mg_per_g=None if material.calibration is None else material.calibration.lic_map(r2star),
        t2star_ms=t2star_ms,
        pdff_percent=None if fit.pdff is None else (100 * fit.pdff).astype(np.float32),
    )


def _pictures(material: Material, maps: ResultMaps, institution: str | None) -> PagePictures:
    rejected = material.measurement is None
    quantity: MapQuantity = "r2star_per_s" if rejected or maps.lic_mg_per_g is None else "lic_mg_per_g"
    patient = material.loaded.patient
    birth_date, study_date = patient.birth_date, material.loaded.study_date
    return make_pictures(
        material.loaded.acquisition,
        map_values=maps.lic_mg_per_g if quantity == "lic_mg_per_g" else maps.r2star_per_s,
        map_quantity=quantity,
        region=material.region.candidate if rejected else material.region.mask,
        region_rejected=rejected,
        decay=None if material.measurement is None else material.measurement.pooled_decay,
        patient=PatientLines(
            name=patient.name,
            patient_id=patient.patient_id,
            birth_date="" if birth_date is None else birth_date.isoformat(),
            sex=patient.sex,
            study_date="" if study_date is None else study_date.isoformat(),
            accession_number=patient.accession_number,
            study_description=patient.study_description,
            institution=institution or "",
        ),
    )


def _predecessor(job: JobInput) -> Dataset | None:
    return None if job.predecessor_sr is None else dcmread(job.predecessor_sr)
