"""Receivers of messages, made by others: hl7apy's MLLP server, Python's HTTP server."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hl7apy.mllp import AbstractHandler, MLLPServer
from hl7apy.parser import parse_message


@dataclass
class Ris:
    """Takes ORU^R01; ``codes`` are what it acknowledges with, the last one for ever."""

    codes: list[str] = field(default_factory=lambda: ["AA"])
    error: str = ""  # ERR-3
    other_control_id: bool = False
    messages: list[str] = field(default_factory=list)
    port: int = 0

    def answer(self, message: str) -> str:
        self.messages.append(message)
        code = self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]
        if code == "closes":
            raise ConnectionError("closes")
        if code == "babble":
            return "\x0bthis is no HL7\r\x1c\r"
        control_id = "other" if self.other_control_id else parse_message(message).msh.msh_10.value
        head = "MSH|^~\\&|RIS||||20260101||ACK|1|P|2.5.1\r"
        error = f"ERR|||{self.error}|E||||no patient DOE\r" if self.error else ""
        return f"\x0b{head}MSA|{code}|{control_id}|no patient DOE\r{error}\x1c\r"


class _Handler(AbstractHandler):
    def __init__(self, message: str, ris: Ris) -> None:
        super().__init__(message)
        self._ris = ris

    def reply(self) -> str:
        return self._ris.answer(self.incoming_message)


@contextmanager
def running_ris(ris: Ris) -> Iterator[Ris]:
    """``ris`` on a free port."""
    server = MLLPServer("127.0.0.1", 0, {"ORU^R01^ORU_R01": (_Handler, ris)})
    server.daemon_threads = True
    ris.port = server.server_address[1]
    with _serving(server):
        yield ris


@dataclass
class FhirServer:
    """Creates what a transaction holds unless it is there (``ifNoneExist``), or answers with ``refuses_with``, or with
    ``entry_status`` for the last entry of a success."""

    refuses_with: list[int] = field(default_factory=list)
    entry_status: str = "201 Created"
    issue_code: str = "invalid"
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    port: int = 0

    def take(self, bundle: dict[str, Any]) -> None:
        for entry in bundle["entry"]:
            self.resources.setdefault(f"{entry['request']['url']}?{entry['request']['ifNoneExist']}", entry["resource"])


@contextmanager
def running_fhir(server: FhirServer, tls: ssl.SSLContext | None = None) -> Iterator[FhirServer]:
    """``server`` on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append(body)
            server.headers.append(dict(self.headers))
            if server.refuses_with:
                issue = {"severity": "error", "code": server.issue_code, "diagnostics": "DOE^JANE"}
                self._answer(server.refuses_with.pop(0), {"resourceType": "OperationOutcome", "issue": [issue]})
            else:
                server.take(body)
                statuses = ["201"] * (len(body["entry"]) - 1) + [server.entry_status]
                entries = [{"response": {"status": status}} for status in statuses]
                self._answer(200, {"resourceType": "Bundle", "type": "transaction-response", "entry": entries})

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        http.socket = tls.wrap_socket(http.socket, server_side=True)
    server.port = http.server_address[1]
    with _serving(http):
        yield server


@contextmanager
def _serving(server: Any) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
