"""What can be said of voxels before they are fitted: samples that are no magnitudes, in one pass over them."""

import numba as nb
import numpy as np
import numpy.typing as npt

from quant.fit_block import compiled_entry
from quant.flags import FitFlag

LARGEST_SAMPLE = 1e19
"""Squares of larger ones do not fit into float32."""
_TOO_LARGE, _MINUS_ZERO = np.float32(LARGEST_SAMPLE).view(np.uint32), np.uint32(0x80000000)  # as bits of float32
_FAILED = int(FitFlag.FAILED)


def screened(signal: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """``FitFlag.FAILED`` for rows of ``signal`` (n, e), C-contiguous, with a sample that is no magnitude, else 0.

    No magnitudes are negative samples, those from ``LARGEST_SAMPLE`` on, and what is no number.
    """
    flags = np.empty(len(signal), np.int32)
    _screen(signal.view(np.uint32), flags)
    return flags


@compiled_entry
def _screen(bits, flags):  # type: ignore[no-untyped-def]  # numba infers
    """On the bits: the compiler may take for granted that floats are numbers."""
    for n in nb.prange(bits.shape[0]):
        broken = False
        for e in range(bits.shape[1]):
            broken |= bits[n, e] >= _TOO_LARGE and bits[n, e] != _MINUS_ZERO
        flags[n] = _FAILED if broken else 0
