"""``ironnode serve`` with every role run by ``role.py``: ``python serve.py CONFIG``."""

import sys
from dataclasses import replace
from pathlib import Path

from node.config import load_config
from node.errors import IronnodeError
from node.ops.events import configure_logging
from node.supervisor import ROLES_OF, programs_for, run_node


def main(config_path: Path) -> int:
    """The exit status that ``ironnode serve`` would have."""
    config = load_config(config_path)
    configure_logging()
    role = (sys.executable, str(Path(__file__).with_name("role.py")))
    programs = [replace(program, program=role) for program in programs_for(config, ROLES_OF["serve"])]
    try:
        return run_node(config, config_path, ROLES_OF["serve"], programs)
    except IronnodeError as error:
        sys.stderr.write(f"ironnode: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
