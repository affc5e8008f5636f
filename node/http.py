"""Requests over HTTP that go where the configuration says, and nowhere else: redirects are not followed."""

import ssl
import urllib.request
from collections.abc import Mapping
from typing import Any


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: object) -> None:
        return None


def open_url(
    url: str,
    body: bytes | None,
    headers: Mapping[str, str],
    *,
    timeout_s: float,
    context: ssl.SSLContext | None = None,
) -> Any:
    """The answer to GET, or to POST where there is a ``body``; a context manager like that of ``urllib.request``.

    Raises:
        urllib.error.HTTPError: another answer than 2xx.
        OSError, ValueError: no answer.
    """
    request = urllib.request.Request(url, body, dict(headers))  # noqa: S310 - the configuration takes http(s) only
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))
    return opener.open(request, timeout=timeout_s)
