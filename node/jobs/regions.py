"""Which drawn region belongs to which acquisition of a study. The one that came last counts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from node.intake.assembly import AcquisitionPlan
from node.intake.regions import same_patient
from node.jobs.region_refusals import RegionRefusal
from node.jobs.studies import AcquisitionOutcome, region_key
from node.model import AcquisitionState, InstanceHeader
from sr_templates.identity import derive_uid
from sr_templates.predecessor import EarlierResult


@dataclass(frozen=True, kw_only=True)
class Assigned:
    """The region (SOP Instance UID) of each acquisition by its key, and what became of every region."""

    by_acquisition: Mapping[str, str]
    outcomes: tuple[AcquisitionOutcome, ...]


def assign(
    regions: Iterable[InstanceHeader],
    plans: Sequence[AcquisitionPlan],
    results: Mapping[str, Sequence[EarlierResult]],
    arrived_at: Mapping[str, datetime],
    refused: Mapping[str, RegionRefusal],
) -> Assigned:
    """The regions of one study, tied to its acquisitions.

    By the instances and series that a region refers to (images of the acquisition, or objects of its ``results``, by
    acquisition key), and by the frame of reference where exactly one acquisition has it. One that a result ``refused``
    takes the place of none.
    """
    usable = [plan for plan in plans if plan.declined is None]
    chosen: dict[str, str] = {}
    outcomes: dict[str, AcquisitionOutcome] = {}
    for header in sorted(regions, key=lambda h: (arrived_at[h.sop_instance_uid], h.sop_instance_uid)):
        plan, why = _plan_of(header, usable, results)
        if plan is None:
            outcomes[header.sop_instance_uid] = _outcome(header, AcquisitionState.DECLINED, why)
            continue
        if header.sop_instance_uid in refused:
            outcomes[header.sop_instance_uid] = _outcome(
                header, AcquisitionState.DECLINED, _refusal(refused[header.sop_instance_uid])
            )
            continue
        if plan.key in chosen:
            earlier = chosen[plan.key]
            later = ("region_replaced", "A region of the same acquisition that came later is used instead.")
            outcomes[earlier] = _outcome(header, AcquisitionState.DECLINED, later, uid=earlier)
        chosen[plan.key] = header.sop_instance_uid
        outcomes[header.sop_instance_uid] = _outcome(header, AcquisitionState.JOBBED, None)
    return Assigned(by_acquisition=chosen, outcomes=tuple(outcomes.values()))


def _refusal(refusal: RegionRefusal) -> tuple[str, str]:
    text = (
        f"The drawn region cannot be used; the report of job {refusal.job_id[:12]} says why. "
        "The region drawn before it counts, or else the automatic one."
    )
    return refusal.code, text


def _plan_of(
    header: InstanceHeader, plans: Sequence[AcquisitionPlan], results: Mapping[str, Sequence[EarlierResult]]
) -> tuple[AcquisitionPlan | None, tuple[str, str]]:
    found = [plan for plan in plans if _refers(header, plan, results.get(plan.key, ()))]
    if not found:
        found = [plan for plan in plans if _same_frame(header, plan)]
    if not found:
        return None, ("region_not_matched", "The drawn region refers to no acquisition that is measured here.")
    if len(found) > 1:
        text = f"The drawn region fits {len(found)} acquisitions of the study; nobody can tell which one is meant."
        return None, ("region_not_matched", text)
    image = found[0].headers[0]
    ours = (image.patient_id_hash, image.bare_patient_id_hash)
    if not same_patient(ours, (header.patient_id_hash, header.bare_patient_id_hash)):
        return None, ("region_other_patient", "The drawn region names another patient than the images.")
    return found[0], ("", "")


def _refers(header: InstanceHeader, plan: AcquisitionPlan, results: Sequence[EarlierResult]) -> bool:
    assert header.region is not None
    instances, series = set(header.region.sop_instance_uids), set(header.region.series_instance_uids)
    if instances & {h.sop_instance_uid for h in plan.headers} or series & {h.series_instance_uid for h in plan.headers}:
        return True
    ours = {item.sop_instance_uid for result in results for item in result.objects}
    our_series = {derive_uid(r.job_id, f"{item.role}/series") for r in results for item in r.objects}
    return bool(instances & ours or series & our_series)


def _same_frame(header: InstanceHeader, plan: AcquisitionPlan) -> bool:
    assert header.region is not None
    frame = header.region.frame_of_reference_uid
    return bool(frame) and any(h.frame_of_reference_uid == frame for h in plan.headers)


def _outcome(
    header: InstanceHeader, state: AcquisitionState, why: tuple[str, str] | None, *, uid: str | None = None
) -> AcquisitionOutcome:
    code, text = why or (None, None)
    return AcquisitionOutcome(
        acquisition_key=region_key(uid or header.sop_instance_uid), state=state, n_instances=1, code=code, text=text
    )
