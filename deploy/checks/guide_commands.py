"""Runs the commands of guides that need no machine of their own, word for word, in a folder of its own.

    deploy/checks/guide_commands.py --work FOLDER GUIDE...

Paths below /etc and /srv are those of a folder, where a configuration, a storage root and an example series lie as the
guides assume. The commands of tables (symptom, cause, command) run beside a node that has measured a phantom, those
that need it stopped afterwards. ``docs/installation.md`` and ``docs/upgrade.md`` need a machine: ``install_check.py``.
Exit 0 only if every command succeeded; one may say that a study cannot be measured (3) where its guide is about that.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from guide import commands_of, commands_of_tables

_DRILL = "storage: {root: drill}\n"
_SMALL = "--slices 4 --matrix 64"
_OLD = {"name": "old", "when": {"tag": "StudyDate", "matches": "19.*"}, "decline": True}
_IN_A_BLOCK = {"ironnode restore FILE"}  # of the same guide, with its file


def prepare(work: Path) -> int:
    """The files that the guides take for granted; the DICOM port of the node that they are about."""
    for folder in ("etc/ironnode", "srv/examples", "srv/backup"):
        (work / folder).mkdir(parents=True)
    dicom, web = _free_port(), _free_port()
    allow = [{"ae_title": title, "host": "127.0.0.1"} for title in ("TRIALSCANNER", "IRONNODE-TEST")]
    config = {
        "storage": {"root": str(work / "data")},
        "receive": {"host": "127.0.0.1", "port": dicom, "allow": allow},
        "assemble": {"settle_s": 3, "complete_quiet_s": 2},
        "web": {"port": web},
        "rules": [_OLD],
    }
    for name in ("etc/ironnode/config.yaml", "config.yaml"):
        (work / name).write_text(json.dumps(config))  # YAML holds JSON
    (work / "restore-drill.yaml").write_text(_DRILL)
    _run(f"ironnode status && ironnode phantom --out {work}/srv/examples/series {_SMALL}", work)
    return dicom


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_guide(guide: Path, work: Path) -> None:
    """Run a guide's blocks; raises ``CalledProcessError`` for one that fails."""
    for block in commands_of(guide):
        text = re.sub(r"(?<![\w./])/(etc|srv)/", rf"{work}/\1/", block)
        may_refuse = "refused" in text
        _run(text if not may_refuse else f"{text.rstrip()} || test $? -eq 3", work)


def run_tables(guide: Path, work: Path, dicom: int) -> None:
    """Run the commands of a guide's tables; raises ``CalledProcessError`` for one that fails."""
    found = [item for item in commands_of_tables(guide) if item[0] not in _IN_A_BLOCK]
    if not found:
        return
    with ExitStack() as running:
        running.enter_context(_node(work))
        _run(f"ironnode send srv/examples/series --to IRONNODE@127.0.0.1:{dicom} --calling TRIALSCANNER", work)
        _run("until ironnode jobs --state done | grep -w measured; do sleep 1; done", work)
        job = _run("ironnode jobs --json", work)
        names = {"JOB": json.loads(job)[0]["job_id"][:12], "FOLDER": str(work / "srv/examples/series")}
        for stopped in (False, True):
            for command in dict.fromkeys(text for text, when in found if when is stopped):
                _run(re.sub(r"\b(JOB|FOLDER)\b", lambda word: names[word[0]], command), work)
            running.close()


@contextmanager
def _node(work: Path) -> Iterator[None]:
    """``ironnode serve`` until the end of the block."""
    command, environment = [str(Path(sys.executable).parent / "ironnode"), "serve"], _environment(work)
    with (work / "node.log").open("wb") as log:
        node = subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=log)
        try:
            while b'"node_started"' not in (work / "node.log").read_bytes():
                if node.poll() is not None:
                    sys.exit(f"the node does not start: {work / 'node.log'}")
                time.sleep(0.5)
            yield
        finally:
            node.send_signal(signal.SIGTERM)
            node.wait()


def _environment(work: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "IRONNODE_CONFIG": str(work / "etc/ironnode/config.yaml")}


def _run(text: str, work: Path) -> str:
    sys.stdout.write(f"$ {text.strip()}\n")
    sys.stdout.flush()
    command = ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(
        command, cwd=work, env=_environment(work), check=True, timeout=3600, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def main() -> None:
    """Run the guides named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a new folder")
    parser.add_argument("guides", nargs="+", type=Path)
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True)
    dicom = prepare(work)
    for guide in options.guides:
        run_tables(guide, work, dicom)
        run_guide(guide, work)
        sys.stdout.write(f"{guide}: every command succeeded\n")


if __name__ == "__main__":
    main()
