"""Compiled code made ready, so that the first measurement of a process does not wait for the compiler.

``python -m quant.warm complex`` (or ``magnitude``, ``liver``) compiles one part only: parts may be made ready side by
side, as when the product is installed.
"""

import sys

import numpy as np
import numpy.typing as npt

from quant.fit import fit_r2star
from quant.liver import kernels as liver_kernels
from quant.models import fat_phasor
from quant.noise import NoiseModel

_FIELD_T = 1.5
_ECHO_TIMES_S = np.arange(1, 7, dtype=np.float64) * 1.2e-3
_KNOWN = NoiseModel(sigma=5.0, coils=1.0, source="given")


def _signal() -> npt.NDArray[np.complex64]:
    fat = 0.2 * fat_phasor(_ECHO_TIMES_S, _FIELD_T)
    decay = 1000 * (0.8 + fat) * np.exp((-60 + 2j * np.pi * 20) * _ECHO_TIMES_S)
    noise = np.random.default_rng(0).normal(0, 5, (2, 2, 16, 16, 6))
    return np.asarray(decay + noise[0] + 1j * noise[1], np.complex64)


def _warm_complex() -> None:
    fit_r2star(_signal(), _ECHO_TIMES_S, field_t=_FIELD_T, noise=_KNOWN)


def _warm_magnitude() -> None:
    fit_r2star(np.abs(_signal()), _ECHO_TIMES_S, field_t=_FIELD_T, model="magnitude_fat_first_moment", noise=_KNOWN)


PARTS = {"complex": _warm_complex, "magnitude": _warm_magnitude, "liver": liver_kernels.warm_up}


def warm_up(*parts: str) -> None:
    """Run the compiled kernels of the ``parts`` (all when none is named) once on a few voxels: compiles them, or loads
    them from numba's cache on disk.

    Raises:
        KeyError: a part is none of ``PARTS``.
    """
    for part in parts or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    warm_up(*sys.argv[1:])
