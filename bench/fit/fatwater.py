"""mri-fatwater on phantoms, where the user has installed it.

It is looked for in the Python that ``BENCH_PEER_PYTHON`` names, else ``.peers/bin/python``, which
``bench.fit.fatwater_install`` makes. Its answers are kept in ``BENCH_PEER_CACHE`` when that names a folder, so that
many of our runs can be compared with one of its.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bench.fit.complex_phantom import Phantom

CANDIDATES = (40.0,)
MORE_CANDIDATES = (20.0, 40.0, 100.0, 200.0, 350.0, 500.0, 700.0)
_RUNNER = Path(__file__).with_name("fatwater_peer.py")


@dataclass(frozen=True, kw_only=True)
class PeerMaps:
    """Its maps (z, y, x) and the seconds of its separation."""

    r2star_per_s: np.ndarray
    pdff: np.ndarray
    b0_hz: np.ndarray
    seconds: float


def peer_python() -> Path:
    """The Python of the peers' environment, whether it exists or not."""
    return Path(os.environ.get("BENCH_PEER_PYTHON", ".peers/bin/python")).absolute()


@cache
def absent() -> str | None:
    """Why mri-fatwater cannot be run; ``None`` when it can."""
    python = peer_python()
    if not python.is_file():
        return f"no Python at {python}"
    tried = subprocess.run(
        [python, "-c", "import mri_fatwater.algorithm, mri_fatwater.params"],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if tried.returncode == 0 else tried.stderr.strip().splitlines()[-1]


def separate(
    phantom: Phantom,
    *,
    threads: int = 2,
    r2star_max: float = 1000.0,
    r2star_step: float = 10.0,
    r2star_candidates: tuple[float, ...] = CANDIDATES,
    fresh: bool = False,
) -> PeerMaps | None:
    """Its answer; ``None`` where it refuses the echo times. ``fresh``: not from the cache (for timing).

    ``r2star_candidates`` are the R2* at which its field stage looks; by default the one of its own default.
    """
    if not phantom.protocol.even:
        return None
    return separate_arrays(
        phantom.signal,
        phantom.protocol.times,
        phantom.protocol.field_t,
        phantom.voxel_size_mm,
        threads=threads,
        r2star_max=r2star_max,
        r2star_step=r2star_step,
        r2star_candidates=r2star_candidates,
        fresh=fresh,
    )


def separate_arrays(
    signal: np.ndarray,
    echo_times_s: np.ndarray,
    field_t: float,
    voxel_size_mm: tuple[float, float, float],
    *,
    threads: int = 2,
    r2star_max: float = 1000.0,
    r2star_step: float = 10.0,
    r2star_candidates: tuple[float, ...] = CANDIDATES,
    fresh: bool = False,
) -> PeerMaps:
    """As ``separate``, of bare arrays: ``signal`` (z, y, x, e), ``voxel_size_mm`` (z, y, x)."""
    given = {
        "signal": np.ascontiguousarray(signal, dtype=np.complex64),
        "echo_times_s": np.asarray(echo_times_s, dtype=np.float64),
        "field_t": np.float64(field_t),
        "voxel_size_mm": np.array(voxel_size_mm, dtype=np.float64),
        "r2star_max_per_s": np.float64(r2star_max),
        "r2star_step_per_s": np.float64(r2star_step),
    }
    if r2star_candidates != CANDIDATES:
        given["r2star_candidates_per_s"] = np.array(r2star_candidates, dtype=np.float64)
    with tempfile.TemporaryDirectory() as scratch:
        folder = os.environ.get("BENCH_PEER_CACHE")
        kept = Path(folder or scratch) / f"{_digest(given)}.npz"
        if fresh or not kept.is_file():
            source, target = Path(scratch) / "in.npz", Path(scratch) / "out.npz"
            np.savez(source, **given)
            subprocess.run(
                [peer_python(), _RUNNER, source, target, "--threads", str(threads)],
                check=True,
                stdout=sys.stderr,
                cwd=scratch,
            )
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(target.read_bytes())
        with np.load(kept) as found:
            maps = {name: found[name] for name in ("r2star_per_s", "pdff", "b0_hz")}
            return PeerMaps(**maps, seconds=float(found["seconds"]))


def _digest(given: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(given):
        digest.update(name.encode() + np.ascontiguousarray(given[name]).tobytes() + str(given[name].shape).encode())
    return digest.hexdigest()[:24]
