"""Options that several commands share."""

from pathlib import Path

import click

from node.errors import IronnodeError

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar="IRONNODE_CONFIG",
    show_envvar=True,
    help="Configuration file (YAML).",
)


def say(error: IronnodeError) -> None:
    """One line on standard error, and a hint where there is one."""
    click.echo(f"ironnode: {error}", err=True)
    if error.hint:
        click.echo(f"          {error.hint}", err=True)
