"""What can be said of voxels before they are fitted: samples that are no magnitudes, and air.

Both take one pass over the samples, without temporaries the size of the acquisition.
"""

import numba as nb
import numpy as np
import numpy.typing as npt

from quant.fit_kernels import compiled_entry

_INFINITY, _MINUS_ZERO = np.uint32(0x7F800000), np.uint32(0x80000000)  # as bits of float32
_MARGIN = 1e-4  # relative, below the limits: the fit adds up the same squares with its own rounding


def broken_voxels(signal: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which rows of ``signal`` (n, e), C-contiguous, hold a sample that is negative or not finite, (n,)."""
    marks = np.empty(len(signal), np.bool_)
    _mark_broken(signal.view(np.uint32), marks)
    return marks


def air_voxels(
    signal: npt.NDArray[np.float32], voxels: npt.NDArray[np.int64], *, largest_energy: float, largest_first: float
) -> npt.NDArray[np.bool_]:
    """Which of the rows ``voxels`` (k,) of ``signal`` (n, e) are surely noise alone, (k,).

    The sum of the squares of all samples lies clearly below ``largest_energy``, and the first sample below
    ``largest_first``.
    """
    marks = np.empty(voxels.size, np.bool_)
    below = np.float32((1 - _MARGIN) * largest_energy), np.float32((1 - _MARGIN) * largest_first)
    _mark_air(signal, voxels, *below, marks)
    return marks


@compiled_entry
def _mark_broken(bits, marks):  # type: ignore[no-untyped-def]  # numba infers
    """On the bits: the compiler may take for granted that floats are numbers."""
    for n in nb.prange(bits.shape[0]):
        broken = False
        for e in range(bits.shape[1]):
            broken |= bits[n, e] >= _INFINITY and bits[n, e] != _MINUS_ZERO
        marks[n] = broken


@compiled_entry
def _mark_air(signal, voxels, energy_below, first_below, marks):  # type: ignore[no-untyped-def]
    for k in nb.prange(voxels.size):
        energy = np.float32(0)
        for e in range(signal.shape[1]):
            energy += signal[voxels[k], e] * signal[voxels[k], e]
        marks[k] = energy < energy_below and signal[voxels[k], 0] < first_below
