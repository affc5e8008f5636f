"""Commands for the people who run a node: what is there, what is stuck, do it again."""

import json
import sys
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.commands.options import config_option
from node.config import config_schema, load_config
from node.model import CommitmentState, DeliveryState, JobState
from node.ops.disk_watch import disk_words

if TYPE_CHECKING:
    from node.jobs.commitments import Commitment
    from node.jobs.remeasure import RunAgain
    from node.status import NodeStatus

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_LINES = 20
_AUDIT_SENT_WITHIN = timedelta(minutes=1)


def _dump(value: Any) -> str:
    return json.dumps(value, indent=2, default=str)


def _held(until: datetime) -> str:
    return f"nothing is removed before {_when(until)}: the clock jumped, or the node was off"


def _when(moment: datetime | None) -> str:
    return "-" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _print_destinations(found: "NodeStatus") -> None:
    for line in found.destinations:
        waiting = f"{line.pending} waiting since {_when(line.waiting_since)}" if line.pending else "nothing waiting"
        left = "" if line.configured else "  (no longer configured)"
        click.echo(f"destination   {line.name}: {line.sent} sent, {waiting}{left}")
        if line.commitment:
            kept = line.commitment
            text = f"{kept.committed} committed, {kept.waiting} asked for, {kept.refused} refused"
            text += f"; last trouble: {kept.last_detail}" if kept.last_detail else ""
            click.echo(f"              storage commitment: {text}")
        if line.unsupported:
            kinds = ", ".join(f"{role} ({count})" for role, count in line.unsupported.items())
            click.echo(f"              does not take: {kinds}; sent without them (docs/operations.md)")
        if line.untold:
            jobs = "1 job" if line.untold == 1 else f"{line.untold} jobs"
            click.echo(f"              NOBODY READS THE RESULT OF {jobs} THERE: it takes neither page, PDF nor report")
        if line.pending and line.last_detail:
            click.echo(f"              last answer: {line.last_detail}")


@click.command()
@config_option
@_json
def status(config_path: Path | None, as_json: bool) -> None:
    """Show the node at a glance: processes, what is coming in, jobs, backlog of each destination, declined series.

    Works whether the node runs or not; it reads the same ledger.
    """
    from node.app import open_node, wall_clock

    with open_node(load_config(config_path)) as node:
        found, acquisitions, parked = node.status(), node.acquisitions(), node.jobs(JobState.PARKED)
    if as_json:
        lists = {"acquisitions": [asdict(a) for a in acquisitions], "parked": [asdict(job) for job in parked]}
        click.echo(_dump({**asdict(found), **lists}))
        return
    roles = ", ".join(f"{role} {'up' if alive else 'DOWN'}" for role, alive in found.roles.items()) or "not running"
    click.echo(f"processes     {roles}")
    if found.config_refused is not None:
        at, error = _when(found.config_refused.at), found.config_refused.error
        click.echo(f"config        REFUSED {at}, the one before stays in force: {error}")
    click.echo(f"disk          {disk_words(found.free_mib, node.config.storage)}")
    click.echo(f"incoming      {found.inbox} instances to index, {found.receiving} acquisitions not whole yet")
    click.echo("jobs          " + ", ".join(f"{count} {state}" for state, count in found.jobs.items()))
    for job in parked[:_LINES]:
        click.echo(f"parked        {job.job_id[:12]} after {job.attempts} attempts: {job.error}")
    if len(parked) > _LINES:
        click.echo(f"              and {len(parked) - _LINES} more (`ironnode jobs --state parked`)")
    if parked:
        click.echo("              `ironnode retry JOB` (or --parked) runs them again, with the settings of today")
    if found.self_test is not None:
        click.echo(f"self-test     {found.self_test.verdict} {_when(found.self_test.at)}: {found.self_test.text}")
    _print_destinations(found)
    _print_audit(found.audit_unsent_since, wall_clock())
    _print_set_apart(found)
    if found.retention.removed or found.retention.unproved:
        gone = found.retention
        why = f": {gone.last_detail}" if gone.last_detail else ""
        click.echo(
            f"retention     files of {gone.removed} jobs removed ({gone.freed_bytes / 2**20:.0f} MiB), "
            f"{gone.unproved} kept without proof{why}"
        )
    if found.retention_held_until is not None:
        click.echo(f"retention     {_held(found.retention_held_until)}")
    for acquisition in [a for a in acquisitions if a.state == "receiving"]:
        missing = "; ".join(acquisition.missing[:3]) or "waits to be quiet"
        click.echo(f"receiving     {acquisition.study_instance_uid}: {acquisition.n_instances} instances; {missing}")
    declined = [a for a in acquisitions if a.state == "declined"]
    for acquisition in declined[:_LINES]:
        click.echo(
            f"declined      {acquisition.study_instance_uid}: {acquisition.n_instances} instances: "
            f"[{acquisition.code}] {acquisition.text}"
        )
    if len(declined) > _LINES:
        click.echo(f"              and {len(declined) - _LINES} more (--json shows all)")


