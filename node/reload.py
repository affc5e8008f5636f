"""A changed configuration for a node that runs: read again, and refused where it cannot be taken up on the way.

Listener and broker go on as they are, so that no association is dropped; what they were told at their start stays.
The files that it names are held as they were when it was read: an edit of one counts from the next reload on, for job
keys and measurements alike.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from node.config import Config, load_config
from node.errors import ConfigError
from node.intake.durable_io import storage_error
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


def hold_files(config: Config, folder: Path) -> Config:
    """``config`` with copies under ``folder`` in place of the policy and the texts of the report that it names; a copy
    is named by its digest.

    Raises:
        ConfigError: a file cannot be read.
        StorageError: a copy cannot be written.
    """
    policy_file, texts_file = config.follow_up.policy_file, config.report.texts_file
    policy = None if policy_file is None else _hold(policy_file, folder, "follow_up.policy_file")
    texts = None if texts_file is None else _hold(texts_file, folder, "report.texts_file")
    follow_up = config.follow_up.model_copy(update={"policy_file": policy})
    report = config.report.model_copy(update={"texts_file": texts})
    return config.model_copy(update={"follow_up": follow_up, "report": report})


def _hold(path: Path, folder: Path, key: str) -> Path:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{key}: {path} cannot be read: {error.strerror or error}") from error
    copy = folder / f"{hashlib.sha256(data).hexdigest()}.yaml"
    temporary = copy.with_suffix(".new")
    try:
        folder.mkdir(exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(copy)
    except OSError as error:
        raise storage_error(error, f"{copy} cannot be written") from error
    return copy


def reread(now: Config, path: Path | None, held: Path) -> Config | None:
    """The configuration that the file holds now, with the files that it names held in the folder ``held``; ``None``
    when both say the same.

    Raises:
        IronnodeError: it is wrong, or changes what only a restart can change.
    """
    if path is None:
        raise ConfigError("the node was started without a configuration file")
    wanted = load_config(path)
    settings_of(wanted)  # a policy or calibration that does not exist must not wait for the next patient
    found = hold_files(wanted, held)
    _check(now, found)
    changed = [name for name in Config.model_fields if getattr(now, name) != getattr(found, name)]
    gone = found.gone_receivers(tuple(receiver.name for receiver in now.receivers))
    emit(Event.CONFIG_RELOADED, logging.WARNING if gone else logging.INFO, sections=changed, receivers_gone=gone)
    return found if changed else None


def _check(now: Config, found: Config) -> None:
    settings_of(found)  # the copies: what was read a moment ago may have been edited since
    for name in _FIXED:
        if getattr(now, name) != getattr(found, name):
            raise ConfigError(f"{name}: changed; that needs a restart")
    for name, (what, of) in _NEEDS_RESTART.items():
        if of(now) != of(found):
            raise ConfigError(f"{name}: {what}; that needs a restart")
