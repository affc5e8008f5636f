"""A gateway or a worker with the harness' roles: ``python part.py gateway|worker CONFIG PROGRAM.py``."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from node.config import load_config
from node.errors import IronnodeError
from node.ops.events import configure_logging
from node.supervisor import ROLES_OF, programs_for, run_node


def main(command: str, config_path: Path, script: str) -> int:
    """The exit status that the command would have."""
    config = load_config(config_path)
    configure_logging()
    roles = ROLES_OF[command]
    programs = [replace(program, program=(sys.executable, script)) for program in programs_for(config, roles)]
    try:
        return run_node(config, config_path, roles, programs)
    except IronnodeError as error:
        sys.stderr.write(json.dumps({"event": "cannot_start", "error": str(error)}) + "\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
