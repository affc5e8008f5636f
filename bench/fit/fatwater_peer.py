"""Run mri-fatwater (GPL-3, installed by the user in an environment of its own) on one volume.

    PEER_PYTHON bench/fit/fatwater_peer.py IN.npz OUT.npz [--threads 2] [--r2star-max 1000] [--r2star-step 10]
        [--r2star-candidates 40]

``IN.npz`` holds ``signal`` (z, y, x, e) complex, ``echo_times_s``, ``field_t`` and ``voxel_size_mm`` (z, y, x);
``r2star_max_per_s``, ``r2star_step_per_s`` and ``r2star_candidates_per_s`` in it override the options. ``OUT.npz`` gets
``r2star_per_s``, ``pdff`` and ``b0_hz`` (z, y, x) and ``seconds`` of the separation alone, its worker processes started
beforehand.

This file is executed by the peer's Python and imports nothing of ironnode. The package declares Python 3.14 because
of the f-strings in its front module; its algorithm and parameter modules run on 3.11, so they are called here. Its
front end would also crop to where the signal is, which changes nothing but the time for images with empty margins.
Everything not named here is at its default (multi-scale QPBO in 3D, then ICM, 100 field steps).
"""

import argparse
import contextlib
import io
import os
import time
from pathlib import Path

WATER_PPM = 4.7
# Fat as in quant.models: shift from water (ppm) and amplitude.
FAT_SHIFT_PPM = (-3.80, -3.40, -2.60, -1.94, -0.39, 0.60)
FAT_AMPLITUDE = (0.087, 0.693, 0.128, 0.004, 0.039, 0.048)


def main() -> None:
    """Read, separate, write."""
    arguments = _arguments()
    os.environ["LOKY_MAX_CPU_COUNT"] = str(arguments.threads)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    import numpy as np

    with np.load(arguments.source) as source:
        given = {name: source[name] for name in source.files}
    step = float(given.get("r2star_step_per_s", arguments.r2star_step))
    largest = float(given.get("r2star_max_per_s", arguments.r2star_max))
    maps = separate(
        given["signal"],
        given["echo_times_s"],
        float(given["field_t"]),
        given["voxel_size_mm"],
        r2star_max=largest,
        r2star_step=step,
        r2star_candidates=tuple(given.get("r2star_candidates_per_s", arguments.r2star_candidates)),
    )
    np.savez(arguments.target, **maps)


def separate(signal, echo_times_s, field_t, voxel_size_mm, *, r2star_max, r2star_step, r2star_candidates):
    """Maps (z, y, x) and seconds of one separation."""
    import numpy as np
    from joblib import Parallel, delayed
    from mri_fatwater import algorithm, constants, params

    data = np.ascontiguousarray(np.moveaxis(signal, 3, 0), dtype=np.complex64)
    data /= np.abs(data).max()
    data_params = params.DataParams(
        data=data,
        t=tuple(float(t) for t in echo_times_s),
        B0=field_t,
        voxelsize=tuple(float(v) for v in voxel_size_mm),
    )
    model = params.ModelParams(
        N=data_params.N,
        watCS=WATER_PPM,
        fatCS=tuple(WATER_PPM + shift for shift in FAT_SHIFT_PPM),
        relAmps=FAT_AMPLITUDE,
    )
    settings = params.AlgoParams(
        algorithm="QPBO",
        realEstimates=model.realEstimates,
        nR2=round(r2star_max / r2star_step) + 1,
        R2max=r2star_max,
        R2cand=tuple(float(r) for r in r2star_candidates),
    )
    Parallel(n_jobs=-1)(delayed(algorithm.get_updates)(k) for k in range(8))  # start its worker processes
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        amounts, field_ppm, r2star = algorithm.core_fatwater_separation(data_params, settings, model)
    water, fat = np.abs(amounts[0]), np.abs(amounts[1]) * sum(FAT_AMPLITUDE)
    pdff = fat / np.maximum(water + fat, np.finfo(np.float32).tiny)
    seconds = time.perf_counter() - start
    period_hz = 1 / data_params.dt
    b0_hz = field_ppm * constants.GYRO * field_t
    return {
        "r2star_per_s": np.asarray(r2star, np.float32),
        "pdff": np.asarray(pdff, np.float32),
        "b0_hz": np.asarray((b0_hz + period_hz / 2) % period_hz - period_hz / 2, np.float32),
        "seconds": np.float64(seconds),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run mri-fatwater on one volume.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--r2star-max", type=float, default=1000.0)
    parser.add_argument("--r2star-step", type=float, default=10.0)
    parser.add_argument("--r2star-candidates", type=float, nargs="+", default=[40.0], help="of the field stage")
    return parser.parse_args()


if __name__ == "__main__":
    main()
