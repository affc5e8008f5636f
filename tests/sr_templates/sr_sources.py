"""Synthetic scanner output and results for the object builders, made with pydicom alone."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, EnhancedMRImageStorage, MRImageStorage

from quant.acquisition import Geometry
from quant.prior import EarlierMeasurement, PriorAnswer, with_priors
from quant.result import (
    AcquisitionSummary,
    Bound,
    CalibrationUsed,
    EarlierReport,
    FitSummary,
    FollowUpInterval,
    Grade,
    GradeCandidate,
    LicStatistics,
    LiverIronResult,
    OtherCalibration,
    QcLine,
    Reason,
    RoiSummary,
    Statistics,
    View,
    Views,
)
from quant.uncertainty import Repeatability
from sr_templates.evidence import FrameRef, SourceSeries
from sr_templates.identity import ResultIdentity
from sr_templates.predecessor import EarlierResult
from sr_templates.result_set import BuiltSet, ResultMaps, build_result_set

STUDY = "1.2.826.0.1.3680043.8.498.1"
ECHO_TIMES_S = (0.0012, 0.0024, 0.0036, 0.0048, 0.0060, 0.0072)
ROWS, COLUMNS = 24, 20
ROTATION = np.array([[0.96, 0.28, 0.0], [-0.28 * 0.8, 0.96 * 0.8, 0.6], [0.28 * 0.6, -0.96 * 0.6, 0.8]])
ORIENTATIONS = {
    "axial": (np.array([1.0, 0, 0]), np.array([0, 1.0, 0])),
    "coronal": (np.array([1.0, 0, 0]), np.array([0, 0, -1.0])),
    "sagittal": (np.array([0, 1.0, 0]), np.array([0, 0, -1.0])),
    "oblique": (ROTATION[0], ROTATION[1]),
}


def make_geometry(orientation: str = "axial", n_slices: int = 5) -> Geometry:
    """Slices 12 mm apart, 8 mm thick, pixels 2.5 x 1.75 mm (rows x columns apart)."""
    row, column = ORIENTATIONS[orientation]
    normal = np.cross(row, column)
    positions = np.array([-180.0, -150.0, -40.0]) + 12.0 * np.arange(n_slices)[:, None] * normal
    return Geometry(
        positions_mm=positions,
        row_direction=row,
        column_direction=column,
        spacing_mm=(12.0, 2.5, 1.75),
        slice_thickness_mm=8.0,
    )


def make_header() -> Dataset:
    """Patient, study and scanner of a healthy header."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName = "Müller^Jörg"
    ds.PatientID = "P-0815"
    ds.IssuerOfPatientID = "HOSPITAL"
    ds.PatientBirthDate = "19700203"
    ds.PatientSex = "M"
    ds.PatientAge = "056Y"
    ds.PatientWeight = "71.5"
    ds.StudyInstanceUID = STUDY
    ds.StudyDate = "20260203"
    ds.StudyTime = "101500"
    ds.StudyID = "S1"
    ds.StudyDescription = "MR liver"
    ds.AccessionNumber = "ACC42"
    ds.ReferringPhysicianName = "Referrer^Rita"
    ds.Modality = "MR"
    ds.Manufacturer = "SIEMENS"
    ds.ManufacturerModelName = "Aera"
    ds.SoftwareVersions = "syngo MR E11"
    ds.FrameOfReferenceUID = f"{STUDY}.99"
    ds.PositionReferenceIndicator = ""
    ds.Rows, ds.Columns = ROWS, COLUMNS
    return ds


def make_classic(geometry: Geometry, order: str = "ascending", **changes: Any) -> SourceSeries:
    """One MR image per slice and echo; ``order`` is the order of the instances. ``changes`` are set on every header,
    an attribute whose value is None is removed."""
    n_slices = len(geometry.positions_mm)
    slices = list(range(n_slices))
    if order == "descending":
        slices.reverse()
    if order == "shuffled":
        slices = [int(z) for z in np.random.default_rng(3).permutation(n_slices)]
    datasets, at = [], {}
    for z in slices:
        for e, echo_time in enumerate(ECHO_TIMES_S):
            ds = make_header()
            ds.SOPClassUID = MRImageStorage
            ds.SOPInstanceUID = f"{STUDY}.2.{len(datasets) + 1}"
            ds.SeriesInstanceUID = f"{STUDY}.2"
            ds.ScanningSequence, ds.SequenceVariant, ds.MRAcquisitionType = "GR", "SP", "2D"
            ds.RepetitionTime, ds.FlipAngle, ds.EchoTime = "200", "20", f"{1000 * echo_time:g}"
            ds.ImagePositionPatient = [float(v) for v in geometry.positions_mm[z]]
            for keyword, value in changes.items():
                if value is None:
                    ds.pop(keyword, None)
                else:
                    setattr(ds, keyword, value)
            at[z, e] = FrameRef(dataset_index=len(datasets))
            datasets.append(ds)
    frames = tuple(tuple(at[z, e] for e in range(len(ECHO_TIMES_S))) for z in range(n_slices))
    return SourceSeries(datasets=tuple(datasets), frames=frames, geometry=geometry)


