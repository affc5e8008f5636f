"""What people do on the pages: log in and out, retry, re-send, park, add a region, C-ECHO, check. Each needs the page's
token."""

import json
import logging
from collections.abc import Callable
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from node.app import Node
from node.dimse.scu import Peer, echo
from node.errors import IronnodeError
from node.jobs.remeasure import Choice
from node.ops.events import Event, emit
from node.web.guard import cookie_name, require_same_origin, require_token, require_upload, session_of, set_cookie
from node.web.pages import findings_of, hidden, node_of
from node.web.passwords import password_fits
from node.web.rendering import page
from node.web.sessions import RateLimit, Sessions

_ECHO_TIMEOUT_S = 10.0
_LONGEST_PASSWORD = 1024
_FORM_OVERHEAD_BYTES = 1 << 20  # of a form with one file


def log_in_page(request: Request) -> Response:
    """The form."""
    return page(request, "login.html", error="")


async def log_in(request: Request) -> Response:
    """Check name and password; too many failures from one place, or for one name, have to wait."""
    require_same_origin(request)
    form = await request.form(max_files=0, max_fields=4)
    name, password = str(form.get("name", ""))[:64], str(form.get("password", ""))[:_LONGEST_PASSWORD]
    failures: RateLimit = request.app.state.failures
    keys = (f"from {request.client.host if request.client else ''}", f"as {name}")
    if failures.exceeded(*keys):  # does not stand in line
        return _wait(request)
    node = node_of(request)
    user = next((u for u in node.config.web.users if u.name == name), None)
    async with request.app.state.password_checks:
        if not failures.reserve(*keys):  # a failure until it is none: others are checked at the same time
            return _wait(request)
        fits = True  # a check that is cut off counts against nobody
        try:
            fits = await run_in_threadpool(password_fits, None if user is None else user.password_hash, password)
        finally:
            if fits:
                failures.give_back(*keys)
    if user is None or not fits:
        emit(Event.WEB_LOGIN_FAILED, logging.WARNING, address=request.client.host if request.client else "")
        return page(request, "login.html", 401, error="Name or password is wrong.")
    sessions: Sessions = request.app.state.sessions
    session = await run_in_threadpool(sessions.open, user)
    emit(Event.WEB_LOGIN, user=user.name, role=user.role, address=request.client.host if request.client else "")
    response = RedirectResponse("/", 303)
    set_cookie(response, node.config.web, session)
    return response


def _wait(request: Request) -> Response:
    return page(request, "login.html", 429, error="Too many failures. Wait five minutes.")


async def log_out(request: Request) -> Response:
    """End the session, on every gateway."""
    require_same_origin(request)
    session = session_of(request)
    if session is not None:
        await run_in_threadpool(request.app.state.sessions.close, session)
        emit(Event.WEB_LOGOUT, user=session.name, address=request.client.host if request.client else "")
    response = RedirectResponse("/login", 303)
    response.delete_cookie(cookie_name(node_of(request).config.web))
    return response


async def job_action(request: Request) -> Response:
    """Retry, re-send or park one job."""
    form = await request.form(max_files=0, max_fields=4)
    session = require_token(request, form)
    node = node_of(request)
    action, job_id = request.path_params["action"], request.path_params["job_id"]
    choice = Choice(region_uid=str(form.get("region", "")) or None, indication=str(form.get("indication", "")) or None)
    actions: dict[str, Callable[[str], str]] = {
        "retry": node.retry,
        "resend": node.send_again,
        "remeasure": node.measure_again,
        "choose": lambda job: node.measure_again(job, choice),
        "park": node.park,
    }
    if action not in actions:
        raise HTTPException(404, "there is no such action")
    try:
        said = await run_in_threadpool(actions[action], job_id)
    except IronnodeError as error:
        raise HTTPException(409, str(error)) from error
    emit(Event.WEB_ACTION, action=action, job_id=job_id, user=session.name)
    return RedirectResponse(f"/jobs/{quote(job_id)}?done={quote(said)}", 303)


async def add_region(request: Request) -> Response:
    """Take a drawn region for the acquisition of a job."""
    require_upload(request, _FORM_OVERHEAD_BYTES)
    node, job_id = node_of(request), request.path_params["job_id"]
    async with request.form(max_files=1, max_fields=4) as sent:
        session = require_token(request, sent)
        file = sent.get("file")
        if not isinstance(file, UploadFile) or not file.size:
            raise HTTPException(400, "choose a file first")
        try:
            uid = await run_in_threadpool(node.add_region, job_id, file.file)
        except IronnodeError as error:
            raise HTTPException(409, f"The region is not used: {error}.") from error
    emit(Event.WEB_ACTION, action="region", job_id=job_id, user=session.name, sop_instance_uid=uid)
    quiet_s = node.config.assemble.complete_quiet_s
    said = (
        f"The region is kept. The acquisition is measured with it in about {quiet_s:.0f} s, as a new revision; open "
        "this page again then."
    )
    return RedirectResponse(f"/jobs/{quote(job_id)}?done={quote(said)}", 303)


async def destination_echo(request: Request) -> Response:
    """C-ECHO to one destination."""
    require_token(request, await request.form(max_files=0, max_fields=4))
    said = await run_in_threadpool(_echo, node_of(request), request.path_params["name"])
    return RedirectResponse(f"/destinations?done={quote(said)}", 303)


def _echo(node: Node, name: str) -> str:
    found = next((d for d in node.config.destinations if d.name == name), None)
    if found is None:
        raise HTTPException(404, "there is no such destination")
    peer = Peer.of(found)
    try:
        calling = found.calling_ae_title or node.config.receive.ae_title
        echo(peer, calling_ae_title=calling, timeout_s=min(found.timeout_s, _ECHO_TIMEOUT_S))
    except IronnodeError as error:
        return f"{name}: no answer to C-ECHO: {error}"
    return f"{name}: answered C-ECHO"


async def check(request: Request) -> Response:
    """Try everything that the configuration names."""
    require_token(request, await request.form(max_files=0, max_fields=4))
    config = node_of(request).config
    findings = await run_in_threadpool(findings_of, config)
    return page(request, "configuration.html", text=json.dumps(hidden(config), indent=2), findings=findings)
