"""Prometheus metrics, made from ledger, disk and the listener's counts at each scrape. No patient data, no UIDs.

A total can fall when retention removes old rows; Prometheus takes that for a restart of the counter.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from node.app import Node, free_mib, wall_clock
from node.jobs.broker import answers_at
from node.jobs.figures import JobFigures
from node.jobs.self_tests import Verdict
from node.model import AcquisitionState, JobState
from node.ops.counters import UNKNOWN_PEER, read_counts
from node.ops.events import Event
from node.runtime import gateway_name, gateway_run
from node.status import NodeStatus
from node.web.health import BROKER_ANSWERS_WITHIN_S, ledger_answers
from node.web.totals import JobTotals, Totals

_MIB = 1 << 20


class Metrics:
    """Metrics of one ledger, for as long as the process lives; any thread may ask."""

    def __init__(self) -> None:
        self._totals = Totals()

    def exposition(self, node: Node) -> bytes:
        """The text that Prometheus reads."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_NodeCollector(node, self._totals))
        return generate_latest(registry)


class _NodeCollector(Collector):
    def __init__(self, node: Node, totals: Totals) -> None:
        self._node = node
        self._totals = totals

    def collect(self) -> Iterable[Metric]:
        yield from _roles_and_disk(self._node)
        yield _broker(self._node.config.broker.url)
        answers = ledger_answers(self._node)
        yield GaugeMetricFamily("ironnode_ledger_up", "1 while the ledger can be read; else all that it tells lacks",
                                answers)  # fmt: skip
        if answers:
            yield from self._of_the_ledger()

    def _of_the_ledger(self) -> Iterator[Metric]:
        status = self._node.status()
        totals, unsettled = self._totals.jobs(self._node.figures)
        yield from _self_test(status, self._node.config.selftest.every_h)
        yield from _set_apart(status)
        yield self._audit(status)
        yield from self._peers()
        yield from self._stages(status, unsettled, wall_clock())
        yield _latencies(totals)
        yield from self._outcomes(totals)
        yield from _destinations(status, wall_clock())
        events = CounterMetricFamily("ironnode_events", "Transitions in the ledger's trail", labels=["event"])
        for name, number in sorted(self._node.figures.events().items()):
            events.add_metric([name], number)
        yield events

    def _audit(self, status: NodeStatus) -> Metric:
        age = GaugeMetricFamily("ironnode_audit_unsent_age_seconds", "Age of what the audit server has not got yet")
        if self._node.config.audit.syslog is not None:
            since = status.audit_unsent_since
            age.add_metric([], 0.0 if since is None else max(0.0, (wall_clock() - since).total_seconds()))
        return age

    def _peers(self) -> Iterator[Metric]:
        config = self._node.config
        counts = read_counts(config.storage.root, gateway_name(config))
        nobody_yet = dict.fromkeys((*(peer.ae_title for peer in config.receive.allow), UNKNOWN_PEER), 0)
        stored, size = self._totals.arrivals(self._node.figures, wall_clock())
        yield _by_peer("ironnode_peer_instances", "Instances kept", stored)
        yield _by_peer("ironnode_peer_bytes", "Bytes of the instances kept", size)
        for event, name, text in (
            (Event.ASSOCIATION_ENDED, "ironnode_peer_associations", "Associations that ended"),
            (Event.ASSOCIATION_REJECTED, "ironnode_peer_rejected_associations", "Associations rejected"),
            (Event.INSTANCE_REFUSED, "ironnode_peer_refused_instances", "Instances answered with a failure"),
        ):
            found = {peer: n for (name_of_event, peer), n in counts.items() if name_of_event == event.value}
            yield _by_peer(name, text, {**nobody_yet, **found})  # a series that begins at 1 is no increase

    def _stages(self, status: NodeStatus, jobs: list[JobFigures], now: datetime) -> Iterator[Metric]:
        receiving = self._node.acquisitions(AcquisitionState.RECEIVING)
        waiting = [job.accepted_at for job in jobs if job.state in (JobState.QUEUED, JobState.RUNNING)]
        due = [d.waiting_since for d in status.destinations if d.waiting_since is not None]
        depth = GaugeMetricFamily("ironnode_stage_depth", "What a stage has still to do", labels=["stage"])
        age = GaugeMetricFamily("ironnode_stage_oldest_age_seconds", "Age of the oldest of these", labels=["stage"])
        for stage, number, moments in (
            ("index", status.inbox, []),
            ("assemble", len(receiving), [a.changed_at for a in receiving]),
            ("process", len(waiting), waiting),
            ("deliver", sum(d.pending for d in status.destinations), due),
        ):
            depth.add_metric([stage], number)
            if stage != "index":
                age.add_metric([stage], max((now - min(moments)).total_seconds(), 0.0) if moments else 0.0)
        yield depth
        yield age
        states = GaugeMetricFamily("ironnode_jobs", "Jobs in each state", labels=["state"])
        for state, number in status.jobs.items():
            states.add_metric([state], number)
        yield states

    def _outcomes(self, totals: JobTotals) -> Iterator[Metric]:
        outcomes = totals.outcomes.copy()
        for code, number in self._node.figures.declined_by_code().items():
            outcomes["declined", code] += number
        family = CounterMetricFamily(
            "ironnode_outcomes",
            "Acquisitions by outcome; reason is the first coded reason",
            labels=["outcome", "reason"],
        )
        for labels, number in sorted(outcomes.items()):
            family.add_metric(list(labels), number)
        yield family
        lic = HistogramMetricFamily("ironnode_lic_mg_per_g", "Median LIC of measured acquisitions, mg/g dry weight")
        lic.add_metric([], totals.lic_mg_per_g.buckets, totals.lic_mg_per_g.sum)
        yield lic


