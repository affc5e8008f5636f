"""``make fuzz-coverage``: coverage-guided fuzzing of everything that reads foreign bytes, each target for some time.

atheris has an environment of its own (``build/fuzz-venv``) that sees the product's; the product does not need it.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from dataclasses import dataclass
from pathlib import Path

from bench.machine import this_machine
from tests.conftest import REPOSITORY
from tests.fuzz.seeds import seeds_of
from tests.fuzz.targets import TARGETS

_ATHERIS = "atheris==3.0.0"
_ENVIRONMENT = REPOSITORY / "build" / "fuzz-venv"
_LONGEST_INPUT_BYTES = 1 << 17
_LONGEST_RUN_S = 20
_MEMORY_MIB = 2048


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One target's run; ``edges`` is libFuzzer's count of what was reached; ``finding`` what ended it early."""

    target: str
    seconds: float
    executions: int
    seeds: int
    corpus: int
    edges: int
    finding: str


def main() -> int:
    """0 when there was no finding, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build" / "fuzz", help="corpora and findings")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; none: all")
    options = parser.parse_args()
    python = _environment()
    data = Path(os.environ.get("IRONNODE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    outcomes = []
    for name in options.targets or TARGETS:
        outcomes.append(_fuzz(python, name, options.folder / name, options.seconds, options.seed, data))
        print(_row(outcomes[-1]), flush=True)
    table = _table(outcomes, options.seconds)
    (options.folder / "table.md").write_text(table)
    print("\n" + table)
    return 1 if any(outcome.finding for outcome in outcomes) else 0


def _environment() -> Path:
    """The interpreter of the environment with atheris, which also finds what this one has."""
    python = _ENVIRONMENT / "bin" / "python"
    if not python.exists():
        venv.create(_ENVIRONMENT, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", _ATHERIS], check=True)
        ours = Path(sysconfig.get_path("purelib", vars={"base": str(_ENVIRONMENT)}))
        (ours / "product.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def _fuzz(python: Path, name: str, folder: Path, seconds: int, seed: int, data: Path) -> Outcome:
    corpus, findings = folder / "corpus", folder / "findings"
    for needed in (corpus, findings):
        needed.mkdir(parents=True, exist_ok=True)
    seeds = list(seeds_of(name, data if data.is_dir() else None))
    for number, content in enumerate(seeds):
        (corpus / f"seed-{number:03d}").write_bytes(content)
    command = [
        str(python), "-W", "ignore", "-m", "tests.fuzz.one", name, str(corpus), f"-max_total_time={seconds}",
        f"-seed={seed}", f"-max_len={_LONGEST_INPUT_BYTES}", f"-timeout={_LONGEST_RUN_S}",
        f"-rss_limit_mb={_MEMORY_MIB}", f"-artifact_prefix={findings}/", "-print_final_stats=1",
    ]  # fmt: skip
    began = time.monotonic()
    with (folder / "log").open("w") as log:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, stdout=log, stderr=log, check=False, env=environment, cwd=REPOSITORY)
    text = (folder / "log").read_text(errors="replace")
    return Outcome(
        target=name,
        seconds=time.monotonic() - began,
        executions=_last(r"stat::number_of_executed_units:\s*(\d+)", text) or _last(r"^#(\d+)\s", text),
        seeds=len(seeds),
        corpus=len(list(corpus.iterdir())),
        edges=_last(r"\bft: (\d+)", text),
        finding=_finding(text, done.returncode) if done.returncode else "",
    )


def _last(pattern: str, text: str) -> int:
    found = re.findall(pattern, text, re.MULTILINE)
    return int(found[-1]) if found else 0


def _finding(text: str, status: int) -> str:
    """The exception, where it was raised and the input that did it; without an exception libFuzzer's own word (a hang,
    too much memory), or the signal that ended the process."""
    raised = re.search(r"Uncaught Python exception: ===\n(.*)", text)
    said = raised or re.search(r"ERROR: libFuzzer: (.*)", text) or re.search(r"(.*Error.*)", text)
    what = said.group(1).strip()[:200] if said else f"ended without a word, by {_ending(status)}"
    frames = re.findall(r'File "(.*)", line (\d+), in (\S+)', text)
    where = [f"{Path(frames[-1][0]).name}:{frames[-1][1]} {frames[-1][2]}"] if frames else []
    inputs = [Path(path).name for path in re.findall(r"Test unit written to (.*)", text)[-1:]]
    return "; ".join([what, *where, *inputs])


def _ending(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _row(outcome: Outcome) -> str:
    rate = outcome.executions / outcome.seconds if outcome.seconds else 0
    return (
        f"| {outcome.target} | {TARGETS[outcome.target].what} | {outcome.seeds} | {outcome.executions:,} "
        f"| {rate:.0f} | {outcome.edges:,} | {outcome.finding or 'none'} |"
    )


def _table(outcomes: list[Outcome], seconds: int) -> str:
    machine = this_machine()
    return "\n".join(
        [
            f"`make fuzz-coverage SECONDS={seconds}`, commit {machine.commit}, {machine.processor}, {machine.cores} "
            f"cores, load {machine.load_1min:.1f}, Python {machine.python}, {_ATHERIS}.",
            "",
            "| target | bytes that it takes | seeds | executions | per second | features reached | findings |",
            "|---|---|---|---|---|---|---|",
            *map(_row, outcomes),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
