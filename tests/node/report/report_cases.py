"""Results and pictures of typical cases, as the pipeline hands them to the reports."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from node.policy import load_policy
from node.report.pictures import PagePictures, PatientLines, make_pictures
from quant.acquisition import Geometry, MultiEcho
from quant.assess import assess
from quant.calibration import CALIBRATIONS, calibration_for
from quant.prior import EarlierMeasurement, PriorAnswer, with_priors
from quant.result import (
    AcquisitionSummary,
    EarlierReport,
    FitSummary,
    LiverIronResult,
    QcLine,
    Reason,
    RoiSummary,
    Statistics,
)
from quant.settings import AssessmentSettings
from quant.uncertainty import Repeatability
from tests.clinical_cases import BY_FIELD, ECHO_TIMES_S, decay_of, fit_facts, region_of

PATIENT = PatientLines(
    name="DOE^JANE^Q",
    patient_id="12345678",
    birth_date="1990-05-04",
    sex="F",
    study_date="2025-08-31",
    accession_number="A-20250831-17",
    study_description="MRI liver iron",
    institution="General Hospital",
)
SPACING_MM = (8.0, 1.8, 1.8)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One result with its pictures."""

    result: LiverIronResult
    pictures: PagePictures


def abdomen(r2star_per_s: float) -> tuple[MultiEcho, np.ndarray, np.ndarray]:
    """A body with a liver on its right side: acquisition, R2* map (z, y, x) with NaN outside, liver mask (z, y, x)."""
    y, x = np.mgrid[:96, :128]
    body = ((x - 64) / 55) ** 2 + ((y - 48) / 40) ** 2 < 1
    liver = ((x - 42) / 24) ** 2 + ((y - 45) / 20) ** 2 < 1
    vessel = (x - 44) ** 2 + (y - 48) ** 2 < 9
    rate = np.where(liver, r2star_per_s, 45.0)
    times = np.array(ECHO_TIMES_S)
    noise = np.random.default_rng(3).normal(0, 6, (96, 128, 12))
    signal = np.abs(np.where(body, 400.0, 0)[..., None] * np.exp(-rate[..., None] * times) + noise)
    geometry = Geometry(
        positions_mm=np.array([[0, 0, 8.0 * z] for z in range(3)]),
        row_direction=np.array([1.0, 0, 0]),
        column_direction=np.array([0, 1.0, 0]),
        spacing_mm=SPACING_MM,
        slice_thickness_mm=7,
    )
    acquisition = MultiEcho(
        signal=np.repeat(signal[None].astype(np.float32), 3, axis=0), echo_times_s=times, field_t=1.5, geometry=geometry
    )
    stack = np.repeat(np.where(body, rate, np.nan)[None], 3, axis=0)
    region = np.repeat((liver & ~vessel)[None], 3, axis=0)
    region[0] = False
    return acquisition, stack, region


def base_result(field_t: float) -> LiverIronResult:
    """What every result carries, before anything is measured."""
    return LiverIronResult(
        software_version="0.1.0",
        method_version="1",
        status="not_measurable",
        reasons=(Reason(code="roi_position", text="The region found does not lie where the liver lies."),),
        study_instance_uid="1.2.3",
        source_series_instance_uids=("1.2.3.4",),
        patient_id_hash="ab12",
        acquisition=AcquisitionSummary(
            field_t=field_t,
            manufacturer="SIEMENS",
            model="Avanto",
            kind="magnitude",
            echo_times_s=ECHO_TIMES_S,
            n_slices=3,
            rows=96,
            columns=128,
            spacing_mm=SPACING_MM,
        ),
        fit=FitSummary(
            model="magnitude_fat_first_moment",
            noise_model="non-central chi (4 coils) (background)",
            sigma=6.0,
            echoes_used=12,
            measurable_limit_per_s=785.0,
            fraction_at_limit=0.0,
            fraction_failed=0.01,
        ),
    )


