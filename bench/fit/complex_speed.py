"""Speed of the complex fit beside mri-fatwater, its scaling with threads, and its memory.

    python -m bench.fit.complex_speed [--rounds 3]

Both separate the same volumes in the same run, by turns, with the same threads; the peer's seconds are those of the
separation alone. Part of our time does not grow with the volume (judging the phase on a sample), so small volumes show
smaller ratios. Memory is the peak of the resident set of a fresh process over what it was with the input in place and
the kernels loaded, as a multiple of the input.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.fit import fatwater
from bench.fit.complex_phantom import EVEN, Phantom, make_volume
from bench.machine import this_machine
from quant.fit import fit_r2star
from quant.noise import NoiseModel

ROUNDS = 3
SPEED_CASES = (("3T/6", (8, 96, 96)), ("3T/6", (16, 160, 160)), ("1.5T/6", (16, 160, 160)), ("3T/12", (16, 160, 160)))
FULL = (32, 256, 256)
AIMED_RATIO = 20
AIMED_MEMORY = 2.2


def seconds_of(phantom: Phantom, threads: int) -> float:
    """Of one complex fit, noise estimate and judgement of the phase included."""
    start = time.perf_counter()
    _fit(phantom, threads)
    return time.perf_counter() - start


def _fit(phantom: Phantom, threads: int, noise: NoiseModel | None = None) -> None:
    fit_r2star(
        phantom.signal,
        phantom.protocol.times,
        field_t=phantom.protocol.field_t,
        model="complex_fat",
        noise=noise,
        threads=threads,
    )


def against_peer(rounds: int) -> list[dict[str, Any]]:
    """Ratios peer seconds / our seconds, round by round."""
    out = []
    for protocol, shape in SPEED_CASES:
        phantom = make_volume(EVEN[protocol], shape=shape, severity=0.03, liver_r2star_per_s=150.0, liver_pdff=0.1)
        _fit(phantom, 2)  # compilation is not what is measured
        pairs = []
        for _ in range(rounds):
            ours = seconds_of(phantom, 2)
            peer = fatwater.separate(phantom, threads=2, fresh=True)
            assert peer is not None
            pairs.append((ours, peer.seconds, peer.seconds / ours))
        out.append(
            {
                "protocol": protocol,
                "shape": shape,
                "ours_s": statistics.median(p[0] for p in pairs),
                "theirs_s": statistics.median(p[1] for p in pairs),
                "ratio": {
                    "median": statistics.median(p[2] for p in pairs),
                    "min": min(p[2] for p in pairs),
                    "max": max(p[2] for p in pairs),
                },
            }
        )
    return out


def of_threads(rounds: int) -> list[dict[str, Any]]:
    """Seconds of a whole acquisition with one and two threads, by turns."""
    out = []
    for protocol in ("3T/6", "3T/12"):
        phantom = make_volume(EVEN[protocol], shape=FULL, severity=0.03, slice_mm=4.0)
        _fit(phantom, 2)
        pairs = [(seconds_of(phantom, 1), seconds_of(phantom, 2)) for _ in range(rounds)]
        out.append(
            {
                "protocol": protocol,
                "shape": FULL,
                "one_thread_s": min(p[0] for p in pairs),
                "two_threads_s": min(p[1] for p in pairs),
                "scaling": statistics.median(p[0] / p[1] for p in pairs),
            }
        )
    return out


def of_memory() -> list[dict[str, Any]]:
    """Peak beside the input, as a multiple of it, in processes of their own."""
    out = []
    for protocol in ("3T/6", "3T/12"):
        done = subprocess.run(
            [sys.executable, "-m", "bench.fit.complex_speed", "--memory-of", protocol],
            capture_output=True,
            text=True,
            check=True,
        )
        out.append(json.loads(done.stdout))
    return out


def _memory_here(protocol: str) -> dict[str, Any]:
    small = make_volume(EVEN[protocol], shape=(2, 48, 48))
    _fit(small, 2)
    phantom = make_volume(EVEN[protocol], shape=FULL, slice_mm=4.0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _resident_mib("VmRSS")
    _fit(phantom, 2)
    extra = _resident_mib("VmHWM") - before
    size = phantom.signal.nbytes / 2**20
    return {"protocol": protocol, "shape": FULL, "input_mib": size, "extra_mib": extra, "of_input": extra / size}


def _resident_mib(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024


def main() -> None:
    """Print tables, then the record."""
    parser = argparse.ArgumentParser(description="Speed and memory of the complex fit.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--memory-of", choices=list(EVEN), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of:
        print(json.dumps(_memory_here(given.memory_of)))
        return
    record: dict[str, Any] = {"machine": this_machine().as_record()}
    reason = fatwater.absent()
    if reason is None:
        record["against_peer"] = against_peer(given.rounds)
        for row in record["against_peer"]:
            ratio = row["ratio"]
            print(
                f"{row['protocol']:8s} {row['shape']}: ours {row['ours_s']:.2f} s, theirs {row['theirs_s']:.1f} s, "
                f"ratio {ratio['median']:.0f} ({ratio['min']:.0f} to {ratio['max']:.0f}), aim {AIMED_RATIO}"
            )
    else:
        print(f"mri-fatwater is not run: {reason}")
    record["threads"] = of_threads(given.rounds)
    for row in record["threads"]:
        print(
            f"{row['protocol']:8s} {row['shape']}: {row['one_thread_s']:.2f} s with one thread, "
            f"{row['two_threads_s']:.2f} s with two, x{row['scaling']:.2f}"
        )
    record["memory"] = of_memory()
    for row in record["memory"]:
        print(
            f"{row['protocol']:8s} {row['shape']}: {row['extra_mib']:.0f} MiB beside an input of "
            f"{row['input_mib']:.0f} MiB, {row['of_input']:.2f} of it, aim {AIMED_MEMORY}"
        )
    print(json.dumps(record))


if __name__ == "__main__":
    main()
