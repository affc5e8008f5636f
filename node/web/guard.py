"""What every request passes: name of the host, rate, log-in; and what every answer carries: security headers."""

import hmac
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.config import WebConfig
from node.errors import StorageError
from node.web.sessions import RateLimit, Session, Sessions

_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
_OPEN_PATHS = frozenset({"/live", "/ready", "/login"})
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'; sandbox"
)
"""For the stored report: one file with its styles and pictures inside, and no script."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer browsers send "Origin: null" with our own forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class Guard:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, *, web: WebConfig, sessions: Sessions, rate: RateLimit) -> None:
        self._app, self._web, self._sessions, self._rate = app, web, sessions, rate
        self._names = _LOCAL_NAMES | {name.lower() for name in web.allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(MutableHeaders(scope=message))
            await send(message)

        request = Request(scope)
        refusal = await self._refusal(request)
        if refusal is None:
            await self._app(scope, receive, send_guarded)
        else:
            await refusal(scope, receive, send_guarded)

    async def _refusal(self, request: Request) -> Response | None:
        if _host_name(request.headers) not in self._names:
            return JSONResponse({"error": "this page has another name (web.allowed_hosts)"}, 403)
        address = request.client.host if request.client else ""
        if not self._rate.count(address):
            return JSONResponse({"error": "too many requests"}, 429, {"Retry-After": "60"})
        path = request.url.path
        if path in _OPEN_PATHS or path.startswith("/static/"):
            return None  # answered whether the ledger is there or not
        try:
            session = await run_in_threadpool(self._sessions.find, request.cookies.get(cookie_name(self._web)))
        except StorageError:
            return JSONResponse({"error": "the ledger is away, so nobody can be known; try again"}, 503)
        request.scope["session"] = session
        if not self._web.users or session is not None:
            return None
        if path == "/metrics" and self._web.metrics_without_login:
            return None
        if "text/html" in request.headers.get("accept", "") and request.method == "GET":
            return RedirectResponse("/login", 303)
        return JSONResponse({"error": "log in first"}, 401)

    def _add_headers(self, headers: MutableHeaders) -> None:
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        if self._web.encrypted:
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")


def cookie_name(web: WebConfig) -> str:
    """The prefix has the browser refuse the cookie from another host or without TLS."""
    return "__Host-ironnode" if web.encrypted else "ironnode"


def set_cookie(response: Response, web: WebConfig, session: Session) -> None:
    """Give the browser its session."""
    response.set_cookie(
        cookie_name(web), session.token, max_age=int(web.session_s), httponly=True, samesite="strict",
        secure=web.encrypted, path="/",
    )  # fmt: skip


def session_of(request: Request) -> Session | None:
    """The session that the guard found."""
    session: Session | None = request.scope.get("session")
    return session


def require_same_origin(request: Request) -> None:
    """Refuse what another site's page sends.

    Raises:
        HTTPException: 403.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "another site sent this")


def require_upload(request: Request, overhead_bytes: int) -> None:
    """See that a form with files may be read at all: its token can be looked at only afterwards.

    Raises:
        HTTPException: 403; 411 or 413, for its size.
    """
    require_same_origin(request)
    session = session_of(request)
    if session is None or not session.may_operate:
        raise HTTPException(403, "your role may look but not change")
    limit = (request.app.state.node.config.web.max_upload_mib << 20) + overhead_bytes
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        raise HTTPException(411, "the size of the upload must be given")
    if int(length) > limit:
        raise HTTPException(413, "too large (web.max_upload_mib)")


def require_token(request: Request, form: FormData | dict[str, Any]) -> Session:
    """The session of a browser that may change something and sent its token with the form.

    Raises:
        HTTPException: 403.
    """
    require_same_origin(request)
    session = session_of(request)
    sent = str(form.get("csrf", ""))
    if session is None or not _equal(sent, session.csrf):
        raise HTTPException(403, "this form is out of date: open the page again")
    if not session.may_operate:
        raise HTTPException(403, "your role may look but not change")
    return session


def _equal(sent: str, expected: str) -> bool:
    return hmac.compare_digest(sent.encode(), expected.encode())


def _host_name(headers: Headers) -> str:
    try:
        return (urlsplit(f"//{headers.get('host', '')}").hostname or "").lower()
    except ValueError:
        return ""