def measured(
    r2star_per_s: float,
    field_t: float = 1.5,
    *,
    fraction_at_limit: float = 0.0,
    indication: str | None = None,
    patient: PatientLines = PATIENT,
    pdff_percent: Statistics | None = None,
    measurable_limit_per_s: float = 785.0,
) -> Case:
    """A measured result."""
    settings = AssessmentSettings(
        calibration_by_field=BY_FIELD,
        grade_scheme="guglielmo-2023",
        policy=load_policy(None, None, None),
        repeatability=Repeatability(cov=0.055, floor_per_s=5.0),
    )
    found = assess(
        region_of(r2star_per_s, fraction_at_limit=fraction_at_limit, pdff_percent=pdff_percent),
        field_t=field_t,
        fit=fit_facts(measurable_limit_per_s=measurable_limit_per_s),
        settings=settings,
        study_date=date(2025, 8, 31),
        indication=indication,
    )
    result = replace(
        base_result(field_t),
        status="measured",
        reasons=(),
        roi=RoiSummary(source="automatic", n_voxels=5000, volume_ml=102.3, n_slices=2, excluded={"vessel": 300}),
        **{name: getattr(found, name) for name in found.__dataclass_fields__ if name != "refusals"},
    )
    acquisition, rates, region = abdomen(r2star_per_s)
    calibration = calibration_for(field_t, BY_FIELD)
    pictures = make_pictures(
        acquisition,
        map_values=rates if calibration is None else calibration.lic_map(rates),
        map_quantity="r2star_per_s" if calibration is None else "lic_mg_per_g",
        region=region,
        region_rejected=False,
        decay=decay_of(r2star_per_s),
        patient=patient,
    )
    return Case(result=result, pictures=pictures)


def refused(*, candidate: bool = True, n_reasons: int = 1) -> Case:
    """A result that could not be measured, with or without a rejected candidate."""
    acquisition, rates, region = abdomen(67.73)
    reasons = tuple(
        Reason(code="roi_position", text=f"Reason {n + 1}: the region found does not lie where the liver lies.")
        for n in range(n_reasons)
    )
    pictures = make_pictures(
        acquisition,
        map_values=rates,
        map_quantity="r2star_per_s",
        region=region if candidate else None,
        region_rejected=candidate,
        decay=None,
        patient=PATIENT,
    )
    return Case(result=replace(base_result(1.5), reasons=reasons), pictures=pictures)


def headers_only() -> Case:
    """A refusal of images whose pixels could not be read."""
    uid = "1.2.840.113619.2.244.6945.123456.24678.1234567890.123456.7890"
    text = f"The pixel data of image {uid} cannot be decoded (JPEG 2000 Image Compression (Lossless Only))."
    reasons = (Reason(code="pixels_unreadable", text=text),)
    result = replace(base_result(1.5), reasons=reasons, acquisition=None, fit=None)
    return Case(result=result, pictures=PagePictures(shown=None, decay=None, patient=PATIENT))


def crowded() -> Case:
    """Everything at its longest: long names, many warnings, prior, fat, borderline, approved to nobody."""
    fat = Statistics(median=12.3, mean=12.5, sd=3.0, q1=10.1, q3=14.8, interval95=(11.9, 12.7))
    patient = PatientLines(
        name="Wolfeschlegelsteinhausenbergerdorff-Featherstonehaugh^Maximiliana Theodora^Ottilie",
        patient_id="0123456789" * 6,
        birth_date="1990-05-04",
        sex="F",
        study_date="2025-08-31",
        accession_number="ACCESSION-1234567890",
        institution="Universitätsklinikum für Radiologie und Nuklearmedizin am Rande der Stadt",
    )
    case = measured(
        67.73, indication="mds-aplastic-anaemia-transplant", patient=patient, pdff_percent=fat, fraction_at_limit=0.2
    )
    warnings = tuple(
        QcLine(code=f"w{n}", severity="warning", text=f"Warning {n}: {'something is not as it should be; ' * 3}.")
        for n in range(12)
    )
    earlier_one = earlier(
        "2024-08-30", 110.0, calibration_id="hernando-2023", method_version="0", model="two exponentials"
    )
    compared = with_priors(case.result, date(2025, 8, 31), PriorAnswer(earlier=(earlier_one,)), Repeatability())
    assert case.result.acquisition is not None
    scanner = replace(case.result.acquisition, manufacturer="A VERY LONG MANUFACTURER NAME INC.", model="X" * 60)
    return Case(
        result=replace(compared, qc=(*compared.qc, *warnings), acquisition=scanner),
        pictures=case.pictures,
    )


