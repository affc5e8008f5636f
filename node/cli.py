"""The ``ironnode`` command: one line for each error, never a traceback.

The commands themselves live in ``node/commands``; they import what they need when they run, so that ``--help``
answers at once.
"""

import os
import sys
import traceback

import click

from node.commands.audit import audit_group
from node.commands.backup import backup, restore
from node.commands.files import inspect, phantom, process, send
from node.commands.network import check, demo, gateway, selftest, serve, worker
from node.commands.operate import (
    config_group,
    jobs,
    migrate,
    rebuild,
    remeasure,
    retention,
    retry,
    show,
    status,
    web_password,
)
from node.commands.options import say
from node.commands.rules import rules_group
from node.errors import IronnodeError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ironnode", message="%(prog)s %(version)s")
def cli() -> None:
    """Liver iron from MRI, between the scanner and the PACS.

    ironnode receives multi-echo gradient-echo liver acquisitions by DICOM, fits R2*, converts it to liver iron
    concentration (LIC, mg Fe per g dry weight) and returns maps, a segmentation, a picture page and a Structured
    Report. It supports a clinician's decision and is no diagnosis.

    \b
    Try it:       ironnode demo
    Your data:    ironnode process FOLDER --out RESULTS
    Your node:    ironnode serve --config config.yaml
    """


for _command in (
    serve, gateway, worker, process, inspect, phantom, demo, send, check, selftest, status, jobs, show, retry,
    remeasure, rebuild, migrate, backup, restore, retention, config_group, web_password, audit_group, rules_group,
):  # fmt: skip
    cli.add_command(_command)


def main() -> None:
    """Run the command line; exit 2 with one clear line when the input or the usage is wrong."""
    try:
        cli(prog_name="ironnode")
    except IronnodeError as error:
        say(error)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the command line's edge: a user gets a line, not a traceback
        if os.environ.get("IRONNODE_TRACEBACK"):
            traceback.print_exc()
        click.echo(f"ironnode: internal error: {type(error).__name__}: {error}", err=True)
        click.echo("          Run again with IRONNODE_TRACEBACK=1 for the details and report them.", err=True)
        sys.exit(1)
