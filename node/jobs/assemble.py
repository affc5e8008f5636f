"""From the inbox to jobs: enter arrivals in the ledger, plan each study, make a job of what is whole.

Every step may be cut off and repeated: ledger row before the move out of the inbox, manifest before the job's row.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from node.config import AssembleConfig, Rule
from node.errors import InputError, StorageError, fault_text
from node.intake.assembly import AcquisitionPlan, Decision, Verdict, decide, plan_study
from node.intake.headers import is_self_test, stored_header
from node.intake.rules import DECLINED_BY_RULE, rule_on
from node.intake.spool import Spool
from node.jobs.ledger import Ledger
from node.jobs.manifest import JobManifest, ManifestStore, derive_job_id
from node.jobs.regions import Assigned, assign
from node.jobs.revisions import RelatedJob
from node.jobs.studies import AcquisitionOutcome, IndexedInstance, OpenStudy
from node.model import AcquisitionState, Cause, InstanceHeader, SpooledInstance
from node.ops.events import Event, emit

_BATCH = 200  # instances in one ledger transaction
_SISTERS_ARRIVE_WITHIN = timedelta(hours=1)  # studies that one acquisition was split into are sent together
_SAID_AGAIN_AFTER_S = 300.0  # that a file of the inbox cannot be read
_AFTER_FAULT_S = 300.0  # a study over which the software failed is looked at again, should the cause be gone


class Assembler:
    """One pass after another over the inbox and the open studies; there is one assembler for each storage root."""

    def __init__(
        self,
        *,
        spool: Spool,
        ledger: Ledger,
        manifests: ManifestStore,
        config: AssembleConfig,
        rules: Sequence[Rule] = (),
        settings_digest: str,
        method_version: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._spool = spool
        self._ledger = ledger
        self._manifests = manifests
        self._config = config
        self._rules = rules
        self._settings_digest = settings_digest
        self._method_version = method_version
        self._clock = clock
        self._said_at: dict[str, datetime] = {}  # by file of the inbox: when it was last said that it cannot be read
        self._next_look: dict[str, tuple[datetime, datetime]] = {}  # last arrival, and when to look again

    def recover(self) -> int:
        """Enter jobs whose manifest an earlier run made durable but did not enter; how many there were. What a rule
        declined is looked at again: the rules may be others now."""
        now = self._clock()
        self._ledger.studies.reopen_declined(DECLINED_BY_RULE)
        known = self._ledger.job_ids()  # in one look: another gateway that takes over must not read years of manifests
        return sum(self._ledger.add(manifest, now) for manifest in self._manifests.all(but=known))

    def step(self) -> int:
        """Look at everything once; how many jobs were made.

        Raises:
            StorageError: disk or ledger refused; the next step does what was left.
        """
        now = self._clock()  # before the inbox is listed: whatever arrived by then is indexed below
        changed = self._index(self._spool.inbox())
        made = 0
        for study in self._ledger.studies.open_studies():
            uid = study.study_instance_uid
            arrived_at, look_at = self._next_look.get(uid, (study.last_arrival_at, now))
            if uid in changed or now >= look_at or arrived_at != study.last_arrival_at:
                made += self._judge_apart(study, now)
        return made

    def _index(self, arrivals: Sequence[SpooledInstance]) -> set[str]:
        changed: set[str] = set()
        here = {arrival.sop_instance_uid for arrival in arrivals}
        self._said_at = {uid: at for uid, at in self._said_at.items() if uid in here}
        for start in range(0, len(arrivals), _BATCH):
            readable = [i for a in arrivals[start : start + _BATCH] if (i := self._read(a)) is not None]
            changed |= self._ledger.studies.add_instances(readable)
            for item in readable:
                self._admit(item.spooled)
        return changed

    def _admit(self, arrival: SpooledInstance) -> None:
        uid = arrival.sop_instance_uid
        if self._spool.admit(uid).parent == self._spool.quarantine_folder:
            emit(Event.INSTANCE_CONFLICT, sop_instance_uid=uid, calling_ae_title=arrival.calling_ae_title, known=False)

    def _read(self, arrival: SpooledInstance) -> IndexedInstance | None:
        uid = arrival.sop_instance_uid
        try:
            header = stored_header(arrival.path)
            if header.sop_instance_uid != uid:
                raise InputError(f"{arrival.path.name} holds the instance {header.sop_instance_uid}")
        except InputError as error:
            self._set_aside(uid, str(error))
            return None
        except StorageError as error:  # it stays in the inbox, and the others are not kept waiting
            self._say_trouble(uid, error)
            return None
        except Exception as error:  # noqa: BLE001 - a fault of ours over one image must not stop all others
            self._set_aside(uid, fault_text(error))
            return None
        return IndexedInstance(header=header, spooled=arrival)

    def _say_trouble(self, sop_instance_uid: str, error: StorageError) -> None:
        """Once for each file, then at intervals; the clock may be set back between."""
        now, said_at = self._clock(), self._said_at.get(sop_instance_uid)
        if said_at is None or abs((now - said_at).total_seconds()) >= _SAID_AGAIN_AFTER_S:
            self._said_at[sop_instance_uid] = now
            emit(Event.STORAGE_TROUBLE, sop_instance_uid=sop_instance_uid, error=str(error))

    def _set_aside(self, sop_instance_uid: str, error: str) -> None:
        self._spool.reject_unreadable(sop_instance_uid)
        self._ledger.studies.note_unreadable(sop_instance_uid, error, self._clock())
        emit(Event.INSTANCE_UNREADABLE, sop_instance_uid=sop_instance_uid, error=error)

    def _judge_apart(self, study: OpenStudy, now: datetime) -> int:
        """Judge a study; a fault of ours over it leaves it waiting, named in the status, and the others are judged."""
        try:
            return self._judge(study, now)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours over one study must not stop the others
            uid, text = study.study_instance_uid, fault_text(error)
            emit(Event.STUDY_FAILED, study_instance_uid=uid, error=text)
            failed = AcquisitionOutcome(
                acquisition_key="study",
                state=AcquisitionState.RECEIVING,
                n_instances=len(self._ledger.studies.arrivals(uid)),
                missing=(text,),
            )
            self._ledger.studies.settle(uid, [failed], now)
            self._next_look[uid] = (study.last_arrival_at, now + timedelta(seconds=_AFTER_FAULT_S))
            return 0

    def _judge(self, study: OpenStudy, now: datetime) -> int:
        uid = study.study_instance_uid
        quiet_s = (now - study.last_arrival_at).total_seconds()
        headers = self._ledger.studies.headers(uid)
        images = [header for header in headers if header.region is None]
        patients = {header.bare_patient_id_hash for header in images if header.names_patient}
        plans = plan_study(images, beside=self._ledger.studies.beside(uid, patients, _SISTERS_ARRIVE_WITHIN))
        judged = [self._by_rules(plan, self._decide(plan, quiet_s)) for plan in plans]
        drawn = [header for header in headers if header.region is not None]
        regions = self._regions(uid, drawn, [plan for plan, _, _ in judged])
        outcomes, waits_s, made = list(regions.outcomes), [], 0
        for plan, decision, destinations in judged:
            if decision.verdict == Verdict.WAIT:
                waits_s.append(decision.quiet_s)
            elif decision.verdict == Verdict.READY:
                made += self._ensure_job(plan, regions.by_acquisition.get(plan.key), destinations, now)
            outcomes.append(_outcome(plan, decision.verdict))
        self._settle(uid, outcomes, now)
        self._next_look.pop(uid, None)
        if waits_s:
            arrived_at = study.last_arrival_at
            self._next_look[uid] = (arrived_at, arrived_at + timedelta(seconds=min(waits_s)))
        return made

    def _decide(self, plan: AcquisitionPlan, quiet_s: float) -> Decision:
        settle_s, complete_quiet_s = self._config.settle_s, self._config.complete_quiet_s
        return decide(plan, quiet_s=quiet_s, settle_s=settle_s, complete_quiet_s=complete_quiet_s)

    def _by_rules(
        self, plan: AcquisitionPlan, decision: Decision
    ) -> tuple[AcquisitionPlan, Decision, tuple[str, ...] | None]:
        """What the site's rules make of a decision, and where the results go. Rules are asked about what is about to
        get its first job: a result that stands must not be left unreplaced, or be replaced in other places only."""
        if decision.verdict != Verdict.READY:
            return plan, decision, None
        uids = [header.sop_instance_uid for header in plan.headers]
        related = self._ledger.revisions.related_jobs(plan.study_instance_uid, uids)
        if related:
            return plan, decision, related[-1].destinations
        if not self._rules or is_self_test(plan.headers):
            return plan, decision, None
        found = [path for uid in uids if (path := self._spool.find(uid)) is not None]
        if len(found) < len(uids):
            text = f"{len(uids) - len(found)} of its images are no longer in the spool; the rules cannot be asked."
            return replace(plan, declined=("rules_not_asked", text)), Decision(verdict=Verdict.DECLINE), None
        ruling = rule_on(self._rules, found)
        if ruling.declined is not None:
            return replace(plan, declined=ruling.declined), Decision(verdict=Verdict.DECLINE), None
        return plan, decision, ruling.destinations

    def _regions(
        self, study_instance_uid: str, regions: Sequence[InstanceHeader], plans: Sequence[AcquisitionPlan]
    ) -> Assigned:
        if not regions:
            return Assigned(by_acquisition={}, outcomes=())
        results = self._ledger.revisions.results_of(study_instance_uid)
        arrivals = self._ledger.studies.arrivals(study_instance_uid)
        return assign(regions, plans, results, arrivals, self._ledger.revisions.refused_regions(study_instance_uid))

    def _settle(self, study_instance_uid: str, outcomes: Sequence[AcquisitionOutcome], now: datetime) -> None:
        for outcome in self._ledger.studies.settle(study_instance_uid, outcomes, now):
            if outcome.state == AcquisitionState.DECLINED:
                emit(
                    Event.ACQUISITION_DECLINED,
                    study_instance_uid=study_instance_uid,
                    acquisition_key=outcome.acquisition_key,
                    code=outcome.code,
                    text=outcome.text,
                    instances=outcome.n_instances,
                )

    def _ensure_job(
        self, plan: AcquisitionPlan, region_uid: str | None, destinations: tuple[str, ...] | None, now: datetime
    ) -> bool:
        """Make the job of a plan, unless these very images have one with this region (whatever the settings were)."""
        measured = frozenset(header.sop_instance_uid for header in plan.headers)
        uids = tuple(sorted({*plan.job_uids, *([] if region_uid is None else [region_uid])}))
        related = self._ledger.revisions.related_jobs(plan.study_instance_uid, sorted(measured))
        alike = [job for job in related if job.region_uid == region_uid]
        if any(measured <= job.sop_instance_uids <= frozenset(uids) for job in alike):
            return False  # a map or copy that came later is no reason to measure again
        indication = related[-1].indication if related else None  # an operator's choice holds for later images too
        manifest = self._manifests.keep(
            JobManifest(
                job_id=derive_job_id(uids, self._settings_digest, self._method_version, indication=indication),
                acquisition_key=plan.key,
                study_instance_uid=plan.study_instance_uid,
                sop_instance_uids=uids,
                accepted_at=now,
                revision=related[-1].revision + 1 if related else 1,
                predecessor_job_id=related[-1].job_id if related else None,
                missing=plan.missing,
                method_version=self._method_version,
                settings_digest=self._settings_digest,
                cause=_cause(related, region_uid, measured),
                region_uid=region_uid,
                indication=indication,
                self_test=is_self_test(plan.headers),
                destinations=destinations,
            )
        )
        made = self._ledger.add(manifest, now)
        if made:
            emit(
                Event.JOB_ACCEPTED,
                job_id=manifest.job_id,
                study_instance_uid=manifest.study_instance_uid,
                instances=len(uids),
                revision=manifest.revision,
                cause=manifest.cause.value,
                missing=list(manifest.missing),
                destinations=manifest.destinations,
            )
        return made


def _cause(related: Sequence[RelatedJob], region_uid: str | None, measured: frozenset[str]) -> Cause:
    if region_uid is not None and all(job.region_uid != region_uid for job in related):
        return Cause.READER_REGION
    if any(measured <= job.sop_instance_uids for job in related):
        return Cause.REGION_REFUSED  # with the region drawn last these very images were tried
    return Cause.LATE_IMAGES if related else Cause.FIRST


def _outcome(plan: AcquisitionPlan, verdict: Verdict) -> AcquisitionOutcome:
    state = {
        Verdict.WAIT: AcquisitionState.RECEIVING,
        Verdict.READY: AcquisitionState.JOBBED,
        Verdict.DECLINE: AcquisitionState.DECLINED,
    }[verdict]
    code, text = plan.declined or (None, None)
    return AcquisitionOutcome(
        acquisition_key=plan.key,
        state=state,
        n_instances=len(plan.headers),
        missing=plan.missing,
        code=code,
        text=text,
    )
