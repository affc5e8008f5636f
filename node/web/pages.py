"""The pages that show something."""

import json
from collections import Counter
from dataclasses import asdict
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from node.app import JobDetails, Node
from node.config import Config
from node.errors import IronnodeError
from node.jobs.commitments import Commitment
from node.jobs.deliveries import Delivery
from node.jobs.overview import JobLine, TrailLine
from node.jobs.self_tests import SelfTests
from node.model import CommitmentState, DeliveryState, JobState
from node.ops.counters import read_counts
from node.ops.disk_watch import disk_level, disk_words
from node.ops.selfcheck import run_checks
from node.runtime import gateway_name
from node.web.guard import REPORT_POLICY
from node.web.live_list import STATES, live_list
from node.web.rendering import page
from node.web.statistics import as_csv, by_day

_SELF_TESTS_SHOWN = 5
PICTURES = {"map.png": "Map", "anatomy.png": "Region on the first echo", "decay.png": "Decay"}
"""Pictures of a result folder, and what they show."""
_WITH_IDENTITY = {"report.html": "text/html; charset=utf-8", "report.pdf": "application/pdf"}
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


def job(request: Request) -> Response:
    """Everything about one job."""
    node = node_of(request)
    details = _details(request)
    folder = details.result_folder
    record: dict[str, Any] = details.record or {}
    (figures,) = node.figures.jobs([details.job.job_id])
    return page(
        request,
        "job.html",
        job=details.job,
        line=details.line,
        source=figures.peer,
        record=record,
        deliveries=_summed(details.deliveries, details.commitments),
        removal=details.removal,
        route=details.route,
        regions=node.regions(details.job),
        standing=node.standing(details.job),
        indications=node.indications(),
        refused=any(c.state == CommitmentState.REFUSED for c in details.commitments),
        events=_events(details.trail),
        timeline=_timeline(details.line, figures.last_received_at, figures.last_sent_at),
        pictures={n: t for n, t in PICTURES.items() if folder and (folder / n).is_file()},
        reports=[n for n in _WITH_IDENTITY if _shows_identity(node) and folder and (folder / n).is_file()],
        report_text=_text(folder),
    )


def _details(request: Request) -> JobDetails:
    try:
        return node_of(request).show(request.path_params["job_id"])
    except IronnodeError as error:
        raise HTTPException(404, str(error)) from error


def _timeline(line: JobLine, received: datetime | None, sent: datetime | None) -> list[tuple[str, datetime]]:
    steps = (
        ("last image received", received),
        ("job accepted", line.accepted_at),
        ("result ready", line.finished_at),
        ("last object sent", sent),
    )
    return [(name, moment) for name, moment in steps if moment is not None]


def _events(trail: tuple[TrailLine, ...]) -> list[dict[str, Any]]:
    """The trail with a run of like steps, one for each object of a delivery, as one line."""
    lines = []
    for _, run in groupby(trail, key=lambda step: (step.name, *_common(step).items())):
        steps = list(run)
        fields = steps[0].fields if len(steps) == 1 else {"objects": len(steps), **_common(steps[0])}
        lines.append({"at": steps[-1].at, "name": steps[0].name, "fields": fields})
    return lines


def _common(step: TrailLine) -> dict[str, Any]:
    return {name: str(value) for name, value in step.fields.items() if name not in ("sop_instance_uid", "role")}


def _summed(deliveries: tuple[Delivery, ...], commitments: tuple[Commitment, ...]) -> list[dict[str, Any]]:
    """One line for each destination."""
    names = dict.fromkeys(d.destination for d in deliveries)
    lines = []
    for name in names:
        mine = [d for d in deliveries if d.destination == name]
        waiting = [d for d in mine if d.state == DeliveryState.PENDING]
        lines.append(
            {
                "name": name,
                "sent": sum(d.state == DeliveryState.SENT for d in mine),
                "not_taken": sum(d.state == DeliveryState.UNSUPPORTED for d in mine),
                "all": len(mine),
                "committed": _committed([c for c in commitments if c.destination == name], len(mine)),
                "next": min((d.next_try_at for d in waiting), default=None),
                "detail": next((d.last_detail for d in (*waiting, *mine) if d.last_detail), "-"),
            }
        )
    return lines


def _committed(asked: list[Commitment], number: int) -> str:
    """How storage commitment at one destination stands, in words."""
    if not asked:
        return "-"
    states = Counter(c.state for c in asked)
    refused = f", {states[CommitmentState.REFUSED]} refused" if states[CommitmentState.REFUSED] else ""
    detail = next((f" ({c.last_detail})" for c in asked if c.last_detail), "")
    return f"{states[CommitmentState.COMMITTED]} of {number}{refused}{detail}"


def _text(folder: Path | None) -> str:
    path = None if folder is None else folder / "report.txt"
    return path.read_text(encoding="utf-8") if path is not None and path.is_file() else ""


def _shows_identity(node: Node) -> bool:
    return node.config.web.show_identity


def job_file(request: Request) -> Response:
    """A picture or the report of a job; nothing else of its folder."""
    node = node_of(request)
    name = request.path_params["name"]
    folder = _details(request).result_folder
    media = "image/png" if name in PICTURES else _WITH_IDENTITY.get(name) if _shows_identity(node) else None
    if folder is None or media is None or not (folder / name).is_file():
        raise HTTPException(404, "there is no such file")
    return FileResponse(folder / name, media_type=media, headers={"Content-Security-Policy": REPORT_POLICY})


def dead_letters(request: Request) -> Response:
    """What will not go on by itself, or does not get on."""
    node = node_of(request)
    found = node.status().destinations
    return page(
        request,
        "dead_letters.html",
        parked=node.jobs(JobState.PARKED),
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
    names = dict.fromkeys([*(p.ae_title for p in node.config.receive.allow), *stored, *(peer for _, peer in counts)])
    lines = [
        {
            "name": name,
            "hosts": ", ".join(p.host for p in node.config.receive.allow if p.ae_title == name) or "-",
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
    """Delivery statistics as a page or, below ``.csv``, as a file."""
    node = node_of(request)
    committing = [d.name for d in node.config.destinations if d.commitment]
    found = by_day(node.figures.peers_by_day(), node.figures.jobs(committing=committing), node.figures.declined())
    lines = [line for line in found if line.peer != node.config.selftest.ae_title]  # nobody's images
    if request.url.path.endswith(".csv"):
        headers = {"Content-Disposition": 'attachment; filename="ironnode-statistics.csv"'}
        return PlainTextResponse(as_csv(lines), media_type="text/csv", headers=headers)
    return page(request, "statistics.html", lines=lines, committing=committing)


def system(request: Request) -> Response:
    """Processes and disk."""
    node = node_of(request)
    found, storage = node.status(), node.config.storage
    words, level = disk_words(found.free_mib, storage), disk_level(found.free_mib, storage)
    return page(
        request,
        "system.html",
        found=found,
        storage=storage,
        disk=words,
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
