"""Whether the node is well, part by part."""

import os
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from node.app import Node, free_mib
from node.errors import StorageError
from node.jobs.broker import answers_at
from node.ops.disk_watch import DiskLevel, disk_level
from node.runtime import gateway_run

BROKER_ANSWERS_WITHIN_S = 1.0  # twice this must stay below Prometheus' scrape_timeout, or the whole node looks away


def ready(node: Node) -> tuple[HTTPStatus, dict[str, Any]]:
    """200 when every part can be used, else 503; ``parts`` says which cannot, whatever else is away."""
    level, roles = _disk_level(node), _roles(node)
    parts: dict[str, bool] = {
        "ledger": ledger_answers(node),
        "spool": os.access(node.spool.inbox_folder, os.W_OK),
        "disk": level not in (None, DiskLevel.FULL),
        **{f"role {role}": alive for role, alive in roles.items()},
    }
    if node.config.broker.url is not None:  # the private broker is a role
        parts["broker"] = answers_at(node.config.broker.url, BROKER_ANSWERS_WITHIN_S)
    well = all(parts.values())
    code = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
    return code, {
        "ready": well,
        "parts": parts,
        "spool_writable": parts["spool"],
        "free_space": parts["disk"],
        "disk_level": None if level is None else level.value,
        "roles": roles,
    }


def ledger_answers(node: Node) -> bool:
    """Whether the ledger can be read just now."""
    try:
        node.overview.job_counts()
    except StorageError:
        return False
    return True


def _disk_level(node: Node) -> DiskLevel | None:
    """``None``: the storage root cannot be asked."""
    try:
        return disk_level(free_mib(node.config.storage.root), node.config.storage)
    except StorageError:
        return None


def _roles(node: Node) -> dict[str, bool]:
    """Of every role of this machine whether its process is there; none where the storage root cannot be read."""
    try:
        return gateway_run(node.config).roles_alive()
    except StorageError:
        return {}


def status(node: Node) -> dict[str, Any]:
    """What ``ironnode status --json`` shows, without the list of acquisitions."""
    return asdict(node.status())
