"""The web role: health for a supervisor or load balancer, and the status as JSON. Loopback only, nothing to change.

``/live`` answers 200 while the process runs; ``/ready`` 200 when ledger and spool can be used and every other role is
alive, else 503; ``/status`` is what ``ironnode status`` shows. No patient data: UIDs, counts and codes.
"""

import json
import logging
import os
import threading
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from typing import Any

from node.app import Node, open_node
from node.errors import IronnodeError, PeerError
from node.ops.events import Event, emit
from node.roles.stage import Stage

_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


def play(stage: Stage) -> None:
    """Answer until told to stop.

    Raises:
        PeerError: the address cannot be listened on.
    """
    web = stage.config.web
    with open_node(stage.config) as node:
        try:
            server = _server_class(web.host)((web.host, web.port), _handler(node))
        except OSError as error:
            raise PeerError(f"web: cannot listen on {web.host} port {web.port}: {error.strerror or error}") from error
        with server:
            serving = threading.Thread(target=server.serve_forever, name="web", daemon=True)
            serving.start()
            stage.ready(port=server.server_address[1])
            stage.stop.wait()
            server.shutdown()


def _server_class(host: str) -> type[ThreadingHTTPServer]:
    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = AF_INET6 if ":" in host else ThreadingHTTPServer.address_family

    return Server


def _handler(node: Node) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers GET; the name in the Host header must be local, so that no web page elsewhere can read this."""

        def do_GET(self) -> None:
            if self.headers.get("Host", "").rsplit(":", 1)[0].lower() not in _LOCAL_NAMES:
                self._answer(HTTPStatus.FORBIDDEN, {"error": "this page is local"})
                return
            answers = {"/live": lambda: (HTTPStatus.OK, {"live": True}), "/ready": ready, "/status": status}
            answer = answers.get(self.path.partition("?")[0])
            if answer is None:
                self._answer(HTTPStatus.NOT_FOUND, {"error": f"there are {', '.join(answers)}"})
                return
            try:
                self._answer(*answer())
            except IronnodeError as error:
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)})

        def _answer(self, code: HTTPStatus, body: dict[str, Any]) -> None:
            data = json.dumps(body, default=str).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            emit(Event.WEB_REQUEST, logging.DEBUG, text=format % args)

    def status() -> tuple[HTTPStatus, dict[str, Any]]:
        return HTTPStatus.OK, asdict(node.status())

    def ready() -> tuple[HTTPStatus, dict[str, Any]]:
        found = node.status()
        roles = found.roles
        writable = os.access(node.spool.inbox_folder, os.W_OK)
        space = found.free_mib >= max(1, node.config.storage.min_free_mib)
        well = writable and space and all(roles.values())
        code = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        return code, {"ready": well, "spool_writable": writable, "free_space": space, "roles": roles}

    return Handler
