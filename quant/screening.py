"""What can be said of voxels before they are fitted: samples that are no magnitudes, in one pass over them."""

import numba as nb
import numpy as np
import numpy.typing as npt

from quant.fit_kernels import compiled_entry

_INFINITY, _MINUS_ZERO = np.uint32(0x7F800000), np.uint32(0x80000000)  # as bits of float32


def broken_voxels(signal: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which rows of ``signal`` (n, e), C-contiguous, hold a sample that is negative or not finite, (n,)."""
    marks = np.empty(len(signal), np.bool_)
    _mark_broken(signal.view(np.uint32), marks)
    return marks


@compiled_entry
def _mark_broken(bits, marks):  # type: ignore[no-untyped-def]  # numba infers
    """On the bits: the compiler may take for granted that floats are numbers."""
    for n in nb.prange(bits.shape[0]):
        broken = False
        for e in range(bits.shape[1]):
            broken |= bits[n, e] >= _INFINITY and bits[n, e] != _MINUS_ZERO
        marks[n] = broken
