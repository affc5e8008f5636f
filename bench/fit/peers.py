"""Other people's R2* fits of magnitudes, for comparison: scipy here, GPL packages in an environment of their own.

Each takes ``signal`` (k, e) and ``echo_times_s`` (e,) and returns R2* (k,) in 1/s. ``bench.fit.install_peers`` makes
the environment of those that are run as a subprocess, with arrays going in and out as npz files; mri-fatwater has its
own module (``bench.fit.fatwater``) because it takes volumes.
"""

import os
import subprocess
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit

UKAT_RUNNER = Path(__file__).with_name("ukat_peer.py")
_TRUNCATED_AT = 1.5  # times the mean of noise alone
_LEAST_ECHOES = 3
_BOUNDS = ((0.0, 0.0, 0.0), (np.inf, 5000.0, np.inf))


def plain(signal: np.ndarray, echo_times_s: np.ndarray) -> np.ndarray:
    """curve_fit of S0 exp(-R2* TE), as most scripts do it."""
    return np.array([_mono(decay, echo_times_s) for decay in signal.astype(np.float64)])


def plus_constant(signal: np.ndarray, echo_times_s: np.ndarray) -> np.ndarray:
    """curve_fit of S0 exp(-R2* TE) + C within bounds."""
    return np.array([_with_constant(decay, echo_times_s) for decay in signal.astype(np.float64)])


def truncated(signal: np.ndarray, echo_times_s: np.ndarray, floor: float) -> np.ndarray:
    """curve_fit up to the first echo below 1.5 times ``floor``, the mean of noise alone; at least three echoes."""

    def echoes_of(decay: np.ndarray) -> int:
        low = np.flatnonzero(decay <= _TRUNCATED_AT * floor)
        return max(_LEAST_ECHOES, int(low[0]) if low.size else decay.size)

    return np.array([_mono(d[: echoes_of(d)], echo_times_s[: echoes_of(d)]) for d in signal.astype(np.float64)])


def _mono(decay: np.ndarray, times: np.ndarray) -> float:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            return float(curve_fit(lambda t, s, r: s * np.exp(-r * t), times, decay, p0=(decay[0], 100.0))[0][1])
    except RuntimeError:
        return np.nan


def _with_constant(decay: np.ndarray, times: np.ndarray) -> float:
    start = (decay[0], 100.0, max(decay[-1] / 2, 0.0))
    try:
        found = curve_fit(lambda t, s, r, c: s * np.exp(-r * t) + c, times, decay, p0=start, bounds=_BOUNDS)
    except RuntimeError:
        return np.nan
    return float(found[0][1])


def peer_python() -> Path:
    """The Python of the peers' environment, whether it exists or not."""
    return Path(os.environ.get("BENCH_PEER_PYTHON", ".peers/bin/python")).absolute()


@cache
def ukat_absent() -> str | None:
    """Why ukat cannot be run; ``None`` when it can."""
    if not peer_python().is_file():
        return f"no Python at {peer_python()} (python -m bench.fit.install_peers)"
    tried = subprocess.run([peer_python(), UKAT_RUNNER], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else (tried.stderr.strip().splitlines() or ["failed"])[-1]


def ukat(signal: np.ndarray, echo_times_s: np.ndarray, method: str) -> tuple[np.ndarray, float]:
    """ukat's ``T2Star`` (GPL-3), ``method`` "2p_exp" or "loglin", on one thread: R2* (k,), 0 where it gave up; seconds.

    The seconds are of the fit alone, without starting Python and reading the arrays.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(source, signal=signal, echo_times_s=echo_times_s)
        subprocess.run(
            [peer_python(), UKAT_RUNNER, source, target, method],
            check=True,
            stdout=sys.stderr,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
        with np.load(target) as found:
            return found["r2star_per_s"], float(found["seconds"])
