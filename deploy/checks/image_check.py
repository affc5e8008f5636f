"""Runs the Dockerfile's steps in empty Debian root file systems and starts the node from what they make.

    deploy/checks/image_check.py --work FOLDER [--keep]

For machines without a container engine. Each stage starts from Debian's own base system, which is what its base image
holds. The node then runs as the image's user on a read-only root until its health check answers, and is ended by the
stop signal. Exit 0 only if all of that happened.
"""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from roots import make_root, nspawn, package_environment, require

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = REPOSITORY / "deploy/Dockerfile"
_SAYS_NOTHING_HERE = {"EXPOSE", "VOLUME", "STOPSIGNAL"}
_TIMEOUT_S = 4 * 3600  # a busy machine takes an hour
_TRIAL = """set -eu
{entrypoint} {command} & pid=$!
started=$(date +%s)
until {health} >/dev/null 2>&1; do
    kill -0 $pid || exit 1
    [ $(($(date +%s) - started)) -lt 120 ] || exit 1
    sleep 1
done
echo "healthy after $(($(date +%s) - started)) s as user $(id -u)"
if touch /etc/ironnode/written 2>/dev/null; then echo "the root can be written"; exit 1; fi
ironnode status
kill -TERM $pid
wait $pid
"""


@dataclass
class Stage:
    """One FROM and what follows."""

    root: Path
    folder: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0"
    words: dict[str, list[str]] = field(default_factory=dict)  # ENTRYPOINT, CMD, HEALTHCHECK


def instructions(text: str) -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined, comments left out."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n", " ", lines)
    return [
        (name.upper(), rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def build(work: Path) -> Stage:
    """Run every instruction; the last stage."""
    base = work / "base"
    make_root(base)
    stages: dict[str, Stage] = {}
    stage = Stage(root=base)
    for name, rest in instructions(DOCKERFILE.read_text(encoding="utf-8")):
        if name == "FROM":
            label = rest.split()[-1] if " AS " in rest else f"stage-{len(stages)}"
            stage = stages[label] = Stage(root=work / label)
            subprocess.run(["cp", "-a", str(base), str(stage.root)], check=True)
        elif name == "RUN":
            _run_step(stage, rest)
        elif name == "COPY":
            _copy(stage, stages, rest.split())
        elif name == "ENV":
            stage.environment |= dict(word.split("=", 1) for word in shlex.split(rest))
        elif name == "WORKDIR":
            stage.folder = rest
            (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif name == "USER":
            stage.user = rest.split(":")[0]
        elif name in ("ENTRYPOINT", "CMD", "HEALTHCHECK"):
            stage.words[name] = json.loads(rest[rest.index("[") :])
        elif name not in _SAYS_NOTHING_HERE:
            sys.exit(f"image-check: {name} is not known here")
    return stage


def _run_step(stage: Stage, command: str) -> None:
    print(f"RUN {command[:110]}", flush=True)
    environment = {**package_environment(), **stage.environment, "DEBIAN_FRONTEND": "noninteractive"}
    script = f"cd {shlex.quote(stage.folder)} && {command}"
    if nspawn(stage.root, ["--as-pid2"], ["/bin/sh", "-c", script], timeout_s=_TIMEOUT_S, env=environment):
        sys.exit(f"image-check: the step failed: {command}")


def _copy(stage: Stage, stages: dict[str, Stage], words: list[str]) -> None:
    origin = REPOSITORY
    if words[0].startswith("--from="):
        origin = stages[words.pop(0).removeprefix("--from=")].root
    *sources, target = words
    place = stage.root / (Path(stage.folder) / target).as_posix().lstrip("/")
    for source in sources:
        found = origin / source.lstrip("/")
        into = place / found.name if target.endswith("/") else place
        into.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", "-T", str(found), str(into)], check=True)


def start(stage: Stage, work: Path) -> int:
    """Start the image's program until it is healthy, and end it; 0 when all went well."""
    data = work / "data"
    data.mkdir()
    shutil.chown(data, int(stage.user), int(stage.user))
    config = work / "config.yaml"
    config.write_text("receive: {port: 0, allow: []}\n")
    (stage.root / "etc/ironnode/config.yaml").touch()  # where it is mounted; a container engine makes that by itself
    options = [
        *("--as-pid2", "--read-only", f"--user={stage.user}", f"--chdir={stage.folder}"),
        *("--tmpfs=/tmp", "--tmpfs=/var/cache/ironnode:mode=0777"),
        *(f"--bind={data}:/var/lib/ironnode", f"--bind-ro={config}:/etc/ironnode/config.yaml"),
    ]
    words = {name: shlex.join(found) for name, found in stage.words.items()}
    trial = _TRIAL.format(entrypoint=words["ENTRYPOINT"], command=words["CMD"], health=words["HEALTHCHECK"])
    return nspawn(stage.root, options, ["/bin/sh", "-c", trial], timeout_s=300, env=stage.environment)


def main() -> None:
    """Build, start, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="an empty or new folder")
    parser.add_argument("--keep", action="store_true", help="leave the root file systems there")
    options = parser.parse_args()
    require("debootstrap", "systemd-nspawn")
    started = time.monotonic()
    work = options.work.resolve()
    stage = build(work)
    built = time.monotonic()
    status = start(stage, work)
    size = subprocess.run(["du", "-sm", str(stage.root)], check=True, capture_output=True, text=True).stdout.split()[0]
    print(f"steps {built - started:.0f} s, image {size} MB, start and stop: status {status}")
    if not options.keep:
        shutil.rmtree(work)
    sys.exit(status)


if __name__ == "__main__":
    main()