@click.command()
@config_option
@_json
@click.option("--state", type=click.Choice([s.value for s in JobState]), help="Only jobs in this state.")
def jobs(config_path: Path | None, as_json: bool, state: str | None) -> None:
    """List the jobs, the latest first: id, state, outcome, revision, when, what is delivered, what went wrong."""
    from node.app import open_node

    with open_node(load_config(config_path)) as node:
        lines = node.jobs(JobState(state) if state else None)
    if as_json:
        click.echo(_dump([asdict(line) for line in lines]))
        return
    if not lines:
        click.echo("no jobs" + (f" in state {state}" if state else ""))
    for line in lines:
        trouble = f"  {line.error}" if line.error else "  self-test" if line.self_test else ""
        delivered = f"{line.n_sent}/{line.n_deliveries} delivered"
        click.echo(
            f"{line.job_id[:12]}  {line.state:<8} {line.outcome or '-':<15} r{line.revision}  "
            f"{_when(line.accepted_at)}  {delivered}  {line.study_instance_uid}{trouble}"
        )


@click.command()
@click.argument("job")
@config_option
@_json
def show(job: str, config_path: Path | None, as_json: bool) -> None:
    """Show everything about one JOB (the first characters of its id are enough): result, deliveries, history."""
    from node.app import open_node

    with open_node(load_config(config_path)) as node:
        details = node.show(job)
    if as_json:
        click.echo(_dump(asdict(details)))
        return
    line = details.line
    click.echo(f"job {line.job_id}, {line.state}, revision {line.revision}, {line.n_instances} instances")
    click.echo(f"study {line.study_instance_uid}, accepted {_when(line.accepted_at)}, attempts {line.attempts}")
    if line.error:
        click.echo(f"last error: {line.error}")
    if line.state == JobState.PARKED:
        click.echo("`ironnode retry` runs it again, with the settings of today")
    if details.removal:
        click.echo(details.removal.text)
    if details.route:
        click.echo(details.route)
    if details.result_folder:
        click.echo(f"results: {details.result_folder}")
    report = details.result_folder / "report.txt" if details.result_folder else None
    if report is not None and report.is_file():
        click.echo("\n" + report.read_text(encoding="utf-8"))
    commitments = {(c.destination, c.sop_instance_uid): c for c in details.commitments}
    for delivery in details.deliveries:
        sent = f"sent {_when(delivery.sent_at)}" if delivery.sent_at else f"next try {_when(delivery.next_try_at)}"
        sent = {DeliveryState.UNSUPPORTED: "not taken", DeliveryState.SUPERSEDED: "not sent"}.get(delivery.state, sent)
        asked = commitments.get((delivery.destination, delivery.sop_instance_uid))
        sent += _commitment(asked) if asked else ""
        click.echo(f"{delivery.destination:<12} {delivery.role:<12} {sent}, {delivery.attempts} tries, "
                   f"{delivery.last_detail or '-'}")  # fmt: skip
    click.echo("")
    for step in details.trail:
        click.echo(f"{_when(step.at)}  {step.name}  " + "  ".join(f"{k}={v}" for k, v in step.fields.items()))


