"""What can be said of voxels before they are fitted: samples that are no magnitudes, decays that were clipped."""

import numba as nb
import numpy as np
import numpy.typing as npt

from quant.fit_block import compiled_entry, exact_entry
from quant.flags import FitFlag

LARGEST_SAMPLE = 1e19
"""Squares of larger ones do not fit into float32."""
_TOO_LARGE, _MINUS_ZERO = np.float32(LARGEST_SAMPLE).view(np.uint32), np.uint32(0x80000000)  # as bits of float32
_FAILED = int(FitFlag.FAILED)
_ZERO = np.float32(0)
_LEAST_CLIPPED = 16  # rows
_JUST_BELOW = 0.99  # of the largest sample: fewer rows lie there than at the largest where samples were clipped
_COMPARED = 1000


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


def clipped_rows(signal: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Rows of ``signal`` (n, e) among the ``usable`` (n,) that reach the end of the range of stored values.

    Nothing but the samples tells it: many rows hold the largest sample of all, fewer come close to it, and their other
    echoes differ (those of noise-free phantoms do not).
    """
    highest = np.empty(len(signal), np.float32)
    _row_maxima(signal, usable, highest)
    top = highest.max(initial=np.float32(0))
    if top == 0:
        return np.empty(0, np.int64)
    rows = np.flatnonzero(highest == top)
    below = int(np.count_nonzero(highest >= np.float32(_JUST_BELOW) * top)) - rows.size
    if rows.size < max(_LEAST_CLIPPED, below):
        return np.empty(0, np.int64)
    some = signal[rows[:_COMPARED]]
    differ = 2 * len(np.unique(some, axis=0)) > len(some)
    return rows if differ else np.empty(0, np.int64)


@exact_entry
def _row_maxima(signal, usable, highest):  # type: ignore[no-untyped-def]  # numba infers
    """Fill ``highest`` (n,) with the largest sample of each row, at least 0, and 0 where it is not ``usable``."""
    for n in nb.prange(signal.shape[0]):
        most = _ZERO
        if usable[n]:
            for e in range(signal.shape[1]):
                most = max(most, signal[n, e])
        highest[n] = most
