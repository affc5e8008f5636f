"""Commands for the audit trail."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.config import load_config
from node.errors import IronnodeError
from node.ops.events import Event

if TYPE_CHECKING:
    from node.jobs.manifest import JobManifest
    from node.ops.audit import AuditTrail

_BROKEN = 3
_CLOCKS_APART = timedelta(hours=1)  # of this machine and a database server, at most


@click.group("audit")
def audit_group() -> None:
    """The audit trail: who sent, what became of it, who acted."""


@audit_group.command()
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Configuration file (YAML).")
@click.option("--head", help="Hash noted at an earlier check: it must still stand in the trail.")
@click.pass_context
def verify(context: click.Context, config_path: Path | None, head: str | None) -> None:
    """Check that the trail is as it was written: no line changed, taken out, put in, exchanged, or cut off at the end.

    Prints the number of entries and the hash of the last one. Keep that elsewhere and give it with --head next time:
    it tells a trail that was made anew from the one that was there. Without, a trail that begins after the oldest job
    and has no line of its acceptance is told. Exit 0 as written, 3 not.
    """
    from node.ops.audit import AuditTrail

    head = None if head is None else head.strip().lower()
    if head is not None and not re.fullmatch("[0-9a-f]{64}", head):
        raise click.BadParameter("a hash has 64 hexadecimal digits; give the whole one", param_hint="--head")
    root = load_config(config_path).storage.root
    trail = AuditTrail(root)
    found = trail.verify()
    click.echo(f"{trail.path}: {found.entries} entries, head {found.head}")
    broken = found.broken or _begun_late(trail, root)
    if broken is None and head is not None and not trail.holds(head):
        broken = f"no line has the hash {head}: the trail was made anew"
    click.echo("as it was written" if broken is None else f"NOT as it was written: {broken}")
    context.exit(0 if broken is None else _BROKEN)


def _saw_accepted(trail: "AuditTrail", job: "JobManifest") -> bool:
    """Whether the trail was written when the job was accepted, whatever the clock said when it began. A trail that was
    made anew later has no such line: one of a job that is accepted once more has the time of then."""
    return any(
        entry.event == Event.JOB_ACCEPTED
        and entry.fields.get("job_id") == job.job_id
        and abs(datetime.fromisoformat(entry.time) - job.accepted_at) <= _CLOCKS_APART
        for entry in trail.after(0)
    )


def _begun_late(trail: "AuditTrail", root: Path) -> str | None:
    """What is wrong with a trail that begins after the first of the jobs whose manifests are on the disk."""
    from node.jobs.manifest import ManifestStore

    try:
        oldest = next(ManifestStore(root / "jobs").all(), None)
    except IronnodeError as error:  # no fault of the trail
        click.echo(f"not compared with the jobs: {error}")
        return None
    if oldest is None:
        return None
    first = next(trail.after(0), None)
    if first is not None and datetime.fromisoformat(first.time) <= oldest.accepted_at + _CLOCKS_APART:
        return None
    begins = "is gone" if first is None else f"begins at {first.time}"
    if _saw_accepted(trail, oldest):
        click.echo(f"the trail {begins} by a clock that was ahead, and has the acceptance of the oldest job")
        return None
    accepted = f"job {oldest.job_id} was accepted at {oldest.accepted_at:%Y-%m-%dT%H:%M:%SZ}"
    return f"the trail {begins}, and {accepted}: lines before were taken out, or the clock was set back"
