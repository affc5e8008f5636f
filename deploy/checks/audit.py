"""Known vulnerabilities of the locked dependencies (``make audit``), by pip-audit in an environment of its own.

pip-audit asks a vulnerability service. Where none can be reached nothing is audited: that is said in words, and is an
error only with ``--required``. A package that the service did not judge counts as not audited, never as sound.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

_PIP_AUDIT = "pip-audit==2.10.1"
_SERVICES = ("pypi", "osv")
_TIMEOUT_S = 300


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a service said of a list of packages; ``None`` for no answer at all."""

    judged: tuple[str, ...]
    unjudged: tuple[str, ...]
    vulnerable: tuple[str, ...]


def read_answer(text: str) -> Answer | None:
    """pip-audit's JSON."""
    try:
        entries = json.loads(text)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    return Answer(
        judged=tuple(entry["name"] for entry in entries if "skip_reason" not in entry),
        unjudged=tuple(entry["name"] for entry in entries if "skip_reason" in entry),
        vulnerable=tuple(
            f"{entry['name']} {entry['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'none'}"
            for entry in entries
            for found in entry.get("vulns", ())
        ),
    )


def main() -> int:
    """0: nothing is known, or nobody could be asked; 1: a vulnerability, or (``--required``) nobody could be asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("locks", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder of the environment")
    parser.add_argument("--required", action="store_true", help="it is an error when nobody can be asked")
    options = parser.parse_args()
    try:
        program = _install(options.work)
    except (OSError, subprocess.SubprocessError) as error:
        return _not_audited(f"{_PIP_AUDIT} cannot be installed ({error})", required=options.required)
    service = next((name for name in _SERVICES if _judges(program, name, options.locks[0])), None)
    if service is None:
        words = f"no vulnerability service answers from here (tried {', '.join(_SERVICES)})"
        return _not_audited(words, required=options.required)
    return max(_audit(program, service, lock, required=options.required) for lock in options.locks)


def _install(folder: Path) -> Path:
    program = folder / "bin" / "pip-audit"
    if not program.exists():
        venv.create(folder, with_pip=True)
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", _PIP_AUDIT]
        subprocess.run(command, check=True, timeout=_TIMEOUT_S)
    return program


def _judges(program: Path, service: str, lock: Path) -> bool:
    """Whether the service knows the first package of the lock; the rest is asked only then."""
    first = lock.read_text(encoding="utf-8").split()[0]
    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder) / "one.txt"
        one.write_text(first + "\n", encoding="utf-8")
        answer = _ask(program, service, one, "--no-deps")
    return answer is not None and bool(answer.judged)


def _ask(program: Path, service: str, requirements: Path, *options: str) -> Answer | None:
    words = ["--vulnerability-service", service, "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    command = [str(program), *words, *options, "--timeout", "15", "-r", str(requirements)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return None
    return read_answer(done.stdout)


def _audit(program: Path, service: str, lock: Path, *, required: bool) -> int:
    answer = _ask(program, service, lock, "--require-hashes")
    if answer is None:
        return _not_audited(f"{lock.name}: {service} gave no answer", required=required)
    print(f"{lock.name}: {len(answer.judged)} packages judged by {service}, {len(answer.vulnerable)} vulnerabilities")
    for line in answer.vulnerable:
        print(f"  {line}")
    if answer.unjudged:
        print(f"  not audited: {', '.join(answer.unjudged)}")
    return 1 if answer.vulnerable or (required and answer.unjudged) else 0


def _not_audited(why: str, *, required: bool) -> int:
    print(f"NOT AUDITED: {why}. Nothing is said about vulnerabilities of the dependencies.")
    return 1 if required else 0


if __name__ == "__main__":
    sys.exit(main())
