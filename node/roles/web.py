"""The web role: serves ``node.web`` over HTTP until told to stop."""

import functools
import logging
import socket
import threading

import uvicorn

from node.app import open_node
from node.errors import PeerError
from node.roles.stage import Stage
from node.tls import WEB_KEY, FollowedContext
from node.web.application import make_application
from node.web.connections import MOST_CONNECTIONS, WAIT_S, Connection
from node.web.entrance import BACKLOG, Entrance


def play(stage: Stage) -> None:
    """Answer until told to stop.

    Raises:
        PeerError: the address cannot be listened on.
        ConfigError: certificate or key cannot be used.
    """
    web = stage.config.web
    tls = None if web.tls is None else FollowedContext(web.tls, WEB_KEY)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    with open_node(stage.config) as node, _listening(web.host, web.port) as entrance:
        settings = uvicorn.Config(
            make_application(node, stage.run.folder / "config.json"),
            log_config=None,
            access_log=False,  # addresses hold job ids, and nobody needs them twice
            server_header=False,
            proxy_headers=web.behind_proxy,
            forwarded_allow_ips=list(web.trusted_proxies),
            ssl_context_factory=None if tls is None else lambda *_: tls.following(),
            timeout_keep_alive=int(WAIT_S),
            timeout_graceful_shutdown=5,
            http=functools.partial(Connection, entrance=entrance),  # type: ignore[arg-type]  # any maker of one does
            backlog=BACKLOG,
            limit_concurrency=5 * MOST_CONNECTIONS,  # counts also what ended connections leave behind for a moment
        )
        server = uvicorn.Server(settings)
        serving = threading.Thread(target=server.run, args=([entrance],), name="web", daemon=True)
        serving.start()
        stage.ready(port=entrance.getsockname()[1])
        stage.stop.wait()
        server.should_exit = True
        serving.join()


def _listening(host: str, port: int) -> Entrance:
    try:
        return Entrance(socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET))
    except OSError as error:
        raise PeerError(f"web: cannot listen on {host} port {port}: {error.strerror or error}") from error
