"""``ironnode serve`` (or another of ``ROLES_OF``) with a program in the place of some roles: ``python serve.py COMMAND
CONFIG PROGRAM.py [ROLE ...]``.

Without roles it stands for all of them.
"""

import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from node.config import load_config
from node.errors import IronnodeError
from node.ops.events import configure_logging
from node.supervisor import ROLES_OF, programs_for, run_node


def main(command: str, config_path: Path, script: str, roles: Collection[str]) -> int:
    """The exit status that ``ironnode`` with this command would have."""
    config = load_config(config_path)
    configure_logging()
    programs = [
        replace(program, program=(sys.executable, script)) if not roles or program.role in roles else program
        for program in programs_for(config, ROLES_OF[command])
    ]
    try:
        return run_node(config, config_path, ROLES_OF[command], programs)
    except IronnodeError as error:
        sys.stderr.write(f"ironnode: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4:]))