def _by_peer(name: str, text: str, numbers: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=["peer"])
    for peer, number in sorted(numbers.items()):
        family.add_metric([peer], number)
    return family


def _roles_and_disk(node: Node) -> Iterator[Metric]:
    storage = node.config.storage
    roles = GaugeMetricFamily(
        "ironnode_role_alive", "1 while the process of a role is there and works", labels=["role"]
    )
    for role, alive in gateway_run(node.config).roles_alive().items():
        roles.add_metric([role], alive)
    yield roles
    refused = gateway_run(node.config).config_refused() is not None
    yield GaugeMetricFamily("ironnode_config_refused", "1 while a changed configuration was not taken up", refused)
    free = free_mib(storage.root) * _MIB
    yield GaugeMetricFamily("ironnode_disk_free_bytes", "Free space under storage.root", free)
    for name, mib in (("min", storage.min_free_mib), ("warn", storage.warn_free_mib)):
        yield GaugeMetricFamily(f"ironnode_disk_{name}_free_bytes", f"storage.{name}_free_mib in bytes", mib * _MIB)


def _set_apart(status: NodeStatus) -> Iterator[Metric]:
    files = GaugeMetricFamily("ironnode_set_apart_files", "Files that wait for a person to look", labels=["place"])
    size = GaugeMetricFamily("ironnode_set_apart_bytes", "Their size", labels=["place"])
    for place, counts in status.set_apart.items():
        files.add_metric([place], counts.files)
        size.add_metric([place], counts.size_bytes)
    yield from (files, size)


def _broker(url: str | None) -> Metric:
    """The private broker is a role of the node, and has no sample here."""
    up = GaugeMetricFamily("ironnode_broker_up", "1 while the broker at broker.url answers this gateway")
    if url is not None:
        up.add_metric([], answers_at(url, BROKER_ANSWERS_WITHIN_S))
    return up


def _self_test(status: NodeStatus, every_h: float | None) -> Iterator[Metric]:
    test = status.self_test
    passed = GaugeMetricFamily("ironnode_self_test_passed", "1 when the last self-test passed")
    when = GaugeMetricFamily("ironnode_self_test_timestamp_seconds", "When it was")
    deviation = GaugeMetricFamily("ironnode_self_test_deviation_percent", "Its LIC against the truth")
    every = GaugeMetricFamily("ironnode_self_test_every_seconds", "selftest.every_h in seconds, where there is one")
    if every_h is not None:
        every.add_metric([], every_h * 3600.0)
    if test is not None:
        passed.add_metric([], test.verdict == Verdict.PASSED)
        when.add_metric([], test.at.timestamp())
    if test is not None and test.deviation_percent is not None:
        deviation.add_metric([], test.deviation_percent)
    yield from (passed, when, deviation, every)


def _latencies(totals: JobTotals) -> Metric:
    family = HistogramMetricFamily(
        "ironnode_stage_latency_seconds",
        "assemble: last image to job; process: job to result; deliver: result to the last object at all destinations",
        labels=["stage"],
    )
    for stage, histogram in totals.latency_s.items():
        family.add_metric([stage], histogram.buckets, histogram.sum)
    return family


def _destinations(status: NodeStatus, now: datetime) -> Iterator[Metric]:
    objects = GaugeMetricFamily(
        "ironnode_destination_objects", "Objects of each destination by state", labels=["destination", "state"]
    )
    age = GaugeMetricFamily(
        "ironnode_destination_oldest_age_seconds", "Age of what waits longest for it", labels=["destination"]
    )
    untold = GaugeMetricFamily(
        "ironnode_destination_untold_results",
        "Results of which it takes neither page, PDF nor report",
        labels=["destination"],
    )
    for line in status.destinations:
        untold.add_metric([line.name], line.untold)
        objects.add_metric([line.name, "pending"], line.pending)
        objects.add_metric([line.name, "sent"], line.sent)
        objects.add_metric([line.name, "not_taken"], sum(line.unsupported.values()))
        if line.commitment is not None:
            objects.add_metric([line.name, "committed"], line.commitment.committed)
            objects.add_metric([line.name, "commitment_asked"], line.commitment.waiting)
            objects.add_metric([line.name, "commitment_refused"], line.commitment.refused)
        age.add_metric([line.name], 0.0 if line.waiting_since is None else (now - line.waiting_since).total_seconds())
    yield objects
    yield untold
    yield age
