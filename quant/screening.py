"""What can be said of voxels before they are fitted: samples that are no magnitudes, in one pass over them."""

import numba as nb
import numpy as np
import numpy.typing as npt

from quant.fit_block import compiled_entry
from quant.flags import FitFlag

_INFINITY, _MINUS_ZERO = np.uint32(0x7F800000), np.uint32(0x80000000)  # as bits of float32
_FAILED = int(FitFlag.FAILED)


def screened(signal: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """``FitFlag.FAILED`` for rows of ``signal`` (n, e), C-contiguous, with a negative or not finite sample, else 0."""
    flags = np.empty(len(signal), np.int32)
    _screen(signal.view(np.uint32), flags)
    return flags


@compiled_entry
def _screen(bits, flags):  # type: ignore[no-untyped-def]  # numba infers
    """On the bits: the compiler may take for granted that floats are numbers."""
    for n in nb.prange(bits.shape[0]):
        broken = False
        for e in range(bits.shape[1]):
            broken |= bits[n, e] >= _INFINITY and bits[n, e] != _MINUS_ZERO
        flags[n] = _FAILED if broken else 0