@click.command()
@config_option
@_json
def retention(config_path: Path | None, as_json: bool) -> None:
    """List whose files retention removes next, and what keeps the files of the others. Nothing is removed by this.

    A node that runs removes by itself what the section `retention` of the configuration allows. C-FIND is only done
    then.
    """
    from node.app import open_node

    with open_node(load_config(config_path)) as node:
        looked = node.retention(_ask_nobody)
        outlooks = looked.outlooks()
        strays = {study: len(uids) for study, uids in looked.strays().items()}
        apart = len(looked.set_apart())
        held = node.retention_held_until()
        done = node.status().retention
    if as_json:
        due = [{"job_id": job_id, "goes": goes, "detail": detail} for job_id, (goes, detail) in outlooks.items()]
        click.echo(
            _dump({"due": due, "images_of_no_job": strays, "set_apart": apart, "held_until": held, **asdict(done)})
        )
        return
    click.echo(f"removed so far: files of {done.removed} jobs, {done.freed_bytes / 2**20:.0f} MiB")
    if held is not None:
        click.echo(_held(held))
    for job_id, (goes, detail) in outlooks.items():
        click.echo(f"{job_id[:12]}  {'goes next' if goes else 'kept'}: {detail}")
    for study, number in strays.items():
        click.echo(f"{study}: {number} images that belong to no job go next")
    if apart:
        click.echo(f"{apart} files of quarantine and unreadable go next")
    if not outlooks and not strays and not apart:
        click.echo("nothing else is due")


def _print_audit(unsent_since: datetime | None, now: datetime) -> None:
    if unsent_since is not None and now - unsent_since > _AUDIT_SENT_WITHIN:
        since = _when(unsent_since)
        click.echo(f"audit server  has nothing since {since}; the event `audit_server_away` says why")


def _print_set_apart(found: "NodeStatus") -> None:
    """What waits in the spool for a person, and how large it is."""
    for place, counts in found.set_apart.items():
        if counts.files:
            click.echo(f"set apart     {counts.files} files, {counts.size_bytes / 2**20:.1f} MiB in spool/{place}")


def _ask_nobody(*_: object) -> frozenset[str]:
    return frozenset()


def _commitment(asked: "Commitment") -> str:
    """How storage commitment of one object stands, for the end of its line."""
    if asked.state == CommitmentState.COMMITTED:
        return f", committed {_when(asked.committed_at)}"
    words = {CommitmentState.DUE: "commitment to be asked again", CommitmentState.ASKED: "commitment asked for"}
    why = f" ({asked.last_detail})" if asked.last_detail else ""
    return f", {words.get(asked.state, 'commitment REFUSED')}{why}"


@click.command()
@click.argument("job", required=False)
@click.option("--parked", is_flag=True, help="Every parked job.")
@config_option
def retry(job: str | None, parked: bool, config_path: Path | None) -> None:
    """Do what is left of a JOB now: run a parked one again with the settings of today, have one that waits start at
    once, send a finished one's undelivered objects."""
    from node.app import open_node
    from node.jobs.remeasure import RunAgain

    if (job is None) != parked:
        raise click.UsageError("name a JOB, or give --parked")
    with open_node(load_config(config_path)) as node:
        found = node.retry_parked() if job is None else RunAgain(queued=(node.retry(job),))
    _tell(found, "no job is parked")


def _tell(found: "RunAgain", nothing: str) -> None:
    """A line about each job; ends with 1 where one was refused."""
    for line in found.queued:
        click.echo(line)
    for line in found.refused:
        click.echo(f"not run again: {line}", err=True)
    if found.refused:
        sys.exit(1)
    if not found.queued:
        click.echo(nothing)


