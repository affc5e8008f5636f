"""Options that several commands share."""

from pathlib import Path

import click

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar="IRONNODE_CONFIG",
    show_envvar=True,
    help="Configuration file (YAML).",
)
