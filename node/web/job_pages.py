"""The page of one job: its pictures, report, history, deliveries and drawn regions."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from node.app import JobDetails, Node
from node.errors import IronnodeError
from node.jobs.commitments import Commitment
from node.jobs.deliveries import Delivery
from node.jobs.overview import AcquisitionLine, JobLine, TrailLine
from node.jobs.studies import region_of_key
from node.model import CommitmentState, DeliveryState
from node.web.guard import REPORT_POLICY
from node.web.pages import node_of
from node.web.rendering import page
from node.web.wording import MEASURE_NOW, SEND_NOW, shown_state, trouble_of
from quant.result import Reason

PICTURES = {
    "map.png": "Map in colour",
    "anatomy.png": "First echo",
    "decay.png": "Mean signal of the region against echo time, with the fitted curve",
}
"""Pictures of a result folder, and what they show."""
_WITH_IDENTITY = {"report.html": "text/html; charset=utf-8", "report.pdf": "application/pdf"}


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
        state=shown_state(details.line),
        trouble=trouble_of(details.line),
        latest=details.latest,
        measure_now=MEASURE_NOW,
        send_now=SEND_NOW,
        source=figures.peer,
        record=record,
        deliveries=_summed(details.deliveries, details.commitments),
        removal=details.removal,
        route=details.route,
        regions=node.regions(details.job),
        drawn=[_drawn(line) for line in node.drawn_regions(details.job)],
        upload_mib=node.config.web.max_upload_mib,
        standing=node.standing(details.job),
        indications=node.indications(),
        refused=any(c.state == CommitmentState.REFUSED for c in details.commitments),
        events=_events(details.trail),
        timeline=_timeline(details.line, figures.last_received_at, figures.last_sent_at),
        pictures={n: t for n, t in picture_titles(record).items() if folder and (folder / n).is_file()},
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


def _drawn(line: AcquisitionLine) -> dict[str, Any]:
    reasons = (Reason(code=line.code, text=line.text or ""),) if line.code else ()
    return {"uid": region_of_key(line.acquisition_key), "reasons": reasons, "at": line.changed_at}


def picture_titles(record: Mapping[str, Any]) -> dict[str, str]:
    """What the pictures of a result show, with the unit of its map where something was measured."""
    if record.get("status") != "measured":
        return PICTURES
    quantity = "LIC in mg/g" if record.get("lic_mg_per_g") else "R2* in 1/s"
    return {
        **PICTURES,
        "map.png": f"{quantity}, by the scale at the right; region outlined",
        "anatomy.png": "First echo of the same slice, region outlined",
    }


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
