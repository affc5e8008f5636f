"""Run the T2* fit of ukat (GPL-3, installed by the user in an environment of its own) on one list of decays.

    PEER_PYTHON bench/fit/ukat_peer.py IN.npz OUT.npz --method 2p_exp|loglin

``IN.npz`` holds ``signal`` (k, e) and ``echo_times_s`` (e,). ``OUT.npz`` gets ``r2star_per_s`` (k,), 0 where ukat gives
T2* = 0 for a fit that failed or ended at its bounds, and CPU ``seconds`` of the fit alone, in one thread.

This file is executed by the peer's Python and imports nothing of ironnode. ukat's front module imports the whole
toolbox; the stand-ins below let its T2* module be imported without it.
"""

import argparse
import contextlib
import io
import os
import sys
import time
import types
import warnings
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    """Read, fit, write."""
    parser = argparse.ArgumentParser(description="ukat's T2* fit of one list of decays.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--method", choices=("2p_exp", "loglin"), required=True)
    given = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    import numpy as np

    t2star = t2star_module()
    with np.load(given.source) as source:
        signal, times_ms = source["signal"], 1000 * source["echo_times_s"]
    signal = signal.reshape(-1, 1, 1, times_ms.size).astype(np.float64)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        start = time.process_time()
        fit = t2star.T2Star(signal, times_ms, np.eye(4), method=given.method, multithread=False)
        seconds = time.process_time() - start
    np.savez(given.target, r2star_per_s=1000 * fit.r2star_map().reshape(-1), seconds=seconds)


def t2star_module():
    """``ukat.mapping.t2star`` without the front modules above it."""
    root = Path(next(iter(find_spec("ukat").submodule_search_locations)))
    for name, folder in (("ukat", root), ("ukat.mapping", root / "mapping")):
        stand_in = types.ModuleType(name)
        stand_in.__path__ = [str(folder)]
        sys.modules[name] = stand_in
    from ukat.mapping import t2star

    return t2star


if __name__ == "__main__":
    main()
