"""The selftest role: the node tests itself on a schedule."""

import logging

from node.app import open_node, wall_clock
from node.errors import IronnodeError
from node.ops.events import Event, emit
from node.ops.self_test import due_in_s, run_self_test
from node.roles.stage import Stage

_FIRST_AFTER_S = 60.0  # the other roles are still starting
_RETRY_AFTER_S = 300.0


def play(stage: Stage) -> None:
    """Test until told to stop."""
    with open_node(stage.config, stage.fence) as node:
        stage.ready()
        stage.stop.wait(_FIRST_AFTER_S)
        while not stage.stop.is_set():
            if stage.stop.wait(due_in_s(stage.config, wall_clock())):
                return
            try:
                run_self_test(node, stage.stop)
            except IronnodeError as error:
                emit(Event.SELF_TEST_FAILED, logging.ERROR, error=str(error))
                stage.stop.wait(_RETRY_AFTER_S)
