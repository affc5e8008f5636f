"""Talking to a FHIR server over HTTP."""

import json
import ssl
import urllib.error
from typing import Any

from node.config import FhirReceiver
from node.errors import ConfigError, PeerError
from node.http import open_url
from node.tls import caller_context, tls_fault

_FHIR_JSON = "application/fhir+json"
_LONGEST_ANSWER_BYTES = 1 << 20
# IssueSeverity and IssueType, R4 and R5
_SEVERITIES = "fatal error warning information success"
_ISSUES = (
    "invalid structure required value invariant security login unknown expired forbidden suppressed processing"
    " not-supported duplicate multiple-matches not-found deleted too-long code-invalid extension too-costly"
    " business-rule conflict limited-filter transient lock-error no-store exception timeout incomplete throttled"
    " informational success"
)


class RefusedError(PeerError):
    """The server answered, and did not take what was sent."""


def post_transaction(receiver: FhirReceiver, bundle: str) -> None:
    """Send a transaction Bundle; 2xx, for the whole and for each entry that the answer tells of, says that the server
    has all of it (some take a transaction for a batch, and report a resource that they refuse in a success).

    Raises:
        RefusedError: it answered with something else.
        PeerError: it did not answer.
    """
    refused = _refused_entries(_ask(receiver, receiver.url, bundle.encode()))
    if refused:
        raise RefusedError(f"{receiver.name}: answered {', '.join(refused)} for parts of the transaction")


def _refused_entries(answer: bytes) -> list[str]:
    """The status codes of refusals in a transaction-response; none where it tells of no entries (Prefer, R4 3.1.0.1.8).

    What is no answer of FHIR is none that refuses: the server said 2xx.
    """
    try:
        statuses = [str(entry["response"]["status"]) for entry in json.loads(answer)["entry"]]
    except (ValueError, KeyError, TypeError):
        return []
    refused = {status[:3] for status in statuses if not status.startswith("2")}
    return sorted(status if status.isdigit() else "no status" for status in refused)


def read_capabilities(receiver: FhirReceiver) -> str:
    """The FHIR version that the server's CapabilityStatement names; nothing of a patient is sent.

    Raises:
        PeerError: it gives none.
    """
    try:
        statement = json.loads(_ask(receiver, f"{receiver.url.rstrip('/')}/metadata", None))
        return str(statement["fhirVersion"])
    except (ValueError, KeyError, TypeError) as error:
        raise PeerError(f"{receiver.name}: its /metadata is no CapabilityStatement") from error


def _ask(receiver: FhirReceiver, url: str, body: bytes | None) -> bytes:
    headers = {"Accept": _FHIR_JSON} | ({} if body is None else {"Content-Type": _FHIR_JSON})
    try:
        if receiver.token_file is not None:
            headers["Authorization"] = f"Bearer {receiver.token_file.read_text().strip()}"
        with open_url(url, body, headers, timeout_s=receiver.timeout_s, context=_context(receiver)) as answer:
            return bytes(answer.read(_LONGEST_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            raise RefusedError(f"{receiver.name}: answered {error.code}{_diagnostics(error)}") from error
    except ConfigError as error:
        raise PeerError(str(error)) from error
    except urllib.error.URLError as error:
        why = f"TLS: {tls_fault(error.reason)}" if isinstance(error.reason, ssl.SSLError) else error.reason
        raise PeerError(f"{receiver.name}: no connection: {why}") from error
    except (OSError, ValueError) as error:
        raise PeerError(f"{receiver.name}: {type(error).__name__}") from error


def _context(receiver: FhirReceiver) -> ssl.SSLContext:
    return ssl.create_default_context() if receiver.tls is None else caller_context(receiver.tls, receiver.tls_key)


def _diagnostics(error: urllib.error.HTTPError) -> str:
    """Codes of the OperationOutcome; whatever else stands there may quote the patient."""
    try:
        outcome: dict[str, Any] = json.loads(error.read(_LONGEST_ANSWER_BYTES))
        issues = [(issue["severity"], issue["code"]) for issue in outcome["issue"]]
        known = [(s, code) for s, code in issues if s in _SEVERITIES.split() and code in _ISSUES.split()]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f": {', '.join(f'{severity} {code}' for severity, code in known)}" if known else ""