def warned(case: Case, *texts: str) -> Case:
    """``case`` with warnings before its own quality lines."""
    lines = tuple(QcLine(code=f"w{n}", severity="warning", text=text) for n, text in enumerate(texts))
    return replace(case, result=replace(case.result, qc=(*lines, *case.result.qc)))


def four_late_echoes() -> Case:
    """A lower bound from few and late echoes, with the warnings that go with it."""
    case = warned(
        measured(1500, fraction_at_limit=0.8, indication="thalassaemia-transfusion-dependent"),
        "4 echoes (6 to 12 advised). Use at least 6 echoes at the next scan.",
        "The first echo (3.00 ms) comes later than T2*: most signal is gone. Shorten the first TE at the next scan.",
        "45 % of the voxels failed to fit, or fit poorly. Check the images for motion and artefacts.",
    )
    assert case.result.acquisition is not None
    scanner = replace(case.result.acquisition, echo_times_s=(0.003, 0.006, 0.009, 0.012))
    return replace(case, result=replace(case.result, acquisition=scanner))


def earlier(day: str, r2star_per_s: float, **changes: Any) -> EarlierMeasurement:
    """What a report of ours stated of the patient on ``day``, measured as ``measured`` does unless changed."""
    lic = CALIBRATIONS["garbowski-2014", 1.5].lic_mg_per_g(r2star_per_s)
    base = base_result(1.5)
    assert base.acquisition is not None
    assert base.fit is not None
    report = EarlierReport(
        study_instance_uid=f"1.2.{day[:4]}",
        series_instance_uid=f"1.2.{day[:4]}.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
        sop_instance_uid=f"1.2.{day[:4]}.1.1",
    )
    stated = EarlierMeasurement(
        report=report,
        date=day,
        lic_mg_per_g=lic,
        interval95_mg_per_g=(0.85 * lic, 1.15 * lic),
        bound=None,
        r2star_per_s=r2star_per_s,
        calibration_id="garbowski-2014",
        calibration_field_t=1.5,
        field_t=1.5,
        method_version=base.method_version,
        signal=base.acquisition.kind,
        model=base.fit.model,
        echo_times_s=ECHO_TIMES_S,
    )
    return replace(stated, **changes)


def followed_up(r2star_per_s: float = 180.0) -> Case:
    """A patient who came before: four times, once with another scanner."""
    case = measured(r2star_per_s, indication="thalassaemia-transfusion-dependent")
    answer = PriorAnswer(
        earlier=(
            earlier("2019-05-02", 130.0, field_t=3.0, calibration_id="hernando-2023", calibration_field_t=3.0),
            earlier("2021-06-10", 420.0),
            earlier("2022-09-01", 350.0),
            earlier("2024-08-30", 260.0),
        )
    )
    return replace(case, result=with_priors(case.result, date(2025, 8, 31), answer, Repeatability()))


CASES: dict[str, Callable[[], Case]] = {
    "mild": lambda: measured(67.73),
    "normal at 3 T": lambda: measured(67.73, 3.0),
    "below 0.5": lambda: measured(14.0),
    "severe": lambda: measured(400, indication="thalassaemia-transfusion-dependent"),
    "at least": lambda: measured(900, fraction_at_limit=0.6),
    "at least moderate": lambda: measured(500, 3.0, fraction_at_limit=0.4),
    "four late echoes": four_late_echoes,
    "nearly all voxels failed": lambda: warned(measured(67.73), "91 % of the voxels failed to fit, or fit poorly."),
    "no calibration": lambda: measured(67.73, 7.0),
    "refused": refused,
    "refused, no candidate": lambda: refused(candidate=False, n_reasons=4),
    "refused, headers only": headers_only,
    "crowded": crowded,
    "followed up": followed_up,
}
