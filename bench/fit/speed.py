"""Speed of the magnitude fits beside scipy and ukat, scaling with threads, memory, and the first fit of a process of
every kind.

    python -m bench.fit.speed [--rounds 5] [--only peers|threads|memory|start]

* Peers: ours on a whole volume of tissue (256 x 256 x 32) in one thread, the whole call ("call") and the compiled fit
  alone ("kernel"); curve_fit of a plain exponential and ukat's "2p_exp" on voxels of the same volume, by turns in one
  run. CPU seconds of the process, since others may run beside it. The noise is given. Aims: first moment 800 times
  curve_fit and 15,000 times ukat 2p_exp, with fat 200 times curve_fit.
* Threads: one and two by turns, and between them, as control, a loop of arithmetic compiled the same way: what two
  threads are worth on this machine at that moment. Aim 1.7 on an idle machine.
* Memory: peak of the resident set of a fresh process over what it was with the input in place and the kernels loaded.
  Aim: the maps and 64 MiB.
* Start: seconds of import and of the first fit of a fresh process, complex ones too, numba's cache on disk being warm.
  Aim 1 s for the fit.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np

from bench.fit import peers
from bench.fit.complex_phantom import EVEN, Protocol
from bench.fit.magnitude_bound import noisy
from bench.machine import this_machine
from quant.fit import fit_r2star
from quant.models import SignalModel
from quant.noise import NoiseModel
from quant.voxel_fit import Setup, fit_voxels

ROUNDS = 5
PROTOCOLS = ("3T/6", "3T/12")
FULL = (32, 256, 256)
TILE = 16  # voxels across of one tissue
CURVE_FIT_VOXELS, UKAT_VOXELS = 400, 100
MONO, FAT = SignalModel.FIRST_MOMENT, SignalModel.FAT_FIRST_MOMENT
AIMS = {(MONO, "curve_fit"): 800, (MONO, "ukat 2p_exp"): 15000, (FAT, "curve_fit"): 200}
AIMED_MIB, AIMED_START_S, AIMED_SCALING = 64, 1.0, 1.7
NOISE = NoiseModel(sigma=1.0, coils=1.0, source="given")
_CONTROL_LANES, _CONTROL_STEPS = 1 << 16, 600


def tissue(protocol: Protocol, shape: tuple[int, int, int], *, with_fat: bool) -> np.ndarray:
    """Tiles of R2* 25 to 600 1/s and PDFF 0 or 0 to 40 %, SNR 50, (z, y, x, e)."""
    generator = np.random.default_rng(1)
    tiles = (shape[0], -(-shape[1] // TILE), -(-shape[2] // TILE))
    r2star, pdff = generator.uniform(25, 600, tiles), generator.uniform(0, 0.4 if with_fat else 0.0, tiles)
    decay = np.exp(-r2star[..., None] * protocol.times)
    clean = 50 * decay * np.abs(1 - pdff[..., None] + pdff[..., None] * protocol.fat())
    clean = clean.astype(np.float32).repeat(TILE, axis=1).repeat(TILE, axis=2)[:, : shape[1], : shape[2]]
    return np.stack([noisy(one, 1, generator) for one in clean])


def fit(signal: np.ndarray, protocol: Protocol, model: SignalModel, threads: int) -> Any:
    """The whole call, noise given."""
    return fit_r2star(signal, protocol.times, field_t=protocol.field_t, model=model.value, noise=NOISE, threads=threads)


def seconds(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Of one run."""
    start = clock()
    run()
    return clock() - start


def cpu_seconds(run: Callable[[], object]) -> float:
    """Of one run, all threads together."""
    return seconds(run, time.process_time)


