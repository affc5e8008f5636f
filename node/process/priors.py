"""The patient's earlier results: asked of the configured archive, read back, and kept apart from other patients'."""

import unicodedata
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from node.config import Config
from node.dimse.access import AllowList
from node.dimse.archive import ReportQuery, fetch_reports
from node.dimse.move_listener import MoveListener
from node.dimse.requestor import Peer
from node.errors import ConfigError, PeerError
from node.intake.headers import read_dataset
from node.intake.tags import day_of, text
from node.process.facts import PatientFacts, patient_facts
from node.tls import RECEIVE_KEY, listener_context
from quant.prior import EarlierMeasurement, PriorAnswer
from sr_templates.earlier import REPORT_CLASSES, ReadReport, UnreadableReportError, is_ours, read_report

_DAYS_PER_YEAR = 365.25


def ask_archive(image: Path, config: Config) -> PriorAnswer | None:
    """The earlier results of the patient of ``image``; ``None`` when no archive is configured.

    Takes ``priors.timeout_s`` at most, and never fails: that there is no answer is an answer.

    Raises:
        InputError, StorageError: ``image`` cannot be read.
    """
    archive = config.priors.archive
    if archive is None:
        return None
    header = read_dataset(image)
    patient, study_date = patient_facts(header), day_of(text(header, "StudyDate"))
    if not patient.patient_id or study_date is None:
        return PriorAnswer(not_checked=f"the study has no {'date' if patient.patient_id else 'Patient ID'}")
    query = ReportQuery(
        patient_id=patient.patient_id,
        first_day=max(study_date - timedelta(days=round(config.priors.years * _DAYS_PER_YEAR)), date(1900, 1, 1)),
        last_day=study_date - timedelta(days=1),
        sop_class_uids=REPORT_CLASSES,
        wanted=is_ours,
        most=config.priors.max_reports,
    )
    try:
        found = fetch_reports(
            Peer.of(archive),
            query,
            calling_ae_title=archive.calling_ae_title or config.receive.ae_title,
            timeout_s=config.priors.timeout_s,
            move_to=_listener(config),
        )
    except (PeerError, ConfigError) as error:
        return PriorAnswer(not_checked=str(error))
    return answer_of(found.reports, patient, text(header, "IssuerOfPatientID"), left_out=found.left_out)


def _listener(config: Config) -> MoveListener | None:
    move_to = None if config.priors.archive is None else config.priors.archive.move_to
    if move_to is None:
        return None
    admits = AllowList(config.receive.allow).admits
    tls = None if config.receive.tls is None else listener_context(config.receive.tls, RECEIVE_KEY)
    return MoveListener(move_to.ae_title, move_to.port, sop_class_uids=REPORT_CLASSES, admits=admits, tls=tls)


def answer_of(reports: Sequence[Any], patient: PatientFacts, issuer: str, *, left_out: int = 0) -> PriorAnswer:
    """What the reports (data sets that ``is_ours``) state of ``patient``, without those that a later one replaces."""
    own, other_person, other_issuer, unreadable = [], 0, 0, 0
    for report in reports:
        if text(report, "PatientID") != patient.patient_id:
            continue
        if not _agree(text(report, "IssuerOfPatientID"), issuer):
            other_issuer += 1
            continue
        if not _same_person(patient_facts(report), patient):
            other_person += 1
            continue
        try:
            own.append(read_report(report))
        except UnreadableReportError:
            unreadable += 1
    return PriorAnswer(
        earlier=_standing(own),
        other_person=other_person,
        other_issuer=other_issuer,
        unreadable=unreadable,
        left_out=left_out,
    )


def _standing(reports: Sequence[ReadReport]) -> tuple[EarlierMeasurement, ...]:
    """What was neither replaced nor is the same result in another SOP class."""
    replaced = {uid for report in reports for uid in report.replaces}
    by_content: dict[tuple[object, ...], EarlierMeasurement] = {}
    for report in reports:
        if report.measurement is not None and report.sop_instance_uid not in replaced:
            found = report.measurement
            content = (found.report.study_instance_uid, found.lic_mg_per_g, found.r2star_per_s, found.echo_times_s)
            by_content.setdefault(content, found)
    return tuple(by_content.values())


def _same_person(theirs: PatientFacts, ours: PatientFacts) -> bool:
    """Whether name, birth date and sex agree; a birth date or sex that one of them lacks does not decide."""
    return (
        _plain_name(theirs.name) == _plain_name(ours.name)
        and _agree(theirs.birth_date, ours.birth_date)
        and _agree(theirs.sex, ours.sex)
    )


def _agree(theirs: object, ours: object) -> bool:
    return not theirs or not ours or theirs == ours


def _plain_name(name: str) -> tuple[str, ...]:
    """Family and given name of the first representation that is given, without case, accents and punctuation."""
    group = next((group for group in name.split("=") if group.strip("^ ")), "")
    letters = unicodedata.normalize("NFKD", group).casefold()
    parts = ["".join(c if c.isalnum() else " " for c in part if not unicodedata.combining(c)) for part in
             letters.split("^")[:2]]  # fmt: skip
    return tuple(word for part in parts for word in part.split())
