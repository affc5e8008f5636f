"""The application: every route, behind the guard."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from node.app import Node, wall_clock
from node.errors import IronnodeError
from node.runtime import gateway_name
from node.web import actions, health, job_pages, pages, trial_pages
from node.web.guard import Guard, session_of, set_cookie
from node.web.metrics import Metrics
from node.web.rendering import page
from node.web.sessions import RateLimit, Sessions
from node.web.trial import Trials

_REQUESTS_PER_MINUTE = 600
_FAILURES, _FAILURES_WINDOW_S = 5, 300.0
_PASSWORD_CHECKS = 2  # at a time; argon2id takes 64 MiB for each
_STATIC = Path(__file__).with_name("static")
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def make_application(
    node: Node,
    config_file: Path,
    *,
    clock: Callable[[], datetime] = wall_clock,
    clock_s: Callable[[], float] = time.monotonic,
) -> Starlette:
    """The application over an open node; ``config_file`` holds the configuration that the roles run with. ``clock``
    ends log-ins, ``clock_s`` is monotonic."""
    web = node.config.web
    sessions = Sessions(web, node.log_ins, clock)
    application = Starlette(
        routes=_ROUTES,
        middleware=[
            Middleware(Guard, web=web, sessions=sessions, rate=RateLimit(_REQUESTS_PER_MINUTE, 60.0, clock_s)),
            Middleware(BaseHTTPMiddleware, dispatch=_local_session),
        ],
        exception_handlers={HTTPException: _refused, IronnodeError: _troubled, ClientDisconnect: _gone},
    )
    application.state.node = node
    application.state.sessions = sessions
    application.state.metrics = Metrics()
    application.state.failures = RateLimit(_FAILURES, _FAILURES_WINDOW_S, clock_s)
    application.state.password_checks = asyncio.Semaphore(_PASSWORD_CHECKS)
    application.state.trials = Trials(
        node.config.storage.root / "try" / (gateway_name(node.config) or "local"),  # emptied by its own gateway only
        config_file,
        max_bytes=web.max_upload_mib << 20,
        timeout_s=web.upload_timeout_s,
    )
    return application


async def _local_session(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Without users (loopback only) every browser operates, with a token of its own against other sites' forms."""
    state = request.app.state
    local = state.sessions.local
    if local is None or session_of(request) is not None or "text/html" not in request.headers.get("accept", ""):
        return await call_next(request)
    request.scope["session"] = local
    response = await call_next(request)
    set_cookie(response, state.node.config.web, local)
    return response


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if "text/html" in request.headers.get("accept", ""):
        return page(request, "error.html", error.status_code, text=error.detail)
    return JSONResponse({"error": error.detail}, error.status_code)


def _troubled(request: Request, error: Exception) -> Response:
    if "text/html" in request.headers.get("accept", ""):
        return page(request, "error.html", 503, text=str(error))
    return JSONResponse({"error": str(error)}, 503)


def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _live(_request: Request) -> Response:  # needs no thread: they may all be busy
    return JSONResponse({"live": True})


def _ready(request: Request) -> Response:
    code, body = health.ready(pages.node_of(request))
    return JSONResponse(body, code)


def _status(request: Request) -> Response:
    return _Json(health.status(pages.node_of(request)))


def _metrics(request: Request) -> Response:
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.exposition(pages.node_of(request)), media_type=_METRICS_TYPE)


class _Json(JSONResponse):
    def render(self, content: object) -> bytes:
        return json.dumps(content, default=str).encode()


_ROUTES = [
    Route("/live", _live),
    Route("/ready", _ready),
    Route("/status", _status),
    Route("/metrics", _metrics),
    Route("/login", actions.log_in_page, methods=["GET"]),
    Route("/login", actions.log_in, methods=["POST"]),
    Route("/logout", actions.log_out, methods=["POST"]),
    Route("/", pages.acquisitions),
    Route("/jobs/{job_id}", job_pages.job),
    Route("/jobs/{job_id}/files/{name}", job_pages.job_file),
    Route("/jobs/{job_id}/region", actions.add_region, methods=["POST"]),
    Route("/jobs/{job_id}/{action}", actions.job_action, methods=["POST"]),
    Route("/dead-letters", pages.dead_letters),
    Route("/destinations", pages.destinations),
    Route("/destinations/{name}/echo", actions.destination_echo, methods=["POST"]),
    Route("/receivers", pages.receivers),
    Route("/statistics", pages.statistics),
    Route("/statistics.csv", pages.statistics),
    Route("/system", pages.system),
    Route("/configuration", pages.configuration),
    Route("/configuration/check", actions.check, methods=["POST"]),
    Route("/try", trial_pages.form, methods=["GET"]),
    Route("/try", trial_pages.upload, methods=["POST"]),
    Route("/try/{name}", trial_pages.outcome),
    Route("/try/{name}/{number:int}/{file}", trial_pages.file),
    Mount("/static", StaticFiles(directory=_STATIC)),
]
