"""Commands for the rules of the configuration: what is declined, and what goes where."""

import json
from pathlib import Path

import click

from node.commands.files import EXIT_MEASURED, EXIT_NOT_MEASURED
from node.commands.options import config_option
from node.config import load_config


@click.group("rules")
def rules_group() -> None:
    """Try the rules of the configuration, which decline acquisitions or say where their results go."""


@rules_group.command("test")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@click.pass_context
def test_rules(context: click.Context, paths: tuple[Path, ...], config_path: Path | None, as_json: bool) -> None:
    """Show what the rules make of DICOM files or folders, and why; nothing is measured or sent.

    The files are put together as the node does it. For each acquisition (and each group of files that is none): every
    rule, whether it matches, the tests that decided that with the values found, and the decision. The values are the
    images' own and may name a patient.

    \b
    Exit status: 0 there is something to measure, 3 everything would be declined, 2 wrong usage or unreadable input.
    """
    from node.process.ruled import as_record, as_text, rule_files

    config = load_config(config_path)
    found, left_out = rule_files(paths, config)
    for line in left_out:
        click.echo(f"left out: {line}", err=True)
    if as_json:
        click.echo(json.dumps([as_record(ruled) for ruled in found], indent=2))
    else:
        click.echo("\n\n".join([*([] if config.rules else ["the configuration has no rules"]), *map(as_text, found)]))
    context.exit(EXIT_NOT_MEASURED if all(ruled.declined for ruled in found) else EXIT_MEASURED)