@click.command()
@click.argument("job", required=False)
@click.option("--outdated", is_flag=True, help="Every acquisition whose latest result other software or settings made.")
@click.option("--region", help="A drawn region by its SOP Instance UID, or the word automatic; as before without.")
@click.option("--indication", help="An indication of the policy, or the word order (what it says); as before without.")
@config_option
def remeasure(
    job: str | None, outdated: bool, region: str | None, indication: str | None, config_path: Path | None
) -> None:
    """Measure the images of a JOB again with this software and these settings, and compare the result with the
    scanner's own R2*, T2* or fat-fraction map if one has come since.

    The result is a new revision: its report names the one that it replaces as predecessor, and destinations that take
    rejection notes are told to withdraw the replaced objects. A region that a reader drew is kept, unless --region
    names another one of the acquisition.
    """
    from node.app import open_node
    from node.jobs.remeasure import Choice, RunAgain

    if (job is None) != outdated:
        raise click.UsageError("name a JOB, or give --outdated")
    if outdated and (region or indication):
        raise click.UsageError("--region and --indication are for one JOB")
    with open_node(load_config(config_path)) as node:
        if job is None:
            found = node.measure_outdated()
        elif region is None and indication is None:
            found = RunAgain(queued=(node.measure_again(job),))
        else:
            before = node.standing(node.show(job).job)
            regions = {None: before.region_uid, "automatic": None}
            indications = {None: before.indication, "order": None}
            choice = Choice(region_uid=regions.get(region, region), indication=indications.get(indication, indication))
            found = RunAgain(queued=(node.measure_again(job, choice),))
    _tell(found, "every latest result was made by this software and these settings")


@click.command()
@config_option
def rebuild(config_path: Path | None) -> None:
    """Make the ledger anew from the files on disk; the node must not run.

    For a lost or damaged ledger. The old SQLite file is set aside, not deleted. What was delivered is not on the
    disk, so everything is delivered again: the same bytes under the same identifiers, which a PACS recognises.
    """
    from node.maintenance import rebuild as rebuild_ledger

    found = rebuild_ledger(load_config(config_path))
    click.echo(", ".join(f"{value} {name.replace('_', ' ')}" for name, value in asdict(found).items() if value != ()))


@click.command()
@config_option
def migrate(config_path: Path | None) -> None:
    """Bring a ledger that an older ironnode wrote to this one's version; the node must not run.

    All of it or nothing, and what was delivered stays delivered. The SQLite file as it was is kept beside it; of a
    ledger in PostgreSQL take a dump first (pg_dump). A newer ledger is refused: there is no way down.
    """
    from node.jobs.schema import LEDGER_VERSION
    from node.maintenance import migrate as migrate_ledger

    done = migrate_ledger(load_config(config_path))
    if done.version_before == LEDGER_VERSION:
        click.echo(f"the ledger has version {LEDGER_VERSION} already")
    else:
        kept = f"; as it was: {done.copy}" if done.copy else ""
        click.echo(f"ledger brought from version {done.version_before} to {LEDGER_VERSION}{kept}")


@click.group("config")
def config_group() -> None:
    """Look at the configuration; `ironnode check` also tries what it names."""


@config_group.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors that complete and check YAML."""
    click.echo(json.dumps(config_schema(), indent=2))


@config_group.command()
@config_option
def validate(config_path: Path | None) -> None:
    """Read the configuration, with its policy and calibrations, and say what is wrong; touches nothing else."""
    from node.process.settings import settings_of

    settings_of(load_config(config_path))
    click.echo(f"{config_path or 'defaults'}: ok")


@click.command("web-password")
@click.password_option(help="The password; asked for when not given.")
def web_password(password: str) -> None:
    """Print the hash of a password for web.users in the configuration."""
    from node.web.passwords import hash_password

    click.echo(hash_password(password))
