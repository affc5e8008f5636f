"""Compiled passes over the rows that the fit kernels leave (``quant.fit_block``): which are unfinished, and units.

Threaded like the fits, because they touch every voxel.
"""

import math

import numba as nb
import numpy as np

from quant.fit_block import AMPLITUDE, BLOCK, CHI2, DISTANCE, ENERGY, FIRST, RATE, SAMPLES, SD_RATE, exact_entry, f32
from quant.fit_fat_kernels import FAT_COST, FAT_FRACTION, FRACTION, SD_FRACTION, WATER_COST, WATER_FRACTION

_ZERO, _ONE, _HALF = f32(0), f32(1), f32(0.5)
_NOT_TOLD = f32(np.nan)


@exact_entry
def mark_unfinished(rows, tolerance, energy, first, marks):  # type: ignore[no-untyped-def]  # numba infers
    """Fill ``marks`` (k,): not within ``tolerance`` of its minimum, and louder than noise of ``energy``, ``first``."""
    for block in nb.prange((marks.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min((block + 1) * BLOCK, marks.size)):
            loud = (rows[ENERGY, i] >= energy) | (rows[FIRST, i] * rows[FIRST, i] >= first)
            marks[i] = loud & (not rows[DISTANCE, i] < tolerance)


@exact_entry
def put(some, columns, rows):  # type: ignore[no-untyped-def]
    """Overwrite the ``columns`` (j,) of ``rows`` (r, k) by ``some`` (r, j)."""
    for row in nb.prange(some.shape[0]):  # whole rows: many short stretches of memory would be slower
        for i in range(columns.size):
            rows[row, columns[i]] = some[row, i]


@exact_entry
def mark_below(rows, to_first, nodes, limits, marks):  # type: ignore[no-untyped-def]
    """Fill ``marks`` (k,): rate below the limit for its amplitude at TE = 0, and no fat fraction yet elsewhere.

    ``limits`` (m,) holds at logarithms of the amplitude from ``nodes[0]`` to ``nodes[1]``, evenly spaced, and is
    interpolated; ``to_first`` is the first echo time in the rate's unit. Unmarked columns get no fat fraction.
    """
    last = limits.size - 1
    low, per_node = nodes[0], last / (nodes[1] - nodes[0])
    for block in nb.prange((marks.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min((block + 1) * BLOCK, marks.size)):
            level = math.log(max(rows[AMPLITUDE, i], _ZERO)) + rows[RATE, i] * to_first
            place = min(max((level - low) * per_node, 0.0), float(last))
            node = min(int(place), last - 1)
            limit = limits[node] + (place - node) * (limits[node + 1] - limits[node])
            marks[i] = rows[RATE, i] < limit
            rows[FRACTION, i] = _NOT_TOLD
            rows[SD_FRACTION, i] = _NOT_TOLD


@exact_entry
def in_units(rows, sigma, spacing_s, to_first, averaged, ends, at_zero, at_top):  # type: ignore[no-untyped-def]
    """Turn amplitude into S0, rates into 1/s and samples into degrees of freedom of two parameters, in place.

    ``ends`` of the rate's range are marked in ``at_zero`` and ``at_top`` (k,). Each decay is the mean of ``averaged``.
    """
    sd_scale = _ONE / (spacing_s * math.sqrt(averaged))
    for block in nb.prange((at_zero.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min((block + 1) * BLOCK, at_zero.size)):
            rate = rows[RATE, i]
            at_zero[i], at_top[i] = rate <= ends[0], rate >= ends[1]
            rows[AMPLITUDE, i] *= sigma * math.exp(rate * to_first)
            rows[RATE, i] = rate / spacing_s
            rows[SD_RATE, i] *= f32(sd_scale)
            rows[CHI2, i] *= averaged
            rows[SAMPLES, i] -= f32(2)


@exact_entry
def fat_in_units(rows, averaged, margins, ambiguous):  # type: ignore[no-untyped-def]
    """The further parameter of the columns with a fat fraction, in place, and whether water and fat may be exchanged.

    ``margins`` of chi squared of one voxel by which a water- and a fat-dominant end must be better.
    """
    for block in nb.prange((ambiguous.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min((block + 1) * BLOCK, ambiguous.size)):
            if math.isnan(rows[FRACTION, i]):
                ambiguous[i] = False
                continue
            fat_better = (rows[WATER_COST, i] - rows[FAT_COST, i]) * averaged
            two = rows[WATER_FRACTION, i] < _HALF and rows[FAT_FRACTION, i] > _HALF
            ambiguous[i] = two and -margins[0] < fat_better < margins[1]
            rows[SD_FRACTION, i] /= f32(math.sqrt(averaged))
            rows[SAMPLES, i] -= _ONE
