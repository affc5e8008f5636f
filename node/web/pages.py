"""The pages that show something."""

import json
from collections import Counter, defaultdict
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from node.app import PAGE_AE_TITLE, Node
from node.config import Config
from node.jobs.self_tests import SelfTests
from node.model import JobState
from node.ops.counters import read_counts
from node.ops.disk_watch import DiskLevel, disk_level, disk_words
from node.ops.selfcheck import run_checks
from node.runtime import gateway_name
from node.web.live_list import STATES, live_list
from node.web.rendering import page
from node.web.statistics import as_csv, by_day
from node.web.wording import MEASURE_NOW, SEND_NOW, trouble_of

_SELF_TESTS_SHOWN = 5
_STATISTICS_DAYS = 90  # on the page; the file has all
_SECRET = "(hidden)"  # noqa: S105 - what is shown instead


def node_of(request: Request) -> Node:
    """The node that the application shows."""
    node: Node = request.app.state.node
    return node


def acquisitions(request: Request) -> Response:
    """The live list; with ``part=list`` only its rows, for the refresh."""
    node = node_of(request)
    wanted = request.query_params.get("state", "")
    template = "list.html" if request.query_params.get("part") == "list" else "acquisitions.html"
    return page(request, template, lines=live_list(node, wanted), states=STATES, wanted=wanted, counts=node.status())


def dead_letters(request: Request) -> Response:
    """What will not go on by itself, or does not get on."""
    node = node_of(request)
    found = node.status().destinations
    return page(
        request,
        "dead_letters.html",
        parked=[(line, trouble_of(line)) for line in node.jobs(JobState.PARKED)],
        measure_now=MEASURE_NOW,
        send_now=SEND_NOW,
        troubled=[d for d in found if d.pending],
        not_taken=[d for d in found if d.unsupported],
        refusing=[d for d in found if d.commitment is not None and d.commitment.refused],
    )


def destinations(request: Request) -> Response:
    """Destinations with their backlog."""
    node = node_of(request)
    configured = {d.name: d for d in node.config.destinations}
    addresses = {m.name: m.address for m in node.config.messages}
    return page(
        request, "destinations.html", lines=node.status().destinations, configured=configured, addresses=addresses
    )


def receivers(request: Request) -> Response:
    """Who may send, and what they sent."""
    node = node_of(request)
    counts = read_counts(node.config.storage.root, gateway_name(node.config))
    stored: Counter[str] = Counter()
    received: Counter[str] = Counter()
    last: dict[str, str] = {}
    for line in node.figures.peers_by_day():
        stored[line.peer] += line.instances
        received[line.peer] += line.size_bytes
        last[line.peer] = max(last.get(line.peer, ""), line.last_received_at)
    allowed: defaultdict[str, list[str]] = defaultdict(list)
    for peer in node.config.receive.allow:
        allowed[peer.ae_title].append(peer.host)
    names = dict.fromkeys([*allowed, *stored, *(peer for _, peer in counts)])
    lines = [
        {
            "name": name,
            "hosts": "a job's page" if name == PAGE_AE_TITLE else ", ".join(allowed[name]) or "-",
            "instances": stored[name],
            "size_bytes": received[name],
            "associations": counts.get(("association_ended", name), 0),
            "rejected": counts.get(("association_rejected", name), 0),
            "refused": counts.get(("instance_refused", name), 0),
            "last": datetime.fromisoformat(last[name]) if name in last else None,
        }
        for name in names
    ]
    return page(request, "receivers.html", lines=lines, receive=node.config.receive)


def statistics(request: Request) -> Response:
    """Delivery statistics: those of the last days as a page or, below ``.csv``, all as a file."""
    node = node_of(request)
    committing = [d.name for d in node.config.destinations if d.commitment]
    as_file = request.url.path.endswith(".csv")
    today = node.clock().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = None if as_file else today - timedelta(days=_STATISTICS_DAYS)
    found = by_day(
        node.figures.peers_by_day(since_day="" if since is None else f"{since:%Y-%m-%d}"),
        node.figures.jobs(committing=committing, since=since),
        node.figures.declined(since=since),
    )
    lines = [line for line in found if line.peer != node.config.selftest.ae_title]  # nobody's images
    if as_file:
        headers = {"Content-Disposition": 'attachment; filename="ironnode-statistics.csv"'}
        return PlainTextResponse(as_csv(lines), media_type="text/csv", headers=headers)
    return page(request, "statistics.html", lines=lines, committing=committing, days=_STATISTICS_DAYS)


def system(request: Request) -> Response:
    """Processes and disk."""
    node = node_of(request)
    found, storage = node.status(), node.config.storage
    level = disk_level(found.free_mib, storage)
    return page(
        request,
        "system.html",
        found=found,
        storage=storage,
        disk_trouble=None if level is DiskLevel.OK else disk_words(found.free_mib, storage),
        level=level.value,
        self_tests=SelfTests(storage.root).all()[: -_SELF_TESTS_SHOWN - 1 : -1],
        self_test_every_h=node.config.selftest.every_h,
    )


def configuration(request: Request) -> Response:
    """The configuration in force, secrets hidden."""
    return page(
        request, "configuration.html", text=json.dumps(hidden(node_of(request).config), indent=2), findings=None
    )


def hidden(config: Config) -> dict[str, Any]:
    """The configuration as plain values; passwords, hashes and URLs that may hold them are left out."""
    tree: dict[str, Any] = json.loads(config.model_dump_json())
    for section in ("broker", "database"):
        tree[section]["url"] = _SECRET if tree[section]["url"] else None
    for user in tree["web"]["users"]:
        user["password_hash"] = _SECRET
    if tree["notify"]["webhook"]:
        tree["notify"]["webhook"]["url"] = _SECRET
    return tree


def findings_of(config: Config) -> list[dict[str, Any]]:
    """What ``ironnode check`` says."""
    return [asdict(finding) for finding in run_checks(config)]
