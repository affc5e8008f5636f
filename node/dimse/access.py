"""Who may call: pairs of calling AE title and host, from the configuration."""

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterable

from node.config import AllowedPeer

ANY = "*"
_NAME_KEPT_S = 60.0  # a host name is looked up again after this time

Resolver = Callable[[str], Iterable[str]]


def resolve(host: str) -> Iterable[str]:
    """Every address of a host name; none when it cannot be resolved."""
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return ()


class AllowList:
    """The callers that may send. An empty list admits nobody."""

    def __init__(
        self,
        peers: Iterable[AllowedPeer],
        *,
        resolver: Resolver = resolve,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._peers = [(peer.ae_title.strip(), peer.host.strip()) for peer in peers]
        self._resolver = resolver
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._names: dict[str, tuple[float, frozenset[str]]] = {}

    @property
    def open_to_all(self) -> bool:
        """Whether some entry lets any host store under any title."""
        return (ANY, ANY) in self._peers

    def knows_title(self, calling_ae_title: str) -> bool:
        """Whether any entry names this calling AE title."""
        return any(title in (ANY, calling_ae_title.strip()) for title, _ in self._peers)

    def admits(self, calling_ae_title: str, address: str) -> bool:
        """Whether one entry names both this calling AE title and the host at this address."""
        caller = _plain(address)
        hosts = [host for title, host in self._peers if title in (ANY, calling_ae_title.strip())]
        return any(host == ANY or caller in self._addresses(host) for host in hosts)

    def _addresses(self, host: str) -> frozenset[str]:
        if _is_address(host):
            return frozenset({_plain(host)})
        now = self._clock_s()
        with self._lock:
            found = self._names.get(host)
        if found is None or now >= found[0]:
            found = (now + _NAME_KEPT_S, frozenset(_plain(address) for address in self._resolver(host)))
            with self._lock:
                self._names[host] = found
        return found[1]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _plain(address: str) -> str:
    """One spelling for each address: no zone, IPv4-mapped IPv6 as IPv4 (RFC 4291 2.5.5.2)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)
