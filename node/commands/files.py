"""Commands that work on files: measure them, make a phantom, send them."""

import json
from pathlib import Path
from typing import Any

import click

from node.commands.options import config_option
from node.config import CallerTls, load_config
from node.errors import InputError
from node.model import StoreOutcome

_pem = click.Path(exists=True, dir_okay=False, path_type=Path)
EXIT_MEASURED, EXIT_NOT_MEASURED = 0, 3


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results.")
@config_option
@click.option("--indication", help="Indication id of the follow-up policy, e.g. scd-chronic-transfusion.")
@click.option(
    "--region",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Segmentation or RT Structure Set: measure the liver drawn there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of the report.")
@click.pass_context
def process(
    context: click.Context, paths: tuple[Path, ...], out: Path, config_path: Path | None, indication: str | None,
    region: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure DICOM files or folders, without any network (but for priors.archive, where the configuration names one).

    Writes result.json, report.html, report.pdf, PNG pictures and dicom/*.dcm to the folder OUT; with more than one
    acquisition in PATHS each gets a numbered folder below it. Objects are dated with the acquisition's own date and
    time, so the same input gives the same bytes.

    \b
    Exit status: 0 measured, 3 not measurable or declined (the reason is printed and in result.json),
                 2 wrong usage or unreadable input.
    """
    from node.process.batch import process_files

    config = load_config(config_path)
    results = process_files(
        paths, out, config, indication=indication, show=lambda text: click.echo(text, err=True), region=region
    )
    for result in results:
        click.echo(json.dumps(result.record, indent=2) if as_json else result.text)
        if not as_json:
            click.echo(f"\nResults: {result.folder}")
    measured = any(result.record["status"] == "measured" for result in results)
    context.exit(EXIT_MEASURED if measured else EXIT_NOT_MEASURED)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@click.pass_context
def inspect(context: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Show what DICOM files or folders hold, as the node sees it, without measuring.

    For each acquisition: the table of kinds, echoes and slices, the echo times, missing images, duplicates, and which
    images were preferred; for everything else why it would be declined.

    \b
    Exit status: 0 there is something to measure, 3 everything would be declined, 2 wrong usage or unreadable input.
    """
    from node.process.inspection import as_record, as_text, inspect_files

    inspection = inspect_files(paths)
    click.echo(json.dumps(as_record(inspection), indent=2) if as_json else as_text(inspection))
    measurable = any(plan.declined is None for plan in inspection.plans)
    context.exit(EXIT_MEASURED if measurable else EXIT_NOT_MEASURED)


@click.command()
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the files.")
@click.option("--r2star-per-s", default=67.73, show_default=True, type=click.FloatRange(0, 5000), help="Liver R2*, /s.")
@click.option("--pdff-percent", default=2.0, show_default=True, type=click.FloatRange(0, 60), help="Liver fat, %.")
@click.option("--field-t", default="1.5", show_default=True, type=click.Choice(["1.5", "3.0"]), help="Field strength.")
@click.option("--echoes", type=click.IntRange(1, 64), help="Number of echoes.  [default: by field]")
@click.option("--te1-ms", type=click.FloatRange(0.1, 100), help="First echo time.  [default: by field]")
@click.option("--delta-te-ms", type=click.FloatRange(0.05, 100), help="Echo spacing.  [default: by field]")
@click.option("--slices", default=12, show_default=True, type=click.IntRange(1, 64), help="Number of slices.")
@click.option("--matrix", default=192, show_default=True, type=click.IntRange(32, 512), help="Rows and columns.")
@click.option("--snr", default=50.0, show_default=True, type=click.FloatRange(1, 10000), help="Liver S0 over noise SD.")
@click.option(
    "--dialect", default="generic", show_default=True, help="Whose way of writing DICOM (enhanced: Philips').",
    type=click.Choice(
        ["generic", "siemens", "siemens-xa", "ge", "philips", "philips-enhanced", "canon", "enhanced"]
    ),
)  # fmt: skip
@click.option(
    "--kind", default="magnitude", show_default=True, type=click.Choice(["magnitude", "complex"]), help="Signal kind."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Same seed, same bytes.")
def phantom(**options: Any) -> None:
    """Write a digital abdomen with known liver iron as DICOM, and truth.json beside it."""
    from node.simulate.command import make_phantom_files

    files = make_phantom_files(**options)
    click.echo(f"{len(files)} DICOM files and truth.json in {options['out']}")


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--to", "target", required=True, metavar="AE@HOST:PORT", help="Where to send.")
@click.option("--calling", default="IRONNODE", show_default=True, help="AE title to call ourselves.")
@click.option(
    "--timeout-s", default=30.0, show_default=True, type=click.FloatRange(1), help="Connect and answer timeout."
)
@click.option("--tls-ca", type=_pem, help="Send over TLS; PEM file with the authority of the peer's certificate.")
@click.option("--tls-certificate", type=_pem, help="Our certificate (PEM), where the peer asks for one.")
@click.option("--tls-key", type=_pem, help="Its key (PEM).")
@click.pass_context
def send(
    context: click.Context, paths: tuple[Path, ...], target: str, calling: str, timeout_s: float,
    tls_ca: Path | None, tls_certificate: Path | None, tls_key: Path | None,
) -> None:  # fmt: skip
    """Send DICOM files or folders to another system by C-STORE.

    Exit status: 0 everything was stored, 3 something was refused (each refusal is printed), 2 wrong usage or no
    connection.
    """
    from tqdm import tqdm

    from node.dimse.scu import Peer
    from node.dimse.scu import send as send_files
    from node.process.found import dicom_files

    peer = parse_target(target)
    if (tls_certificate is None) != (tls_key is None) or (tls_key is not None and tls_ca is None):
        raise InputError("--tls-certificate and --tls-key go together, and with --tls-ca")
    tls = None if tls_ca is None else CallerTls(ca=tls_ca, certificate=tls_certificate, key=tls_key)
    files = dicom_files(paths)
    if not files:
        raise InputError(f"no DICOM file in {', '.join(map(str, paths))}")
    with tqdm(total=len(files), unit="object", disable=None) as bar:

        def advance(_outcome: StoreOutcome) -> None:
            bar.update()

        target_peer = Peer(ae_title=peer[0], host=peer[1], port=peer[2], tls=tls)
        outcomes = send_files(files, target_peer, calling_ae_title=calling, timeout_s=timeout_s, on_outcome=advance)
    refused = [o for o in outcomes if not o.stored]
    for outcome in refused:
        click.echo(f"{outcome.path}: {outcome.status}: {outcome.detail}", err=True)
    click.echo(f"{len(outcomes) - len(refused)} of {len(files)} objects stored by {target}")
    context.exit(EXIT_NOT_MEASURED if refused else 0)


def parse_target(target: str) -> tuple[str, str, int]:
    """AE title, host and port of ``AE@HOST:PORT``.

    Raises:
        InputError: the text has another form.
    """
    ae_title, at, place = target.partition("@")
    host, colon, port = place.rpartition(":")
    if not (at and colon and host and 0 < len(ae_title) <= 16 and port.isdigit() and 0 < int(port) < 65536):
        raise InputError(f"--to {target}: expected AE@HOST:PORT, for example PACS@10.1.2.4:104")
    return ae_title, host.strip("[]"), int(port)
