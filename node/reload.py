"""A changed configuration for a node that runs: read again, and refused where it cannot be taken up on the way.

Listener and broker go on as they are, so that no association is dropped; what they were told at their start stays.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from node.config import Config, load_config
from node.errors import ConfigError
from node.ops.events import Event, emit
from node.process.settings import settings_of

KEPT_ROLES = frozenset({"broker", "listener"})
"""The roles that a reload leaves alone."""
_FIXED = ("storage", "receive", "broker", "database")
_PROCESS = "starts or ends a process of the node"
_NEEDS_RESTART: Mapping[str, tuple[str, Callable[[Config], bool]]] = {
    "destinations": ("commitment, which the listener offers", lambda c: any(d.commitment for d in c.destinations)),
    "web": (_PROCESS, lambda c: c.web.enabled),
    "notify": (_PROCESS, lambda c: c.notify.email is None and c.notify.webhook is None),
    "audit": (_PROCESS, lambda c: c.audit.syslog is None),
    "selftest": (_PROCESS, lambda c: c.selftest.every_h is None),
}


def reread(now: Config, path: Path | None) -> Config | None:
    """The configuration that the file holds now; ``None`` when it says the same.

    Raises:
        IronnodeError: it is wrong, or changes what only a restart can change.
    """
    if path is None:
        raise ConfigError("the node was started without a configuration file")
    found = load_config(path)
    _check(now, found)
    changed = [name for name in Config.model_fields if getattr(now, name) != getattr(found, name)]
    gone = found.gone_receivers(tuple(receiver.name for receiver in now.receivers))
    emit(Event.CONFIG_RELOADED, logging.WARNING if gone else logging.INFO, sections=changed, receivers_gone=gone)
    return found if changed else None


def _check(now: Config, found: Config) -> None:
    settings_of(found)  # a policy or calibration that does not exist must not wait for the next patient
    for name in _FIXED:
        if getattr(now, name) != getattr(found, name):
            raise ConfigError(f"{name}: changed; that needs a restart")
    for name, (what, of) in _NEEDS_RESTART.items():
        if of(now) != of(found):
            raise ConfigError(f"{name}: {what}; that needs a restart")
