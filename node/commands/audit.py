"""Commands for the audit trail."""

from pathlib import Path

import click

from node.config import load_config

_BROKEN = 3


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
    it tells a trail that was made anew from the one that was there. Exit 0 as written, 3 not.
    """
    from node.ops.audit import AuditTrail

    trail = AuditTrail(load_config(config_path).storage.root)
    found = trail.verify()
    broken = found.broken
    if broken is None and head is not None and not trail.holds(head):
        broken = f"no line has the hash {head}: the trail was made anew"
    click.echo(f"{trail.path}: {found.entries} entries, head {found.head}")
    click.echo("as it was written" if broken is None else f"NOT as it was written: {broken}")
    context.exit(0 if broken is None else _BROKEN)
