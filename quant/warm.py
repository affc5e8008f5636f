"""Compiled code made ready, so that the first measurement of a process does not wait for the compiler."""

import numpy as np

from quant.fit import fit_r2star
from quant.liver import kernels as liver_kernels
from quant.models import fat_phasor
from quant.noise import NoiseModel

_FIELD_T = 1.5


def warm_up() -> None:
    """Run every compiled kernel once on a few voxels: compiles them, or loads them from numba's cache on disk."""
    echo_times_s = np.arange(1, 7, dtype=np.float64) * 1.2e-3
    fat = 0.2 * fat_phasor(echo_times_s, _FIELD_T)
    decay = 1000 * (0.8 + fat) * np.exp((-60 + 2j * np.pi * 20) * echo_times_s)
    noise = np.random.default_rng(0).normal(0, 5, (2, 2, 16, 16, 6))
    signal = (decay + noise[0] + 1j * noise[1]).astype(np.complex64)
    known = NoiseModel(sigma=5.0, coils=1.0, source="given")
    fit_r2star(signal, echo_times_s, field_t=_FIELD_T, noise=known)
    fit_r2star(np.abs(signal), echo_times_s, field_t=_FIELD_T, model="magnitude_fat_first_moment", noise=known)
    liver_kernels.warm_up()
