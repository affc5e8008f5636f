"""Templates and how things are written in them."""

from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.requests import Request
from starlette.responses import HTMLResponse

from node.app import wall_clock
from node.web.guard import session_of
from node.web.wording import state_words

_ENVIRONMENT = Environment(
    loader=PackageLoader("node.web", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
PAGES = (
    ("/", "Acquisitions"),
    ("/dead-letters", "Dead letters"),
    ("/destinations", "Destinations"),
    ("/receivers", "Receivers"),
    ("/statistics", "Statistics"),
    ("/system", "System"),
    ("/configuration", "Configuration"),
    ("/try", "Try a series"),
)


def age(moment: datetime | None) -> str:
    """How long ago, in the largest unit that fits."""
    if moment is None:
        return "-"
    seconds = max(0, int((wall_clock() - moment).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


@pass_context
def when(context: Context, moment: datetime | None) -> str:
    """Date and time in the zone of ``report.time_zone``, which is named."""
    return "-" if moment is None else moment.astimezone(context["zone"]).strftime("%Y-%m-%d %H:%M:%S %Z")


def words(code: str | None) -> str:
    """A code as words."""
    return "-" if code is None else str(code).replace("_", " ")


def size(number: int) -> str:
    """Bytes in a readable unit."""
    value = float(number)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


_ENVIRONMENT.filters.update(age=age, when=when, words=words, size=size, state=state_words)


def _said(request: Request) -> str:
    """What an action said, which its redirect hands on; a link from elsewhere has us say nothing."""
    ours = request.headers.get("sec-fetch-site", "same-origin") == "same-origin"  # old browsers do not tell
    return request.query_params.get("done", "")[:300] if ours else ""


def page(request: Request, template: str, status_code: int = 200, **values: Any) -> HTMLResponse:
    """A page of ours."""
    session = session_of(request)
    text = _ENVIRONMENT.get_template(template).render(
        pages=PAGES,
        path=request.url.path,
        session=session,
        csrf=session.csrf if session else "",
        may_operate=session is not None and session.may_operate,
        zone=request.app.state.node.config.report.zone,
        now=wall_clock(),
        message=_said(request),
        **values,
    )
    return HTMLResponse(text, status_code)
