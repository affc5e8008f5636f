"""The commands of a guide: its ``sh`` blocks, word for word and in order."""

import re
from pathlib import Path

_BLOCK = re.compile(r"(<!-- install-check: not run[^\n]*-->\n *)?```sh\n(.*?)```", re.DOTALL)


def commands_of(guide: Path) -> list[str]:
    """The text of each block that is to be run; one under a ``not run`` comment is left out."""
    return [text for skip, text in _BLOCK.findall(guide.read_text(encoding="utf-8")) if not skip]


def script_of(*guides: Path) -> str:
    """One shell script that says each line before it runs it and ends at the first that fails."""
    blocks = [block for guide in guides for block in commands_of(guide)]
    return "set -euo pipefail\nset -x\n" + "".join(blocks)


def commands_of_tables(guide: Path) -> list[tuple[str, bool]]:
    """The ``ironnode`` commands in the last column of a guide's tables with a column "command", in order; with each,
    whether the node is to be stopped for it."""
    tables = re.findall(
        r"^\|[^\n]*\| command \|\n\|[-|]+\|\n((?:\|.*\n)+)", guide.read_text(encoding="utf-8"), re.MULTILINE
    )
    cells = [row.rstrip("| ").rpartition(" | ")[2] for table in tables for row in table.splitlines()]
    return [
        (text, cell.startswith("stop the node")) for cell in cells for text in re.findall(r"`(ironnode [^`]+)`", cell)
    ]
