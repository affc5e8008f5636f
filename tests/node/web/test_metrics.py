"""Metrics against the ledger's truth; rules and dashboard name only metrics that exist."""

import json
import logging
import re
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from node.app import open_node
from node.config import BrokerConfig, Config
from node.jobs.broker import answers_at
from node.ops.counters import UNKNOWN_PEER, EventCounter, read_counts
from node.ops.events import Event, emit
from node.web.health import ready
from node.web.metrics import Metrics

MONITORING = Path(__file__).resolve().parents[3] / "deploy" / "monitoring"


def samples(text: str) -> dict[tuple[str, str], float]:
    """(name, labels as text) -> value, as Prometheus' own parser reads it."""
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_metrics_count_what_happened(client, config) -> None:
    found = samples(client.get("/metrics").text)
    assert found["ironnode_peer_instances_total", "?"] == 12
    assert found["ironnode_jobs", "done"] == 1
    assert found["ironnode_destination_objects", "pacs,pending"] == 1
    assert found["ironnode_destination_objects", "pacs,sent"] == 2
    assert found["ironnode_outcomes_total", "measured,"] == 1
    assert (
        sum(v for (name, labels), v in found.items() if name == "ironnode_outcomes_total" and "declined" in labels) == 1
    )
    assert found["ironnode_stage_latency_seconds_count", "process"] == 1
    assert found["ironnode_stage_latency_seconds_count", "deliver"] == 0
    assert found["ironnode_disk_min_free_bytes", ""] == config.storage.min_free_mib << 20
    assert found["ironnode_events_total", "job_done"] == 1
    assert found["ironnode_set_apart_files", "quarantine"] == found["ironnode_set_apart_bytes", "unreadable"] == 0
    for peer in ("MRSCANNER", UNKNOWN_PEER):  # alert rules see an increase only from a number that was there
        assert found["ironnode_peer_rejected_associations_total", peer] == 0


def test_lic_is_counted_in_its_band(client, worked) -> None:
    from sqlalchemy import update

    from node.jobs import schema

    with worked.ledger.database.writing() as connection:
        record = {"status": "measured", "lic_mg_per_g": {"median": 2.5}, "reasons": [], "objects": []}
        connection.execute(update(schema.job).values(record=record))
    found = samples(client.get("/metrics").text)
    bands = {labels: value for (name, labels), value in found.items() if name == "ironnode_lic_mg_per_g_bucket"}
    assert (bands["1.8"], bands["3.2"], bands["+Inf"]) == (0, 1, 1)
    assert found["ironnode_lic_mg_per_g_sum", ""] == 2.5


def test_associations_are_counted_over_restarts_and_invented_titles_together(tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO, "ironnode")
    for _ in range(2):
        counter = EventCounter(tmp_path, {"MRSCANNER"})
        counter.start()
        emit(Event.ASSOCIATION_ENDED, calling_ae_title="MRSCANNER")
        for number in range(3):
            emit(Event.ASSOCIATION_REJECTED, calling_ae_title=f"INVENTED{number}")
        counter.close()
    assert read_counts(tmp_path) == {("association_ended", "MRSCANNER"): 2, ("association_rejected", UNKNOWN_PEER): 6}


@pytest.mark.parametrize("name", ["alerts.yaml", "grafana-dashboard.json"])
def test_monitoring_names_metrics_that_exist(client, name) -> None:
    text = client.get("/metrics").text
    families = [f for f in text_string_to_metric_families(text)]
    exposed = {f.name for f in families} | {s.name for f in families for s in f.samples}
    exposed |= set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    exposed |= {f"{f.name}_total" for f in families if f.type == "counter"}
    named = set(re.findall(r"\bironnode_[a-z_]+", (MONITORING / name).read_text()))
    assert len(named) > 4
    assert named <= exposed


def test_a_broker_elsewhere_is_watched(worked, config) -> None:
    """It answers; it takes the connection and says nothing; nobody listens. The private broker is a role: no sample."""
    with open_node(config) as node:
        assert ("ironnode_broker_up", "") not in samples(Metrics().exposition(node).decode())

    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            while asked := connection.recv(1 << 16):
                connection.sendall(b"+PONG\r\n" if b"PING" in asked else b"+OK\r\n" * asked.count(b"CLIENT"))

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        with open_node(replaced(config, url)) as node:
            assert samples(Metrics().exposition(node).decode())["ironnode_broker_up", ""] == 1
        assert not answers_at(url, 0.05)  # nobody accepts any more
    with open_node(replaced(config, url)) as node:
        assert samples(Metrics().exposition(node).decode())["ironnode_broker_up", ""] == 0


def test_a_ledger_that_cannot_be_read_is_named_and_hides_nothing_else(client, worked, config) -> None:
    """Its file is damaged: what disk and processes tell is told still."""
    assert client.get("/ready").json()["parts"]["ledger"] is True
    assert samples(client.get("/metrics").text)["ironnode_ledger_up", ""] == 1
    worked.ledger.database.close()
    for suffix in ("", "-wal", "-shm"):
        (config.storage.root / f"ledger.sqlite{suffix}").write_bytes(b"no database at all" * 300)
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert answer.json()["parts"] == {"ledger": False, "spool": True, "disk": True}
    found = samples(client.get("/metrics").text)
    assert found["ironnode_ledger_up", ""] == 0
    assert found["ironnode_disk_free_bytes", ""] > 0
    assert ("ironnode_jobs", "done") not in found


