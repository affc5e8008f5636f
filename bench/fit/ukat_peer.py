"""Run ukat's T2* fit (GPL-3, installed by the user in an environment of its own) on one list of decays.

    PEER_PYTHON bench/fit/ukat_peer.py IN.npz OUT.npz {2p_exp,loglin}

``IN.npz`` holds ``signal`` (k, e) and ``echo_times_s`` (e,), ``OUT.npz`` gets ``r2star_per_s`` (k,) as ukat computes it
(0 where its fit failed) and ``seconds`` of the fit alone. Without arguments it only tries whether ukat's T2* can be
imported. Executed by the peer's Python, imports nothing of ironnode. ``ukat.mapping`` would import every other mapping
with their dependencies, so its ``t2star`` module is imported past the package's front.
"""

import importlib
import importlib.util
import os
import sys
import time
import types
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"


def t2star_class():
    """``ukat.mapping.t2star.T2Star`` alone."""
    place = importlib.util.find_spec("ukat")
    if place is None:
        raise ImportError("ukat is not installed")
    folder = Path(place.submodule_search_locations[0])
    for name, path in (("ukat", folder), ("ukat.mapping", folder / "mapping")):
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package
    return importlib.import_module("ukat.mapping.t2star").T2Star


def main() -> None:
    """Read, fit, write."""
    t2star = t2star_class()
    if len(sys.argv) == 1:
        return
    import numpy as np

    source, target, method = sys.argv[1:]
    with np.load(source) as given:
        signal, times = given["signal"].astype(float), given["echo_times_s"]
    start = time.perf_counter()
    fitted = t2star(signal[:, None, None, :], 1000 * times, np.eye(4), method=method, multithread=False)
    seconds = time.perf_counter() - start
    per_ms = fitted.r2star_map()
    np.savez(target, r2star_per_s=1000 * per_ms[:, 0, 0], seconds=seconds)


if __name__ == "__main__":
    main()
