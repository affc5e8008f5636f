"""The method on one page: files in, result folder out. No queue, no network, no clock.

pixels -> R2* fit -> liver region -> region statistics -> LIC, grade, follow-up -> page -> DICOM result set.
A study that cannot be measured gives a result that says so, with its reasons, in every output.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version

from node.config import Config
from node.errors import DeclinedError, InputError
from node.intake.admission import SEVERAL_PATIENTS
from node.intake.assembly import AcquisitionPlan
from node.model import JobInput, PipelineOutput
from node.ops.events import Event, emit
from node.process.facts import StudyFacts, fat_suppressed
from node.process.indication import IndicationFound, indication_of_order
from node.process.measured import Measured
from node.process.outputs import Material, folder_of, folder_without_objects
from node.process.overrule import compared, overruled
from node.process.pixels import LoadedAcquisition, read_acquisition
from node.process.refusal import refusal_reason, study_of_headers
from node.process.revision import with_revision
from node.process.roi_summary import roi_summary
from node.process.segmenter import region_finder
from node.process.settings import known_indication, settings_of
from node.process.vendor_maps import comparison_lines
from quant import METHOD_VERSION
from quant.assess import FitFacts, assess
from quant.calibration import calibration_for
from quant.fit import R2StarMap, fit_r2star
from quant.flags import FitFlag
from quant.follow_up import no_lic, technical_repeat
from quant.noise import NoiseModel
from quant.prior import with_priors
from quant.quality import phase_line
from quant.region import RegionMeasurement, measure_region
from quant.result import FitSummary, LiverIronResult, QcLine, Reason
from quant.settings import AssessmentSettings
from quant.tissue_noise import fit_with_noise_of

Tell = Callable[[str], None]

_NOISE_ROUNDS = 2  # a better fit may find more of the liver, with noise of its own
_COUNTED_AGAIN = frozenset({"few_echoes"})  # the assessment counts the echoes as well
_OF_A_VALUE = frozenset({"roi_discs"})  # states R2*, of which a refusal says nothing and a lower bound nothing more


def run(job: JobInput, config: Config, report: Tell | None = None) -> PipelineOutput:
    """Measure one acquisition and build its whole result folder.

    Same job, same configuration: same bytes. ``report`` is told each stage's name as it begins.

    Raises:
        InputError: not even the headers can carry a result (the text names the file).
        StorageError: the system does not give a file; another run may get it.
        ConfigError: the configuration asks for what does not exist.
    """
    tell = report or (lambda _stage: None)
    job = replace(job, accepted_at=job.accepted_at.astimezone(config.report.zone))
    settings = settings_of(config)
    if job.indication is not None:
        known_indication(settings, job.indication, "indication")
    tell("reading pixels")
    try:
        loaded = read_acquisition(job.files)
    except InputError as error:
        return _unusable(error, job, config)
    measured = measure(loaded, config, tell)
    result = result_of(measured, job, config, settings)
    if job.region is not None and measured.fit is not None:
        tell("measuring the drawn region")
        automatic, automatic_result = measured, result
        measured = overruled(automatic, job.region, threads=_threads(config))
        result = compared(result_of(measured, job, config, settings), measured, automatic_result, automatic)
    result = with_revision(result, job)
    result = with_priors(result, loaded.study.study_date, job.priors, settings.repeatability)
    tell("writing the report")
    calibration = calibration_for(loaded.acquisition.field_t, settings.calibration_by_field)
    return folder_of(
        result,
        Material(
            study=loaded.study,
            acquisition=loaded.acquisition,
            fit=measured.fit,
            region=measured.region,
            measurement=measured.measurement if result.status == "measured" else None,
            calibration=calibration,
        ),
        job,
        config.report,
    )


def _unusable(error: InputError, job: JobInput, config: Config) -> PipelineOutput:
    """The refusal of an acquisition that was to be measured and whose pixels or geometry cannot be used: it goes into
    the study like any other, for a study that gets no answer looks like one that was never sent. Where it is not told
    whose images they are, there is no patient whose study it could go into."""
    reason = refusal_reason(error)
    study = None if reason.code == SEVERAL_PATIENTS else study_of_headers(job.files)
    if study is None:
        if isinstance(error, DeclinedError):
            return folder_without_objects(_declined([reason], config), config.report)
        raise error
    emit(Event.IMAGES_REFUSED, job_id=job.job_id, code=reason.code, error=str(error))
    result = replace(
        _not_measurable(study, (reason,), job, config), follow_up=no_lic("The images could not be measured.")
    )
    result = with_revision(result, job)
    return folder_of(result, Material(study=study), job, config.report)


def declined_output(plans: Sequence[AcquisitionPlan], config: Config) -> PipelineOutput:
    """The result folder of files that hold no acquisition to measure."""
    reasons = {plan.declined: None for plan in plans if plan.declined is not None}
    declined = _declined([Reason(code=code, text=text) for code, text in reasons], config)
    return folder_without_objects(declined, config.report)


def measure(loaded: LoadedAcquisition, config: Config, tell: Tell) -> Measured:
    """From the arrays of an acquisition to R2* of its liver; ``tell`` is told each stage's name as it begins."""
    acquisition = loaded.acquisition
    tell("fitting R2*")
    threads = _threads(config)
    try:
        fit = fit_r2star(acquisition.signal, acquisition.echo_times_s, field_t=acquisition.field_t, threads=threads)
    except ValueError as error:
        reason = Reason(code="fit_not_possible", text=f"R2* cannot be fitted to this signal: {error}.")
        return Measured(loaded=loaded, fit=None, region=None, measurement=None, refusals=(*loaded.refusals, reason))
    tell("finding the liver")
    find = region_finder(acquisition, config.segmenter, threads)
    region = find(fit)
    for _ in range(_NOISE_ROUNDS):
        if region.mask is None or loaded.refusals:
            break
        anew = fit_with_noise_of(acquisition, fit, region.mask, threads=threads)
        if anew is fit:
            break
        fit, region = anew, find(anew)  # its lobes and discs go by the fit
    refusals = (*loaded.refusals, *region.refusals)
    measurement = None
    if region.mask is not None and not refusals:
        try:
            measurement = measure_region(acquisition, fit, region.mask)
        except ValueError as error:
            refusals = (Reason(code="region_not_measurable", text=f"The liver region cannot be measured: {error}."),)
    return Measured(loaded=loaded, fit=fit, region=region, measurement=measurement, refusals=refusals)


