"""Install the magnitude peers into an environment of their own, for the benchmarks only, and say what is missing.

    python -m bench.fit.install_peers [--target .peers]

ukat (GPL-3) pins dependencies that do not build on every Python, so it is installed without them and what its T2* part
imports is named here. Nothing in it is imported by ironnode. mri-fatwater is installed into the same environment by
``bench.fit.fatwater_install``.
"""

import argparse
import subprocess
import sys
from pathlib import Path

PEERS = {"ukat": "ukat==0.7.3"}
NEEDED = ("numpy>=2,<3", "scipy", "nibabel", "tqdm", "pathos", "scikit-learn")
ABSENT = {
    "QUIT": "not on the package index (a C++ program, built from its repository)",
    "qMRLab": "not on the package index (MATLAB or Octave)",
}
RUNNER = Path(__file__).with_name("ukat_peer.py")


def main() -> int:
    """Make the environment and say what it holds."""
    parser = argparse.ArgumentParser(description="Install the magnitude peers for the benchmarks.")
    parser.add_argument("--target", type=Path, default=Path(".peers"))
    target = parser.parse_args().target.absolute()
    python = target / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", target], check=True)
    failed = {}
    for arguments in (NEEDED, ("--no-deps", *PEERS.values())):
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
        reason = _reason(subprocess.run(install, capture_output=True, text=True, check=False))
        if reason is not None:
            failed[" ".join(arguments)] = reason
    reason = _reason(subprocess.run([python, RUNNER], capture_output=True, text=True, check=False))
    if reason is None:
        print(f"{PEERS['ukat']}: installed, its T2* part imports (BENCH_PEER_PYTHON={python})")
    else:
        failed[PEERS["ukat"]] = reason
    for name, why in (failed | ABSENT).items():
        print(f"{name}: not installed: {why}")
    return 1 if failed else 0


def _reason(done: "subprocess.CompletedProcess[str]") -> str | None:
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason given"])[-1]


if __name__ == "__main__":
    sys.exit(main())
