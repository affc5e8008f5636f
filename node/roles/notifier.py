"""The notifier role: looks at the node every few seconds and tells people what is wrong."""

import logging

from node.app import open_node, wall_clock
from node.errors import StorageError
from node.notify.channels import channels_of
from node.notify.desk import NoticeDesk
from node.notify.troubles import find_troubles
from node.ops.events import Event, emit
from node.roles.stage import Stage

_LOOK_EVERY_S = 10.0
_FIRST_LOOK_AFTER_S = 30.0  # the other roles are still starting


def play(stage: Stage) -> None:
    """Tell until told to stop."""
    settings = stage.config.notify
    with open_node(stage.config, stage.fence) as node:
        desk = NoticeDesk(stage.config.storage.root, settings, channels_of(settings))
        stage.ready()
        stage.stop.wait(_FIRST_LOOK_AFTER_S)
        while not stage.stop.is_set():
            try:
                now = wall_clock()
                desk.step(find_troubles(node, now), now)
            except StorageError as error:
                emit(Event.STORAGE_TROUBLE, logging.ERROR, role=stage.role, error=str(error))
            stage.stop.wait(_LOOK_EVERY_S)
