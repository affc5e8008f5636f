"""The magnitude fits that others use, run live beside ours; installs the one that is not scipy.

    python -m bench.fit.peers [--target .peers]

* scipy ``curve_fit`` of S0 exp(-R2* TE), plain; plus a constant; and plain on the echoes before the first one at or
  below 1.5 times the mean of the noise (truncation), three at least.
* ukat (GPL-3) ``T2Star`` with "2p_exp" and "loglin", in an environment and a process of its own; never imported by
  ironnode. Its pinned dependencies do not install on Python 3.11, so it is installed without them, and what its T2*
  module needs is named here.

mri-fatwater has an installer of its own (``bench.fit.fatwater_install``), which also names what is not on the index.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.stats import chi

from bench.fit.fatwater import peer_python
from bench.fit.fatwater_install import ABSENT

UKAT = "ukat==0.7.3"
UKAT_NEEDS = ("numpy>=2,<3", "scipy>=1.14,<2", "nibabel", "pathos", "tqdm", "scikit-learn")
START_PER_S = 100.0
_RUNNER = Path(__file__).with_name("ukat_peer.py")
_TRUNCATION_FACTOR = 1.5
_LEAST_ECHOES = 3


def plain(signal: np.ndarray, times: np.ndarray) -> np.ndarray:
    """R2* (k,) of ``signal`` (k, e) by curve_fit; NaN where it gives up."""

    def model(t: np.ndarray, s0: float, r2star: float) -> np.ndarray:
        return s0 * np.exp(-r2star * t)

    return _each(signal, lambda y: curve_fit(model, times, y, p0=(float(y[0]), START_PER_S))[0][1])


def plus_constant(signal: np.ndarray, times: np.ndarray) -> np.ndarray:
    """As ``plain``, of S0 exp(-R2* TE) + C."""

    def model(t: np.ndarray, s0: float, r2star: float, constant: float) -> np.ndarray:
        return s0 * np.exp(-r2star * t) + constant

    return _each(signal, lambda y: curve_fit(model, times, y, p0=(float(y[0]), START_PER_S, 0.0))[0][1])


def truncated(signal: np.ndarray, times: np.ndarray, *, sigma: float, coils: int) -> np.ndarray:
    """As ``plain``, of the echoes above the noise."""
    floor = _TRUNCATION_FACTOR * sigma * chi.mean(2 * coils)

    def one(y: np.ndarray) -> float:
        low = np.flatnonzero(y <= floor)
        used = max(int(low[0]) if low.size else y.size, _LEAST_ECHOES)
        return float(plain(y[None, :used], times[:used])[0])

    return _each(signal, one)


def _each(signal: np.ndarray, fit: Callable[[np.ndarray], float]) -> np.ndarray:
    out = np.full(len(signal), np.nan)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", OptimizeWarning)
        for k, decay in enumerate(signal.astype(np.float64)):
            try:
                out[k] = fit(decay)
            except RuntimeError:  # no convergence
                continue
    return out


@dataclass(frozen=True)
class UkatFit:
    """R2* (1/s) of every decay, 0 where it failed, and the CPU seconds of the fit alone in one thread."""

    r2star_per_s: np.ndarray
    seconds: float


def ukat(signal: np.ndarray, times: np.ndarray, method: Literal["2p_exp", "loglin"]) -> UkatFit:
    """Fit of ``signal`` (k, e) by ukat in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, signal=signal, echo_times_s=times)
        subprocess.run([peer_python(), _RUNNER, source, target, "--method", method], check=True, env=_one_thread())
        with np.load(target) as out:
            return UkatFit(out["r2star_per_s"], float(out["seconds"]))


@cache
def ukat_absent() -> str | None:
    """Why ukat cannot be run; ``None`` when it can."""
    python = peer_python()
    if not python.is_file():
        return f"no Python at {python}; run python -m bench.fit.peers"
    code = f"import sys; sys.path.insert(0, {str(_RUNNER.parent)!r}); import ukat_peer; ukat_peer.t2star_module()"
    tried = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else _last_line(tried.stderr)


def _one_thread() -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, "1")}


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


def main() -> int:
    """Make the environment and say what it holds."""
    parser = argparse.ArgumentParser(description="Install ukat for the benchmarks.")
    parser.add_argument("--target", type=Path, default=Path(".peers"))
    target = parser.parse_args().target
    os.environ["BENCH_PEER_PYTHON"] = str(target / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    if not peer_python().is_file():
        subprocess.run([sys.executable, "-m", "venv", target], check=True)
    pip = [peer_python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for what in (UKAT_NEEDS, ("--no-deps", UKAT)):
        done = subprocess.run([*pip, *what], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{what[-1]}: not installed: {_last_line(done.stderr)}")
    reason = ukat_absent()
    print(f"{UKAT}: " + ("installed, its T2* module imports" if reason is None else f"not installed: {reason}"))
    for name, why in ABSENT.items():
        print(f"{name}: not installed: {why}")
    return 0 if reason is None else 1


if __name__ == "__main__":
    sys.exit(main())