def make_enhanced(geometry: Geometry) -> SourceSeries:
    """One multi-frame object whose frames run over echoes first, slices from the last to the first."""
    ds = make_header()
    ds.SOPClassUID = EnhancedMRImageStorage
    ds.SOPInstanceUID = f"{STUDY}.3.1"
    ds.SeriesInstanceUID = f"{STUDY}.3"
    n_slices, n_echoes = len(geometry.positions_mm), len(ECHO_TIMES_S)
    ds.NumberOfFrames = n_slices * n_echoes
    frames = tuple(
        tuple(FrameRef(dataset_index=0, frame_number=1 + (n_slices - 1 - z) * n_echoes + e) for e in range(n_echoes))
        for z in range(n_slices)
    )
    return SourceSeries(datasets=(ds,), frames=frames, geometry=geometry)


def make_maps(n_slices: int = 5, *, all_quantities: bool = True) -> ResultMaps:
    """A body in air: R2* has another value in every slice, voxel and corner, so that no mix-up goes unseen. The
    median under ``make_mask`` is 67.73 /s."""
    z, y, x = np.indices((n_slices, ROWS, COLUMNS))
    r2star = 67.73 + 3.0 * (z - (n_slices - 1) / 2) + 0.25 * (y - (ROWS - 1) / 2) + 0.03125 * (x - (COLUMNS - 1) / 2)
    r2star[:, 0, 0] = np.nan  # air
    r2star[n_slices // 2, 8, 8] = np.nan  # a voxel without a fit
    r2star = r2star.astype(np.float32)
    if not all_quantities:
        return ResultMaps(r2star_per_s=r2star)
    return ResultMaps(
        r2star_per_s=r2star,
        lic_mg_per_g=(31.94 * (1000 / r2star.astype(np.float64)) ** -1.014).astype(np.float32),
        t2star_ms=(1000 / r2star).astype(np.float32),
        pdff_percent=np.where(np.isnan(r2star), np.nan, 4.25).astype(np.float32),
    )


LIC_RANGE_MG_PER_G = (0.3, 43.0)
R2STAR_RANGE_PER_S = (0.0, 4000.0)


def make_extreme_maps(n_slices: int, share: float) -> ResultMaps:
    """R2* around 1200 /s, and ``share`` of the voxels under ``make_mask`` at the top of what can be measured."""
    mask = make_mask(n_slices)
    rng = np.random.default_rng(5)
    r2star = rng.normal(1200, 60, mask.shape)
    r2star[mask & (rng.random(mask.shape) < share)] = R2STAR_RANGE_PER_S[1]
    r2star[:, 0, 0] = np.nan  # air
    return ResultMaps(
        r2star_per_s=r2star.astype(np.float32),
        lic_mg_per_g=np.clip(0.02603 * r2star - 0.16, *LIC_RANGE_MG_PER_G).astype(np.float32),
        t2star_ms=(1000 / r2star).astype(np.float32),
        ranges={"r2star": R2STAR_RANGE_PER_S, "lic": LIC_RANGE_MG_PER_G, "t2star": (0.25, 655.35)},
    )


def make_bounded_result(mask: Any) -> LiverIronResult:
    """R2* of at least 1000 /s, of which nothing else is known but how sure the bound is."""

    def bounded(value: float, interval95: tuple[float, float], bound: Bound) -> dict[str, Any]:
        nothing = float("nan")
        rest = {"mean": nothing, "sd": nothing, "q1": nothing, "q3": nothing}
        return {"median": value, "interval95": interval95, "bound": bound, **rest}

    base = make_maps(mask.shape[0])
    lic = 0.02603 * 1000 - 0.16
    return make_result(
        base,
        mask,
        r2star_per_s=Statistics(**bounded(1000.0, (900.0, 1000.0), "at_least")),
        t2star_ms=Statistics(**bounded(1.0, (1.0, 1.111), "at_most")),
        lic_mg_per_g=LicStatistics(**bounded(lic, (23.0, lic), "at_least")),
        lic_umol_per_g_median=17.907 * lic,
        pdff_percent=None,
        grade=Grade(
            scheme="guglielmo-2023",
            code="severe",
            label="at least severe",
            candidates=(GradeCandidate(code="severe", label="at least severe", probability=1.0),),
            borderline=False,
        ),
    )


def make_mask(n_slices: int = 5) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """A block around the centre of the volume, the same in all slices."""
    mask = np.zeros((n_slices, ROWS, COLUMNS), dtype=bool)
    mask[:, 6:18, 5:15] = True
    return mask


def statistics_under(values: Any, mask: Any, half_width: float) -> dict[str, Any]:
    """The arguments of Statistics for the finite values under the mask."""
    inside = values[mask & np.isfinite(values)].astype(np.float64)
    median = float(np.median(inside))
    return {
        "median": median,
        "mean": float(inside.mean()),
        "sd": float(inside.std(ddof=1)),
        "q1": float(np.percentile(inside, 25)),
        "q3": float(np.percentile(inside, 75)),
        "interval95": (median - half_width, median + half_width),
    }


def make_result(maps: ResultMaps, mask: Any, **changes: Any) -> LiverIronResult:
    """The published example: R2* 67.73 /s at 1.5 T, 2.1 mg/g under Garbowski 2014."""
    assert maps.lic_mg_per_g is not None
    assert maps.t2star_ms is not None
    assert maps.pdff_percent is not None
    lic = statistics_under(maps.lic_mg_per_g, mask, 0.14)
    result = LiverIronResult(
        software_version="0.1.0",
        method_version="1",
        status="measured",
        study_instance_uid=STUDY,
        source_series_instance_uids=(f"{STUDY}.2",),
        patient_id_hash="ab12",
        acquisition=AcquisitionSummary(
            field_t=1.5,
            manufacturer="SIEMENS",
            model="Aera",
            kind="magnitude",
            echo_times_s=ECHO_TIMES_S,
            n_slices=mask.shape[0],
            rows=ROWS,
            columns=COLUMNS,
            spacing_mm=(12.0, 2.5, 1.75),
        ),
        fit=FitSummary(
            model="single exponential",
            noise_model="Rician",
            sigma=2.5,
            echoes_used=6,
            measurable_limit_per_s=812.34,
            fraction_at_limit=0.0,
            fraction_failed=0.0017,
        ),
        roi=RoiSummary(
            source="automatic",
            n_voxels=int(mask.sum()),
            volume_ml=31.5,
            n_slices=mask.shape[0],
            excluded={"vessel": 12, "edge": 40},
        ),
        r2star_per_s=Statistics(**statistics_under(maps.r2star_per_s, mask, 4.2)),
        t2star_ms=Statistics(**statistics_under(maps.t2star_ms, mask, 0.9)),
        pdff_percent=Statistics(**statistics_under(maps.pdff_percent, mask, 1.0)),
        lic_mg_per_g=LicStatistics(**lic),
        lic_umol_per_g_median=17.907 * lic["median"],
        calibration=CalibrationUsed(
            id="garbowski-2014",
            field_t=1.5,
            equation="LIC = 31.94 × T2*^-1.014 (T2* in ms, LIC in mg/g)",
            doi="10.1186/1532-429X-16-40",
        ),
        other_calibrations=(OtherCalibration(id="hernando-2023", lic_mg_per_g=1.603, doi="10.1148/radiol.213256"),),
        grade=Grade(
            scheme="guglielmo-2023",
            code="mild",
            label="mild",
            candidates=(
                GradeCandidate(code="normal", label="normal", probability=0.042),
                GradeCandidate(code="mild", label="mild", probability=0.958),
            ),
            borderline=True,
        ),
        views=Views(
            reference=View(limit_mg_per_g=1.8, above=True, text="Above the upper reference limit of 1.8 mg/g."),
            clinical=View(limit_mg_per_g=7.0, above=False, text="Below 7 mg/g: not clinically significant."),
        ),
        follow_up=FollowUpInterval(
            min_months=12,
            max_months=24,
            earliest_date="2027-02-03",
            latest_date="2028-02-03",
            rule_id="unknown/1.8-7",
            indication=None,
            source="ASH 2020, 10.1182/bloodadvances.2019001143",
            population_match=False,
            signed_off_by=None,
            text="Repeat in 12 to 24 months with the same technique and calibration.",
        ),
        qc=(QcLine(code="snr", severity="info", text="SNR 50 at the first echo", value=50.0, limit=20.0),),
    )
    return replace(result, **changes)


def make_followed_up(n_slices: int) -> LiverIronResult:
    """The published example, with an earlier measurement to compare with and one of another calibration."""
    result = make_result(make_maps(n_slices), make_mask(n_slices))
    assert result.acquisition is not None
    assert result.fit is not None

    def earlier(year: int, calibration_id: str) -> EarlierMeasurement:
        study = f"{STUDY}.{year}"
        return EarlierMeasurement(
            report=EarlierReport(
                study_instance_uid=study,
                series_instance_uid=f"{study}.5",
                sop_class_uid=Comprehensive3DSRStorage,
                sop_instance_uid=f"{study}.5.1",
            ),
            date=f"{year}-02-03",
            lic_mg_per_g=3.456,
            interval95_mg_per_g=(3.0, 3.9),
            bound=None,
            r2star_per_s=111.74,
            calibration_id=calibration_id,
            calibration_field_t=1.5,
            field_t=1.5,
            method_version=result.method_version,
            signal="magnitude",
            model="single exponential",
            echo_times_s=ECHO_TIMES_S,
        )

    answer = PriorAnswer(earlier=(earlier(2025, "garbowski-2014"), earlier(2024, "hernando-2023")))
    return with_priors(result, date(2026, 2, 3), answer, Repeatability())


def make_refusal(**changes: Any) -> LiverIronResult:
    """A study in which no liver was found."""
    result = LiverIronResult(
        software_version="0.1.0",
        method_version="1",
        status="not_measurable",
        study_instance_uid=STUDY,
        source_series_instance_uids=(f"{STUDY}.2",),
        patient_id_hash="ab12",
        reasons=(Reason(code="no_liver_found", text="No region of the images is liver with certainty."),),
        qc=(QcLine(code="snr", severity="failure", text="SNR 4 at the first echo", value=4.0, limit=20.0),),
    )
    return replace(result, **changes)


def make_identity(**changes: Any) -> ResultIdentity:
    """Job ``job-1`` of 3 February 2026."""
    accepted_at = datetime(2026, 2, 3, 11, 22, 33, 456789, tzinfo=UTC)
    return replace(ResultIdentity(job_id="job-1", accepted_at=accepted_at, institution="Test Hospital"), **changes)


def make_page() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An odd-sized picture in which every pixel differs from its neighbours."""
    y, x = np.indices((33, 21))
    return np.stack([7 * y % 256, 11 * x % 256, (y + x) % 256], axis=-1).astype(np.uint8)


def build(source: SourceSeries, result: LiverIronResult | None = None, **changes: object) -> BuiltSet:
    """The result set of the synthetic study, or of ``result``."""
    n_slices = len(source.frames)
    maps, mask = make_maps(n_slices), make_mask(n_slices)
    arguments = {
        "result": result or make_result(maps, mask),
        "maps": maps,
        "mask": mask,
        "page_rgb": make_page(),
        "page_pdf": b"%PDF-1.4 not much of one",
        "source": source,
        "identity": make_identity(),
        **changes,
    }
    return build_result_set(**arguments)


def as_earlier(built: BuiltSet, revision: int = 1, job_id: str = "job-1") -> EarlierResult:
    """What a later result set is told of ``built``."""
    return EarlierResult(job_id=job_id, revision=revision, objects=built.result.objects)


def build_refusal(source: SourceSeries, **changes: object) -> BuiltSet:
    """The result set of a study in which no liver was found."""
    return build(source, make_refusal(), mask=None, **changes)


def build_two_maps(source: SourceSeries, **changes: object) -> BuiltSet:
    """As ``build`` with R2* and LIC only, which is quicker."""
    n_slices = len(source.frames)
    maps, mask = make_maps(n_slices), make_mask(n_slices)
    result = make_result(maps, mask, t2star_ms=None, pdff_percent=None)
    return build(source, result, maps=replace(maps, t2star_ms=None, pdff_percent=None), **changes)