def against_peers(rounds: int, *, shape: tuple[int, int, int] = FULL, with_ukat: bool = True) -> list[dict[str, Any]]:
    """Rates (voxels/s) and their ratios, round by round."""
    out = []
    for name, model in ((name, model) for name in PROTOCOLS for model in (MONO, FAT)):
        protocol = EVEN[name]
        signal = tissue(protocol, shape, with_fat=model is FAT)
        flat = signal.reshape(-1, protocol.times.size)
        some = np.random.default_rng(2).permutation(len(flat))[:CURVE_FIT_VOXELS]
        setup, everyone = (
            Setup(echo_times_s=protocol.times, field_t=protocol.field_t, noise=NOISE),
            np.arange(len(flat)),
        )
        runs: dict[str, Callable[[], float]] = {
            "call": lambda s=signal, p=protocol, m=model: s[..., 0].size / cpu_seconds(lambda: fit(s, p, m, 1)),
            "kernel": lambda f=flat, v=everyone, s=setup, m=model: len(f) / cpu_seconds(lambda: fit_voxels(f, v, s, m)),
            "curve_fit": lambda f=flat[some], t=protocol.times: len(f) / cpu_seconds(lambda: peers.plain(f, t)),
        }
        if with_ukat and peers.ukat_absent() is None:
            few = flat[some[:UKAT_VOXELS]]
            runs["ukat 2p_exp"] = lambda f=few, t=protocol.times: len(f) / peers.ukat(f, t, "2p_exp").seconds
        nb.set_num_threads(1)  # for the kernel
        fit(signal[:1], protocol, model, 1)  # compilation is not what is measured
        rates: dict[str, list[float]] = {who: [] for who in runs}
        for _ in range(rounds):
            for who, run in runs.items():
                rates[who].append(run())
        nb.set_num_threads(nb.config.NUMBA_NUM_THREADS)
        row: dict[str, Any] = {"protocol": name, "model": model.value, "voxels_per_s": _medians(rates)}
        for ours in ("call", "kernel"):
            for who in (w for w in rates if w not in ("call", "kernel")):
                row[f"{ours} / {who}"] = _spread([a / b for a, b in zip(rates[ours], rates[who], strict=True)])
        out.append(row)
    return out


def _medians(rates: dict[str, list[float]]) -> dict[str, int]:
    return {who: round(statistics.median(values)) for who, values in rates.items()}


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


@nb.njit(parallel=True, fastmath=True)
def _control(values: np.ndarray, steps: int) -> None:
    """Arithmetic on what stays in the cache."""
    for lane in nb.prange(values.size):
        x = values[lane]
        for _ in range(steps):
            x = np.float32(0.999) * x + np.float32(0.1) / (np.float32(1) + x * x)
        values[lane] = x


def of_threads(rounds: int) -> list[dict[str, Any]]:
    """One thread over two, ours and the control's, round by round."""
    values = np.ones(_CONTROL_LANES, np.float32)

    def control(threads: int) -> float:
        nb.set_num_threads(threads)
        return seconds(lambda: _control(values, _CONTROL_STEPS))

    most = min(2, nb.config.NUMBA_NUM_THREADS)
    control(most)
    out = []
    for name, model in ((name, model) for name in PROTOCOLS for model in (MONO, FAT)):
        protocol = EVEN[name]
        signal = tissue(protocol, FULL, with_fat=model is FAT)
        fit(signal[:1], protocol, model, most)
        ones, twos, controls = [], [], []
        for _ in range(rounds):
            ones.append(seconds(partial(fit, signal, protocol, model, 1)))
            twos.append(seconds(partial(fit, signal, protocol, model, most)))
            controls.append(control(1) / control(most))
        nb.set_num_threads(nb.config.NUMBA_NUM_THREADS)
        ours = [one / two for one, two in zip(ones, twos, strict=True)]
        relative = [a / b for a, b in zip(ours, controls, strict=True)]
        out.append(
            {
                "protocol": name,
                "model": model.value,
                "ours": _spread(ours),
                "least disturbed": min(ones) / min(twos),
                "control": _spread(controls),
                "ours / control": _spread(relative),
            }
        )
    return out


def of_memory() -> list[dict[str, Any]]:
    """Peaks, in processes of their own."""
    return [_elsewhere("--memory-of", name, model.value) for name in PROTOCOLS for model in (MONO, FAT)]


def _memory_here(name: str, model: SignalModel) -> dict[str, Any]:
    protocol = EVEN[name]
    signal = tissue(protocol, FULL, with_fat=model is FAT)
    fit(np.ascontiguousarray(signal[:1, :64, :64]), protocol, model, 2)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _resident_mib("VmRSS")
    found = fit(signal, protocol, model, 2)
    extra = _resident_mib("VmHWM") - before
    maps = [getattr(found, field.name) for field in fields(found)]
    outputs = sum(m.nbytes for m in maps if isinstance(m, np.ndarray)) / 2**20
    return {"protocol": name, "model": model.value, "extra_mib": extra, "maps_mib": outputs, "beside": extra - outputs}


