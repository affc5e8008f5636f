"""Whether the node is well, part by part."""

import os
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from node.app import Node
from node.ops.disk_watch import DiskLevel, disk_level


def ready(node: Node) -> tuple[HTTPStatus, dict[str, Any]]:
    """200 when ledger and spool can be used and every other role is alive, else 503; ``parts`` says which is not."""
    found = node.status()
    level = disk_level(found.free_mib, node.config.storage)
    parts: dict[str, bool] = {
        "ledger": True,  # the status was read from it
        "spool": os.access(node.spool.inbox_folder, os.W_OK),
        "disk": level is not DiskLevel.FULL,
        **{f"role {role}": alive for role, alive in found.roles.items()},
    }
    well = all(parts.values())
    code = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
    return code, {
        "ready": well,
        "parts": parts,
        "spool_writable": parts["spool"],
        "free_space": parts["disk"],
        "disk_level": level.value,
        "roles": found.roles,
    }


def status(node: Node) -> dict[str, Any]:
    """What ``ironnode status --json`` shows, without the list of acquisitions."""
    return asdict(node.status())