def test_readiness_names_a_broker_elsewhere_and_a_storage_root_that_is_gone(worked, config) -> None:
    with open_node(config) as node:
        assert "broker" not in ready(node)[1]["parts"]
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with open_node(replaced(config, f"redis://127.0.0.1:{port}/0")) as node:
        code, answer = ready(node)
        assert (code, answer["parts"]) == (503, {"ledger": True, "spool": True, "disk": True, "broker": False})
        config.storage.root.rename(config.storage.root.with_name("unmounted"))
        code, answer = ready(node)
        assert (code, answer["disk_level"]) == (503, None)
        assert (answer["parts"]["spool"], answer["parts"]["disk"]) == (False, False)


def replaced(config: Config, url: str) -> Config:
    """The configuration with a broker elsewhere."""
    return config.model_copy(update={"broker": BrokerConfig(url=url)})


def test_the_dashboard_covers_every_family(client) -> None:
    shown = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    queries = " ".join(t["expr"] for panel in shown["panels"] for t in panel["targets"])
    families = {f.name for f in text_string_to_metric_families(client.get("/metrics").text)}
    not_drawn = {"ironnode_disk_warn_free_bytes", "ironnode_disk_min_free_bytes",
                 "ironnode_events", "ironnode_destination_oldest_age_seconds",
                 "ironnode_self_test_passed", "ironnode_self_test_timestamp_seconds",
                 "ironnode_self_test_every_seconds", "ironnode_set_apart_files", "ironnode_set_apart_bytes",
                 "ironnode_config_refused", "ironnode_audit_unsent_age_seconds",
                 "ironnode_peer_refused_instances", "ironnode_destination_untold_results"}  # fmt: skip
    assert {f for f in families if f not in queries} == not_drawn


@pytest.mark.peer
def test_prometheus_takes_metrics_and_rules(client, peer: Callable[[str], Path]) -> None:
    promtool = peer("promtool")
    rules = subprocess.run([promtool, "check", "rules", MONITORING / "alerts.yaml"], capture_output=True, check=False)
    assert rules.returncode == 0, rules.stderr
    text = client.get("/metrics").content
    metrics = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert metrics.returncode == 0, metrics.stderr + metrics.stdout


@pytest.mark.peer
def test_alerts_fire_in_a_simulated_outage(peer: Callable[[str], Path], tmp_path) -> None:
    cases = tmp_path / "cases.yaml"
    cases.write_text(
        f"""
rule_files: [{MONITORING / "alerts.yaml"}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'ironnode_role_alive{{role="worker"}}', values: '1 1 0x20'}}
      - {{series: 'ironnode_destination_oldest_age_seconds{{destination="pacs"}}', values: '0+300x20'}}
      - {{series: 'ironnode_broker_up', values: '1 1 0x20'}}
      - {{series: 'ironnode_config_refused', values: '0 1x20'}}
      - {{series: 'ironnode_ledger_up', values: '1 1 0x20'}}
      - {{series: 'ironnode_destination_untold_results{{destination="pacs"}}', values: '0 2x20'}}
      - {{series: 'ironnode_self_test_timestamp_seconds', values: '0x20'}}
      - {{series: 'ironnode_self_test_every_seconds', values: '300x20'}}
    alert_rule_test:
      - {{eval_time: 10m, alertname: IronnodeSelfTestMissing, exp_alerts: []}}
      - eval_time: 11m
        alertname: IronnodeSelfTestMissing
        exp_alerts:
          - exp_labels: {{severity: warning}}
            exp_annotations: {{summary: The scheduled self-test did not run; ironnode selftest runs one}}
      - {{eval_time: 1m, alertname: IronnodeConfigRefused, exp_alerts: []}}
      - eval_time: 5m
        alertname: IronnodeConfigRefused
        exp_alerts:
          - exp_labels: {{severity: warning}}
            exp_annotations:
              summary: A changed configuration on  is wrong or needs a restart; the one before stays in force
      - {{eval_time: 1m, alertname: IronnodeBrokerAway, exp_alerts: []}}
      - eval_time: 5m
        alertname: IronnodeBrokerAway
        exp_alerts:
          - exp_labels: {{severity: critical}}
            exp_annotations: {{summary: The broker at broker.url does not answer ; nothing new is measured}}
      - {{eval_time: 1m, alertname: IronnodeLedgerAway, exp_alerts: []}}
      - eval_time: 5m
        alertname: IronnodeLedgerAway
        exp_alerts:
          - exp_labels: {{severity: critical}}
            exp_annotations: {{summary: The ledger (database.url) of  cannot be read; images are kept and wait}}
      - {{eval_time: 1m, alertname: IronnodeRoleDown, exp_alerts: []}}
      - eval_time: 5m
        alertname: IronnodeRoleDown
        exp_alerts:
          - exp_labels: {{severity: critical, role: worker}}
            exp_annotations: {{summary: "The process worker is not running, or a fault keeps it from its work"}}
      - {{eval_time: 1m, alertname: IronnodeResultUntold, exp_alerts: []}}
      - eval_time: 5m
        alertname: IronnodeResultUntold
        exp_alerts:
          - exp_labels: {{severity: critical, destination: pacs}}
            exp_annotations:
              summary: "pacs takes neither page, PDF nor report: nobody reads 2 results there"
      - eval_time: 15m
        alertname: IronnodeDeliveryStuck
        exp_alerts:
          - exp_labels: {{severity: warning, destination: pacs}}
            exp_annotations: {{summary: Results wait for pacs for more than half an hour}}
"""
    )
    done = subprocess.run([peer("promtool"), "test", "rules", cases], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