def _resident_mib(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024


_START = """
import sys, time
start = time.perf_counter()
import numpy as np
from quant.fit import fit_r2star
from quant.noise import NoiseModel
imported = time.perf_counter()
times = 0.95e-3 + 0.75e-3 * np.arange(6)
signal = np.broadcast_to((50 * np.exp(-100 * times)).astype(np.float32), (1, 64, 64, 6)).copy()
real, imaginary = np.random.default_rng(0).normal(0, 1, (2, *signal.shape)).astype(np.float32)
off_resonance_hz = np.linspace(-60, 60, 64)[:, None]
signal = signal * np.exp(2j * np.pi * off_resonance_hz * times).astype(np.complex64) + real + 1j * imaginary
signal = signal if sys.argv[1] == "complex_fat" else np.abs(signal)
ready = time.perf_counter()
found = fit_r2star(signal, times, field_t=3.0, model=sys.argv[1],
                   noise=NoiseModel(sigma=1.0, coils=1.0, source="given"))
assert found.model == sys.argv[1]
print(imported - start, time.perf_counter() - ready)
"""


def of_start(rounds: int) -> list[dict[str, Any]]:
    """Import and first fit of fresh processes."""
    out = []
    for model in (MONO, FAT, SignalModel.COMPLEX_FAT):
        command = [sys.executable, "-c", _START, model.value]
        subprocess.run(command, check=True, capture_output=True)  # fills numba's cache
        taken = [
            [float(x) for x in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]
            for _ in range(rounds)
        ]
        out.append(
            {
                "model": model.value,
                "import_s": _spread([t[0] for t in taken]),
                "first_fit_s": _spread([t[1] for t in taken]),
            }
        )
    return out


def _elsewhere(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.fit.speed", *arguments]
    record: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return record


def _print_spread(name: str, spread: dict[str, float], aim: float | None = None, *, digits: int = 0) -> None:
    aimed = "" if aim is None else f", aim {aim}: {'reached' if spread['median'] >= aim else 'missed'}"
    print(
        f"    {name}: {spread['median']:.{digits}f} ({spread['min']:.{digits}f} to {spread['max']:.{digits}f}){aimed}"
    )


def _print_peers(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(f"{row['protocol']} {row['model']}, 1 thread, voxels/s: {row['voxels_per_s']}")
        for pair in (key for key in row if " / " in key):
            _print_spread(pair, row[pair], AIMS.get((SignalModel(row["model"]), pair.split(" / ")[1])))


def _print_threads(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(f"{row['protocol']} {row['model']}, two threads over one")
        _print_spread("ours", row["ours"], AIMED_SCALING, digits=2)
        print(f"    best time of one thread over that of two: {row['least disturbed']:.2f}")
        for part in ("control", "ours / control"):
            _print_spread(part, row[part], digits=2)


def main() -> None:
    """Print tables, then the record."""
    parser = argparse.ArgumentParser(description="Speed and memory of the magnitude fits.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=("peers", "threads", "memory", "start"))
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of:
        print(json.dumps(_memory_here(given.memory_of[0], SignalModel(given.memory_of[1]))))
        return
    record: dict[str, Any] = {"machine": this_machine().as_record(), "cores": os.cpu_count()}
    if given.only in (None, "peers"):
        if reason := peers.ukat_absent():
            print(f"ukat is not run: {reason}")
        record["peers"] = against_peers(given.rounds)
        _print_peers(record["peers"])
    if given.only in (None, "threads"):
        record["threads"] = of_threads(given.rounds)
        _print_threads(record["threads"])
    if given.only in (None, "memory"):
        record["memory"] = of_memory()
        for row in record["memory"]:
            print(
                f"{row['protocol']} {row['model']}: peak {row['extra_mib']:.0f} MiB, maps {row['maps_mib']:.0f} MiB, "
                f"beside them {row['beside']:.0f} MiB, aim {AIMED_MIB}"
            )
    if given.only in (None, "start"):
        record["start"] = of_start(given.rounds)
        for row in record["start"]:
            print(f"{row['model']}, fresh process, aim {AIMED_START_S} s for the fit")
            _print_spread("import, s", row["import_s"], digits=2)
            _print_spread("first fit, s", row["first_fit_s"], digits=2)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
