"""A changed configuration for a node that runs: read again, and refused where it cannot be taken up on the way.

Listener and broker go on as they are, so that no association is dropped; what they were told at their start stays.
The policy and the texts that it names are kept as they were when it was read (``node.jobs.settings``): an edit of one
counts from the next reload on, for job keys and measurements alike.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from node.config import Config, load_config
from node.errors import ConfigError
from node.jobs.settings import SettingsStore
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


@dataclass(frozen=True, kw_only=True)
class Reread:
    """The configuration that the file holds now, and the sections in which it is another; ``receivers_gone`` are those
    that it no longer names."""

    config: Config
    sections: tuple[str, ...]
    receivers_gone: tuple[str, ...]

    def tell(self) -> None:
        """Log that it is in force."""
        level = logging.WARNING if self.receivers_gone else logging.INFO
        emit(Event.CONFIG_RELOADED, level, sections=self.sections, receivers_gone=self.receivers_gone)


def reread(now: Config, path: Path | None, settings: SettingsStore) -> Reread:
    """The configuration that the file holds now, its files as ``settings`` keep them.

    Raises:
        IronnodeError: it is wrong, or changes what only a restart can change.
    """
    if path is None:
        raise ConfigError("the node was started without a configuration file")
    wanted = load_config(path)
    settings_of(wanted)  # a policy or calibration that does not exist must not wait for the next patient
    found = settings.keep(wanted)
    _check(now, found)
    return Reread(
        config=found,
        sections=tuple(name for name in Config.model_fields if getattr(now, name) != getattr(found, name)),
        receivers_gone=found.gone_receivers(tuple(receiver.name for receiver in now.receivers)),
    )


def _check(now: Config, found: Config) -> None:
    settings_of(found)  # the copies: what was read a moment ago may have been edited since
    for name in _FIXED:
        if getattr(now, name) != getattr(found, name):
            raise ConfigError(f"{name}: changed; that needs a restart")
    for name, (what, of) in _NEEDS_RESTART.items():
        if of(now) != of(found):
            raise ConfigError(f"{name}: {what}; that needs a restart")
