"""Commands that keep a copy of a node and bring it back."""

from pathlib import Path

import click

from node.commands.options import config_option
from node.config import load_config

_ARCHIVE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("archive", type=_ARCHIVE)
@config_option
def backup(archive: Path, config_path: Path | None) -> None:
    """Write images, results, jobs, audit trail and ledger into ARCHIVE, a new tar file; the node may run.

    It holds patient data. Configuration and its secrets are not in it: keep those as you keep your other systems'.
    A ledger in PostgreSQL is not in it either: take its dump first (pg_dump), then this.
    """
    from node.backup import back_up

    done = back_up(load_config(config_path), archive)
    ledger = "with the ledger" if done.ledger else "WITHOUT the ledger (it is not in the storage root)"
    click.echo(f"{archive}: {done.files} files, {done.size_bytes / 2**20:.1f} MiB, {ledger}")


@click.command()
@click.argument("archive", type=_ARCHIVE)
@config_option
def restore(archive: Path, config_path: Path | None) -> None:
    """Put ARCHIVE into the configuration's storage root, which must be empty; start the node afterwards.

    Every file's digest is checked first. Results that were delivered after the backup are delivered again: the same
    bytes under the same identifiers, which a PACS recognises.
    """
    from node.backup import restore as put_back

    done = put_back(load_config(config_path), archive)
    click.echo(f"{done.files} files of {done.made_at.astimezone():%Y-%m-%d %H:%M:%S}, made by ironnode {done.made_by}")
    click.echo(f"{done.rebuilt.instances} images in the spool, {done.rebuilt.jobs} jobs that the ledger did not know")
    if not done.ledger:
        click.echo("without its ledger: every result that the ledger here does not know is delivered again")
    for text in done.rebuilt.unreadable:
        click.echo(f"unreadable: {text}")