def _threads(config: Config) -> int:
    return config.queue.threads_per_job or max(1, (os.cpu_count() or 1) // config.queue.concurrency)


def result_of(measured: Measured, job: JobInput, config: Config, settings: AssessmentSettings) -> LiverIronResult:
    """The record of what was measured, or of why nothing was."""
    loaded = measured.loaded
    reasons = measured.refusals or (Reason(code="not_assessed", text="Not assessed yet."),)
    bare = _not_measurable(loaded.study, reasons, job, config)
    refused = replace(
        bare,
        acquisition=loaded.summary,
        fit=_fit_summary(measured),
        qc=(*bare.qc, *loaded.qc, *_phase_lines(measured), *(measured.region.qc if measured.region else ())),
    )
    if measured.measurement is None:
        return replace(
            refused, qc=_without(refused.qc, _OF_A_VALUE), follow_up=technical_repeat(measured.refusals[0].text)
        )
    return _assessed(refused, measured, measured.measurement, job, config, settings)


def _without(lines: Iterable[QcLine], codes: frozenset[str]) -> tuple[QcLine, ...]:
    return tuple(line for line in lines if line.code not in codes)


def _phase_lines(measured: Measured) -> tuple[QcLine, ...]:
    if measured.fit is None:
        return ()
    line = phase_line(measured.fit, None if measured.region is None else measured.region.mask)
    return () if line is None else (line,)


def _not_measurable(study: StudyFacts, reasons: tuple[Reason, ...], job: JobInput, config: Config) -> LiverIronResult:
    return LiverIronResult(
        software_version=version("ironnode"),
        method_version=METHOD_VERSION,
        status="not_measurable",
        reasons=reasons,
        study_instance_uid=study.study_instance_uid,
        source_series_instance_uids=study.series_instance_uids,
        patient_id_hash=study.patient_id_hash,
        qc=_missing_line(job.missing),
        research_use_only=config.report.intended_use_signed_by is None,
        settings_digest=config.method_digest(),
    )


def _assessed(
    base: LiverIronResult,
    measured: Measured,
    measurement: RegionMeasurement,
    job: JobInput,
    config: Config,
    settings: AssessmentSettings,
) -> LiverIronResult:
    assert measured.fit is not None  # there is a measurement
    indication = _indication(measured.loaded, job, config)
    assessment = assess(
        measurement,
        field_t=measured.loaded.acquisition.field_t,
        fit=_fit_facts(measured.fit, measured.loaded.summary.echo_times_s),
        settings=settings,
        study_date=measured.loaded.study.study_date,
        indication=indication.indication,
    )
    pdff_percent = None if fat_suppressed(measured.loaded.qc) else assessment.pdff_percent
    r2star = assessment.r2star_per_s
    valued = r2star is not None and r2star.bound is None
    earlier = _without(base.qc, _COUNTED_AGAIN if valued else _COUNTED_AGAIN | _OF_A_VALUE)
    ours = {
        "r2star_per_s": r2star.median if r2star is not None and valued else None,
        "pdff_percent": None if pdff_percent is None else pdff_percent.median,
    }
    assert measured.region is not None  # there is a measurement
    assert measured.region.mask is not None
    scanner = comparison_lines(measured.loaded.vendor_maps, measured.region.mask, ours)
    base = replace(base, qc=(*earlier, *assessment.qc, *scanner, *indication.qc), follow_up=assessment.follow_up)
    if assessment.refusals:
        return replace(base, reasons=assessment.refusals)
    return replace(
        base,
        status="measured",
        reasons=(),
        roi=roi_summary(measured, measured.fit, measurement),
        r2star_per_s=assessment.r2star_per_s,
        t2star_ms=assessment.t2star_ms,
        pdff_percent=pdff_percent,
        lic_mg_per_g=assessment.lic_mg_per_g,
        lic_umol_per_g_median=assessment.lic_umol_per_g_median,
        calibration=assessment.calibration,
        other_calibrations=assessment.other_calibrations,
        grade=assessment.grade,
        views=assessment.views,
    )


def _indication(loaded: LoadedAcquisition, job: JobInput, config: Config) -> IndicationFound:
    """What the caller names, else what the order's reasons mean to the site."""
    if job.indication is not None:
        return IndicationFound(indication=job.indication)
    follow_up = config.follow_up
    return indication_of_order(loaded.indication, follow_up.order_reasons, follow_up.default_indication)


def _fit_facts(fit: R2StarMap, echo_times_s: Sequence[float]) -> FitFacts:
    return FitFacts(
        model=fit.model,
        echo_times_s=echo_times_s,
        echoes_used=fit.echoes_used,
        noise=NoiseModel(sigma=fit.sigma, coils=fit.coils, source=fit.noise_source),
        measurable_limit_per_s=fit.measurable_limit_per_s,
    )


def _fit_summary(measured: Measured) -> FitSummary | None:
    fit, measurement = measured.fit, measured.measurement
    if fit is None:
        return None
    if measurement is not None:
        at_limit, failed = measurement.fraction_at_limit, measurement.fraction_failed
    else:
        tissue = (fit.flags & FitFlag.NOISE_ONLY) == 0
        n = max(1, int(tissue.sum()))
        at_limit = float((fit.flags[tissue] & FitFlag.AT_LIMIT != 0).sum()) / n
        failed = float((fit.flags[tissue] & FitFlag.FAILED != 0).sum()) / n
    return FitSummary(
        model=fit.model,
        noise_model=f"{fit.noise_model} ({fit.noise_source})",
        sigma=fit.sigma,
        echoes_used=fit.echoes_used,
        measurable_limit_per_s=fit.measurable_limit_per_s,
        fraction_at_limit=at_limit,
        fraction_failed=failed,
    )


def _missing_line(missing: tuple[str, ...]) -> tuple[QcLine, ...]:
    if not missing:
        return ()
    named = "; ".join(words.rstrip(".") for words in missing[:5]) + (
        f"; and {len(missing) - 5} more" if len(missing) > 5 else ""
    )
    text = f"The acquisition is incomplete. Missing or not usable: {named}."
    return (QcLine(code="incomplete_acquisition", severity="warning", value=len(missing), text=text),)


def _declined(reasons: Sequence[Reason], config: Config) -> LiverIronResult:
    return LiverIronResult(
        software_version=version("ironnode"),
        method_version=METHOD_VERSION,
        status="declined",
        reasons=tuple(reasons),
        study_instance_uid=None,
        source_series_instance_uids=(),
        patient_id_hash=None,
        research_use_only=config.report.intended_use_signed_by is None,
        settings_digest=config.method_digest(),
    )
