"""The pages of a trial: drop files, wait, look at the report."""

import json
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from node.errors import IronnodeError
from node.web.guard import REPORT_POLICY, require_token, require_upload
from node.web.job_pages import picture_titles
from node.web.pages import node_of
from node.web.rendering import page
from node.web.trial import MAX_FILES, SHOWN, Trials

_FORM_OVERHEAD_BYTES = 64 << 20  # part headers of many small files


def trials_of(request: Request) -> Trials:
    """The trials of this application."""
    trials: Trials = request.app.state.trials
    return trials


def form(request: Request) -> Response:
    """The box."""
    return page(request, "try.html", limit_mib=node_of(request).config.web.max_upload_mib)


async def upload(request: Request) -> Response:
    """Take files or zip archives and measure them."""
    require_upload(request, _FORM_OVERHEAD_BYTES)
    async with request.form(max_files=MAX_FILES, max_fields=10) as sent:
        require_token(request, sent)
        files = [item.file for item in sent.getlist("files") if isinstance(item, UploadFile) and item.size]
        try:
            name = await run_in_threadpool(trials_of(request).start, files)
        except IronnodeError as error:
            raise HTTPException(400, str(error)) from error
    return RedirectResponse(f"/try/{name}", 303)


def outcome(request: Request) -> Response:
    """What came out, or that it is still being measured (the page asks again by itself)."""
    name = request.path_params["name"]
    said = trials_of(request).said(name)
    if said is None:
        raise HTTPException(404, "there is no such trial any more")
    with_identity = node_of(request).config.web.show_identity
    results = [_shown(folder, with_identity) for folder in trials_of(request).results(name)] if said else []
    return page(request, "trial.html", name=name, said=said, results=results)


def _shown(folder: Path, with_identity: bool) -> dict[str, Any]:
    """One result of a trial: its pictures with their titles, its quality lines, whether its report may be read."""
    record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {
        "pictures": {name: title for name, title in picture_titles(record).items() if (folder / name).is_file()},
        "qc": record.get("qc", []),
        "report": with_identity and (folder / "report.html").is_file(),
    }


def file(request: Request) -> Response:
    """A picture or report of a trial."""
    name, number, wanted = (request.path_params[key] for key in ("name", "number", "file"))
    path = trials_of(request).file(name, number, wanted)
    if path is None or (wanted == "report.html" and not node_of(request).config.web.show_identity):
        raise HTTPException(404, "there is no such file")
    return FileResponse(path, media_type=SHOWN[wanted], headers={"Content-Security-Policy": REPORT_POLICY})
