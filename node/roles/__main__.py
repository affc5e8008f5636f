"""``python -m node.roles ROLE ...``: one process of a node, as the supervisor starts it."""

import sys

from node.roles.stage import run_role

run_role(sys.argv[1:])
