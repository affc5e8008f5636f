"""Connections to other systems over TCP or TLS, with what stands in the way said in words."""

import socket

from node.config import CallerTls
from node.errors import ConfigError, PeerError
from node.tls import caller_context, tls_fault


def connect(host: str, port: int, *, timeout_s: float, tls: CallerTls | None, tls_key: str, peer: str) -> socket.socket:
    """A connection; ``peer`` is how errors call the other system, ``tls_key`` as for ``node.tls.caller_context``.

    Raises:
        PeerError: there is none; the text says why and what to look at.
    """
    plain = _connect_plain(host, port, timeout_s, peer)
    if tls is None:
        return plain
    try:
        return caller_context(tls, tls_key).wrap_socket(plain, server_hostname=host)
    except ConfigError as error:
        plain.close()
        raise PeerError(str(error)) from error
    except (OSError, ValueError) as error:  # ValueError: a host that is no name for a certificate
        plain.close()
        text = tls_fault(error) if isinstance(error, OSError) else str(error)
        raise PeerError(f"{peer}: TLS: {text}") from error


def _connect_plain(host: str, port: int, timeout_s: float, peer: str) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout=timeout_s)
    except TimeoutError as error:
        raise PeerError(
            f"{peer}: no connection within {timeout_s:g} s; is the host up, and no firewall between?"
        ) from error
    except ConnectionRefusedError as error:
        raise PeerError(f"{peer}: connection refused: nothing listens on this port") from error
    except (socket.gaierror, UnicodeError) as error:
        raise PeerError(f"{peer}: the host name cannot be resolved") from error
    except OSError as error:
        raise PeerError(f"{peer}: no connection: {error.strerror or error}") from error
