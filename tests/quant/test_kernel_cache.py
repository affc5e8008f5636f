"""A process that compiles the kernels has the numbers of one that loads them from numba's cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SIGNAL = """
import hashlib
import numpy as np
from quant import fit_kernels, complex_kernels
from quant.complex_volume import fit_rows
from quant.fit import fit_r2star
from quant.models import fat_phasor
from quant.noise import NoiseModel
from quant.voxel_fit import Setup

times = np.arange(1, 7) * 1.2e-3
known = NoiseModel(sigma=1.0, coils=1.0, source="given")
decay = 50 * (0.8 + 0.2 * fat_phasor(times, 1.5)) * np.exp((-180 + 2j * np.pi * 20) * times)
noise = np.random.default_rng(0).normal(0, 1, (2, 1024, 6))
signal = (decay + noise[0] + 1j * noise[1]).astype(np.complex64)
"""
FITS = {
    "complex": """
kernel = complex_kernels.fit_complex
setup = Setup(echo_times_s=times, field_t=1.5, noise=known)
start_hz = np.full(1024, 15, np.float32)
found = [fit_rows(signal, np.arange(1024), start_hz, setup, own_phase=True, fractions=(-2.0, 2.0))]
""",
    "magnitude": """
kernel = fit_kernels.fit_mono
volume = np.abs(signal).reshape(1, 32, 32, 6)
fit = fit_r2star(volume, times, field_t=1.5, model="magnitude_fat_first_moment", noise=known)
found = [fit.r2star_per_s, fit.sd_r2star_per_s, fit.pdff]
""",
}
RESULT = "print(sum(kernel.stats.cache_hits.values()), *(hashlib.sha256(part.tobytes()).hexdigest() for part in found))"


def fitted(kind: str, cache: Path) -> tuple[int, list[str]]:
    """How many kernels a process of its own loaded from ``cache``, and digests of what it found."""
    code = SIGNAL + FITS[kind] + RESULT
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    loaded, *digests = done.stdout.split()
    return int(loaded), digests


@pytest.mark.further
@pytest.mark.parametrize("kind", FITS)
def test_a_process_that_compiled_the_fit_finds_the_same_as_one_that_loaded_it(kind: str, tmp_path: Path) -> None:
    compiled, loaded = fitted(kind, tmp_path), fitted(kind, tmp_path)
    assert compiled[0] == 0
    assert loaded[0] > 0
    assert compiled[1] == loaded[1]
