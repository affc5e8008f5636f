"""Install mri-fatwater (GPL-3) into an environment of its own, for the benchmarks only.

    python -m bench.fit.fatwater_install [--target .peers]

The package declares Python 3.14, but what ``bench.fit.fatwater_peer`` calls runs on 3.11, so it is installed without
its dependencies and the few that are used are named here. It is never imported by ironnode. Two other open fat-water
packages are not on the package index and are therefore not installed: fieldmapping-hmrGC and QUIT, both built from
source.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

PEER = "mri-fatwater==1.2.2"
NEEDED = ("numpy>=2,<3", "scikit-image<0.26", "thinqpbo==0.1.5", "joblib", "pyyaml")
ABSENT = {
    "fieldmapping-hmrGC": "not on the package index (build it from its repository)",
    "QUIT": "not on the package index (a C++ program, built from its repository)",
}


def main() -> int:
    """Make the environment and say what it holds."""
    parser = argparse.ArgumentParser(description="Install mri-fatwater for the benchmarks.")
    parser.add_argument("--target", type=Path, default=Path(".peers"))
    target = parser.parse_args().target
    python = target / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", target], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    failed = {}
    for what in (NEEDED, ("--no-deps", "--ignore-requires-python", PEER)):
        done = subprocess.run([*pip, *what], capture_output=True, text=True, check=False)
        if done.returncode:
            failed[what[-1]] = _last_line(done.stderr)
    tried = subprocess.run(
        [python, "-c", "import mri_fatwater.algorithm, mri_fatwater.params"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        failed[PEER] = failed.get(PEER) or _last_line(tried.stderr)
    else:
        print(f"{PEER}: installed, its algorithm imports (BENCH_PEER_PYTHON={python})")
    for name, reason in (failed | ABSENT).items():
        print(f"{name}: not installed: {reason}")
    return 1 if failed else 0


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


if __name__ == "__main__":
    sys.exit(main())
