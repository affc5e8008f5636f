"""Runs the commands of guides that need no machine of their own, word for word, in a folder of its own.

    deploy/checks/guide_commands.py --work FOLDER GUIDE...

Paths below /etc and /srv are those of a folder, where a configuration, a storage root and an example series lie as the
guides assume. ``docs/installation.md`` and ``docs/upgrade.md`` need a machine: ``install_check.py``. Exit 0 only if
every command succeeded; one may say that a study cannot be measured (3) where its guide is about that.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from guide import commands_of

_DRILL = "storage: {root: drill}\n"


def prepare(work: Path) -> None:
    """The files that the guides take for granted."""
    for folder in ("etc/ironnode", "srv/examples", "srv/backup"):
        (work / folder).mkdir(parents=True)
    rule = "rules: [{name: old, when: {tag: StudyDate, matches: '19.*'}, decline: true}]\n"
    config = f"storage: {{root: {work / 'data'}}}\n{rule}"
    for name in ("etc/ironnode/config.yaml", "config.yaml"):
        (work / name).write_text(config)
    (work / "restore-drill.yaml").write_text(_DRILL)
    small = "--slices 1 --matrix 32 --echoes 4"
    _run(f"ironnode status && ironnode phantom --out {work}/srv/examples/series {small}", work)


def run_guide(guide: Path, work: Path) -> None:
    """Run a guide's blocks; raises ``CalledProcessError`` for one that fails."""
    for block in commands_of(guide):
        text = re.sub(r"(?<![\w./])/(etc|srv)/", rf"{work}/\1/", block)
        may_refuse = "refused" in text
        _run(text if not may_refuse else f"{text.rstrip()} || test $? -eq 3", work)


def _run(text: str, work: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "IRONNODE_CONFIG": str(work / "etc/ironnode/config.yaml"),
    }
    command = ["bash", "-euo", "pipefail", "-c", text]
    subprocess.run(command, cwd=work, env=environment, check=True, timeout=1200)


def main() -> None:
    """Run the guides named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a new folder")
    parser.add_argument("guides", nargs="+", type=Path)
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True)
    prepare(work)
    for guide in options.guides:
        run_guide(guide, work)
        sys.stdout.write(f"{guide}: every command succeeded\n")


if __name__ == "__main__":
    main()
