"""Commands that run the node or try its surroundings."""

import os
import signal
import threading
from pathlib import Path

import click

from node.commands.options import config_option, say
from node.config import load_config
from node.errors import IronnodeError


def _run(config_path: Path | None, part: str) -> None:
    reload = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: reload.set())  # during the start: done when it is over
    from node.ops.events import configure_logging
    from node.process.settings import settings_of
    from node.supervisor import ROLES_OF, run_node
    from node.tls import context_of, tls_sections

    config = load_config(config_path)
    os.umask(0o027)  # patient data: not for every user of this machine
    settings_of(config)  # a calibration or policy that does not exist must not wait for the first patient
    for key, tls in tls_sections(config):  # nor a certificate without its key
        context_of(tls, key)
    configure_logging()
    try:
        status = run_node(config, config_path, ROLES_OF[part], reload=reload)
    except IronnodeError as error:
        if not error.retryable:
            raise
        say(error)  # a database or disk that is not there yet: the service manager starts us again
        status = os.EX_TEMPFAIL
    raise SystemExit(status)


@click.command()
@config_option
def serve(config_path: Path | None) -> None:
    """Run the whole node on this machine: listener, assembler, worker, delivery, and a private broker.

    Logs one JSON object a line to standard error. SIGTERM ends it in order: nothing that was acknowledged is lost,
    not even when the machine loses power.
    """
    _run(config_path, "serve")


@click.command()
@config_option
def gateway(config_path: Path | None) -> None:
    """Run the half that talks DICOM: listener, assembler, delivery. Workers run elsewhere (`ironnode worker`).

    Needs broker.url and database.url where the workers are on other machines.
    """
    _run(config_path, "gateway")


@click.command()
@config_option
def worker(config_path: Path | None) -> None:
    """Run the half that measures: takes jobs from the broker, reads the spool, writes the outbox.

    Start as many as you like, on any machine that shares storage.root, broker.url and database.url.
    """
    _run(config_path, "worker")


@click.command()
@config_option
@click.pass_context
def check(context: click.Context, config_path: Path | None) -> None:
    """Validate the configuration and try everything it names; say what to fix.

    Sends a C-ECHO to every destination, looks at broker, ledger, disk and clock. Exit 0 all well, 3 something
    needs attention, 2 the configuration itself is wrong.
    """
    from node.ops.selfcheck import run_checks

    config = load_config(config_path)
    click.echo(f"configuration  ok: {config_path or 'defaults'}")
    findings = run_checks(config)
    for finding in findings:
        click.echo(f"{finding.part:<14} {finding.verdict}: {finding.text}")
        if finding.fix:
            click.echo(f"{'':<14} -> {finding.fix}")
    context.exit(3 if any(f.verdict == "FAILED" for f in findings) else 0)


@click.command()
@config_option
@click.pass_context
def selftest(context: click.Context, config_path: Path | None) -> None:
    """Test the running node: send it a phantom by C-STORE, wait for its LIC, compare it with the truth.

    The result goes to no destination. receive.allow must list selftest.ae_title for this host. The outcome is kept:
    `ironnode status`, the web page and the metrics show the last one. Exit 0 passed, 3 drifted or failed.
    """
    import threading

    from node.app import open_node
    from node.jobs.self_tests import Verdict
    from node.ops.self_test import run_self_test

    with open_node(load_config(config_path)) as node:
        test = run_self_test(node, threading.Event())
    click.echo(f"self-test {test.verdict}: {test.text}")
    context.exit(0 if test.verdict == Verdict.PASSED else 3)


@click.command()
@click.option(
    "--out", default="demo-out", show_default=True, type=click.Path(file_okay=False, path_type=Path),
    help="Folder for everything the demo makes; an earlier demo's content is replaced.",
)  # fmt: skip
def demo(out: Path) -> None:
    """Show the whole way on this machine, for real.

    Starts the node and a small receiving PACS on free loopback ports, sends a phantom with known iron over C-STORE,
    waits until maps, segmentation and report have come back over the network, prints the report and the pictures'
    paths. Exit 0 only if all of that happened.
    """
    from node.demo import run_demo

    run_demo(out, click.echo)
