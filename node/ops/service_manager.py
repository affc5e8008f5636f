"""Tells the service manager what the node does: the datagrams of systemd's sd_notify(3), which nobody else needs."""

import contextlib
import os
import socket

READY, STOPPING = "READY=1", "STOPPING=1"


def tell_service_manager(state: str) -> None:
    """Send ``state`` to the socket that ``NOTIFY_SOCKET`` names; nothing happens where no service manager waits."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # the abstract name space
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode(), address)
